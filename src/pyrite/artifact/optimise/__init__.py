"""The search for the question that makes a vision-language model the best judge of artifacts, and the proof that it is.

Not for judging (`artifact/judges.py`) and not for the page (`audit/lineage.py`). Start with `run.py`, what happens in
which order; then `protegi.py`, the search itself, `allocation.py`, who is asked how much, `config.py`, every number.

**A run is a function of its config, its data and the replies**: nothing else decides, and every reply is written down
before the next one is waited for. So a killed run is continued by running it again from the beginning.
"""

"""A vision-language model that is none: it knows a labelled set by heart and answers like a model with known faults.

For measuring what searches for better questions, never for judging anything: it reads the truth from the set's labels.
What it sees of an image depends on the kinds of artifact that the question names, so that better questions really score
better. Start with `judgement.py`, the model, then `writing.py`, its critiques and rewrites, and `server.py`.
"""

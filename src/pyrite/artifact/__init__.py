"""The artifact judge end to end: labelled images, corruptions to test with, the judge's question, how good it is.

Not for scoring in training (`rewards/artifact*.py`) and not for pages (`audit/`). Start with `judges.py`, the contract
through which everything here asks, and `data.py`, the labelled images it is asked about.
"""

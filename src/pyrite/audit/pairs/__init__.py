"""The pair test: which of two images does a reward prefer, the clean one or the one with an artifact.

Pure arithmetic on stored scores; nothing here loads a model, and nothing draws. Start with `images.py` (what was
scored, and which images make a pair), then `outcomes.py` (correct, tie, wrong); `blind_spots.py`, `complements.py` and
`ladder.py` are what the page of `pyrite.audit.report.pair_page` shows.
"""

"""Benchmarks: published prompts, what is looked at in each image, and the published way to one number.

Not for rewards on any image set (`score_images.py`). Start with `protocol.py`, then `run.py`; `wise.py` is a member.
"""

"""Rebuilds the pocket checkpoints from nothing; `pyrite world build` runs it.

Not needed to use the world. One module per model; `pipeline.py` runs them in order and can be killed and continued.
Start with `pipeline.py`.
"""

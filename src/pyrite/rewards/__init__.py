"""Learned models that score images: each adapts a transformers-native model to `pyrite.core.protocols.Reward`.

Not for turning scores into what a policy is trained on (see `mitigation/`), nor for the pocket world's gold reward,
which is not learned (see `world/`). A reward enters by a line in `catalogue.py`. Start with `clip.py`.
"""

"""Things that draw images from prompts: tokens, their log-probabilities, pictures.

Not for learning (see `training/`) and not for judging (see `rewards/`). A policy enters through
`pyrite.core.protocols.Policy` and a line in `catalogue.py`. Start with `janus.py`.
"""

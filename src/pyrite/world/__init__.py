"""A small synthetic world whose true reward is known: scenes, prompts, the gold reward, the pocket checkpoints.

Not for learned rewards or policies in use (see `rewards/` and `policies/`): this room makes the data they are trained
on and judges images by parsing them. Start with `scenes.py`, then `gold.py`.
"""

"""Reinforcement learning of a policy against rewards, through the protocols of `core` only.

Not for judging what came out of it (`audit`), nor for shaping scores (`mitigation`). The mathematics is in
`objectives.py`; start with `grpo.py`, the loop, which reads from top to bottom.
"""

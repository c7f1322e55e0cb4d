"""What is written down and how it is read back: recipes, run folders, and where the pocket checkpoints lie.

Not for judging what is written: that is `audit`. Knows no torch. Start with `recipe.py` (what a run may be told),
then `runs.py` (what it leaves behind).
"""

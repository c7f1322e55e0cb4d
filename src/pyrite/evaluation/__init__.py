"""Measuring a policy or a set of images without training anything.

Not for statistics on what was measured (`stats`) nor for telling what it means (`audit`). Start with `best_of_n.py`.
"""

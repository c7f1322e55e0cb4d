"""Pure functions on arrays: intervals, rank correlations, best-of-n, and where two curves part.

Not for reading files or drawing: arrays in, numbers out, NaN where the data cannot say. Start with `intervals.py`.
"""

"""Reads run folders and says what happened: curves, the verdict, comparisons, and the report.

Not for training or scoring: an audit never imports what it audits, so it reads anybody's run folder and cannot be
fooled by code it shares with the run. Start with `curves.py` (a folder as arrays), then `verdict.py`.
`pairs/` looks at rewards before any run: which of two images they prefer.
"""

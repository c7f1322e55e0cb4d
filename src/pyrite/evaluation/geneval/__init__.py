"""GenEval (arXiv:2310.11513) without mmdet: its prompts, its rules on stored detections, its table and its files.

The detectors themselves are not here (`rewards/geneval_detectors.py`): this room is handed what they saw. Start with
`rules.py`; `benchmark.py` is the member of `pyrite evaluate`.
"""

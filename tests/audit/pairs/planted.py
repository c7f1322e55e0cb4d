"""Small sets of pairs with scores one can check by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pyrite.audit.pairs.images import ScoredImages

Row = tuple[str, int, str, float | None]


def images_of(
    rows: Sequence[Row], scores: Mapping[str, Sequence[float]], reasons: Mapping[str, Mapping[int, str]] | None = None
) -> ScoredImages:
    """Rows of (pair id, label, kind, severity) and their scores in the same order."""
    columns = {name: np.array(values, dtype=np.float64) for name, values in scores.items()}
    why = {name: {int(row): "no answer" for row in np.flatnonzero(np.isnan(v))} for name, v in columns.items()}
    return ScoredImages(
        path=Path("planted.csv"),
        ids=np.array([f"i{k}" for k in range(len(rows))]),
        pair_ids=np.array([row[0] for row in rows]),
        has_artifact=np.array([row[1] == 1 for row in rows]),
        kinds=np.array([row[2] for row in rows]),
        severities=np.array([np.nan if row[3] is None else row[3] for row in rows], dtype=np.float64),
        images=np.array([""] * len(rows)),
        folder=Path(),
        scores=columns,
        reasons=reasons or why,
    )


def simple(clean: Sequence[float], damaged: Sequence[float], kinds: Sequence[str] | None = None, **more: object):
    """One pair per picture, for the reward `r`."""
    kinds = kinds or ["smear"] * len(clean)
    rows: list[Row] = []
    values: list[float] = []
    for k, (one, other) in enumerate(zip(clean, damaged, strict=True)):
        rows += [(f"p{k}", 0, "", None), (f"p{k}", 1, kinds[k], None)]
        values += [one, other]
    return images_of(rows, {"r": values, **more})  # type: ignore[dict-item]


def ladder_of(
    num: int,
    scores: Mapping[str, object],
    *,
    kinds: Sequence[str] = ("smear", "ghost"),
    neutral: Sequence[str] = ("flip",),
    severities: Sequence[float] = (0.25, 0.5, 1.0),
    seed: int = 0,
) -> ScoredImages:
    """`num` pictures on a ladder; a score is a function of (picture, kind, severity, has artifact, generator)."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for k in range(num):
        rows.append((f"p{k}", 0, "", 0.0))
        rows += [(f"p{k}", 1, kind, severity) for kind in kinds for severity in severities]
        rows += [(f"p{k}", 0, kind, severity) for kind in neutral for severity in severities]
    values = {
        name: [function(int(row[0][1:]), row[2], row[3], row[1] == 1, rng) for row in rows]  # type: ignore[operator]
        for name, function in scores.items()
    }
    return images_of(rows, values)

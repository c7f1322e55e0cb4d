"""How far a judge agrees with itself, and with another one about the same images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyrite.evaluation.benchmarks.protocol import Judged
from pyrite.stats.agreement import exact_agreement, weighted_kappa
from pyrite.stats.intervals import Interval, bootstrap_mean
from pyrite.stats.ranks import spearman


def repeatability(judged: Sequence[Sequence[Judged]], overall: Sequence[float]) -> dict[str, Any] | None:
    """How often all repeats give an image the same score, and how far the overall score moves; None for one repeat.

    Args:
        judged: per repeat a verdict for every image, in the same order.
        overall: per repeat the overall score.
    """
    if len(judged) < 2:
        return None
    scores = np.array([[one.verdict.score for one in items] for items in judged])
    known = np.isfinite(scores).all(axis=0)
    names = sorted({name for items in judged for one in items for name in one.verdict.values})
    return {
        "num": len(judged),
        "num_images": int(known.sum()),
        "same_frac": float((np.ptp(scores[:, known], axis=0) == 0).mean()) if known.any() else None,
        "same_frac_of": {name: _same_frac(judged, name) for name in names},
        "overall": [None if np.isnan(value) else value for value in overall],
        "deviation": float(scores[:, known].std(axis=0, ddof=1).mean()) if known.any() else None,
    }


def agreement(rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How far two judges agree about the images that both have seen; None if there is none.

    Args:
        rows: of `samples.jsonl`.
        others: those of the other folder.

    Returns:
        Per mark the share that is equal and Cohen's kappa with linear weights; of the score the rank correlation, and
        the mean difference, other minus this one, with its interval.
    """
    by_image = {(row["id"], row["image_sha256"]): row for row in others if row["image_sha256"]}
    pairs = [(row, by_image[place]) for row in rows if (place := (row["id"], row["image_sha256"])) in by_image]
    if not pairs:
        return None
    ours, theirs = (np.array([_number(pair[side]["score"]) for pair in pairs]) for side in (0, 1))
    names = [name for name in pairs[0][0]["values"] if all(name in one["values"] for one in pairs[0])]
    marks = {}
    for name in names:
        x, y = (np.array([_number(pair[side]["values"].get(name)) for pair in pairs]) for side in (0, 1))
        marks[name] = {"same_frac": _plain(exact_agreement(x, y)), "kappa": _plain(weighted_kappa(x, y))}
    both = np.isfinite(ours) & np.isfinite(theirs)
    difference = (
        bootstrap_mean(theirs - ours, rng=np.random.default_rng(0)) if both.any() else Interval(np.nan, np.nan, np.nan)
    )
    return {
        "num_images": int(both.sum()),
        "same_frac": _plain(exact_agreement(ours, theirs)),
        "spearman": _plain(spearman(ours, theirs)),
        "difference": {name: _plain(getattr(difference, name)) for name in ("estimate", "low", "high")},
        "marks": marks,
    }


def _same_frac(judged: Sequence[Sequence[Judged]], name: str) -> float | None:
    marks = np.array([[one.verdict.values.get(name, np.nan) for one in items] for items in judged])
    known = np.isfinite(marks).all(axis=0)
    return float((np.ptp(marks[:, known], axis=0) == 0).mean()) if known.any() else None


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

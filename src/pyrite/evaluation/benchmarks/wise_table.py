"""WISE's table: the mean of each category, and their weighted sum if nothing at all is missing."""

from collections.abc import Sequence

import numpy as np

from pyrite.evaluation.benchmarks.protocol import Case, CategoryScore, Judged, Result
from pyrite.evaluation.benchmarks.wise_protocols import Category, WiseProtocol
from pyrite.stats.intervals import Interval, bootstrap_mean
from pyrite.stats.proportions import share
from pyrite.stats.strata import bootstrap_strata

FEWEST = 5
"""Fewest images an interval is given for."""


def table(protocol: WiseProtocol, cases: Sequence[Case], judged: Sequence[Judged], notes: Sequence[str]) -> Result:
    """The official table; intervals are for other prompts of the same kind.

    Args:
        protocol: names categories and weights.
        cases: the prompts that were asked for.
        judged: one per image.
        notes: of the benchmark.
    """
    by_category = {
        category.name: [one for one in judged if one.work.case.category == category.name and not one.verdict.reason]
        for category in protocol.categories
    }
    scores = {name: np.array([one.verdict.score for one in items]) for name, items in by_category.items()}
    rows = [_row(protocol, category, by_category[category.name], cases) for category in protocol.categories]
    lacking = [row.name for row in rows if row.num_judged < row.num_expected]
    everything = [one for items in by_category.values() for one in items]
    num = sum(category.num for category in protocol.categories)
    if lacking:
        score = Interval(
            np.nan,
            np.nan,
            np.nan,
            f"{num - len(everything)} of {num} images have no score ({', '.join(lacking)}), and the overall score "
            "weighs all of them",
        )
    else:
        weights = {category.name: category.weight for category in protocol.categories}
        score = bootstrap_strata(scores, weights, rng=np.random.default_rng(0))
    # Over the categories a plain mean would be another number than the official one.
    overall = CategoryScore("Overall", score, len(everything), num, np.nan, _axes(protocol, everything))
    return Result(rows, overall, notes)


def _row(protocol: WiseProtocol, category: Category, items: Sequence[Judged], cases: Sequence[Case]) -> CategoryScore:
    values = np.array([one.verdict.score for one in items], dtype=np.float64)
    mean = float(values.mean()) if len(values) else np.nan
    if len(items) < category.num:
        num_asked = sum(case.category == category.name for case in cases)
        left_out = category.num - num_asked
        why = (
            "its prompts were not given"
            if not num_asked
            else f"{category.num - len(items)} of its images have no score"
        )
        if 0 < left_out < category.num:
            why += f", of {left_out} the prompts were not given"
        score = Interval(np.nan, np.nan, np.nan, why)
    else:
        score = _interval(values, is_share=protocol.highest == 1)
    return CategoryScore(category.name, score, len(items), category.num, mean, _axes(protocol, items))


def _interval(values: np.ndarray, *, is_share: bool) -> Interval:
    """Wilson's for shares, which stays honest at 0 and 1; the bootstrap's for marks."""
    if is_share:
        return share(values)
    if len(values) < FEWEST:
        return Interval(
            float(values.mean()), np.nan, np.nan, f"an interval needs {FEWEST} images, and there are {len(values)}"
        )
    if np.ptp(values) == 0:
        why = "all images have the same score, so resampling does not show how far chance goes"
        return Interval(float(values.mean()), np.nan, np.nan, why)
    return bootstrap_mean(values, rng=np.random.default_rng(0))


def _axes(protocol: WiseProtocol, items: Sequence[Judged]) -> dict[str, float]:
    if len(protocol.axes) == 1 or not items:
        return {}
    return {name: float(np.mean([one.verdict.values[name] for one in items])) for name, _ in protocol.axes.values()}

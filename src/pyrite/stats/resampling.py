"""Bootstrap intervals of numbers that are no means, such as an AUC or the difference of two F1 on the same rows.

As in `intervals.py`, whole clusters are drawn with replacement, such as both images of a pair; the interval is the
percentile one (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13). Where it cannot be
believed there is none, and a reason.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from pyrite.stats.intervals import Interval, resample_weights

FEWEST_CLUSTERS = 20
"""With fewer, an interval is too narrow to be believed, so none is given."""

_MOST_UNDEFINED = 0.05
_WEIGHTS_AT_A_TIME = 2**20


def bootstrap_weighted(
    statistics: Callable[[Float[np.ndarray, "B N"]], Mapping[str, Float[np.ndarray, " B"]]],
    clusters: Shaped[np.ndarray, " N"],
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> dict[str, Interval]:
    """Numbers computed from N rows, each with an interval.

    Args:
        statistics: from how often each row is drawn in each of B resamples to the numbers, NaN where undefined.
        clusters: label of each row's cluster.
        rng: draws the resamples, the same ones for all numbers.
        level: coverage aimed at, in (0, 1).
        num_resamples: how many.

    Raises:
        ValueError: `level` is not a share.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is the coverage aimed at, between 0 and 1; got {level}")
    names, cluster_of = np.unique(clusters, return_inverse=True)
    estimates = {name: float(value[0]) for name, value in statistics(np.ones((1, len(clusters)))).items()}
    if len(names) < FEWEST_CLUSTERS:
        why = f"{len(names)} independent groups are too few to know how far chance goes (at least {FEWEST_CLUSTERS})"
        return {name: Interval(value, np.nan, np.nan, why) for name, value in estimates.items()}
    draws: dict[str, list[np.ndarray]] = {name: [] for name in estimates}
    size = max(1, _WEIGHTS_AT_A_TIME // len(clusters))
    for start in range(0, num_resamples, size):
        weights_BC = resample_weights(len(names), min(size, num_resamples - start), rng)
        for name, values in statistics(weights_BC[:, cluster_of]).items():
            draws[name].append(values)
    tails = ((1 - level) / 2, (1 + level) / 2)
    return {name: _interval(value, np.concatenate(draws[name]), tails) for name, value in estimates.items()}


def bootstrap_statistics(
    statistics: Callable[[Int[np.ndarray, " n"]], Sequence[float]],
    clusters: Shaped[np.ndarray, " N"],
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> list[Interval]:
    """The same for numbers that cannot be written as sums over weighted rows; slower, one resample after the other.

    Args:
        statistics: from the numbers of the rows, some of them several times, to K numbers; NaN where one is undefined.
        clusters: as for `bootstrap_weighted`, and so is everything after it.
        rng: draws the resamples.
        level: coverage aimed at, in (0, 1).
        num_resamples: how many.

    Raises:
        ValueError: `level` is not a share.
    """
    rows = np.arange(len(clusters))

    def of_weights(weights_BN: Float[np.ndarray, "B N"]) -> dict[str, Float[np.ndarray, " B"]]:
        draws = [statistics(np.repeat(rows, weights_N.astype(np.int64))) for weights_N in weights_BN]
        return {str(number): np.array(column, np.float64) for number, column in enumerate(zip(*draws, strict=True))}

    found = bootstrap_weighted(of_weights, clusters, rng=rng, level=level, num_resamples=num_resamples)
    return list(found.values())


def _interval(value: float, draws_B: np.ndarray, tails: tuple[float, float]) -> Interval:
    known = draws_B[np.isfinite(draws_B)]
    if np.isnan(value):
        return Interval(np.nan, np.nan, np.nan)
    if len(known) < (1 - _MOST_UNDEFINED) * len(draws_B):
        num = len(draws_B) - len(known)
        return Interval(value, np.nan, np.nan, f"{num} of {len(draws_B)} resamples leave it undefined")
    if np.ptp(known) == 0:
        return Interval(value, np.nan, np.nan, "every resample gives the same, so it does not show how far chance goes")
    low, high = np.quantile(known, tails)
    return Interval(value, float(low), float(high))

"""A weighted sum of the means of several strata, such as the categories of a benchmark, with its interval."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from pyrite.stats.intervals import Interval, resample_weights


def bootstrap_strata(
    values: Mapping[str, Float[np.ndarray, " N"]],
    weights: Mapping[str, float],
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> Interval:
    """Σ_s w_s mean(x_s), each stratum resampled by itself; the percentile interval.

    The strata are given and not drawn, so each keeps its size (Efron and Tibshirani, *An Introduction to the
    Bootstrap*, 1993, section 8.3, two samples).

    Args:
        values: stratum -> a value per item, none missing, at least one.
        weights: stratum -> of its mean; the same strata.
        rng: draws the resamples.
        level: coverage aimed at, in (0, 1).
        num_resamples: how many.

    Raises:
        ValueError: the strata differ, one is empty or has a NaN, or `level` is not a share.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is the coverage aimed at, between 0 and 1; got {level}")
    if values.keys() != weights.keys() or not all(len(one) and np.isfinite(one).all() for one in values.values()):
        raise ValueError("every stratum needs a weight and values, none of them NaN")
    estimate = sum(weights[name] * float(one.mean()) for name, one in values.items())
    if all(np.ptp(one) == 0 for one in values.values()):
        why = "within each stratum all values are equal, so resampling does not show how far chance goes"
        return Interval(estimate, np.nan, np.nan, why)
    draws_B = np.zeros(num_resamples)
    for name, one in values.items():
        draws_B += weights[name] * (resample_weights(len(one), num_resamples, rng) @ one) / len(one)
    low, high = np.quantile(draws_B, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))

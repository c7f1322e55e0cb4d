"""Means with intervals that know that images of one prompt are not independent.

All resampling is of clusters with replacement: of prompts, where a row is an image. With every row its own cluster it
is the ordinary bootstrap (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 13 and 14).
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped

_WEIGHTS_AT_A_TIME = 2**20
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it; NaN where there are no data, or for the ends, nothing to resample.

    Args:
        estimate: from all rows.
        low: lower end.
        high: upper end.
        reason: why something is NaN, where whoever made it says so.
    """

    estimate: float
    low: float
    high: float
    reason: str = ""


def resample_weights(num_clusters: int, num_resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "B C"]:
    """How often each of C clusters is drawn in each of B resamples of C clusters; rows sum to C."""
    shares = np.full(num_clusters, 1 / num_clusters)
    return rng.multinomial(num_clusters, shares, size=num_resamples).astype(np.float64)


def bootstrap_mean(
    values: Float[np.ndarray, " N"],
    *,
    rng: np.random.Generator,
    clusters: Shaped[np.ndarray, " N"] | None = None,
    level: float = 0.95,
    num_resamples: int = 2000,
    method: Literal["percentile", "bca"] = "bca",
) -> Interval:
    """The mean of the values and an interval for it.

    The mean is over rows, not over clusters: a prompt with more scored images counts more. A resample that draws
    cluster c w_c times has the mean Σ_c w_c Σ_{i∈c} x_i / Σ_c w_c n_c.

    Args:
        values: NaN is left out.
        rng: draws the resamples.
        clusters: label of each row's cluster, such as its prompt id; without it every row is its own.
        level: coverage aimed at, in (0, 1).
        num_resamples: B; the ends rest on B (1 - level) / 2 resamples each.
        method: `percentile`, or `bca`: bias-corrected and accelerated (Efron and Tibshirani, equations 14.9 to 14.15),
            better for skewed values.

    Raises:
        ValueError: `level` is not a share.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is the coverage aimed at, between 0 and 1; got {level}")
    known = np.isfinite(values)
    labels = np.arange(len(values)) if clusters is None else clusters
    names, cluster_of = np.unique(labels[known], return_inverse=True)
    sums_C = np.bincount(cluster_of, weights=values[known], minlength=len(names))
    counts_C = np.bincount(cluster_of, minlength=len(names)).astype(np.float64)
    if len(names) == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(sums_C.sum() / counts_C.sum())
    if len(names) == 1:
        return Interval(mean, np.nan, np.nan)
    # In blocks of 8 MB: the draws are the same as in one table, and 10,000 clusters would make that one 160 MB.
    size = max(1, _WEIGHTS_AT_A_TIME // len(names))
    draws_B = np.empty(num_resamples)
    for start in range(0, num_resamples, size):
        weights_BC = resample_weights(len(names), min(size, num_resamples - start), rng)
        draws_B[start : start + size] = (weights_BC @ sums_C) / (weights_BC @ counts_C)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        tails = _bca_tails(tails, draws_B, mean, _leave_one_out(sums_C, counts_C))
    low, high = np.quantile(draws_B, tails)
    return Interval(mean, float(low), float(high))


def paired_difference(before: Float[np.ndarray, " N"], after: Float[np.ndarray, " N"], **options: Any) -> Interval:
    """The mean of after - before over rows known in both, with its interval.

    Narrower than comparing two intervals: what makes a prompt hard is in both and cancels.

    Args:
        before: one value per item.
        after: the same items in the same order.
        options: as for `bootstrap_mean`.
    """
    return bootstrap_mean(after - before, **options)


def _leave_one_out(sums_C: Float[np.ndarray, " C"], counts_C: Float[np.ndarray, " C"]) -> Float[np.ndarray, " C"]:
    means_C: Float[np.ndarray, " C"] = (sums_C.sum() - sums_C) / (counts_C.sum() - counts_C)
    return means_C


def _bca_tails(
    tails: Float[np.ndarray, " 2"], draws_B: Float[np.ndarray, " B"], mean: float, jackknife_C: Float[np.ndarray, " C"]
) -> Float[np.ndarray, " 2"]:
    """Which quantiles to take instead: Φ(z0 + (z0 + z_α) / (1 - a (z0 + z_α)))."""
    # Half of the ties count as below, so that values that are all equal have no bias.
    below = float((draws_B < mean).mean() + (draws_B <= mean).mean()) / 2
    bias = _NORMAL.inv_cdf(min(max(below, 1 / (2 * len(draws_B))), 1 - 1 / (2 * len(draws_B))))
    deviations_C = jackknife_C.mean() - jackknife_C
    spread = float((deviations_C**2).sum()) ** 1.5
    acceleration = float((deviations_C**3).sum()) / (6 * spread) if spread > 0 else 0.0
    shifted = [bias + _NORMAL.inv_cdf(float(tail)) for tail in tails]
    return np.array([_NORMAL.cdf(bias + z / (1 - acceleration * z)) for z in shifted])

"""Shares with intervals that stay honest at 0 and 1 and know that rows of one cluster are not independent.

A bootstrap of a share that is 0 or 1 has no width at all, and a reward that gets 20 of 20 pairs right is not known to
get them all right. Wilson's interval has a width there; with clusters it is given the number of independent rows that
would be as uncertain (Korn and Graubard 1998, *Survey Methodology* 24, with their correction for few clusters).
"""

import numpy as np
from jaxtyping import Float, Shaped

from pyrite.stats.intervals import Interval

MIN_CLUSTERS = 5
"""Fewest clusters an interval is given for: below, how much they differ cannot be told from the clusters themselves."""


def share(
    hits: Float[np.ndarray, " N"], *, clusters: Shaped[np.ndarray, " N"] | None = None, level: float = 0.95
) -> Interval:
    """Share of the known rows that are 1, in [0, 1], with Wilson's score interval at the effective number of rows.

    With every row its own cluster it is Wilson's interval itself. Where all rows agree, clusters give no sign of how
    much their rows differ, and each counts as one row.

    Args:
        hits: 1 or 0 per row; NaN is left out.
        clusters: label of each row's cluster, such as the image that both sides of a pair come from.
        level: coverage aimed at, in (0, 1).

    Returns:
        NaN for everything without a known row, and for the ends with fewer than `MIN_CLUSTERS` clusters.

    Raises:
        ValueError: `level` is not a share.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is the coverage aimed at, between 0 and 1; got {level}")
    known = np.isfinite(hits)
    values = hits[known]
    labels = np.arange(len(hits))[known] if clusters is None else clusters[known]
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan, "there is no known row")
    estimate = float(values.mean())
    _, cluster_of = np.unique(labels, return_inverse=True)
    num_clusters = int(cluster_of.max()) + 1
    if num_clusters < MIN_CLUSTERS:
        reason = f"an interval needs {MIN_CLUSTERS} independent groups, and there are {num_clusters}"
        return Interval(estimate, np.nan, np.nan, reason)
    low, high = _wilson(estimate, effective_rows(values, cluster_of, level), level)
    return Interval(estimate, low, high)


def effective_rows(hits: Float[np.ndarray, " N"], clusters: Shaped[np.ndarray, " N"], level: float = 0.95) -> float:
    """How many independent rows would leave the share as uncertain as these: N over the design effect, at most N.

    The design effect is the variance of the share between clusters over that of N independent rows; (t of N - 1 over
    t of C - 1 degrees of freedom)², at the level asked for, accounts for its being estimated from C clusters.

    Args:
        hits: 1 or 0 per row, none missing.
        clusters: label of each row's cluster, of which there are at least two.
        level: of the interval it is for.
    """
    from scipy.stats import t

    num, estimate = len(hits), hits.mean()
    _, cluster_of = np.unique(clusters, return_inverse=True)
    sums_C = np.bincount(cluster_of, weights=hits - estimate)
    num_clusters = len(sums_C)
    spread = estimate * (1 - estimate) / (num - 1)
    if spread <= 0:  # all rows agree
        return float(num_clusters)
    between = num_clusters / (num_clusters - 1) * float((sums_C**2).sum()) / num**2
    few = float(t.ppf((1 + level) / 2, num - 1) / t.ppf((1 + level) / 2, num_clusters - 1)) ** 2
    return float(min(num * few * spread / between, num)) if between > 0 else float(num)


def _wilson(estimate: float, num: float, level: float) -> tuple[float, float]:
    """Wilson 1927: the shares at which the estimate would lie just `level` away."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (estimate + z**2 / (2 * num)) / (1 + z**2 / num)
    half = z / (1 + z**2 / num) * (estimate * (1 - estimate) / num + z**2 / (4 * num**2)) ** 0.5
    return max(centre - half, 0.0), min(centre + half, 1.0)

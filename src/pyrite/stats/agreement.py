"""How far two raters agree on marks from a short scale, beyond what their habits alone would give."""

import numpy as np
from jaxtyping import Float


def exact_agreement(x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]) -> float:
    """Share of the items known to both that have the same mark; NaN without one."""
    known = np.isfinite(x) & np.isfinite(y)
    return float((x[known] == y[known]).mean()) if known.any() else float("nan")


def weighted_kappa(x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]) -> float:
    """Cohen's kappa with linear weights: 1 for full agreement, 0 for that of two raters who mark at random.

    1 - Σ|x_i - y_i| / N over the mean of |x_i - y_j| over all pairs (Cohen 1968, *Psychological Bulletin* 70). For
    marks 0 and 1 it is the plain kappa (Cohen 1960).

    Items that are NaN in either are left out; NaN without an item, or where both give every item the same mark.
    """
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return float("nan")
    by_chance = float(np.abs(x[known][:, None] - y[known][None, :]).mean())
    return 1 - float(np.abs(x[known] - y[known]).mean()) / by_chance if by_chance > 0 else float("nan")

"""How far two scores agree: correlations over the items that both have scored."""

import numpy as np
from jaxtyping import Float


def spearman(x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]) -> float:
    """Spearman's rank correlation in [-1, 1], ties sharing their mean rank: agreement in order, whatever the scale.

    Items that are NaN in either are left out; NaN if fewer than three remain or one side is constant.
    """
    from scipy.stats import rankdata

    pairs = _known_pairs(x, y)
    return np.nan if pairs is None else pearson(rankdata(pairs[0]), rankdata(pairs[1]))


def pearson(x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]) -> float:
    """Pearson's correlation in [-1, 1]: agreement up to shift and positive scale.

    Items that are NaN in either are left out; NaN if fewer than three remain or one side is constant.
    """
    from scipy.stats import pearsonr

    pairs = _known_pairs(x, y)
    return np.nan if pairs is None else float(pearsonr(*pairs).statistic)


def _known_pairs(
    x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]] | None:
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known].astype(np.float64), y[known].astype(np.float64)
    return (x, y) if len(x) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0 else None

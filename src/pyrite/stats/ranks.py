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


def spearman_rows(x: Float[np.ndarray, "N M"], y: Float[np.ndarray, "N M"]) -> Float[np.ndarray, " N"]:
    """`spearman` of each row of x with the same row of y, all rows at once."""
    from scipy.stats import rankdata

    known = np.isfinite(x) & np.isfinite(y)
    num_N = known.sum(axis=1)
    centred = []
    for values in (x, y):
        ranks = rankdata(np.where(known, values, np.nan), axis=1, nan_policy="omit")
        ranks = np.where(known, ranks, 0.0)
        mean_N = ranks.sum(axis=1) / np.maximum(num_N, 1)
        centred.append(np.where(known, ranks - mean_N[:, None], 0.0))
    one, two = centred
    spread_N = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    is_defined = (num_N >= 3) & (spread_N > 0)
    found: Float[np.ndarray, " N"] = np.where(
        is_defined, (one * two).sum(axis=1) / np.where(is_defined, spread_N, 1.0), np.nan
    )
    return found


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

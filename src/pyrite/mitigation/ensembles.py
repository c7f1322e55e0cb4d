"""Several rewards to one.

A row in which a member with a weight is NaN is NaN: the aggregate of the others would be another quantity on another
scale (a sum missing a term, a minimum that skipped its lowest), so siblings would be compared by different rules, and
an image that breaks a scorer would be paid for it. What an unscored image means is for the trainer to say.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Aggregate = Callable[[np.ndarray, np.ndarray], np.ndarray]


def aggregate(
    scores_RK: Float[np.ndarray, "R K"], weights_K: Float[np.ndarray, " K"], how: str
) -> Float[np.ndarray, " R"]:
    """The training reward of each of R images from the K transformed scores it got; NaN as the module says.

    Args:
        scores_RK: higher is better, NaN where unscored.
        weights_K: 0 or more; a member of weight 0 has no say, not even by being NaN.
        how: sum, mean or min.

    Raises:
        ValueError: a negative or infinite weight, none above 0, an unknown `how`, or weights `min` has no use for.
    """
    if how not in AGGREGATES:
        raise ValueError(f"aggregate is one of {', '.join(AGGREGATES)}, not '{how}'")
    if not np.isfinite(weights_K).all() or (weights_K < 0).any() or not weights_K.any():
        raise ValueError(f"weights are finite, 0 or more, and one is above 0; got {weights_K.tolist()}")
    has_say = weights_K > 0
    return AGGREGATES[how](np.ascontiguousarray(scores_RK[:, has_say]), weights_K[has_say])


def weighted_sum(scores_RK: Float[np.ndarray, "R K"], weights_K: Float[np.ndarray, " K"]) -> Float[np.ndarray, " R"]:
    """Σ_k w_k s_k: on what scale it is depends on the weights."""
    total: Float[np.ndarray, " R"] = (scores_RK * weights_K).sum(axis=1)
    return total


def weighted_mean(scores_RK: Float[np.ndarray, "R K"], weights_K: Float[np.ndarray, " K"]) -> Float[np.ndarray, " R"]:
    """Σ_k w_k s_k / Σ_k w_k: on the scale of the scores."""
    mean: Float[np.ndarray, " R"] = weighted_sum(scores_RK, weights_K) / weights_K.sum()
    return mean


def worst_case(scores_RK: Float[np.ndarray, "R K"], weights_K: Float[np.ndarray, " K"]) -> Float[np.ndarray, " R"]:
    """min_k s_k: worst-case optimisation (WCO of Coste et al. 2023, arXiv 2310.02743).

    Raises:
        ValueError: a weight other than 1: a smallest score has no share to weigh.
    """
    if (weights_K != 1).any():
        raise ValueError(
            f"min takes weights of 0 or 1, got {weights_K.tolist()}: scale the scores by a transform instead"
        )
    lowest: Float[np.ndarray, " R"] = scores_RK.min(axis=1)
    return lowest


AGGREGATES: dict[str, Aggregate] = {"sum": weighted_sum, "mean": weighted_mean, "min": worst_case}

"""The metrics of `classification.py` on B resamples at once, given as how often each row is drawn.

One resample with every row once gives the numbers of `classification.py` themselves. All of it is sums over rows, so
1000 resamples of 1000 rows take a tenth of a second and not a minute.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from pyrite.stats.classification import CLIP, NUM_BINS, THRESHOLD, bins


def resampled_metrics(
    is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"], weights_BN: Float[np.ndarray, "B N"]
) -> Mapping[str, Float[np.ndarray, " B"]]:
    """Name of a function of `classification.py` -> its value on each resample; NaN where it is undefined.

    Args:
        is_positive: labels.
        prob: of positive, without NaN.
        weights_BN: how often each row is drawn.
    """
    labels = is_positive.astype(np.float64)
    called = (prob >= THRESHOLD).astype(np.float64)
    total, positive, true_positive = (weights_BN @ column for column in (np.ones(len(prob)), labels, called * labels))
    negative, false_positive = total - positive, weights_BN @ (called * (1 - labels))
    losses = -np.log(np.clip(np.where(is_positive, prob, 1 - prob), CLIP, 1 - CLIP))
    in_bin_NK = np.eye(NUM_BINS)[bins(prob)]
    gaps = np.abs(weights_BN @ (in_bin_NK * (prob - labels)[:, None])).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * true_positive / (true_positive + false_positive + positive)
        return {
            "accuracy": (true_positive + negative - false_positive) / total,
            "balanced_accuracy": (true_positive / positive + 1 - false_positive / negative) / 2,
            "f1": np.where(positive * negative > 0, f1, np.nan),
            "roc_auc": _pairs_won(labels, prob, weights_BN) / (positive * negative),
            "log_loss": weights_BN @ losses / total,
            "expected_calibration_error": gaps / total,
        }


def _pairs_won(
    labels: Float[np.ndarray, " N"], prob: Float[np.ndarray, " N"], weights_BN: Float[np.ndarray, "B N"]
) -> Float[np.ndarray, " B"]:
    """(B,) pairs of a positive and a negative row in which the positive one is above, ties counting half."""
    if not len(prob):
        return np.zeros(len(weights_BN))
    order = np.argsort(prob, kind="stable")
    starts = np.flatnonzero(np.diff(prob[order], prepend=-np.inf))
    positive, negative = (
        np.add.reduceat(weights_BN[:, order] * of_label[order], starts, axis=1) for of_label in (labels, 1 - labels)
    )
    won: Float[np.ndarray, " B"] = (positive * (negative.cumsum(axis=1) - negative / 2)).sum(axis=1)
    return won

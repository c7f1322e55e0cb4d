"""How well probabilities tell two classes apart, and how far they can be believed.

Every function takes N labels (True: positive, such as "has an artifact") and N probabilities of being positive. A
probability of NaN is no answer: its row is left out, and `count` says how many were. What is not defined on the rows
that are left is NaN and never 0; `why_undefined` says it in words. Names say the direction: of a `*_loss` and a
`*_error` less is better, of the others more.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

THRESHOLD = 0.5
NUM_BINS = 10
CLIP = 1e-6
"""Probabilities are taken as at least this far from 0 and from 1 where their logarithm is: one wrong certainty then
costs 13.8 nats and not everything."""

_TEMPERATURES = (0.02, 50.0)


class Counts(NamedTuple):
    """How many rows there are of each kind.

    Args:
        positive: with an answer, labelled positive.
        negative: with an answer, labelled negative.
        unscored: without an answer, so left out of every number.
    """

    positive: int
    negative: int
    unscored: int


class Confusion(NamedTuple):
    """How many rows of each label were called what, at a threshold."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


@dataclass(frozen=True)
class Reliability:
    """For each bin of probability, what was promised and what came; NaN in bins without a row.

    Args:
        edges: (B + 1,) of the bins, from 0 to 1; a probability on an edge belongs to the bin above it, 1 to the last.
        promised: (B,) mean probability.
        came: (B,) share of positive labels.
        counts: (B,) rows.
    """

    edges: Float[np.ndarray, " E"]
    promised: Float[np.ndarray, " B"]
    came: Float[np.ndarray, " B"]
    counts: Int[np.ndarray, " B"]


@dataclass(frozen=True)
class Temperature:
    """A scale for logits.

    Args:
        value: T; NaN if it could not be fitted.
        reason: why it could not, or why it stands at the end of its range; empty otherwise.
    """

    value: float
    reason: str = ""


def count(is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"]) -> Counts:
    """How many rows every other function of this module sees, and how many it does not."""
    labels, _ = _known(is_positive, prob)
    return Counts(int(labels.sum()), int((~labels).sum()), len(prob) - len(labels))


def why_undefined(is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"]) -> str:
    """Why AUC, balanced accuracy and F1 are NaN on these rows; empty if they are numbers."""
    seen = count(is_positive, prob)
    if not seen.positive + seen.negative:
        return f"none of the {seen.unscored} images has an answer"
    if not seen.positive or not seen.negative:
        missing, there = ("positive", seen.negative) if not seen.positive else ("negative", seen.positive)
        return f"all {there} answered images have one label (none is {missing}), so nothing can be told apart"
    return ""


def confusion(
    is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"], threshold: float = THRESHOLD
) -> Confusion:
    """Counts of right and wrong calls; a probability of the threshold or more is a call of positive."""
    labels, known = _known(is_positive, prob)
    called = known >= threshold
    return Confusion(
        int((called & labels).sum()),
        int((called & ~labels).sum()),
        int((~called & ~labels).sum()),
        int((~called & labels).sum()),
    )


def accuracy(is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"], threshold: float = THRESHOLD) -> float:
    """Share of right calls in [0, 1]; NaN without an answer."""
    found = confusion(is_positive, prob, threshold)
    return _share(found.true_positive + found.true_negative, sum(found))


def balanced_accuracy(
    is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"], threshold: float = THRESHOLD
) -> float:
    """Mean of the shares of right calls of the two classes, in [0, 1], 0.5 by chance; NaN if a class is missing."""
    found = confusion(is_positive, prob, threshold)
    sensitivity = _share(found.true_positive, found.true_positive + found.false_negative)
    return (sensitivity + _share(found.true_negative, found.true_negative + found.false_positive)) / 2


def f1(is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"], threshold: float = THRESHOLD) -> float:
    """Harmonic mean of precision and recall of the positive class, in [0, 1]; NaN if a class is missing."""
    if why_undefined(is_positive, prob):
        return np.nan
    found = confusion(is_positive, prob, threshold)
    return _share(2 * found.true_positive, 2 * found.true_positive + found.false_positive + found.false_negative)


def roc_auc(is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"]) -> float:
    """P(a positive row ranks above a negative one), a tie counting half, in [0, 1]; NaN if a class is missing.

    The statistic of Mann and Whitney (1947) over the number of pairs: the area under the ROC curve.
    """
    from scipy.stats import rankdata

    labels, known = _known(is_positive, prob)
    num_positive = int(labels.sum())
    num_pairs = num_positive * (len(labels) - num_positive)
    above = float(rankdata(known)[labels].sum()) - num_positive * (num_positive + 1) / 2
    return above / num_pairs if num_pairs else np.nan


def log_loss(is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"], clip: float = CLIP) -> float:
    """Mean of -log P(the label), in nats, at least 0; always saying 0.5 costs log 2 = 0.693. NaN without an answer.

    Args:
        is_positive: labels.
        prob: of positive.
        clip: probabilities are moved this far from 0 and 1.
    """
    labels, known = _known(is_positive, prob)
    right = np.clip(np.where(labels, known, 1 - known), clip, 1 - clip)
    return float(-np.log(right).mean()) if len(right) else np.nan


def bins(prob: Float[np.ndarray, " N"], num_bins: int = NUM_BINS) -> Int[np.ndarray, " N"]:
    """(N,) number of the bin of equal width that each probability is in, from 0; none of them may be NaN."""
    edges = np.linspace(0, 1, num_bins + 1)
    found: Int[np.ndarray, " N"] = np.clip(np.searchsorted(edges, prob, side="right") - 1, 0, num_bins - 1)
    return found


def reliability(
    is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"], num_bins: int = NUM_BINS
) -> Reliability:
    """Mean probability and share of positives in bins of equal width (Guo et al. 2017, arXiv:1706.04599, section 2)."""
    labels, known = _known(is_positive, prob)
    edges = np.linspace(0, 1, num_bins + 1)
    bin_of = bins(known, num_bins)
    counts = np.bincount(bin_of, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        promised = np.bincount(bin_of, weights=known, minlength=num_bins) / counts
        came = np.bincount(bin_of, weights=labels.astype(np.float64), minlength=num_bins) / counts
    return Reliability(edges, promised, came, counts)


def expected_calibration_error(
    is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"], num_bins: int = NUM_BINS
) -> float:
    """Σ_b n_b / N |mean probability - share of positives| over bins of equal width, in [0, 1]; NaN without an answer.

    Equation 3 of Guo et al. 2017 (arXiv:1706.04599), of P(positive) in place of the confidence. Few rows per bin make
    it too large: a judge that is calibrated has about sqrt(B / N) / 2, not 0.
    """
    found = reliability(is_positive, prob, num_bins)
    gaps = found.counts * np.abs(found.promised - found.came)
    return float(np.nansum(gaps) / found.counts.sum()) if found.counts.any() else np.nan


def fit_temperature(is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"]) -> Temperature:
    """The temperature that makes `log_loss` of `rescaled` smallest: fit it on other rows than it is judged on.

    Guo et al. 2017 (arXiv:1706.04599, section 4.2): one number, so the order of the rows, and with it the AUC and every
    call at 0.5, stays as it is. Sought from 0.02 to 50 on the scale of its logarithm; where the loss only falls towards
    an end, that end is returned with a reason.
    """
    from scipy.optimize import minimize_scalar

    if why := why_undefined(is_positive, prob):
        return Temperature(np.nan, why)
    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(
        lambda log_t: log_loss(is_positive, rescaled(prob, float(np.exp(log_t))), clip=1e-300),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    value = float(np.exp(found.x))
    if found.x - low < 1e-3:
        return Temperature(value, "every probability lies on its label's side, so sharper is always better")
    if high - found.x < 1e-3:
        return Temperature(value, "the probabilities say no more than chance, so flatter is always better")
    return Temperature(value)


def rescaled(prob: Float[np.ndarray, " N"], temperature: float) -> Float[np.ndarray, " N"]:
    """sigmoid(logit(p) / T), with p at least `CLIP` from 0 and 1; NaN stays NaN.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is above 0; got {temperature}")
    clipped = np.clip(prob, CLIP, 1 - CLIP)
    logits = (np.log(clipped) - np.log1p(-clipped)) / temperature
    scaled: Float[np.ndarray, " N"] = 0.5 * (1 + np.tanh(logits / 2))
    return scaled


def _known(
    is_positive: Bool[np.ndarray, " N"], prob: Float[np.ndarray, " N"]
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    known = ~np.isnan(prob)
    if ((prob[known] < 0) | (prob[known] > 1)).any():
        raise ValueError(f"a probability lies in [0, 1]; got {prob[known].min():g} to {prob[known].max():g}")
    return is_positive[known], prob[known]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan

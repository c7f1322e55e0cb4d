"""The numbers a judge is measured by, each with an interval from resampling whole pairs, or a reason for none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyrite.core.types import FloatArray
from pyrite.stats.classification import THRESHOLD, why_undefined
from pyrite.stats.intervals import Interval
from pyrite.stats.proportions import share
from pyrite.stats.resampled_metrics import resampled_metrics
from pyrite.stats.resampling import FEWEST_CLUSTERS, bootstrap_weighted

Labels = npt.NDArray[np.bool_]

METRICS = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss", "expected_calibration_error")
"""Functions of `stats.classification`; of the last two less is better."""

COMPARED = ("balanced_accuracy", "roc_auc", "log_loss")
"""What a condition is compared with the plain question by."""


@dataclass(frozen=True)
class Labelled:
    """N images that were judged.

    Args:
        has_artifact: (N,) the labels.
        prob: (N,) P(artifact), NaN where there is no answer.
        groups: (N,) what images that are not independent of each other share: their pair.
    """

    has_artifact: Labels
    prob: FloatArray
    groups: npt.NDArray[np.str_]


def measured(images: Labelled) -> dict[str, Interval]:
    """Every metric with its interval.

    Images without an answer are left out before pairs are drawn, so every resample has answers.
    """
    known = ~np.isnan(images.prob)
    labels, prob, groups = images.has_artifact[known], images.prob[known], images.groups[known]
    found = bootstrap_weighted(lambda weights: resampled_metrics(labels, prob, weights), groups, rng=_rng())
    if np.isnan(found["accuracy"].low) and len(np.unique(groups)) >= FEWEST_CLUSTERS:  # all right, or all wrong
        hits = ((prob >= THRESHOLD) == labels).astype(np.float64)
        found["accuracy"] = share(hits, clusters=groups)
    return _explained(found, why_undefined(labels, prob))


def differences(before: Labelled, after: Labelled, names: Sequence[str] = METRICS) -> dict[str, Interval]:
    """How much each metric is more after than before, on the images that have an answer in both.

    Args:
        before: the plain question, or the plain probabilities.
        after: the same images in the same order.
        names: of `METRICS`.
    """
    known = ~np.isnan(before.prob) & ~np.isnan(after.prob)
    labels, old, new = before.has_artifact[known], before.prob[known], after.prob[known]

    def change(weights: FloatArray) -> Mapping[str, FloatArray]:
        then, now = (resampled_metrics(labels, prob, weights) for prob in (old, new))
        return {name: now[name] - then[name] for name in names}

    found = bootstrap_weighted(change, before.groups[known], rng=_rng())
    return _explained(found, why_undefined(labels, new))


def _explained(found: Mapping[str, Interval], why: str) -> dict[str, Interval]:
    unknown = Interval(np.nan, np.nan, np.nan, why)
    return {name: unknown if why and np.isnan(value.estimate) else value for name, value in found.items()}


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)

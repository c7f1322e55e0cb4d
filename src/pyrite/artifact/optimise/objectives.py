"""What a better question has more of: four numbers from N labelled images and the judge's P(artifact) of each.

More is better for all. A probability of NaN is no answer, and its image is left out; a number that cannot be computed
from the rest is NaN.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from pyrite.artifact.data import Example, pairs
from pyrite.core.types import FloatArray
from pyrite.stats.classification import balanced_accuracy, log_loss, roc_auc

ObjectiveName = Literal["log_likelihood", "auc", "pair_accuracy", "balanced_accuracy"]
Objective = Callable[[Sequence[Example], FloatArray], float]

# The reference adds as much to a probability before it takes the logarithm.
_CLIP = 1e-8


def log_likelihood(examples: Sequence[Example], prob_artifact: FloatArray) -> float:
    """Mean of log P(the label), in nats, at most 0; always saying 0.5 has -0.693. The reference's objective."""
    return -log_loss(_labels(examples), prob_artifact, _CLIP)


def auc(examples: Sequence[Example], prob_artifact: FloatArray) -> float:
    """P(an image with artifacts is rated above one without), in [0, 1]."""
    return roc_auc(_labels(examples), prob_artifact)


def balanced(examples: Sequence[Example], prob_artifact: FloatArray) -> float:
    """Mean of the shares of right calls at 0.5 of the two labels, in [0, 1]."""
    return balanced_accuracy(_labels(examples), prob_artifact)


def pair_accuracy(examples: Sequence[Example], prob_artifact: FloatArray) -> float:
    """Share of pairs whose damaged image is rated above its clean source, a tie counting half, in [0, 1].

    The protocol of ArtifactReward's table 2 (arXiv:2601.03468) on the pairs of the set; NaN without a pair of which
    both images were answered.
    """
    prob = dict(zip((example.id for example in examples), prob_artifact.tolist(), strict=True))
    margins = np.array([prob[pair.damaged.id] - prob[pair.clean.id] for pair in pairs(examples)])
    margins = margins[~np.isnan(margins)]
    return float(((margins > 0) + 0.5 * (margins == 0)).mean()) if len(margins) else np.nan


OBJECTIVES: Mapping[ObjectiveName, Objective] = {
    "log_likelihood": log_likelihood,
    "auc": auc,
    "pair_accuracy": pair_accuracy,
    "balanced_accuracy": balanced,
}


def is_wrong(example: Example, prob_artifact: float) -> bool:
    """The judge's call at 0.5 is not the label; no answer is no error."""
    return not np.isnan(prob_artifact) and (prob_artifact >= 0.5) != example.has_artifact


def _labels(examples: Sequence[Example]) -> np.ndarray:
    return np.array([example.has_artifact for example in examples], dtype=bool)

"""The end of a search: one question is chosen on the validation images, and compared with the first one on the test."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.examiner import Examiner
from pyrite.artifact.optimise.lineage import Candidate
from pyrite.artifact.optimise.objectives import OBJECTIVES
from pyrite.core.types import FloatArray
from pyrite.stats.intervals import Interval
from pyrite.stats.resampling import bootstrap_statistics

NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Proof:
    """The first and the chosen question on images that nothing was chosen by.

    Args:
        start: objective -> its value for the first question.
        best: the same of the chosen one.
        difference: best minus start, with the 95 % interval from resampling whole pairs.
        num_images: with an answer to both, which is what all of these are measured on.
        num_unanswered: the other images of the part.
    """

    start: Mapping[str, float]
    best: Mapping[str, float]
    difference: Mapping[str, Interval]
    num_images: int
    num_unanswered: int


def elect(examiner: Examiner, finalists: Sequence[Candidate], validation: Sequence[Example]) -> Candidate:
    """The finalist with the highest objective on the validation images; of equals the one that was there first."""
    for candidate in finalists:
        candidate.validation = examiner.score(candidate.question, validation, again=True)
    return min(finalists, key=lambda one: (math.isnan(one.validation), -np.nan_to_num(one.validation), one.id))


def prove(examiner: Examiner, start: Candidate, best: Candidate, test: Sequence[Example], seed: int) -> Proof:
    """Measure both questions on the test images, asked for nothing before.

    Args:
        examiner: asks.
        start: where the search began.
        best: what was chosen.
        test: images that neither search nor choice has seen.
        seed: of the resamples.
    """
    before = examiner.ask(start.question, test, again=True)
    after = examiner.ask(best.question, test, again=True)
    start.test, best.test = examiner.worth(test, before), examiner.worth(test, after)
    known = np.isfinite(before) & np.isfinite(after)
    examples = [example for example, is_known in zip(test, known, strict=True) if is_known]
    before, after = before[known], after[known]
    return Proof(
        _values(examples, before),
        _values(examples, after),
        _differences(examples, before, after, seed) if examples else {},
        len(examples),
        len(test) - len(examples),
    )


def _differences(examples: Sequence[Example], before: FloatArray, after: FloatArray, seed: int) -> dict[str, Interval]:
    def change(rows: np.ndarray) -> list[float]:
        drawn = [examples[row] for row in rows]
        old, new = _values(drawn, before[rows]), _values(drawn, after[rows])
        return [new[name] - old[name] for name in OBJECTIVES]

    groups = np.array([example.group for example in examples])
    found = bootstrap_statistics(change, groups, rng=np.random.default_rng(seed), num_resamples=NUM_RESAMPLES)
    return dict(zip(OBJECTIVES, found, strict=True))


def _values(examples: Sequence[Example], prob_artifact: FloatArray) -> dict[str, float]:
    return {name: objective(examples, prob_artifact) for name, objective in OBJECTIVES.items()}

"""Correct, tie or wrong: the protocol of arXiv:2601.03468, Table 2, for any rewards.

A reward is *correct* on a pair if it scores the clean side higher, *wrong* if it scores the damaged side higher, and
*ties* if the scores are equal, or closer than a tolerance in standard deviations of its scores over the set. Accuracy
is correct over all three, as in the paper (161 of 202 pairs with 2 ties is its 0.80): a tie earns nothing, for a policy
gains nothing by drawing the clean image. A pair of which a side is unscored is none of the three: left out and counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pyrite.audit.pairs.images import PairedSet, Pairs, TextArray
from pyrite.core.types import FloatArray
from pyrite.stats.intervals import Interval
from pyrite.stats.proportions import share


@dataclass(frozen=True)
class Tally:
    """How often a reward was right about some pairs.

    Args:
        num_correct, num_tie, num_wrong: pairs; they sum to the scored ones.
        num_unscored: pairs left out because a side has no score.
        accuracy: correct over scored, in [0, 1], with a 95 % interval over pictures (`stats.proportions.share`).
        wrong: wrong over scored, likewise.
    """

    num_correct: int
    num_tie: int
    num_wrong: int
    num_unscored: int
    accuracy: Interval
    wrong: Interval

    @property
    def num_scored(self) -> int:
        """Pairs that count."""
        return self.num_correct + self.num_tie + self.num_wrong

    @property
    def decided(self) -> float:
        """Correct among the pairs that are no tie, in [0, 1]; NaN if all are."""
        num = self.num_correct + self.num_wrong
        return self.num_correct / num if num else np.nan


@dataclass(frozen=True)
class PairTest:
    """The pair test of one set.

    Args:
        paired: the set.
        tie_sd: the tolerance of a tie, in standard deviations of a reward's scores over the set.
        outcomes: reward -> (N,) 1 correct, 0 tie, -1 wrong, NaN unscored, for every damaged pair.
        overall: reward -> tally.
        by_kind: reward -> kind -> tally.
        by_severity: reward -> severity -> tally; of pairs whose severity is known.
    """

    paired: PairedSet
    tie_sd: float
    outcomes: Mapping[str, FloatArray]
    overall: Mapping[str, Tally]
    by_kind: Mapping[str, Mapping[str, Tally]]
    by_severity: Mapping[str, Mapping[float, Tally]]


def outcomes(margin: FloatArray, tolerance: float = 0.0) -> FloatArray:
    """(N,) 1 where the clean side is preferred, -1 where the damaged one is, 0 for a tie, NaN where unscored.

    With tolerance 0 they depend on the order of the scores alone; swapping the sides changes every sign.

    Args:
        margin: (N,) score of the clean side minus that of the damaged one, on the reward's scale.
        tolerance: largest difference that is a tie, on that scale.

    >>> outcomes(np.array([0.3, 0.0, -0.1, np.nan]), tolerance=0.2)
    array([ 1.,  0.,  0., nan])
    """
    found: FloatArray = np.where(np.abs(margin) <= tolerance, 0.0, np.sign(margin))
    return found


def tally(found: FloatArray, sources: TextArray) -> Tally:
    """Count outcomes.

    Args:
        found: (N,) as `outcomes` gives them.
        sources: (N,) the picture each pair is of.
    """
    known = np.isfinite(found)
    correct, tie, wrong = (int((found == value).sum()) for value in (1, 0, -1))
    accuracy = share(np.where(known, found == 1, np.nan), clusters=sources)
    mistaken = share(np.where(known, found == -1, np.nan), clusters=sources)
    return Tally(correct, tie, wrong, int((~known).sum()), accuracy, mistaken)


def pair_test(paired: PairedSet, *, tie_sd: float = 0.0) -> PairTest:
    """Every reward on every damaged pair: overall, by kind and by severity.

    Args:
        paired: the set.
        tie_sd: largest difference that is a tie, in standard deviations of the reward's scores over the set; 0: ties
            are equal scores.
    """
    pairs = paired.damaged
    found = {name: outcomes_of(pairs, name, tie_sd) for name in paired.rewards}
    levels = [float(level) for level in np.unique(pairs.severities[np.isfinite(pairs.severities)])]
    return PairTest(
        paired,
        tie_sd,
        found,
        {name: tally(column, pairs.sources) for name, column in found.items()},
        {
            name: {kind: _part(column, pairs, pairs.kinds == kind) for kind in pairs.kind_names}
            for name, column in found.items()
        },
        {
            name: {level: _part(column, pairs, pairs.severities == level) for level in levels}
            for name, column in found.items()
        },
    )


def outcomes_of(pairs: Pairs, reward: str, tie_sd: float) -> FloatArray:
    """(N,) outcomes of one reward; see `outcomes`."""
    # A reward without spread has no sd, and all its differences are 0: ties at any tolerance.
    tolerance = tie_sd * pairs.images.spread(reward) if tie_sd > 0 else 0.0
    return outcomes(pairs.margin(reward), tolerance if np.isfinite(tolerance) else 0.0)


def _part(found: FloatArray, pairs: Pairs, rows: np.ndarray) -> Tally:
    return tally(found[rows], pairs.sources[rows])

"""Where a reward is blind: one definition, in words, for the page, the table and the exit code."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pyrite.audit.pairs.outcomes import PairTest, Tally

THRESHOLD = 0.75
"""Half-way between guessing and being always right."""


class Sight(StrEnum):
    """What the pairs of one kind say about a reward."""

    SEES = "sees"
    PREFERS = "prefers the damage"
    BLIND = "blind"
    UNSURE = "unclear"
    UNKNOWN = "not scored"


@dataclass(frozen=True)
class Spot:
    """A reward and a kind of damage.

    Args:
        reward: its name.
        kind: of the damage.
        tally: over the pairs of that kind.
        sight: by `sight_of`.
    """

    reward: str
    kind: str
    tally: Tally
    sight: Sight

    @property
    def is_blind(self) -> bool:
        """The reward does not see this kind, or is pleased by it."""
        return self.sight in (Sight.BLIND, Sight.PREFERS)


def definition(threshold: float) -> str:
    """The words for what `sight_of` computes."""
    return (
        f"A reward sees a kind of damage if it prefers the clean side of at least {threshold:.0%} of the pairs and the "
        f"95\u00a0% interval of that share lies above {threshold:.0%}; it is blind if the interval lies below, and "
        "prefers the damage if it scores the damaged side higher in more than half of the pairs, beyond the interval's "
        "doubt. Otherwise it is unclear: more pictures would tell."
    )


def sight_of(tally: Tally, threshold: float = THRESHOLD) -> Sight:
    """What a tally says about a reward, as `definition` puts it; a share at the threshold's very edge is seen.

    Args:
        tally: over pairs of one kind.
        threshold: the accuracy that counts as seeing, in (0, 1].
    """
    if tally.num_scored == 0:
        return Sight.UNKNOWN
    if tally.wrong.low > 0.5:
        return Sight.PREFERS
    if tally.accuracy.high < threshold:
        return Sight.BLIND
    if tally.accuracy.low >= threshold:
        return Sight.SEES
    return Sight.UNSURE  # an interval that is NaN, of too few pictures, ends here too


def blind_spots(test: PairTest, threshold: float = THRESHOLD) -> list[Spot]:
    """Every reward on every kind, rewards in the order of the set; without kinds, on all pairs as one kind."""
    by_kind: Mapping[str, Mapping[str, Tally]] = test.by_kind
    if not test.paired.damaged.kind_names:
        by_kind = {name: {"all pairs": tally} for name, tally in test.overall.items()}
    return [
        Spot(name, kind, tally, sight_of(tally, threshold))
        for name, tallies in by_kind.items()
        for kind, tally in tallies.items()
    ]


def sentence(spots: list[Spot]) -> str:
    """What one reward's spots amount to, in a sentence."""
    found = {sight: [spot for spot in spots if spot.sight is sight] for sight in Sight}
    parts = []
    if found[Sight.PREFERS]:
        parts.append(f"prefers the damage of {_kinds(found[Sight.PREFERS])}")
    if found[Sight.BLIND]:
        all_of_them = len(found[Sight.BLIND]) == len(spots) > 1
        parts.append("is blind to every kind" if all_of_them else f"is blind to {_kinds(found[Sight.BLIND])}")
    if len(found[Sight.SEES]) == len(spots):
        parts.append("sees every kind")
    elif found[Sight.SEES]:
        parts.append(f"sees {_kinds(found[Sight.SEES], with_numbers=False)}")
    if found[Sight.UNSURE]:
        parts.append(f"is unclear on {_kinds(found[Sight.UNSURE])}")
    if found[Sight.UNKNOWN]:
        parts.append(f"has no scores for {_kinds(found[Sight.UNKNOWN], with_numbers=False)}")
    return f"{spots[0].reward} {_listed(parts)}."


def _kinds(spots: list[Spot], *, with_numbers: bool = True) -> str:
    """The kinds, worst first."""
    ordered = sorted(spots, key=lambda spot: spot.tally.accuracy.estimate)
    return _listed(
        [
            f"{spot.kind} ({spot.tally.accuracy.estimate:.2f})"
            if with_numbers and np.isfinite(spot.tally.accuracy.estimate)
            else spot.kind
            for spot in ordered
        ]
    )


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

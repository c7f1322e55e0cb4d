"""The card: all that a set of pairs says about its rewards, computed once, shown and written in several places."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrite.audit.pairs.blind_spots import THRESHOLD, Spot, blind_spots
from pyrite.audit.pairs.complements import Complement, agreement_matrix, complements
from pyrite.audit.pairs.images import PairedSet
from pyrite.audit.pairs.ladder import MIN_SEVERITIES, Invariance, invariances, monotonicity, separation
from pyrite.audit.pairs.outcomes import PairTest, Tally, pair_test
from pyrite.core.types import FloatArray
from pyrite.stats.intervals import Interval
from pyrite.stats.proportions import MIN_CLUSTERS


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Card:
    """What is known about the rewards of one set.

    Args:
        test: correct, tie, wrong.
        threshold: accuracy that counts as seeing.
        spots: every reward on every kind.
        complements: every two rewards, gains beyond doubt first.
        agreement: (K, K) rank correlation of the margins.
        monotonicity: reward -> kind -> how steadily the score falls with severity; empty without severities.
        invariances: every reward on every neutral change; empty without any.
        separation: reward -> how often a neutral change scores above damage; empty likewise.
        notes: what a reader must know beside the numbers.
    """

    test: PairTest
    threshold: float
    spots: tuple[Spot, ...]
    complements: tuple[Complement, ...]
    agreement: FloatArray
    monotonicity: Mapping[str, Mapping[str, Interval]]
    invariances: tuple[Invariance, ...]
    separation: Mapping[str, Interval]
    notes: tuple[str, ...]

    @property
    def is_blind_somewhere(self) -> bool:
        """A reward is blind to a kind."""
        return any(spot.is_blind for spot in self.spots)

    def spots_of(self, reward: str) -> list[Spot]:
        """What one reward sees, kind by kind."""
        return [spot for spot in self.spots if spot.reward == reward]


def make_card(paired: PairedSet, *, threshold: float = THRESHOLD, tie_sd: float = 0.0) -> Card:
    """Compute everything.

    Args:
        paired: the set.
        threshold: accuracy that counts as seeing, in (0, 1]; see `blind_spots.definition`.
        tie_sd: tolerance of a tie; see `outcomes.pair_test`.
    """
    test = pair_test(paired, tie_sd=tie_sd)
    return Card(
        test=test,
        threshold=threshold,
        spots=tuple(blind_spots(test, threshold)),
        complements=tuple(complements(test)),
        agreement=agreement_matrix(paired.damaged, paired.rewards),
        monotonicity=_monotonicity(paired),
        invariances=tuple(invariances(paired.neutral, paired.rewards, tie_sd=tie_sd)),
        separation={name: separation(paired, name) for name in paired.rewards} if len(paired.neutral) else {},
        notes=tuple(_notes(test)),
    )


def as_json(card: Card) -> dict[str, Any]:
    """The card as one JSON object: no times and no machine, so that the same scores give the same file."""
    paired = card.test.paired
    return {
        "num_pairs": len(paired.damaged),
        "num_pictures": len(np.unique(paired.damaged.sources)),
        "tie_sd": card.test.tie_sd,
        "threshold": card.threshold,
        "notes": list(card.notes),
        "skipped": dict(paired.skipped),
        "rewards": {name: _tally(tally) for name, tally in card.test.overall.items()},
        "kinds": list(rows(card)),
        "severities": [
            {"reward": name, "severity": level, **_tally(tally)}
            for name, tallies in card.test.by_severity.items()
            for level, tally in tallies.items()
        ],
        "monotonicity": [
            {"reward": name, "kind": kind, **_interval(found)}
            for name, kinds in card.monotonicity.items()
            for kind, found in kinds.items()
        ],
        "neutral": [
            {
                "reward": item.reward,
                "kind": item.kind,
                "num_scored": item.num_scored,
                "preferred": _interval(item.preferred),
                "dispreferred": _interval(item.dispreferred),
                "shift_sd": _interval(item.shift),
            }
            for item in card.invariances
        ],
        "neutral_above_damaged": {name: _interval(found) for name, found in card.separation.items()},
        "combinations": [{**vars(item), "gain": _interval(item.gain)} for item in card.complements],
        "agreement": {"rewards": paired.rewards, "spearman": card.agreement},
    }


def rows(card: Card) -> Iterator[dict[str, Any]]:
    """One flat object per reward and kind, as `--json` prints them."""
    for spot in card.spots:
        yield {"reward": spot.reward, "kind": spot.kind, "sight": spot.sight.value, **_tally(spot.tally)}


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "correct": tally.num_correct,
        "tie": tally.num_tie,
        "wrong": tally.num_wrong,
        "unscored": tally.num_unscored,
        "accuracy": tally.accuracy.estimate,
        "low": tally.accuracy.low,
        "high": tally.accuracy.high,
        "decided": tally.decided,
    }


def _interval(found: Interval) -> dict[str, float]:
    return {"estimate": found.estimate, "low": found.low, "high": found.high}


def _monotonicity(paired: PairedSet) -> dict[str, dict[str, Interval]]:
    pairs = paired.damaged
    parts = {kind: pairs.of_kind(kind) for kind in pairs.kind_names}
    graded = {
        kind: part
        for kind, part in parts.items()
        if len(np.unique(part.severities[np.isfinite(part.severities)])) >= MIN_SEVERITIES
    }
    if not graded:
        return {}
    return {name: {kind: monotonicity(part, name) for kind, part in graded.items()} for name in paired.rewards}


def _notes(test: PairTest) -> Iterator[str]:
    paired = test.paired
    yield from paired.images.notes
    if paired.skipped:
        first = next(iter(paired.skipped.items()))
        yield f"{len(paired.skipped)} entries were left out of the test, the first: {first[0]}: {first[1]}."
    num = len(np.unique(paired.damaged.sources))
    if num < MIN_CLUSTERS:
        yield (
            f"There are pairs of {num} pictures only, and an interval needs {MIN_CLUSTERS}: no share on this page has "
            "one, and what a reward sees cannot be told."
        )
    elif few := _small_kinds(paired):
        yield f"Fewer than {MIN_CLUSTERS} pictures, too few for an interval, have the kinds {', '.join(few)}."
    for name, tally in test.overall.items():
        if tally.num_tie == tally.num_scored:
            yield f"{name} gives both sides of every pair the same score: it has nothing to say about them."
        if tally.num_unscored:
            reasons = paired.images.reasons[name]
            why = next(iter(reasons.values()))
            yield f"{name} did not score a side of {tally.num_unscored} pairs, which are left out; the first: {why}."


def _small_kinds(paired: PairedSet) -> Sequence[str]:
    pairs = paired.damaged
    return [kind for kind in pairs.kind_names if len(np.unique(pairs.of_kind(kind).sources)) < MIN_CLUSTERS]

"""What a ladder of damage adds to the pair test: does the score fall with severity, and stay where nothing is broken.

All shifts are in standard deviations of the reward's scores over the whole set (`ScoredImages.spread`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyrite.audit.curves import Curve, prompt_resamples
from pyrite.audit.pairs.images import PairedSet, Pairs
from pyrite.audit.pairs.outcomes import outcomes_of
from pyrite.core.types import FloatArray
from pyrite.stats.intervals import Interval, bootstrap_mean
from pyrite.stats.proportions import MIN_CLUSTERS, share
from pyrite.stats.ranks import spearman_rows

MIN_SEVERITIES = 2
"""Fewest severities besides the clean image that an order can be seen in."""


@dataclass(frozen=True)
class Invariance:
    """What a reward makes of one kind of neutral change.

    Args:
        reward, kind: which.
        preferred: share of pictures whose changed version scores higher, with a 95 % interval.
        dispreferred: share of pictures whose changed version scores lower.
        shift: mean of changed minus clean, in sd, with a 95 % interval over pictures; NaN for a constant reward.
        num_scored: pairs that count.
    """

    reward: str
    kind: str
    preferred: Interval
    dispreferred: Interval
    shift: Interval
    num_scored: int


def monotonicity(pairs: Pairs, reward: str) -> Interval:
    """How steadily the score falls as the severity of one kind of damage rises: from -1 to 1, higher is better.

    For each picture, minus Spearman's correlation of severity and score, the clean image standing at severity 0; a
    picture whose versions all have the same score counts 0, for nothing falls there. The mean over pictures, with a
    95 % interval over pictures. Pictures with fewer than `MIN_SEVERITIES` scored severities are left out.

    Args:
        pairs: damaged pairs of one kind.
        reward: its name.
    """
    severities, shifts = _by_picture(pairs, reward)
    known = np.isfinite(severities) & np.isfinite(shifts)
    is_graded = np.array([len(np.unique(row[at])) > MIN_SEVERITIES for row, at in zip(severities, known, strict=True)])
    is_flat = (np.where(known, shifts, 0.0) == 0).all(axis=1)
    falls = np.where(is_flat, 0.0, -spearman_rows(severities, shifts))
    return _with_interval(np.where(is_graded, falls, np.nan))


def severity_curve(pairs: Pairs, reward: str) -> tuple[FloatArray, Curve]:
    """The severities, 0 first, and the mean shift from the clean image at each, in sd; 0 at 0 by definition.

    The curve's steps are positions among the severities. NaN for a reward without spread.

    Args:
        pairs: damaged pairs of one kind, with severities.
        reward: its name.
    """
    shifts = -pairs.margin(reward) / pairs.images.spread(reward)
    levels, level_of = np.unique(pairs.severities, return_inverse=True)
    names, source_of = np.unique(pairs.sources, return_inverse=True)
    known = np.isfinite(shifts)
    sums, counts = np.zeros((2, len(names), len(levels) + 1))
    np.add.at(sums, (source_of[known], level_of[known] + 1), shifts[known])
    np.add.at(counts, (source_of[known], level_of[known] + 1), 1.0)
    counts[:, 0] = 1.0 if known.any() else 0.0
    weights = prompt_resamples(len(names) if len(names) >= MIN_CLUSTERS else 0)
    if len(weights) == 0:
        weights = np.empty((0, len(names)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sum(axis=0) / counts.sum(axis=0)
        draws = (weights @ sums) / (weights @ counts)
    return np.concatenate([[0.0], levels]), Curve(np.arange(len(levels) + 1), mean, draws)


def invariances(pairs: Pairs, rewards: Sequence[str], *, tie_sd: float = 0.0) -> list[Invariance]:
    """Every reward on every kind of neutral change, rewards first.

    Args:
        pairs: the neutral ones.
        rewards: their names.
        tie_sd: as for `outcomes.pair_test`.
    """
    return [_invariance(pairs.of_kind(kind), reward, kind, tie_sd) for reward in rewards for kind in pairs.kind_names]


def separation(paired: PairedSet, reward: str) -> Interval:
    """How often a neutrally changed image scores above a damaged one of the same picture, in [0, 1]; guessing is 0.5.

    Harder to please than the pair test: a reward that only notices that an image was touched gets the pairs right, for
    their clean side is untouched, and is at 0.5 here. The mean over pictures of the share of all their neutral-damaged
    combinations, ties one half (the area under the ROC curve within a picture), with a 95 % interval over pictures.

    Args:
        paired: the set; without neutral changes the result is NaN.
        reward: its name.
    """
    scores = paired.images.scores[reward]
    found = []
    for source in np.unique(paired.damaged.sources):
        neutral = scores[paired.neutral.changed[paired.neutral.sources == source]]
        damaged = scores[paired.damaged.changed[paired.damaged.sources == source]]
        difference = neutral[np.isfinite(neutral)][:, None] - damaged[np.isfinite(damaged)][None]
        found.append(float(((np.sign(difference) + 1) / 2).mean()) if difference.size else np.nan)
    return _with_interval(np.array(found, dtype=np.float64))


def _invariance(pairs: Pairs, reward: str, kind: str, tie_sd: float) -> Invariance:
    found = outcomes_of(pairs, reward, tie_sd)
    known = np.isfinite(found)
    lower, higher = (np.where(known, found == sign, np.nan) for sign in (1, -1))
    shift = -pairs.margin(reward) / pairs.images.spread(reward)
    by_source = np.array([_mean(shift[pairs.sources == source]) for source in np.unique(pairs.sources)])
    return Invariance(
        reward,
        kind,
        share(higher, clusters=pairs.sources),
        share(lower, clusters=pairs.sources),
        _with_interval(by_source),
        int(known.sum()),
    )


def _by_picture(pairs: Pairs, reward: str) -> tuple[FloatArray, FloatArray]:
    """(C, M) severities and shifts, a row per picture, the clean image first; NaN where there are no more."""
    _, source_of = np.unique(pairs.sources, return_inverse=True)
    order = np.argsort(source_of, kind="stable")
    counts = np.bincount(source_of)
    column_of = np.empty(len(pairs), dtype=np.int64)
    column_of[order] = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    table = np.full((2, len(counts), counts.max() + 1), np.nan)
    table[:, :, 0] = 0.0
    table[0, source_of, column_of], table[1, source_of, column_of] = pairs.severities, -pairs.margin(reward)
    return table[0], table[1]


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _with_interval(values: FloatArray) -> Interval:
    """Mean over pictures; no ends with fewer pictures than an interval needs."""
    found = bootstrap_mean(values, rng=np.random.default_rng(0))
    if np.isfinite(values).sum() >= MIN_CLUSTERS:
        return found
    return Interval(found.estimate, np.nan, np.nan)

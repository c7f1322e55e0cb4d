"""Which two rewards cover each other's blind spots, and which only repeat each other.

Two ways to use a pair of rewards without any training: the sum of their standardised scores, and the smaller of the
two. Both rise when both rewards rise, so neither can be right about a pair that both rewards are wrong about: what they
can gain is bounded by the share of pairs that at least one of them gets (`either`).

Here a tie counts one half, as if a coin decided it. Elsewhere it counts nothing, and then a reward that often ties
would seem to gain from any noise that breaks its ties.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyrite.audit.pairs.images import Pairs
from pyrite.audit.pairs.outcomes import PairTest
from pyrite.core.types import FloatArray
from pyrite.stats.intervals import Interval, resample_weights
from pyrite.stats.proportions import MIN_CLUSTERS
from pyrite.stats.ranks import spearman

NUM_RESAMPLES = 1000
_AT_A_TIME = 100


@dataclass(frozen=True)
class Complement:
    """Two rewards, alone and together, on the pairs both have scored.

    Args:
        first, second: their names.
        alone: accuracy of each, in [0, 1], ties one half.
        either: accuracy of always listening to the one that is right: the most a combination can reach.
        best: "sum" or "min", whichever is more accurate.
        accuracy: of that combination.
        gain: its accuracy minus that of the better reward alone, with a 95 % interval from resampling pictures, in
            which the better one is chosen anew each time: so a gain is not owed to having looked.
        worst_alone: accuracy of each on the kind it is worst at; NaN without kinds.
        worst: of the combination likewise.
        agreement: Spearman correlation of their margins over the pairs; near 1 they repeat each other.
        num: pairs.
    """

    first: str
    second: str
    alone: tuple[float, float]
    either: float
    best: str
    accuracy: float
    gain: Interval
    worst_alone: tuple[float, float]
    worst: float
    agreement: float
    num: int


def combined_margins(pairs: Pairs, first: str, second: str) -> dict[str, FloatArray]:
    """Margins (N,) of the sum and of the smaller of two standardised scores; NaN where either is unscored.

    Standardised over all images of the set that have a score; both rewards have some spread there.
    """
    one, two = (_standardised(pairs.images.scores[name]) for name in (first, second))
    together = {"sum": one + two, "min": np.minimum(one, two)}
    return {name: scores[pairs.clean] - scores[pairs.changed] for name, scores in together.items()}


def complements(test: PairTest, *, seed: int = 0) -> list[Complement]:
    """Every two rewards: those whose gain is beyond doubt first, the most accurate first.

    Left out are rewards that give every image the same score, which have nothing to add, and two without a common pair.

    Combinations count ties as the rewards alone do when ties are equal scores; `tie_sd` does not apply to them.

    Args:
        test: of the set.
        seed: of the resamples.
    """
    pairs = test.paired.damaged
    names = [name for name in test.paired.rewards if np.isfinite(pairs.images.spread(name))]
    found = [
        _complement(pairs, test.outcomes, first, second, seed)
        for first, second in itertools.combinations(names, 2)
        if (np.isfinite(test.outcomes[first]) & np.isfinite(test.outcomes[second])).any()
    ]
    return sorted(found, key=lambda item: (not item.gain.low > 0, -item.accuracy, item.first, item.second))


def agreement_matrix(pairs: Pairs, names: Sequence[str]) -> FloatArray:
    """(K, K) Spearman correlations of the rewards' margins over the pairs; NaN where one of them never varies."""
    margins = [pairs.margin(name) for name in names]
    return np.array([[spearman(one, two) for two in margins] for one in margins], dtype=np.float64)


def _complement(pairs: Pairs, outcomes: Mapping[str, FloatArray], first: str, second: str, seed: int) -> Complement:
    margins = combined_margins(pairs, first, second)
    known = np.isfinite(outcomes[first]) & np.isfinite(outcomes[second])
    one, two = (_credit(outcomes[name][known]) for name in (first, second))
    alone = (float(one.mean()), float(two.mean()))
    together = {name: _credit(np.sign(margin[known])) for name, margin in margins.items()}
    best = max(together, key=lambda name: together[name].mean())
    accuracy = float(together[best].mean())
    table = np.stack([one, two, together[best]], axis=1)
    kinds = pairs.kinds[known]
    worst = _worst_kind(table, kinds)
    return Complement(
        first,
        second,
        alone,
        float(np.maximum(one, two).mean()),
        best,
        accuracy,
        Interval(accuracy - max(alone), *_gain_ends(table, pairs.sources[known], seed)),
        (worst[0], worst[1]),
        worst[2],
        spearman(pairs.margin(first), pairs.margin(second)),
        int(known.sum()),
    )


def _credit(found: FloatArray) -> FloatArray:
    """1 for correct, 0 for wrong, one half for a tie."""
    credit: FloatArray = (found + 1) / 2
    return credit


def _gain_ends(table_N3: FloatArray, sources: np.ndarray, seed: int) -> tuple[float, float]:
    """Ends of the interval of (third - larger of the first two), resampling sources with all their pairs."""
    names, source_of = np.unique(sources, return_inverse=True)
    if len(names) < MIN_CLUSTERS:
        return np.nan, np.nan
    sums_C3 = np.stack([np.bincount(source_of, weights=column) for column in table_N3.T], axis=1)
    counts_C = np.bincount(source_of).astype(np.float64)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(NUM_RESAMPLES // _AT_A_TIME):  # 10,000 sources in one table of weights would be 80 MB
        weights = resample_weights(len(names), _AT_A_TIME, rng)
        means_B3 = (weights @ sums_C3) / (weights @ counts_C)[:, None]
        draws.append(means_B3[:, 2] - means_B3[:, :2].max(axis=1))
    low, high = np.quantile(np.concatenate(draws), [0.025, 0.975])
    return float(low), float(high)


def _worst_kind(table_N3: FloatArray, kinds: np.ndarray) -> tuple[float, float, float]:
    names = [name for name in np.unique(kinds) if name]
    if not names:
        return np.nan, np.nan, np.nan
    lowest = np.min([table_N3[kinds == name].mean(axis=0) for name in names], axis=0)
    return float(lowest[0]), float(lowest[1]), float(lowest[2])


def _standardised(scores: FloatArray) -> FloatArray:
    known = scores[np.isfinite(scores)]
    standardised: FloatArray = (scores - known.mean()) / known.std(ddof=1)
    return standardised

"""Which of many questions are the best few, for how many calls of the judge.

Three answers to the question of arXiv:2305.03495, section 2.3, whose own names for it are best arm identification and
bandits: `full` asks everything, `halving` is successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943), `ucb`
picks by upper confidence bounds (Auer et al. 2002). All questions meet the images in one order, so that two that were
asked equally much were asked the same, and nothing is asked twice.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.config import AllocationConfig

Worth = Callable[[int, Sequence[Example]], float]
"""From the place of a question and some images to its objective on them, asking what is not known; NaN if unknown."""


@dataclass(frozen=True)
class Standing:
    """How a question came out of a round.

    Args:
        place: among the questions of the round.
        worth: its objective, or by `ucb` how much more it has than the first question; NaN if it has none.
        num_images: on how many images.
    """

    place: int
    worth: float
    num_images: int


def allocate(config: AllocationConfig, num: int, keep: int, order: Sequence[Example], worth: Worth) -> list[Standing]:
    """The best `keep` of `num` questions, the best first, and after them the others in the order they fell behind.

    Args:
        config: how calls are shared.
        num: of questions.
        keep: of them stay.
        order: the training images as `interleaved` puts them.
        worth: judges one question on some images.
    """
    if config.method == "full":
        return _ranked(range(num), order, worth)
    return _halving(config, num, keep, order, worth) if config.method == "halving" else _ucb(config, num, order, worth)


def interleaved(examples: Sequence[Example], rng: np.random.Generator) -> list[Example]:
    """The examples in an order of which every beginning has about the labels and kinds of the whole; pairs together.

    A question that names one kind more is better on images of that kind alone, which may be 1 of 20: a beginning that
    has too few of them by chance would not see it.
    """
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda one: one.id):
        groups[example.group].append(example)
    strata: defaultdict[tuple[tuple[bool, str], ...], list[str]] = defaultdict(list)
    for name, members in groups.items():
        kinds = {(one.has_artifact, one.kind if one.has_artifact else "") for one in members}
        strata[tuple(sorted(kinds))].append(name)
    due = []
    for names in strata.values():
        places = (rng.permutation(len(names)) + rng.random()) / len(names)
        due += list(zip(places.tolist(), names, strict=True))
    return [one for _, name in sorted(due) for one in _shuffled(groups[name], rng)]


def _halving(config: AllocationConfig, num: int, keep: int, order: Sequence[Example], worth: Worth) -> list[Standing]:
    left = list(range(num))
    fallen: list[Standing] = []
    share = min(config.first_share, config.last_share)
    while True:
        is_last = share >= config.last_share
        ranked = _ranked(left, order[: max(1, round(len(order) * share))], worth)
        if is_last:
            return [*ranked, *reversed(fallen)]
        stay = max(keep, math.ceil(len(ranked) / 2))
        fallen += reversed(ranked[stay:])
        left = [standing.place for standing in ranked[:stay]]
        # With nobody left to drop the next rungs only make the beam's own numbers sharper: go to the last at once.
        share = min(2 * share, config.last_share) if len(left) > keep else config.last_share


def _ucb(config: AllocationConfig, num: int, order: Sequence[Example], worth: Worth) -> list[Standing]:
    pulls = np.zeros(num, np.int64)
    values = np.full(num, np.nan)
    most = math.ceil(len(order) / config.ucb_pull)

    def pull(place: int) -> None:
        pulls[place] += 1
        seen = order[: pulls[place] * config.ucb_pull]
        # Some images are harder than others: what counts is how much better than the first one on the same images.
        first = worth(0, seen)
        values[place] = worth(place, seen) - (0.0 if math.isnan(first) else first)

    for place in range(num):
        pull(place)
    # The bonus is in units of how much the first looks differ, whatever the objective's own scale is.
    spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
    total = max(num, int(config.ucb_share * num * most))
    for step in range(num, total):
        open_arms = np.flatnonzero(pulls < most)
        if not len(open_arms):
            break
        bonus = config.ucb_c * spread * np.sqrt(np.log(step) / pulls[open_arms])
        pull(int(open_arms[np.argmax(np.nan_to_num(values[open_arms], nan=-np.inf) + bonus)]))
    # Few images flatter: only what was asked about as much as the median is compared by its value alone.
    is_known = pulls >= np.median(pulls)
    num_images = np.minimum(pulls * config.ucb_pull, len(order))
    found = [Standing(place, float(values[place]), int(num_images[place])) for place in range(num)]
    return sorted(found, key=lambda one: (not is_known[one.place], *_by_worth(one)))


def _ranked(places: Sequence[int], examples: Sequence[Example], worth: Worth) -> list[Standing]:
    found = [Standing(place, worth(place, examples), len(examples)) for place in places]
    return sorted(found, key=_by_worth)


def _by_worth(standing: Standing) -> tuple[bool, float, int]:
    """Sorts the best first, those without a number last, equals by their place."""
    unknown = math.isnan(standing.worth)
    return unknown, 0.0 if unknown else -standing.worth, standing.place


def _shuffled(members: Sequence[Example], rng: np.random.Generator) -> list[Example]:
    return [members[place] for place in rng.permutation(len(members))]

"""Who is asked how much: the best stay, for a share of the calls, and every comparison is fair."""

import math
from collections import Counter

import numpy as np
import pytest
from tests.artifact.optimise.material import example

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.allocation import allocate, interleaved
from pyrite.artifact.optimise.config import AllocationConfig

EXAMPLES = [example(2 * pair + label, bool(label), f"p{pair}") for pair in range(60) for label in (0, 1)]


class Arms:
    """Questions that are right about a known share of the images, each image asked once."""

    def __init__(self, shares: list[float], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.right = rng.random((len(shares), len(EXAMPLES))) < np.array(shares)[:, None]
        self.asked: Counter[int] = Counter()
        self._known: dict[int, set[str]] = {}

    def worth(self, place: int, examples: list[Example]) -> float:
        known = self._known.setdefault(place, set())
        self.asked[place] += len({one.id for one in examples} - known)
        known |= {one.id for one in examples}
        return float(self.right[place, [int(one.id) for one in examples]].mean())


def order(seed: int = 0) -> list[Example]:
    return interleaved(EXAMPLES, np.random.default_rng(seed))


@pytest.mark.parametrize("method", ["halving", "ucb"])
def test_a_bandit_finds_the_best_for_less_than_half_of_the_calls(method: str) -> None:
    shares = [0.5] * 20 + [0.9, 0.92, 0.94, 0.96]
    found, calls = Counter(), []
    for seed in range(10):
        arms = Arms(shares, seed)
        standings = allocate(AllocationConfig(method=method), 24, 4, order(seed), arms.worth)  # type: ignore[arg-type]
        found.update(standing.place for standing in standings[:4])
        calls.append(arms.asked.total())
    assert max(calls) <= 0.5 * len(shares) * len(EXAMPLES)
    # 10 seeds x 4 places in the beam: the four good ones have nearly all of them
    assert sum(found[place] for place in range(20, 24)) >= 37


def test_full_asks_everything_and_ranks_exactly() -> None:
    arms = Arms([0.3, 0.9, 0.6])
    standings = allocate(AllocationConfig(method="full"), 3, 1, order(), arms.worth)
    assert [standing.place for standing in standings] == [1, 2, 0]
    assert arms.asked == {0: 120, 1: 120, 2: 120}


@pytest.mark.parametrize("method", ["halving", "ucb", "full"])
def test_every_question_comes_back_once_and_those_without_a_number_last(method: str) -> None:
    arms = Arms([0.3, 0.9, 0.6, 0.5, 0.5])

    def worth(place: int, examples: list[Example]) -> float:
        return math.nan if place == 1 else arms.worth(place, examples)

    standings = allocate(AllocationConfig(method=method), 5, 2, order(), worth)  # type: ignore[arg-type]
    assert sorted(standing.place for standing in standings) == [0, 1, 2, 3, 4]
    assert standings[-1].place == 1
    assert standings[0].place == 2


@pytest.mark.parametrize("method", ["halving", "ucb", "full"])
def test_nothing_known_about_anybody_still_ends(method: str) -> None:
    config = AllocationConfig(method=method)  # type: ignore[arg-type]
    standings = allocate(config, 4, 2, order(), lambda *_: math.nan)
    assert [standing.place for standing in standings] == [0, 1, 2, 3]


def test_every_beginning_of_the_order_has_both_labels_and_whole_pairs() -> None:
    rows = order()
    assert sorted(one.id for one in rows) == sorted(one.id for one in EXAMPLES)
    for end in range(2, len(rows) + 1, 2):
        assert sum(one.has_artifact for one in rows[:end]) == end / 2
    assert [one.id for one in order(1)] != [one.id for one in rows]
    alone = [example(row, row % 4 == 0) for row in range(80)]
    shares = np.cumsum([one.has_artifact for one in interleaved(alone, np.random.default_rng(0))]) / np.arange(1, 81)
    assert abs(shares[15:] - 0.25).max() < 0.07

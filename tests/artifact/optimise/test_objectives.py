"""Four numbers by hand, and what an unanswered image does to them: nothing."""

import math

import numpy as np
import pytest
from tests.artifact.optimise.material import example

from pyrite.artifact.optimise.objectives import OBJECTIVES, auc, balanced, is_wrong, log_likelihood, pair_accuracy

# Two pairs: the first is ordered right, the second wrong.
EXAMPLES = [example(0, False, "a"), example(1, True, "a"), example(2, False, "b"), example(3, True, "b")]
PROB = np.array([0.2, 0.8, 0.6, 0.4])


def test_the_numbers_by_hand() -> None:
    assert log_likelihood(EXAMPLES, PROB) == pytest.approx((2 * math.log(0.8) + 2 * math.log(0.4)) / 4)
    assert auc(EXAMPLES, PROB) == 3 / 4  # of 4 comparisons only 0.4 against 0.6 is lost
    assert balanced(EXAMPLES, PROB) == 0.5
    assert pair_accuracy(EXAMPLES, PROB) == 0.5
    assert pair_accuracy(EXAMPLES, np.array([0.5, 0.5, 0.1, 0.2])) == 0.75  # a tie counts half


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_answer_is_left_out_and_never_read_as_no_artifact(name: str) -> None:
    objective = OBJECTIVES[name]  # type: ignore[index]
    holes = PROB.copy()
    holes[2:] = np.nan
    assert objective(EXAMPLES, holes) == objective(EXAMPLES[:2], PROB[:2])
    assert math.isnan(objective(EXAMPLES, np.full(4, np.nan)))


@pytest.mark.parametrize(
    ("label", "prob", "wrong"),
    [(True, 0.5, False), (True, 0.49, True), (False, 0.5, True), (False, 0.1, False), (True, math.nan, False)],
)
def test_an_error_is_a_call_on_the_wrong_side_and_no_answer_is_none(label: bool, prob: float, wrong: bool) -> None:
    assert is_wrong(example(0, label), prob) == wrong

import numpy as np
import pytest

from pyrite.mitigation.ensembles import AGGREGATES, aggregate

SCORES = np.array([[1.0, 4.0], [3.0, -2.0]])


@pytest.mark.parametrize(
    ("how", "weights", "expected"),
    [
        ("sum", [1.0, 0.5], [3.0, 2.0]),
        ("mean", [1.0, 3.0], [3.25, -0.75]),
        ("min", [1.0, 1.0], [1.0, -2.0]),
        ("min", [1.0, 0.0], [1.0, 3.0]),
    ],
    ids=["sum", "mean", "min", "min of one"],
)
def test_several_rewards_become_one(how: str, weights: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(aggregate(SCORES, np.array(weights), how), expected, rtol=1e-15)


@pytest.mark.parametrize("how", AGGREGATES)
def test_a_row_with_an_unscored_member_is_unscored_and_others_are_not(how: str) -> None:
    scores = np.array([[1.0, np.nan], [2.0, 3.0], [np.nan, np.nan]])
    assert np.isnan(aggregate(scores, np.ones(2), how)).tolist() == [True, False, True]


@pytest.mark.parametrize("how", AGGREGATES)
def test_a_member_of_weight_zero_has_no_say_not_even_by_being_unscored(how: str) -> None:
    scores = np.array([[1.0, np.nan], [2.0, -9.0]])
    np.testing.assert_array_equal(aggregate(scores, np.array([1.0, 0.0]), how), [1.0, 2.0])


@pytest.mark.parametrize(
    ("weights", "how", "said"),
    [
        ([1.0, 1.0], "max", "aggregate is one of sum, mean, min, not 'max'"),
        ([0.0, 0.0], "sum", r"one is above 0; got \[0.0, 0.0\]"),
        ([1.0, -1.0], "sum", "weights are finite, 0 or more"),
        ([1.0, np.inf], "sum", "weights are finite, 0 or more"),
        ([1.0, 2.0], "min", r"min takes weights of 0 or 1, got \[1.0, 2.0\]: scale the scores by a transform"),
    ],
    ids=["unknown", "none", "negative", "infinite", "weighted min"],
)
def test_weights_that_mean_nothing_are_refused(weights: list[float], how: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        aggregate(SCORES, np.array(weights), how)

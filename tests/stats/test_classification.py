"""Hand-computed cases, invariances, and what is not defined, of `stats.classification`."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from pyrite.stats import classification as c

METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": c.accuracy,
    "balanced_accuracy": c.balanced_accuracy,
    "f1": c.f1,
    "roc_auc": c.roc_auc,
    "log_loss": c.log_loss,
    "expected_calibration_error": c.expected_calibration_error,
}
NEED_TWO_CLASSES = ("balanced_accuracy", "f1", "roc_auc")

# Two positives, three negatives, by hand below.
LABELS = np.array([True, True, False, False, False])
PROB = np.array([0.9, 0.4, 0.4, 0.6, 0.1])


def many(seed: int = 0, num: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, labels that follow them a little."""
    rng = np.random.default_rng(seed)
    prob = rng.integers(0, 11, num) / 10
    return rng.random(num) < 0.3 + 0.4 * prob, prob


def reference_auc(labels: np.ndarray, prob: np.ndarray) -> float:
    """Every pair looked at, one by one."""
    pairs = [(p, n) for p in prob[labels] for n in prob[~labels]]
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 3 / 5),
        ("balanced_accuracy", (1 / 2 + 2 / 3) / 2),
        ("f1", 2 * 1 / (2 * 1 + 1 + 1)),
        ("roc_auc", (3 + 0.5 + 0 + 1) / 6),
        ("log_loss", -(math.log(0.9) + math.log(0.4) + math.log(0.6) + math.log(0.4) + math.log(0.9)) / 5),
        # bins: [.1] -> .1 against 0; [.4, .4] -> .4 against 1/2; [.6] -> .6 against 0; [.9] -> .9 against 1
        ("expected_calibration_error", (0.1 + 2 * 0.1 + 0.6 + 0.1) / 5),
    ],
)
def test_a_case_by_hand(name: str, expected: float) -> None:
    assert METRICS[name](LABELS, PROB) == pytest.approx(expected, abs=1e-12)


def test_the_confusion_matrix_by_hand() -> None:
    assert c.confusion(LABELS, PROB) == c.Confusion(1, 1, 2, 1)
    assert c.confusion(LABELS, PROB, threshold=0.4) == c.Confusion(2, 2, 1, 0)


@pytest.mark.parametrize("seed", range(8))
def test_auc_counts_every_pair_and_half_of_the_ties(seed: int) -> None:
    labels, prob = many(seed)
    assert c.roc_auc(labels, prob) == pytest.approx(reference_auc(labels, prob), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_the_rows_does_not_matter(name: str, seed: int) -> None:
    labels, prob = many(seed)
    order = np.random.default_rng(seed).permutation(len(prob))
    assert METRICS[name](labels[order], prob[order]) == pytest.approx(METRICS[name](labels, prob), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_every_row_twice_changes_nothing(name: str) -> None:
    labels, prob = many()
    twice = METRICS[name](np.tile(labels, 2), np.tile(prob, 2))
    assert twice == pytest.approx(METRICS[name](labels, prob), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_row_without_an_answer_is_left_out_and_counted(name: str) -> None:
    labels, prob = many()
    holed, blind = np.insert(labels, [3, 9], True), np.insert(prob, [3, 9], np.nan)
    assert METRICS[name](holed, blind) == METRICS[name](labels, prob)
    assert c.count(holed, blind).unscored == 2
    assert sum(c.count(holed, blind)[:2]) == len(labels)


@pytest.mark.parametrize("name", METRICS)
def test_without_any_answer_everything_is_nan(name: str) -> None:
    labels, prob = np.array([True, False]), np.full(2, np.nan)
    assert math.isnan(METRICS[name](labels, prob))
    assert c.why_undefined(labels, prob) == "none of the 2 images has an answer"


@pytest.mark.parametrize("label", [True, False], ids=["all-positive", "all-negative"])
@pytest.mark.parametrize("name", METRICS)
def test_one_class_leaves_undefined_what_needs_two(name: str, label: bool) -> None:
    labels, prob = np.full(4, label), np.array([0.2, 0.6, 0.7, 0.9])
    assert math.isnan(METRICS[name](labels, prob)) == (name in NEED_TWO_CLASSES)
    missing = "negative" if label else "positive"
    assert f"none is {missing}" in c.why_undefined(labels, prob)


def test_a_class_without_answers_is_a_missing_class() -> None:
    labels, prob = np.array([True, True, False]), np.array([0.2, 0.3, np.nan])
    assert math.isnan(c.roc_auc(labels, prob))
    assert "all 2 answered images have one label" in c.why_undefined(labels, prob)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "roc_auc", "log_loss", "expected_calibration_error"])
def test_asking_the_opposite_is_the_same_test(name: str) -> None:
    labels, prob = many()
    prob = prob + 0.01  # a probability of the threshold is a call of positive either way
    prob = np.minimum(prob, 1)
    assert METRICS[name](~labels, 1 - prob) == pytest.approx(METRICS[name](labels, prob), abs=1e-9)


def test_auc_only_reads_the_order() -> None:
    labels, prob = many()
    assert c.roc_auc(labels, prob**3) == c.roc_auc(labels, prob)
    assert c.roc_auc(labels, 1 - prob) == pytest.approx(1 - c.roc_auc(labels, prob), abs=1e-12)


def test_a_probability_of_the_threshold_is_a_call_of_positive() -> None:
    assert c.confusion(np.array([True]), np.array([0.5])) == c.Confusion(1, 0, 0, 0)


def test_one_wrong_certainty_does_not_cost_everything() -> None:
    assert c.log_loss(np.array([True]), np.array([0.0])) == pytest.approx(-math.log(c.CLIP))


@pytest.mark.parametrize("prob", [-0.1, 1.5])
def test_what_is_no_probability_is_refused(prob: float) -> None:
    with pytest.raises(ValueError, match=r"a probability lies in \[0, 1\]"):
        c.accuracy(np.array([True]), np.array([prob]))


def test_bins_hold_their_lower_edge_and_one_is_in_the_last() -> None:
    assert c.bins(np.array([0.0, 0.1, 0.0999, 0.95, 1.0])).tolist() == [0, 1, 0, 9, 9]
    found = c.reliability(np.array([True, False, True]), np.array([0.05, 0.05, 1.0]))
    assert found.counts.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found.came[[0, 9]].tolist() == [0.5, 1.0]
    assert np.isnan(found.came[1:9]).all()


def sharpened(temperature: float, num: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels of calibrated probabilities, which are then made too sure by dividing their logits."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, num)
    labels = rng.random(num) < 1 / (1 + np.exp(-logits))
    return labels, 1 / (1 + np.exp(-logits * temperature))


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(true: float) -> None:
    labels, prob = sharpened(true)
    found = c.fit_temperature(labels, prob)
    assert found.reason == ""
    assert found.value == pytest.approx(true, rel=0.08)
    calibrated = c.rescaled(prob, found.value)
    assert c.log_loss(labels, calibrated) <= c.log_loss(labels, prob) + 1e-12
    for other in (0.9, 1.1):
        assert c.log_loss(labels, c.rescaled(prob, found.value * other)) > c.log_loss(labels, calibrated)


def test_a_temperature_keeps_order_verdicts_and_holes() -> None:
    labels, prob = many()
    prob[4] = np.nan
    scaled = c.rescaled(prob, 2.5)
    assert math.isnan(scaled[4])
    assert c.roc_auc(labels, scaled) == c.roc_auc(labels, prob)
    assert c.confusion(labels, scaled) == c.confusion(labels, prob)
    assert c.rescaled(np.array([0.3]), 1.0) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("labels", "prob", "reason"),
    [
        ([True, True], [0.4, 0.6], "one label"),
        ([True, False], [math.nan, math.nan], "none of the 2 images has an answer"),
        ([True, False], [0.6, 0.4], "sharper is always better"),
        ([True, False], [0.4, 0.6], "flatter is always better"),
    ],
    ids=["one-class", "no-answers", "separable", "the-wrong-way-round"],
)
def test_a_temperature_that_cannot_be_fitted_says_why(labels: list[bool], prob: list[float], reason: str) -> None:
    found = c.fit_temperature(np.array(labels), np.array(prob))
    assert reason in found.reason
    assert math.isnan(found.value) == ("always" not in reason)


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        c.rescaled(np.array([0.5]), 0.0)

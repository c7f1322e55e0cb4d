"""Intervals of numbers that are no means: whole clusters are drawn; where there is no interval there is a reason."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from pyrite.stats import classification
from pyrite.stats.resampled_metrics import resampled_metrics
from pyrite.stats.resampling import bootstrap_statistics, bootstrap_weighted

Statistics = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def mean_of(values: np.ndarray) -> Statistics:
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


def many(seed: int, num: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, labels that follow them a little."""
    draw = np.random.default_rng(seed)
    prob = draw.integers(0, 11, num) / 10
    return draw.random(num) < 0.3 + 0.4 * prob, prob


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "name", ["accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss", "expected_calibration_error"]
)
def test_a_resample_is_the_rows_as_often_as_they_are_drawn(name: str, seed: int) -> None:
    labels, prob = many(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (5, len(prob)))
    found = resampled_metrics(labels, prob, weights.astype(np.float64))[name]
    for row, times in enumerate(weights):
        drawn = np.repeat(np.arange(len(prob)), times)
        expected = getattr(classification, name)(labels[drawn], prob[drawn])
        assert found[row] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("label", [True, False], ids=["all-positive", "all-negative"])
def test_a_resample_of_one_class_is_undefined_where_the_rows_are(label: bool) -> None:
    labels, prob = np.full(4, label), np.array([0.2, 0.6, 0.7, 0.9])
    found = resampled_metrics(labels, prob, np.ones((1, 4)))
    for name, values in found.items():
        expected = getattr(classification, name)(labels, prob)
        assert values[0] == pytest.approx(expected, nan_ok=True)


def test_the_interval_of_a_mean_is_the_one_of_the_textbook() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = bootstrap_weighted(mean_of(values), np.arange(400), rng=rng())["mean"]
    half = 1.96 * values.std(ddof=1) / 20
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(found.estimate - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.estimate + half, abs=0.15 * half)


def test_rows_of_a_cluster_go_together() -> None:
    """Ten copies of every row are not ten times the evidence."""
    values = np.random.default_rng(1).normal(0, 1, 40)
    copied, clusters = np.repeat(values, 10), np.repeat(np.arange(40), 10)
    single = bootstrap_weighted(mean_of(values), np.arange(40), rng=rng())["mean"]
    whole = bootstrap_weighted(mean_of(copied), clusters, rng=rng())["mean"]
    torn = bootstrap_weighted(mean_of(copied), np.arange(400), rng=rng())["mean"]
    assert whole.high - whole.low == pytest.approx(single.high - single.low, rel=1e-9)
    assert torn.high - torn.low < 0.5 * (whole.high - whole.low)


def test_many_rows_are_taken_in_blocks_with_the_same_draws() -> None:
    values = np.random.default_rng(1).random(3000)
    clusters = np.arange(3000) // 100
    long = bootstrap_weighted(mean_of(values), clusters, rng=rng())["mean"]
    means = bootstrap_weighted(mean_of(values.reshape(30, 100).mean(axis=1)), np.arange(30), rng=rng())["mean"]
    assert (long.low, long.high) == pytest.approx((means.low, means.high))


def test_the_interval_of_an_auc_covers_as_often_as_it_says() -> None:
    draw, covered = np.random.default_rng(2), 0
    labels = np.arange(80) % 2 == 0
    for _ in range(200):
        prob = 1 / (1 + np.exp(-draw.normal(labels.astype(float), 1)))
        found = bootstrap_weighted(
            lambda weights, prob=prob: resampled_metrics(labels, prob, weights),
            np.arange(80),
            rng=draw,
            num_resamples=300,
        )["roc_auc"]
        covered += found.low <= 0.7602 <= found.high  # Φ(1 / √2)
    # 190 expected; four deviations of a binomial are 12
    assert 178 <= covered <= 200


@pytest.mark.parametrize(
    ("num", "statistics", "reason"),
    [
        (19, mean_of(np.arange(19.0)), "19 independent groups are too few to know how far chance goes (at least 20)"),
        (30, lambda weights: {"mean": np.ones(len(weights))}, "every resample gives the same"),
        (30, lambda weights: {"mean": np.where(weights[:, 3] > 0, weights[:, 0], np.nan)}, "leave it undefined"),
    ],
    ids=["too-few", "no-width", "often-undefined"],
)
def test_where_there_is_no_interval_there_is_a_reason(num: int, statistics: Statistics, reason: str) -> None:
    found = bootstrap_weighted(statistics, np.arange(num), rng=rng())["mean"]
    assert reason in found.reason
    assert np.isnan([found.low, found.high]).all()
    assert np.isfinite(found.estimate)


def test_rows_one_resample_after_the_other_give_the_same_interval() -> None:
    labels, prob = many(0)
    (slow,) = bootstrap_statistics(
        lambda rows: [classification.roc_auc(labels[rows], prob[rows])],
        np.arange(len(prob)) // 2,
        rng=rng(),
        num_resamples=100,
    )
    fast = bootstrap_weighted(
        lambda weights: resampled_metrics(labels, prob, weights),
        np.arange(len(prob)) // 2,
        rng=rng(),
        num_resamples=100,
    )["roc_auc"]
    assert (slow.estimate, slow.low, slow.high) == pytest.approx((fast.estimate, fast.low, fast.high))


def test_several_numbers_come_from_the_same_resamples() -> None:
    values = np.random.default_rng(1).random(50)
    found = bootstrap_weighted(
        lambda weights: {"one": weights @ values / 50, "two": 1 - weights @ values / 50}, np.arange(50), rng=rng()
    )
    one, two = found["one"], found["two"]
    assert (two.low, two.high) == pytest.approx((1 - one.high, 1 - one.low))


def test_a_level_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_weighted(mean_of(np.zeros(30)), np.arange(30), rng=rng(), level=95.0)

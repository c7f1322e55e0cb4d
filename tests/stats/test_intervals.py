import numpy as np
import pytest
from scipy import stats

from pyrite.stats.intervals import Interval, bootstrap_mean, paired_difference, resample_weights

RNG = np.random.default_rng


def test_resamples_draw_as_many_clusters_as_there_are() -> None:
    weights = resample_weights(7, 100, RNG(0))
    assert weights.shape == (100, 7)
    assert (weights.sum(axis=1) == 7).all()


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_agrees_with_scipy(method: str) -> None:
    """Both draw 20,000 resamples of 60 skewed values. An end of the interval, a quantile at 2.5 %, has a Monte-Carlo
    deviation of sqrt(0.025 * 0.975 / 20000) / density = 0.0011 / (0.058 / deviation of the mean), 0.019 deviations;
    0.08 is three of the difference of two such ends.
    """
    values = RNG(1).exponential(size=60)
    ours = bootstrap_mean(values, rng=RNG(2), num_resamples=20_000, method=method)  # type: ignore[arg-type]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method=method.replace("bca", "BCa"), rng=RNG(3)
    ).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    tolerance = 0.08 * values.std(ddof=1) / np.sqrt(60)
    assert ours.low == pytest.approx(theirs.low, abs=tolerance)
    assert ours.high == pytest.approx(theirs.high, abs=tolerance)


def test_clusters_of_copies_give_the_interval_of_the_clusters() -> None:
    """Five copies of each value are no more evidence than one: with the same draws the interval is the same."""
    values = RNG(0).normal(size=40)
    copied, prompts = np.repeat(values, 5), np.repeat(np.arange(40), 5)
    once = bootstrap_mean(values, rng=RNG(1))
    clustered = bootstrap_mean(copied, rng=RNG(1), clusters=prompts)
    np.testing.assert_allclose(
        [clustered.estimate, clustered.low, clustered.high], [once.estimate, once.low, once.high], rtol=1e-9
    )
    naive = bootstrap_mean(copied, rng=RNG(1))
    assert naive.high - naive.low < 0.6 * (clustered.high - clustered.low)


def covers(seed: int, level: float) -> bool:
    """30 prompts of 1 to 6 images: prompt effect and image noise of deviation 1, true mean 0."""
    rng = RNG(seed)
    prompts = np.repeat(np.arange(30), rng.integers(1, 7, size=30))
    values = rng.normal(size=30)[prompts] + rng.normal(size=len(prompts))
    interval = bootstrap_mean(values, rng=rng, clusters=prompts, level=level, num_resamples=500)
    return interval.low <= 0 <= interval.high


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """400 data sets of 30 prompts at level 0.9. Binomial deviation 0.015; the bootstrap of 30 clusters covers some
    2 % less than its level, so the share is taken to lie within 0.82 and 0.95 (beyond three deviations of 0.88).
    """
    share = np.mean([covers(seed, 0.9) for seed in range(400)])
    assert 0.82 <= share <= 0.95


def test_no_data_give_nan_and_one_cluster_gives_no_interval() -> None:
    for values in (np.empty(0), np.full(3, np.nan)):
        nothing = bootstrap_mean(values, rng=RNG(0))
        assert np.isnan([nothing.estimate, nothing.low, nothing.high]).all()
    one = bootstrap_mean(np.array([1.0, 3.0]), rng=RNG(0), clusters=np.array(["a", "a"]))
    assert one.estimate == 2
    assert np.isnan([one.low, one.high]).all()


def test_unscored_rows_are_left_out() -> None:
    known, gaps = np.array([1.0, 2.0, 4.0]), np.array([1.0, np.nan, 2.0, 4.0])
    assert bootstrap_mean(gaps, rng=RNG(0)) == bootstrap_mean(known, rng=RNG(0))


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_equal_values_have_a_point_for_an_interval(method: str) -> None:
    assert bootstrap_mean(np.full(5, 2.0), rng=RNG(0), method=method) == Interval(2.0, 2.0, 2.0)  # type: ignore[arg-type]


def test_the_same_generator_gives_the_same_interval() -> None:
    values = RNG(0).normal(size=30)
    assert bootstrap_mean(values, rng=RNG(5)) == bootstrap_mean(values, rng=RNG(5))


def test_a_higher_level_is_wider_and_a_level_that_is_no_share_is_refused() -> None:
    values = RNG(0).normal(size=30)
    narrow, wide = (bootstrap_mean(values, rng=RNG(1), level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    with pytest.raises(ValueError, match="level is the coverage aimed at, between 0 and 1; got 95"):
        bootstrap_mean(values, rng=RNG(1), level=95.0)


def test_pairing_removes_what_is_common_and_needs_both_sides() -> None:
    rng = RNG(0)
    common = rng.normal(scale=10, size=100)
    before, after = common + rng.normal(size=100), common + 1 + rng.normal(size=100)
    before[0], after[1] = np.nan, np.nan
    paired = paired_difference(before, after, rng=RNG(1), clusters=np.arange(100))
    assert paired.estimate == pytest.approx(np.mean((after - before)[2:]))
    assert 0 < paired.low < 1 < paired.high < 2

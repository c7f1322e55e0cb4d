"""Weighted sums over strata: the estimate by hand, the interval by its known spread, and what has no interval."""

import numpy as np
import pytest

from pyrite.stats.strata import bootstrap_strata


def test_the_estimate_weighs_means_and_not_items() -> None:
    values = {"a": np.array([1.0, 0.0]), "b": np.array([1.0] * 8)}
    found = bootstrap_strata(values, {"a": 0.75, "b": 0.25}, rng=np.random.default_rng(0))
    assert found.estimate == pytest.approx(0.75 * 0.5 + 0.25)


def test_the_interval_has_the_width_of_the_weighted_errors() -> None:
    """Two strata of coins with n = 400 and 100: sd² = Σ w² / (4 n), and the interval is ±1.96 of it."""
    rng = np.random.default_rng(1)
    values = {name: (rng.permutation(num) % 2).astype(np.float64) for name, num in (("a", 400), ("b", 100))}
    found = bootstrap_strata(values, {"a": 0.4, "b": 0.6}, rng=rng, num_resamples=8000)
    expected = 1.96 * (0.16 / 1600 + 0.36 / 400) ** 0.5
    # 8000 resamples place a 97.5 % quantile to about 2 % of the half width
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.06)
    assert found.estimate == pytest.approx(0.5)


def test_a_stratum_keeps_its_size_in_every_resample() -> None:
    """Resampled together, the empty draws of a small stratum would leave its mean undefined."""
    found = bootstrap_strata(
        {"a": np.array([0.0, 1.0]), "b": np.arange(200.0) / 200}, {"a": 0.5, "b": 0.5}, rng=np.random.default_rng(0)
    )
    assert np.isfinite([found.low, found.high]).all()


def test_where_nothing_varies_there_is_no_interval_and_a_reason() -> None:
    found = bootstrap_strata({"a": np.ones(5), "b": np.zeros(5)}, {"a": 0.5, "b": 0.5}, rng=np.random.default_rng(0))
    assert found.estimate == 0.5
    assert np.isnan([found.low, found.high]).all()
    assert "does not show how far chance goes" in found.reason


@pytest.mark.parametrize(
    ("values", "weights", "level", "told"),
    [
        ({"a": np.ones(2)}, {"b": 1.0}, 0.95, "every stratum needs a weight"),
        ({"a": np.ones(0)}, {"a": 1.0}, 0.95, "every stratum needs a weight"),
        ({"a": np.array([np.nan])}, {"a": 1.0}, 0.95, "none of them NaN"),
        ({"a": np.ones(2)}, {"a": 1.0}, 1.5, "coverage aimed at"),
    ],
    ids=["other strata", "empty", "NaN", "level"],
)
def test_what_cannot_be_weighed_is_refused(
    values: dict[str, np.ndarray], weights: dict[str, float], level: float, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        bootstrap_strata(values, weights, rng=np.random.default_rng(0), level=level)

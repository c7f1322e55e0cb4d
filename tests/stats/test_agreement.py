"""Agreement of two raters: by hand, at its ends, and where there is nothing to say."""

import numpy as np
import pytest

from pyrite.stats.agreement import exact_agreement, weighted_kappa


def test_kappa_of_a_table_counted_by_hand() -> None:
    """20 both yes, 15 both no, 5 and 10 apart, of 50: p_o = .7, p_e = .5 · .6 + .5 · .4 = .5, kappa = .4."""
    x = np.repeat([1.0, 0.0, 1.0, 0.0], [20, 15, 5, 10])
    y = np.repeat([1.0, 0.0, 0.0, 1.0], [20, 15, 5, 10])
    assert exact_agreement(x, y) == pytest.approx(0.7)
    assert weighted_kappa(x, y) == pytest.approx(0.4)


def test_a_mark_that_is_off_by_two_counts_twice() -> None:
    """x = 0, 1, 2 against y = 0, 1, 0: distances 0, 0, 2 against a mean of (0+1+0 + 1+0+1 + 2+1+2) / 9 = 8/9."""
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.0])
    assert weighted_kappa(x, y) == pytest.approx(1 - (2 / 3) / (8 / 9))


def test_the_ends_are_one_and_about_zero() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3, 2000).astype(np.float64), rng.integers(0, 3, 2000).astype(np.float64)
    assert weighted_kappa(x, x) == 1
    assert abs(weighted_kappa(x, y)) < 0.06  # its standard deviation is about 0.02 at N = 2000


def test_unknown_items_are_left_out_and_nothing_known_is_nan() -> None:
    x, y = np.array([1.0, np.nan, 0.0]), np.array([1.0, 1.0, 1.0])
    assert exact_agreement(x, y) == 0.5
    assert np.isnan(exact_agreement(np.array([np.nan]), np.array([1.0])))
    assert np.isnan(weighted_kappa(np.array([np.nan]), np.array([1.0])))
    assert np.isnan(weighted_kappa(np.ones(4), np.ones(4)))

import numpy as np
import pytest
from scipy import stats

from pyrite.stats.ranks import pearson, spearman, spearman_rows

NAN = float("nan")


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_those_of_scipy_over_the_pairs_known_in_both(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=50).round(1)  # rounded, so that there are ties
    y = (x + rng.normal(size=50)).round(1)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    gaps = x.copy(), y.copy()
    gaps[0][:5], gaps[1][45:] = NAN, NAN
    assert spearman(*gaps) == pytest.approx(spearman(x[5:45], y[5:45]))
    assert pearson(*gaps) == pytest.approx(pearson(x[5:45], y[5:45]))


@pytest.mark.parametrize("seed", range(5))
def test_ranks_do_not_change_under_increasing_maps_and_turn_under_decreasing_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=40), rng.normal(size=40)
    assert spearman(np.exp(x), y**3) == pytest.approx(spearman(x, y))
    assert spearman(-x, y) == pytest.approx(-spearman(x, y))
    assert pearson(3 * x - 7, y) == pytest.approx(pearson(x, y))
    assert spearman(x, y) == spearman(y, x)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0, NAN], [NAN, 1.0, 2.0, 3.0]),
    ],
    ids=["none", "two", "constant", "two known in both"],
)
def test_what_cannot_be_correlated_is_nan(x: list[float], y: list[float]) -> None:
    assert np.isnan(spearman(np.array(x), np.array(y)))
    assert np.isnan(pearson(np.array(y), np.array(x)))


def test_rows_correlate_as_they_do_one_by_one() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40, 6)).round(1)
    x[rng.random(x.shape) < 0.2] = NAN
    y[rng.random(y.shape) < 0.2] = NAN
    x[3], y[5] = 1.0, 2.0
    expected = [spearman(a, b) for a, b in zip(x, y, strict=True)]
    assert np.isnan(expected).any()
    np.testing.assert_allclose(spearman_rows(x, y), expected, atol=1e-12)

import numpy as np
import pytest
from scipy.stats import binomtest

from pyrite.stats.proportions import MIN_CLUSTERS, effective_rows, share


@pytest.mark.parametrize(("hits", "num"), [(0, 20), (1, 20), (161, 202), (20, 20)])
def test_independent_rows_have_wilsons_interval(hits: int, num: int) -> None:
    found = share(np.repeat([1.0, 0.0], [hits, num - hits]))
    scipy = binomtest(hits, num).proportion_ci(method="wilson")
    assert found.estimate == hits / num
    assert (found.low, found.high) == pytest.approx((scipy.low, scipy.high))


def test_rows_that_repeat_their_cluster_are_worth_no_more_than_the_clusters() -> None:
    """Each of 10 clusters holds the same row three times: the between-cluster variance is that of 10 rows."""
    once = np.array([1.0, 0, 1, 1, 0, 1, 1, 1, 0, 1])
    rows, labels = once.repeat(3), np.arange(10).repeat(3)
    wide, narrow = share(rows, clusters=labels), share(rows)
    assert wide.estimate == narrow.estimate == pytest.approx(0.7)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    assert effective_rows(rows, labels) < 10


def test_where_all_rows_agree_a_cluster_counts_as_one_row() -> None:
    found = share(np.ones(60), clusters=np.arange(20).repeat(3))
    assert found == share(np.ones(20))
    assert 0.8 < found.low < found.high == 1


def test_no_interval_is_given_for_fewer_clusters_than_it_needs() -> None:
    labels = np.arange(MIN_CLUSTERS - 1).repeat(50)
    found = share(np.tile([1.0, 0.0], 100)[: len(labels)], clusters=labels)
    assert found.estimate == 0.5
    assert np.isnan([found.low, found.high]).all()


def test_unknown_rows_are_left_out_and_nothing_known_is_nan() -> None:
    assert share(np.array([1.0, np.nan, 0, 1, 0, 1, 1])) == share(np.array([1.0, 0, 1, 0, 1, 1]))
    assert np.isnan(share(np.full(9, np.nan)).estimate)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_share_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level is the coverage aimed at"):
        share(np.ones(9), level=level)


def test_the_interval_of_clustered_rows_covers() -> None:
    """20 clusters of 6 rows whose chance differs by cluster; 300 draws, so 0.95 has a standard error of 0.013."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        chance = rng.beta(4, 2, 20).repeat(6)
        found = share((rng.random(120) < chance).astype(float), clusters=np.arange(20).repeat(6))
        covered += found.low <= 4 / 6 <= found.high
    assert 0.91 <= covered / 300 <= 0.99

"""Laws of every transform and every aggregate, checked on random scores with ties and gaps."""

import numpy as np
import pytest

from pyrite.mitigation.ensembles import AGGREGATES, aggregate
from pyrite.mitigation.transforms import Chain, parse_transform
from pyrite.stats.ranks import spearman

CHAINS = ["identity", "standardise", "clip(-1, 1)", "standardise | clip(-2, 2)", "clip(0, 5) | standardise"]


def random_scores(seed: int, shape: tuple[int, ...] = (200,)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scores = rng.normal(loc=rng.normal(scale=3), scale=rng.exponential(), size=shape).round(2)
    scores[rng.random(shape) < 0.1] = np.nan
    return scores


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest) -> Chain:
    base = np.random.default_rng(0).normal(1, 2, size=300)
    return parse_transform(request.param).fit(base, "a")


@pytest.mark.parametrize("seed", range(5))
def test_nan_goes_in_where_nan_comes_out_and_nowhere_else(chain: Chain, seed: int) -> None:
    scores = random_scores(seed)
    np.testing.assert_array_equal(np.isnan(chain(scores)), np.isnan(scores))


@pytest.mark.parametrize("seed", range(5))
def test_a_better_score_is_never_worth_less(chain: Chain, seed: int) -> None:
    assert (np.diff(chain(np.sort(random_scores(seed)))[:150]) >= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_score_is_transformed_on_its_own(chain: Chain, seed: int) -> None:
    scores = random_scores(seed, (6, 4))
    one_by_one = np.array([[chain(np.array([value]))[0] for value in row] for row in scores])
    np.testing.assert_array_equal(chain(scores), one_by_one)


def test_the_scores_that_come_in_are_left_alone(chain: Chain) -> None:
    scores = random_scores(0)
    before = scores.copy()
    chain(scores)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("seed", range(5))
def test_standardised_scores_do_not_depend_on_the_unit_of_the_reward(seed: int) -> None:
    """Tolerance: a few roundings of float64 in mean, deviation and quotient."""
    scores = random_scores(seed)
    plain = parse_transform("standardise").fit(scores, "a")(scores)
    scaled = parse_transform("standardise").fit(scores * 26 + 3, "a")(scores * 26 + 3)
    np.testing.assert_allclose(scaled, plain, rtol=1e-9, atol=1e-12)
    assert np.nanmean(plain) == pytest.approx(0, abs=1e-12)
    assert np.nanstd(plain, ddof=1) == pytest.approx(1)
    assert spearman(plain, scores) == pytest.approx(1)


@pytest.mark.parametrize("how", AGGREGATES)
@pytest.mark.parametrize("seed", range(5))
def test_an_aggregate_of_one_reward_is_that_reward(how: str, seed: int) -> None:
    scores = random_scores(seed)
    np.testing.assert_array_equal(aggregate(scores[:, None], np.ones(1), how), scores)


@pytest.mark.parametrize("how", AGGREGATES)
@pytest.mark.parametrize("seed", range(5))
def test_an_aggregate_treats_members_alike_and_rows_apart(how: str, seed: int) -> None:
    """Tolerance: another order of members rounds differently."""
    scores, weights = random_scores(seed, (50, 4)), np.ones(4)
    together = aggregate(scores, weights, how)
    np.testing.assert_allclose(aggregate(scores[:, ::-1], weights, how), together, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(np.concatenate([aggregate(row[None], weights, how) for row in scores]), together)


@pytest.mark.parametrize("how", AGGREGATES)
def test_a_member_that_rises_never_lowers_the_aggregate(how: str) -> None:
    scores = random_scores(0, (50, 3))
    raised = scores.copy()
    raised[:, 1] += 0.5
    known = ~np.isnan(scores).any(axis=1)
    assert (aggregate(raised, np.ones(3), how) >= aggregate(scores, np.ones(3), how))[known].all()


@pytest.mark.parametrize("seed", range(5))
def test_the_worst_case_is_no_more_than_the_mean(seed: int) -> None:
    scores = random_scores(seed, (50, 3))
    known = ~np.isnan(scores).any(axis=1)
    worst, mean = aggregate(scores, np.ones(3), "min"), aggregate(scores, np.ones(3), "mean")
    assert (worst <= mean + 1e-12)[known].all()

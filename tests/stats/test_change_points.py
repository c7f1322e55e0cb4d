import re
from collections.abc import Callable

import numpy as np
import pytest

from pyrite.stats.change_points import Parting, cell_means, find_parting

Trend = Callable[[np.ndarray], np.ndarray]
STEPS = np.arange(6) * 20


def flat(steps: np.ndarray) -> np.ndarray:
    return 0.0 * steps


def rise(steps: np.ndarray) -> np.ndarray:
    return steps / 100


def hump(steps: np.ndarray) -> np.ndarray:
    return np.where(steps < 40, steps, 80 - steps) / 200


def plateau(steps: np.ndarray) -> np.ndarray:
    return -np.maximum(steps - 60, 0) / 100


def fall(steps: np.ndarray) -> np.ndarray:
    return -steps / 200


def simulate(seed: int, proxy: Trend, gold: Trend, *, num_prompts: int = 30, correlation: float = 0.0) -> Parting:
    """Prompts of their own level (deviation 0.2), a mean over images at each step (deviation 0.2 around the trend)."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(scale=0.2, size=(2, num_prompts, 1))
    noise = rng.normal(scale=0.2, size=(2, num_prompts, len(STEPS)))
    noise[1] = correlation * noise[0] + np.sqrt(1 - correlation**2) * noise[1]
    tables = levels + noise
    return find_parting(STEPS, proxy(STEPS) + tables[0], gold(STEPS) + tables[1], rng=rng, num_resamples=200)


@pytest.mark.parametrize(
    ("proxy", "gold", "correlation"),
    [(rise, flat, -0.8), (rise, flat, 0.8), (rise, rise, 0.0), (flat, fall, -0.8), (flat, flat, 0.0)],
    ids=["gold flat and against", "gold flat and along", "gold rises", "proxy flat", "nothing moves"],
)
def test_clean_runs_sound_no_more_alarms_than_alpha(proxy: Trend, gold: Trend, correlation: float) -> None:
    """alpha 0.05, 200 runs of 30 prompts, seeds 0 to 199. At a rate of 0.05 more than 21 alarms have probability 0.0004
    (binomial). `correlation` is that of the noise of proxy and gold; at -0.8 gold's highest step flatters the rise of
    the proxy.
    """
    alarms = sum(simulate(seed, proxy, gold, correlation=correlation).is_found for seed in range(200))
    assert alarms <= 21


@pytest.mark.parametrize(("gold", "truth"), [(hump, 40), (plateau, 60), (fall, 0)], ids=["hump", "plateau", "fall"])
def test_a_planted_parting_is_found_where_it_is(gold: Trend, truth: int) -> None:
    """Gold loses 0.4 (0.5 in the straight fall) with a deviation of 0.05 between two means of 30 prompts, 8 to 10
    deviations: all of 50 runs, seeds 0 to 49, must see it. Means 20 steps apart differ by 2 to 4 deviations, so the
    place is asked for within one evaluation; the 95 % interval must hold the truth in at least 43 (binomial: below 43
    of 50 has probability 0.004).
    """
    found = [simulate(seed, rise, gold) for seed in range(50)]
    assert all(parting.is_found for parting in found)
    assert sum(abs(parting.step - truth) <= 20 for parting in found) >= 48
    assert sum(parting.low <= truth <= parting.high for parting in found) >= 43
    assert np.mean([parting.gold_change for parting in found]) == pytest.approx(
        gold(STEPS)[-1] - gold(np.array([truth]))[0], abs=0.05
    )


def test_a_collapse_in_which_the_proxy_falls_too_is_no_parting() -> None:
    parting = simulate(0, fall, fall)
    assert not parting.is_found
    assert np.isnan([parting.step, parting.low, parting.high]).all()
    assert re.match(
        r"gold fell by 0\.\d+ after step 0, but the proxy fell \(-0\.\d+, p = 1\): the optimiser", parting.reason
    )


def test_a_proxy_that_stays_is_said_to_have_hardly_risen() -> None:
    """Noiseless gold falls from the first step, and the proxy ends where it began after a detour."""
    levels = np.linspace(0, 1, 8)[:, None]
    proxy = np.array([0.0, 0.3, -0.2, 0.1, 0.3, 0.0]) * np.linspace(-1, 1.2, 8)[:, None]
    parting = find_parting(STEPS, proxy, fall(STEPS) + levels, rng=np.random.default_rng(0))
    assert parting.reason == (
        "gold fell by 0.5 after step 0, but the proxy hardly rose (+0, p = 1): the optimiser gained nothing by it"
    )


def test_gold_that_does_not_fall_says_so() -> None:
    assert re.match(
        r"gold did not fall: noise alone loses as much with probability \S+$", simulate(0, rise, rise).reason
    )


def test_without_noise_the_knot_is_exact_and_its_interval_a_point() -> None:
    levels = np.linspace(0, 1, 8)[:, None]
    parting = find_parting(STEPS, rise(STEPS) + levels, hump(STEPS) + levels, rng=np.random.default_rng(0))
    assert (parting.step, parting.low, parting.high) == (40, 40, 40)
    assert parting.gold_change == pytest.approx(-0.3)
    assert parting.proxy_change == pytest.approx(0.6)
    assert parting.gold_p_value == parting.proxy_p_value == pytest.approx(1 / 2001)


def test_shifting_and_scaling_either_curve_moves_nothing() -> None:
    rng = np.random.default_rng(0)
    proxy, gold = rise(STEPS) + rng.normal(size=(20, 6)) / 10, hump(STEPS) + rng.normal(size=(20, 6)) / 10
    plain = find_parting(STEPS, proxy, gold, rng=np.random.default_rng(1))
    moved = find_parting(STEPS, 8 * proxy - 4, 4 * gold + 2, rng=np.random.default_rng(1))
    assert (plain.step, plain.low, plain.high) == (moved.step, moved.low, moved.high)
    assert (plain.gold_p_value, plain.proxy_p_value) == (moved.gold_p_value, moved.proxy_p_value)
    assert moved.gold_change == pytest.approx(4 * plain.gold_change)


def test_unscored_cells_are_left_out() -> None:
    rng = np.random.default_rng(0)
    proxy, gold = rise(STEPS) + rng.normal(size=(30, 6)) / 10, hump(STEPS) + rng.normal(size=(30, 6)) / 10
    gold[rng.random(gold.shape) < 0.2] = np.nan
    assert find_parting(STEPS, proxy, gold, rng=rng).step == 40


def test_gold_that_came_back_has_no_single_parting() -> None:
    """Down at once and up ever since: every broken line that does not fall before its knot rises after it."""
    gold = np.array([1.0, 0.0, 0.2, 0.4, 0.6, 0.8]) + np.linspace(0, 1, 8)[:, None]
    parting = find_parting(STEPS, rise(STEPS) + 0 * gold, gold, rng=np.random.default_rng(0))
    assert parting.reason == "gold fell and came back, so no single step parts it from the proxy"


@pytest.mark.parametrize(
    ("num_prompts", "num_steps", "gap", "said"),
    [
        (9, 2, None, "there are 2 evaluated steps, and a bend takes at least 3"),
        (4, 6, None, "there are 4 prompts, too few to know how far chance goes (at least 5)"),
        (9, 6, 0, "the proxy was scored for 0 prompts at step 40, too few to know how far chance goes"),
        (9, 6, 1, "gold was scored for 0 prompts at step 40, too few to know how far chance goes"),
    ],
    ids=["steps", "prompts", "proxy", "gold"],
)
def test_too_little_data_give_nan_and_a_reason(num_prompts: int, num_steps: int, gap: int | None, said: str) -> None:
    tables = np.random.default_rng(0).normal(size=(2, num_prompts, num_steps))
    if gap is not None:
        tables[gap, :, 2] = np.nan
    parting = find_parting(STEPS[:num_steps], tables[0], tables[1], rng=np.random.default_rng(0))
    assert parting.reason == said
    assert np.isnan([parting.step, parting.gold_change, parting.gold_p_value]).all()


def test_cell_means_are_over_the_scored_images_of_a_prompt_at_a_step() -> None:
    values = np.array([1.0, 3.0, np.nan, 5.0, np.nan])
    prompts, steps = np.array(["b", "b", "b", "a", "a"]), np.array([20, 20, 20, 0, 20])
    ticks, means = cell_means(values, prompts, steps)
    assert ticks.tolist() == [0, 20]
    np.testing.assert_array_equal(means, [[5.0, np.nan], [np.nan, 2.0]])

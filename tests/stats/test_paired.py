"""Two conditions on the same items: the numbers mean what the table says they mean."""

import numpy as np
import pytest

from pyrite.stats.paired import FEWEST, compare_paired

A = np.random.default_rng(1).normal(size=60)
B = np.random.default_rng(2).normal(size=60)
PROMPTS = np.repeat([f"p{k}" for k in range(20)], 3)
CASES = [pytest.param(None, id="pairs"), pytest.param(PROMPTS, id="prompts")]


@pytest.mark.parametrize("prompts", CASES)
def test_swapping_the_sides_negates_what_is_between_them(prompts: np.ndarray | None) -> None:
    ours, theirs = compare_paired(A, B, prompts=prompts), compare_paired(B, A, prompts=prompts)
    assert ours.difference.estimate == -theirs.difference.estimate
    assert (ours.difference.low, ours.difference.high) == pytest.approx(
        (-theirs.difference.high, -theirs.difference.low), abs=1e-12
    )
    assert (ours.wins, ours.ties, ours.losses) == (theirs.losses, theirs.ties, theirs.wins)
    assert ours.win_rate.estimate == pytest.approx(1 - theirs.win_rate.estimate, abs=1e-12)
    assert ours.effect.estimate == pytest.approx(-theirs.effect.estimate, abs=1e-12)
    assert (ours.mean_a, ours.mean_b, ours.sd) == (theirs.mean_b, theirs.mean_a, theirs.sd)


@pytest.mark.parametrize("prompts", CASES)
def test_equal_sets_tie_everywhere(prompts: np.ndarray | None) -> None:
    found = compare_paired(A, A, prompts=prompts)
    assert (found.wins, found.ties, found.losses) == (0, 60, 0)
    assert (found.difference.estimate, found.difference.low, found.difference.high) == (0, 0, 0)
    assert (found.win_rate.estimate, found.win_rate.low, found.win_rate.high) == (0.5, 0.5, 0.5)
    assert np.isnan(found.effect.estimate)


@pytest.mark.parametrize("shift", [0.25, -0.25], ids=["up", "down"])
def test_a_constant_shift_is_found_with_its_sign(shift: float) -> None:
    found = compare_paired(A + shift, A, prompts=PROMPTS)
    assert found.difference.estimate == pytest.approx(shift, abs=1e-12)
    assert (found.difference.low, found.difference.high) == pytest.approx((shift, shift), abs=1e-12)
    assert (found.wins, found.losses) == ((60, 0) if shift > 0 else (0, 60))
    assert found.win_rate.estimate == (shift > 0)
    assert np.isnan(found.effect.estimate)  # no spread to measure it by, whatever rounding left of one


def test_numbers_by_hand() -> None:
    found = compare_paired(np.array([3.0, 1.0, 2.0, np.nan]), np.array([1.0, 1.0, 3.0, 5.0]))
    assert (found.num_pairs, found.num_missing) == (3, 1)
    assert (found.mean_a, found.mean_b) == (2, pytest.approx(5 / 3))
    assert found.difference.estimate == pytest.approx(1 / 3)
    assert found.sd == pytest.approx(np.sqrt(7 / 3))
    assert found.effect.estimate == pytest.approx(1 / 3 / np.sqrt(7 / 3))
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.win_rate.estimate == 0.5


def test_prompts_are_resampled_and_not_pairs() -> None:
    """Three copies of each pair hold no more than one of them."""
    once = compare_paired(A[::3], B[::3])
    thrice = compare_paired(np.repeat(A[::3], 3), np.repeat(B[::3], 3), prompts=PROMPTS)
    widths = [one.difference.high - one.difference.low for one in (once, thrice)]
    assert widths[0] == pytest.approx(widths[1], rel=0.05)


def test_a_few_prompts_get_no_interval_and_a_reason() -> None:
    few = slice(0, 3 * (FEWEST - 1))
    found = compare_paired(A[few], B[few], prompts=PROMPTS[few])
    assert np.isfinite(found.difference.estimate)
    assert np.isnan([found.difference.low, found.win_rate.high, found.effect.low]).all()
    assert found.difference.reason == "4 prompts are too few for an interval"


def test_without_a_pair_there_is_no_number() -> None:
    found = compare_paired(np.full(7, np.nan), np.ones(7))
    assert (found.num_pairs, found.num_missing, found.wins) == (0, 7, 0)
    assert np.isnan([found.mean_a, found.difference.estimate, found.win_rate.estimate, found.sd]).all()


def test_the_interval_covers_as_often_as_it_says() -> None:
    """95 % of 300 intervals of 40 normal pairs, give or take 4 standard errors."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        found = compare_paired(rng.normal(0.3, 1, 40), np.zeros(40), num_resamples=400).difference
        hits += found.low <= 0.3 <= found.high
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 300) - 0.02 <= hits / 300 <= 1


def test_ten_of_ten_is_no_proof_of_always() -> None:
    found = compare_paired(np.arange(10.0) + 1, np.arange(10.0)).win_rate
    assert found.estimate == 1
    assert 0.6 < found.low < 0.8  # Wilson's 0.72
    assert found.high == 1

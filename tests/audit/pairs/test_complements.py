import numpy as np
import pytest
from tests.audit.pairs.planted import images_of, ladder_of, simple

from pyrite.audit.pairs.complements import agreement_matrix, combined_margins, complements
from pyrite.audit.pairs.images import pair_up
from pyrite.audit.pairs.outcomes import outcomes, pair_test

SPLIT = {
    "for_smear": lambda picture, kind, severity, broken, rng: -severity * (kind == "smear"),
    "for_ghost": lambda picture, kind, severity, broken, rng: -severity * (kind == "ghost"),
}


def test_two_rewards_that_see_one_kind_each_see_both_together() -> None:
    """Each is right about half of the pairs and ties on the rest, together they are right about all of any picture."""
    [found] = complements(pair_test(pair_up(ladder_of(10, SPLIT))))
    assert found.alone == (0.75, 0.75)
    assert found.either == found.accuracy == 1
    assert (found.gain.estimate, found.gain.low, found.gain.high) == (0.25, 0.25, 0.25)
    assert found.worst_alone == (0.5, 0.5)
    assert found.worst == 1
    assert found.agreement < 0
    assert found.num == 60


def test_standardised_sum_and_minimum_by_hand() -> None:
    """Scores 2, 0 of r and 0, 30 of s: standardised (±1/√2 times √1) they are opposite, so the sum ties."""
    images = simple([2.0], [0.0], s=[0.0, 30.0])
    pairs = pair_up(images).damaged
    found = combined_margins(pairs, "r", "s")
    assert found["sum"] == pytest.approx([0.0])
    assert found["min"] == pytest.approx([0.0])
    doubled = simple([2.0, 0.0], [0.0, 1.0], s=[5.0, 0.0, 5.0, 5.0])
    both = pair_up(doubled).damaged
    r, s = np.array([2.0, 0, 0, 1]), np.array([5.0, 0, 5, 5])
    r, s = (r - r.mean()) / r.std(ddof=1), (s - s.mean()) / s.std(ddof=1)
    np.testing.assert_allclose(combined_margins(both, "r", "s")["sum"], (r + s)[::2] - (r + s)[1::2])
    np.testing.assert_allclose(combined_margins(both, "r", "s")["min"], np.minimum(r, s)[::2] - np.minimum(r, s)[1::2])


def test_no_combination_is_right_where_both_rewards_are_not() -> None:
    rng = np.random.default_rng(1)
    rows = [(f"p{k // 2}", k % 2, "", None) for k in range(200)]
    images = images_of(rows, {"a": rng.normal(size=200), "b": rng.normal(size=200)})
    test = pair_test(pair_up(images))
    neither = (test.outcomes["a"] < 1) & (test.outcomes["b"] < 1)
    for margin in combined_margins(test.paired.damaged, "a", "b").values():
        assert (outcomes(margin)[neither] < 1).all()
    [found] = complements(test)
    assert found.accuracy <= found.either


def test_a_reward_and_its_copy_gain_nothing_and_agree_entirely() -> None:
    rng = np.random.default_rng(2)
    clean, damaged = rng.normal(size=40), rng.normal(size=40)
    images = simple(clean, damaged, copy=np.stack([clean, damaged], 1).ravel() * 7 + 1)
    [found] = complements(pair_test(pair_up(images)))
    assert (found.gain.estimate, found.gain.low, found.gain.high) == (0, 0, 0)
    assert found.agreement == pytest.approx(1)


def test_a_constant_reward_has_nothing_to_add() -> None:
    rng = np.random.default_rng(3)
    images = simple(rng.normal(size=20), rng.normal(size=20), constant=np.full(40, 0.1))
    assert complements(pair_test(pair_up(images))) == []


def test_a_gain_owed_to_noise_has_an_interval_that_holds_zero() -> None:
    rng = np.random.default_rng(4)
    images = ladder_of(40, {name: lambda *_, rng=rng: rng.normal() for name in "abcdef"})
    found = complements(pair_test(pair_up(images)))
    assert len(found) == 15
    assert all(item.gain.low <= 0 for item in found)
    assert [item.accuracy for item in found] == sorted((item.accuracy for item in found), reverse=True)


def test_noise_that_breaks_ties_is_no_gain() -> None:
    """200 pairs, 100 of them ties of r: with ties counted as mistakes, noise would seem to gain 0.25."""
    rng = np.random.default_rng(5)
    images = simple(np.arange(200) % 2, np.zeros(200), noise=rng.normal(size=400) * 1e-6)
    [found] = complements(pair_test(pair_up(images)))
    assert found.alone[0] == 0.75
    assert abs(found.gain.estimate) < 0.1
    assert found.gain.low < 0


def test_sure_gains_come_first() -> None:
    scores = {**SPLIT, "oracle": lambda picture, kind, severity, broken, rng: -severity * broken}
    first, *rest = complements(pair_test(pair_up(ladder_of(10, scores))))
    assert {first.first, first.second} == set(SPLIT)
    assert all(item.gain.estimate == 0 and item.accuracy == 1 for item in rest)


def test_pairs_that_one_reward_did_not_score_are_left_out() -> None:
    images = simple([1, 1, 1, 1], [0, 0, 0, 2], s=[1, 0, np.nan, 0, 0, 1, 1, 0])
    [found] = complements(pair_test(pair_up(images)))
    assert found.num == 3
    assert found.alone == (2 / 3, 2 / 3)
    assert np.isnan(found.gain.low)  # of three pictures


def test_rewards_without_a_pair_in_common_are_left_out() -> None:
    images = simple([1, np.nan], [0, 1], s=[np.nan, 1, 2, 1])
    assert complements(pair_test(pair_up(images))) == []


def test_agreement_is_the_rank_correlation_of_margins() -> None:
    images = simple([4, 3, 2, 1], [0, 0, 0, 0], s=[1, 0, 2, 0, 3, 0, 4, 0], t=[0] * 8)
    found = agreement_matrix(pair_up(images).damaged, ["r", "s", "t"])
    np.testing.assert_allclose(found[:2, :2], [[1, -1], [-1, 1]], atol=1e-12)
    assert np.isnan(found[2]).all()

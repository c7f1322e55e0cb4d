from itertools import combinations

import numpy as np
import pytest

from pyrite.stats.best_of_n import best_of_n_curves, best_of_n_kl, selection_probabilities


def enumerate_best(proxy: np.ndarray, gold: np.ndarray, n: int) -> tuple[float, float]:
    """Mean over all C(M, n) subsets of the highest proxy, and of the gold that goes with it, ties averaged."""
    found = []
    for subset in combinations(range(len(proxy)), n):
        best = max(proxy[i] for i in subset)
        found.append((best, np.mean([gold[i] for i in subset if proxy[i] == best])))
    proxies, golds = zip(*found, strict=True)
    return float(np.mean(proxies)), float(np.mean(golds))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("decimals", [3, 0], ids=["distinct", "tied"])
def test_the_expectation_is_that_of_all_subsets(n: int, decimals: int) -> None:
    rng = np.random.default_rng(n)
    proxy, gold = rng.normal(size=8).round(decimals), rng.normal(size=8)
    curves = best_of_n_curves(proxy, gold, np.zeros(8), [n])
    expected_proxy, expected_gold = enumerate_best(proxy, gold, n)
    assert curves.proxy_PS[0, 0] == pytest.approx(expected_proxy)
    assert curves.gold_PS[0, 0] == pytest.approx(expected_gold)


def test_selection_probabilities_sum_to_one_and_favour_the_higher() -> None:
    proxy = np.random.default_rng(0).normal(size=500)
    for n in (1, 2, 50, 500):
        probabilities = selection_probabilities(proxy, n)
        assert probabilities.sum() == pytest.approx(1)
        assert (np.diff(probabilities[np.argsort(proxy)]) >= 0).all()


def test_ties_share_and_do_not_depend_on_their_order() -> None:
    """Of 1, 1, 2 two are drawn: 2 is in two of three pairs, and the pair (1, 1) is shared."""
    np.testing.assert_allclose(selection_probabilities(np.array([1.0, 1.0, 2.0]), 2), [1 / 6, 1 / 6, 2 / 3])
    np.testing.assert_allclose(selection_probabilities(np.array([1.0, 2.0, 1.0]), 2), [1 / 6, 2 / 3, 1 / 6])
    np.testing.assert_allclose(selection_probabilities(np.full(4, 5.0), 3), np.full(4, 1 / 4))


def test_the_ends_of_the_curve_are_the_mean_and_the_best() -> None:
    proxy, gold = np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.5, 0.9])
    curves = best_of_n_curves(proxy, gold, np.zeros(3), [1, 3])
    np.testing.assert_allclose(curves.proxy_PS, [[2.0, 3.0]])
    np.testing.assert_allclose(curves.gold_PS, [[0.5, 0.1]])


def test_only_the_order_of_the_proxy_decides_about_gold() -> None:
    rng = np.random.default_rng(0)
    proxy, gold, prompts = rng.normal(size=60), rng.normal(size=60), np.repeat(np.arange(6), 10)
    plain = best_of_n_curves(proxy, gold, prompts, [1, 2, 4])
    bent = best_of_n_curves(np.exp(3 * proxy), gold, prompts, [1, 2, 4])
    np.testing.assert_allclose(plain.gold_PS, bent.gold_PS)


def test_the_estimate_is_unbiased_for_independent_draws() -> None:
    """E max of n uniform draws is n / (n + 1); 2,000 prompts of 12 draws, n = 4. The deviation of one prompt's estimate
    is below that of a single maximum, 0.163, so the mean's is below 0.0037; four of these are allowed.
    """
    rng = np.random.default_rng(0)
    proxy = rng.random(24_000)
    curves = best_of_n_curves(proxy, proxy, np.repeat(np.arange(2000), 12), [4])
    assert curves.proxy_PS.mean() == pytest.approx(4 / 5, abs=4 * 0.0037)


def test_unscored_images_are_left_out_and_too_few_give_nan() -> None:
    proxy = np.array([1.0, np.nan, 3.0, 1.0, 2.0])
    gold = np.array([0.1, 0.9, 0.3, np.nan, 0.7])
    prompts = np.array(["a", "a", "a", "b", "b"])
    curves = best_of_n_curves(proxy, gold, prompts, [1, 2, 3])
    np.testing.assert_allclose(curves.proxy_PS, [[2.0, 3.0, np.nan], [2.0, np.nan, np.nan]])
    np.testing.assert_allclose(curves.gold_PS, [[0.2, 0.3, np.nan], [0.7, np.nan, np.nan]])


def test_the_divergence_is_that_of_the_best_of_n_distribution() -> None:
    """For a uniform base the best of n has density n x^(n-1), so KL = ∫ n x^(n-1) log(n x^(n-1)) dx, by quadrature."""
    from scipy.integrate import quad

    for n in (1, 2, 10, 100):
        exact, _ = quad(lambda x, n=n: n * x ** (n - 1) * np.log(n * x ** (n - 1)), 1e-12, 1)
        assert best_of_n_kl(n) == pytest.approx(exact, abs=1e-6)
    curves = best_of_n_curves(np.zeros(2), np.zeros(2), np.zeros(2), [1, 2])
    np.testing.assert_allclose(curves.kl, [0.0, np.log(2) - 0.5])


@pytest.mark.parametrize("n", [0, 4])
def test_an_n_outside_the_samples_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"n is from 1 to the number of samples, 3; got {n}"):
        selection_probabilities(np.arange(3.0), n)


def test_what_has_no_rank_or_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="a sample without a proxy score has no rank"):
        selection_probabilities(np.array([1.0, np.nan]), 1)
    with pytest.raises(ValueError, match="the best of 0 images is none of them"):
        best_of_n_kl(0)
    with pytest.raises(ValueError, match="n is from 1 to"):
        best_of_n_curves(np.ones(2), np.ones(2), np.ones(2), [0])

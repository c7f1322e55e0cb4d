"""What picking the best of n by a proxy would give, estimated from M ≥ n samples per prompt, without bias.

Best-of-n needs no training, so it is the cheapest look at what optimising a proxy does to gold: the curve that bends
here bends in training too (Gao et al. 2022, arXiv 2210.10760).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped


@dataclass(frozen=True)
class BestOfN:
    """Curves over n, one row per prompt.

    Args:
        ns: (S,) the n.
        proxy_PS: expected proxy of the image that the proxy picks among n; NaN for prompts with fewer than n samples.
        gold_PS: expected gold of that same image.
    """

    ns: Int[np.ndarray, " S"]
    proxy_PS: Float[np.ndarray, "P S"]
    gold_PS: Float[np.ndarray, "P S"]

    @property
    def kl(self) -> Float[np.ndarray, " S"]:
        """`best_of_n_kl` of each n, in nats."""
        return np.array([best_of_n_kl(int(n)) for n in self.ns])


def best_of_n_kl(n: int) -> float:
    """KL(best-of-n ‖ base) = log n - (n - 1)/n, in nats per image.

    Exact when no two samples tie, the case of Gao et al. 2022; an upper bound when they can (Beirami et al. 2024,
    arXiv 2401.01879).

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"the best of {n} images is none of them; n is 1 or more")
    return math.log(n) - (n - 1) / n


def selection_probabilities(proxy: Float[np.ndarray, " M"], n: int) -> Float[np.ndarray, " M"]:
    """Probability of each of M samples to be the proxy's best among n drawn from them without replacement.

    The sample of rank i (1 = lowest) is the best of C(i - 1, n - 1) of the C(M, n) subsets, so gold weighted by these
    probabilities is the unbiased estimator of Coste et al. 2023 (arXiv 2310.02743). Theirs depends on the order of
    ties; here tied samples share their probabilities equally, as if ties were broken at random.

    Args:
        proxy: without NaN.
        n: from 1 to M.

    Raises:
        ValueError: n is not in that range, or a proxy score is NaN.
    """
    num = len(proxy)
    if not 1 <= n <= num:
        raise ValueError(f"n is from 1 to the number of samples, {num}; got {n}")
    if np.isnan(proxy).any():
        raise ValueError("a sample without a proxy score has no rank: leave it out first")
    subsets = math.comb(num, n)
    by_rank = np.array([math.comb(rank, n - 1) / subsets for rank in range(num)])
    _, value_of, ties = np.unique(proxy, return_inverse=True, return_counts=True)
    shared = np.add.reduceat(by_rank, np.cumsum(ties) - ties) / ties
    probabilities: Float[np.ndarray, " M"] = shared[value_of]
    return probabilities


def best_of_n_curves(
    proxy: Float[np.ndarray, " N"],
    gold: Float[np.ndarray, " N"],
    prompts: Shaped[np.ndarray, " N"],
    ns: Sequence[int],
) -> BestOfN:
    """Expected proxy and gold of the proxy's pick among n, per prompt; `BestOfN` rows follow the sorted prompts.

    Both curves are of the same images: those with a proxy score and a gold score. The mean over prompts, and its
    interval, is `intervals.bootstrap_mean` of a column.

    Args:
        proxy: what picks.
        gold: what we care about.
        prompts: label of each image's prompt.
        ns: the n to look at, each 1 or more.

    Raises:
        ValueError: an n below 1.
    """
    known = np.isfinite(proxy) & np.isfinite(gold)
    labels = np.unique(prompts)
    curves = np.full((2, len(labels), len(ns)), np.nan)
    for row, label in enumerate(labels):
        mine = known & (prompts == label)
        for column, n in enumerate(ns):
            if n <= mine.sum():
                picked = selection_probabilities(proxy[mine], n)
                curves[:, row, column] = picked @ proxy[mine], picked @ gold[mine]
    return BestOfN(np.array(ns, dtype=np.int64), curves[0], curves[1])

"""Laws of the GRPO objective. Expectations are sums over every sequence of a tabular policy, so they are exact."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.fakes import PrefixTable, every_sequence
from torch import Tensor

from pyrite.training.objectives import KL_ESTIMATORS, group_advantages, grpo_loss, kl_k1, kl_k2, kl_k3

T, V = 3, 3
EXACT = 1e-12  # float64, sums of at most 81 terms of order 1
SCALES = ("group", "batch", "none")


@pytest.fixture
def policy() -> PrefixTable:
    return PrefixTable(T, V, seed=1).double()


@pytest.fixture
def reference() -> PrefixTable:
    return PrefixTable(T, V, seed=2).double().requires_grad_(False)


def all_logp(table: PrefixTable) -> Tensor:
    return table(torch.from_numpy(every_sequence(T, V)))


def gradient(value: Tensor, policy: PrefixTable) -> Tensor:
    return torch.autograd.grad(value, policy.logits, retain_graph=True)[0]


def kl(logp_R: Tensor, other_R: Tensor) -> Tensor:
    return (logp_R.exp() * (logp_R - other_R)).sum()


def chi_squared(logp_R: Tensor, ref_R: Tensor) -> Tensor:
    return ((2 * logp_R - ref_R).exp()).sum() - 1


# What each estimator follows when it is differentiated on-policy (trap 2 of section 0.1, methods specification).


def laidlaw(logp: Tensor, ref: Tensor) -> Tensor:
    return ((logp - ref).exp() - 1) + ((ref - logp).exp() - 1)


def kl_in_reward(logp: Tensor, ref: Tensor) -> Tensor:
    return (logp - ref).detach() * logp


FOLLOWED: dict[str, tuple[Callable, Callable]] = {
    "k1 follows nothing": (kl_k1, lambda p, r: 0 * p.sum()),
    "k2 follows KL(pi, ref)": (kl_k2, lambda p, r: kl(p, r)),
    "k3 follows KL(ref, pi)": (kl_k3, lambda p, r: kl(r, p)),
    "(w-1)+(1/w-1) follows half chi2 + KL(ref, pi)": (laidlaw, lambda p, r: 0.5 * chi_squared(p, r) + kl(r, p)),
    "log w in the reward follows KL(pi, ref)": (kl_in_reward, lambda p, r: kl(p, r)),
}


@pytest.mark.parametrize(("estimator", "followed"), FOLLOWED.values(), ids=FOLLOWED)
def test_gradient_of_an_estimator_on_whole_sequences(
    policy: PrefixTable, reference: PrefixTable, estimator: Callable, followed: Callable
) -> None:
    logp_R1, ref_R1 = all_logp(policy).sum(1, keepdim=True), all_logp(reference).sum(1, keepdim=True)

    expected_estimate = (logp_R1.exp().detach() * estimator(logp_R1, ref_R1)).sum()

    wanted = gradient(followed(logp_R1, ref_R1), policy)
    torch.testing.assert_close(gradient(expected_estimate, policy), wanted, atol=EXACT, rtol=0)


FOLLOWED_PER_STATE: dict[str, tuple[Callable, Callable]] = {
    "k1 follows nothing": (kl_k1, lambda p, r: 0 * p.sum(-1)),
    "k2 follows KL(pi, ref)": (kl_k2, lambda p, r: (p.exp() * (p - r)).sum(-1)),
    "k3 follows KL(ref, pi)": (kl_k3, lambda p, r: (r.exp() * (r - p)).sum(-1)),
}


@pytest.mark.parametrize(("estimator", "followed"), FOLLOWED_PER_STATE.values(), ids=FOLLOWED_PER_STATE)
def test_gradient_of_an_estimator_per_token_takes_the_states_as_given(
    policy: PrefixTable, reference: PrefixTable, estimator: Callable, followed: Callable
) -> None:
    logp_RT = all_logp(policy)
    prob_R = logp_RT.sum(1).exp().detach()
    expected_estimate = (prob_R * estimator(logp_RT, all_logp(reference)).sum(1)).sum()

    states_RT = policy.prefixes(torch.from_numpy(every_sequence(T, V)))
    visits_S = torch.zeros(len(policy.logits), dtype=torch.float64)
    visits_S.index_add_(0, states_RT.flatten(), prob_R.repeat_interleave(T))
    divergence_S = followed(policy.logits.log_softmax(-1), reference.logits.log_softmax(-1))

    wanted = gradient((visits_S * divergence_S).sum(), policy)
    torch.testing.assert_close(gradient(expected_estimate, policy), wanted, atol=EXACT, rtol=0)


@pytest.mark.parametrize(("estimator", "divergence"), [(kl_k2, kl), (kl_k3, lambda p, r: kl(r, p))], ids=["k2", "k3"])
def test_per_token_gradient_is_not_the_gradient_of_the_sequence_divergence(
    policy: PrefixTable, reference: PrefixTable, estimator: Callable, divergence: Callable
) -> None:
    logp_RT, ref_RT = all_logp(policy), all_logp(reference)
    expected_estimate = (logp_RT.sum(1).exp().detach() * estimator(logp_RT, ref_RT).sum(1)).sum()

    of_sequence = gradient(divergence(logp_RT.sum(1), ref_RT.sum(1)), policy)
    assert (gradient(expected_estimate, policy) - of_sequence).abs().max() > 0.01


@pytest.mark.parametrize("estimator", [kl_k1, kl_k3], ids=["k1", "k3"])
def test_k1_and_k3_are_unbiased_on_policy(policy: PrefixTable, reference: PrefixTable, estimator: Callable) -> None:
    logp_RT, ref_RT = all_logp(policy), all_logp(reference)
    prob_R = logp_RT.sum(1).exp()
    estimate = (prob_R * estimator(logp_RT, ref_RT).sum(1)).sum()
    torch.testing.assert_close(estimate, kl(logp_RT.sum(1), ref_RT.sum(1)), atol=EXACT, rtol=0)


def test_k3_is_never_negative_and_zero_only_at_equality() -> None:
    log_ratio = torch.arange(-30, 31, dtype=torch.float64)[:, None] / 10
    value = kl_k3(log_ratio, torch.zeros_like(log_ratio))
    assert (value >= 0).all()
    assert torch.equal(value == 0, log_ratio == 0)


# Advantages


@pytest.mark.parametrize("scale", SCALES)
def test_advantages_of_a_group_sum_to_zero(scale: str) -> None:
    rewards = torch.from_numpy(np.random.default_rng(0).normal(size=40))
    rewards[[3, 17]] = torch.nan
    sums = group_advantages(rewards, 8, scale=scale, ddof=1).view(-1, 8).sum(1)
    torch.testing.assert_close(sums, torch.zeros_like(sums), atol=EXACT, rtol=0)


@pytest.mark.parametrize(
    ("scale", "ddof", "expected"),
    [
        ("none", 1, [-1.0, 1.0, -3.0, 3.0]),
        ("group", 0, [-1.0, 1.0, -1.0, 1.0]),
        ("group", 1, [-(0.5**0.5), 0.5**0.5, -(0.5**0.5), 0.5**0.5]),
        ("batch", 0, [-1 / 5**0.5, 1 / 5**0.5, -3 / 5**0.5, 3 / 5**0.5]),
        ("batch", 1, [-((3 / 20) ** 0.5), (3 / 20) ** 0.5, -3 * (3 / 20) ** 0.5, 3 * (3 / 20) ** 0.5]),
    ],
)
def test_advantages_of_a_small_batch(scale: str, ddof: int, expected: list[float]) -> None:
    """Groups (0, 2) and (-2, 4): means 1 and 1, centred -1, 1, -3, 3; squares of the whole batch sum to 20."""
    rewards = torch.tensor([0.0, 2.0, -2.0, 4.0], dtype=torch.float64)
    advantages = group_advantages(rewards, 2, scale=scale, ddof=ddof, eps=0.0)
    torch.testing.assert_close(advantages, torch.tensor(expected, dtype=torch.float64), atol=EXACT, rtol=0)


@pytest.mark.parametrize(("ddof", "bound"), [(0, lambda g: (g - 1) ** 0.5), (1, lambda g: g**0.5 - g**-0.5)])
@pytest.mark.parametrize("group_size", [2, 3, 4, 6])
def test_binary_rewards_bound_the_advantage_and_the_lone_winner_attains_it(
    group_size: int, ddof: int, bound: Callable[[int], float]
) -> None:
    labels = torch.tensor(list(itertools.product((0.0, 1.0), repeat=group_size)), dtype=torch.float64)
    advantages = group_advantages(labels.flatten(), group_size, scale="group", ddof=ddof, eps=0.0).nan_to_num()
    assert advantages.abs().max().item() == pytest.approx(bound(group_size), abs=EXACT)


@pytest.mark.parametrize("scale", SCALES)
def test_only_group_scaling_is_blind_to_affine_maps_per_prompt(scale: str) -> None:
    rng = np.random.default_rng(3)
    rewards_PG = torch.from_numpy(rng.normal(size=(5, 8)))
    mapped_PG = rewards_PG * torch.from_numpy(rng.uniform(0.5, 3, size=(5, 1))) + torch.from_numpy(
        rng.normal(size=(5, 1))
    )
    before, after = (
        group_advantages(rewards.flatten(), 8, scale=scale, ddof=1, eps=0.0) for rewards in (rewards_PG, mapped_PG)
    )
    assert torch.allclose(before, after, atol=EXACT) == (scale == "group")


@pytest.mark.parametrize("scale", SCALES)
def test_shift_per_prompt_changes_nothing_unless_the_batch_is_the_yardstick(scale: str) -> None:
    rewards = torch.from_numpy(np.random.default_rng(4).normal(size=24))
    shifted = rewards + torch.arange(3.0, dtype=torch.float64).repeat_interleave(8)
    before, after = (group_advantages(values, 8, scale=scale, ddof=1) for values in (rewards, shifted))
    assert torch.allclose(before, after, atol=EXACT) == (scale != "batch")


@pytest.mark.parametrize("scale", SCALES)
def test_unscored_sample_gets_zero_and_does_not_move_its_group(scale: str) -> None:
    rewards = torch.from_numpy(np.random.default_rng(5).normal(size=12))
    rewards[2] = torch.nan
    present = [0, 1, 3]
    advantages = group_advantages(rewards, 4, scale=scale, ddof=1)

    assert advantages[2] == 0
    centred = rewards[present] - rewards[present].mean()
    yardstick = {"group": rewards[present].std() + 1e-4, "batch": rewards[~rewards.isnan()].std() + 1e-4, "none": 1.0}
    torch.testing.assert_close(advantages[present], centred / yardstick[scale], atol=EXACT, rtol=0)


def test_masked_sample_counts_as_unscored() -> None:
    rewards = torch.tensor([1.0, 2.0, 30.0, 4.0], dtype=torch.float64)
    mask = torch.tensor([True, True, False, True])
    unscored = rewards.masked_fill(~mask, torch.nan)
    assert torch.equal(
        group_advantages(rewards, 4, scale="group", ddof=1, mask_R=mask),
        group_advantages(unscored, 4, scale="group", ddof=1),
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "rewards", [[1.0, math.nan, math.nan], [math.nan] * 3, [5.0] * 3], ids=["one", "none", "equal"]
)
def test_group_with_nothing_to_compare_gets_zero(scale: str, rewards: list[float]) -> None:
    advantages = group_advantages(torch.tensor(rewards, dtype=torch.float64), 3, scale=scale, ddof=1)
    assert advantages.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("num", "group_size"), [(4, 1), (5, 2)])
def test_groups_that_cannot_be_compared_are_refused(num: int, group_size: int) -> None:
    with pytest.raises(ValueError, match=f"{num} rewards in groups of {group_size}.*num_generations >= 2"):
        group_advantages(torch.zeros(num), group_size, scale="none", ddof=1)


# The loss


def loss_of(logp: Tensor, old: Tensor, advantages: Tensor, **options: object) -> Tensor:
    settings = {"ref_logp_RT": old, "beta": 0.0, "kl_estimator": "k3", "clip_eps_low": 0.2, "clip_eps_high": 0.3}
    mask = torch.ones(logp.shape, dtype=torch.bool)
    return grpo_loss(logp, old, advantages, mask, **(settings | options)).loss


def test_at_ratio_one_the_gradient_is_the_policy_gradient(policy: PrefixTable) -> None:
    """The average over sequences of A * grad log pi, divided by T because the loss is a mean over tokens."""
    logp_RT = all_logp(policy)
    advantages_R = torch.from_numpy(np.random.default_rng(6).normal(size=len(logp_RT)))
    wanted = gradient(-(advantages_R * logp_RT.sum(1)).mean() / T, policy)
    found = gradient(loss_of(all_logp(policy), logp_RT.detach(), advantages_R), policy)
    torch.testing.assert_close(found, wanted, atol=EXACT, rtol=0)


@pytest.mark.parametrize("estimator", KL_ESTIMATORS)
def test_beta_weighs_the_token_mean_of_the_estimator(
    policy: PrefixTable, reference: PrefixTable, estimator: str
) -> None:
    logp, ref = all_logp(policy), all_logp(reference)
    zeros = torch.zeros(len(logp), dtype=torch.float64)
    loss = loss_of(logp, logp.detach(), zeros, ref_logp_RT=ref, beta=0.5, kl_estimator=estimator)
    torch.testing.assert_close(loss, 0.5 * KL_ESTIMATORS[estimator](logp, ref).mean(), atol=EXACT, rtol=0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "clip_frac"),
    [
        pytest.param(1.0, 2.0, -2.0, -2.0, 0.0, id="ratio 1"),
        pytest.param(1.2, 2.0, -2.4, -2.4, 0.0, id="inside the limits"),
        pytest.param(1.5, 2.0, -2.6, 0.0, 1.0, id="good and already likelier: held at 1.3"),
        pytest.param(0.5, 2.0, -1.0, -1.0, 0.0, id="good and less likely: pulled back"),
        pytest.param(0.5, -2.0, 1.6, 0.0, 1.0, id="bad and already rarer: held at 0.8"),
        pytest.param(1.5, -2.0, 3.0, 3.0, 0.0, id="bad and likelier: pushed down"),
        pytest.param(1.5, 0.0, 0.0, 0.0, 0.0, id="no advantage"),
    ],
)
def test_each_branch_of_the_clip(ratio: float, advantage: float, loss: float, slope: float, clip_frac: float) -> None:
    """Limits 0.8 and 1.3; slope is the derivative by logp, which is ratio times the derivative by the ratio."""
    logp = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    parts = grpo_loss(
        logp, zero, torch.tensor([advantage], dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool),
        ref_logp_RT=zero, beta=0.0, kl_estimator="k3", clip_eps_low=0.2, clip_eps_high=0.3,
    )  # fmt: skip
    parts.loss.backward()
    assert parts.loss.item() == pytest.approx(loss, abs=EXACT)
    assert logp.grad.item() == pytest.approx(slope, abs=EXACT)
    assert parts.clip_frac.item() == clip_frac


def test_loss_is_a_mean_over_tokens_not_over_sequences() -> None:
    """Three tokens of advantage 1 and one of advantage -5: (3 - 5) / 4, where a mean of means gives (1 - 5) / 2."""
    logp = torch.zeros(2, 3, dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    parts = grpo_loss(
        logp, logp, torch.tensor([1.0, -5.0], dtype=torch.float64), mask,
        ref_logp_RT=logp, beta=0.0, kl_estimator="k3", clip_eps_low=0.2, clip_eps_high=0.2,
    )  # fmt: skip
    assert parts.loss.item() == 0.5


def test_masked_tokens_leave_no_trace_even_if_they_are_not_numbers() -> None:
    logp = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([[0.1, math.nan], [0.2, 0.3]], dtype=torch.float64)
    mask = torch.tensor([[True, False], [True, True]])
    parts = grpo_loss(
        logp, logp.detach(), torch.ones(2, dtype=torch.float64), mask,
        ref_logp_RT=ref, beta=1.0, kl_estimator="k1", clip_eps_low=0.2, clip_eps_high=0.2,
    )  # fmt: skip
    parts.loss.backward()
    assert parts.loss.item() == pytest.approx(-1 - 0.2, abs=EXACT)
    assert logp.grad[0, 1] == 0


def test_parts_of_a_split_batch_add_up(policy: PrefixTable, reference: PrefixTable) -> None:
    logp, ref, old = all_logp(policy), all_logp(reference), all_logp(PrefixTable(T, V, seed=7).double()).detach()
    advantages = torch.from_numpy(np.random.default_rng(8).normal(size=len(logp)))
    options = {"beta": 0.3, "kl_estimator": "k3", "clip_eps_low": 0.2, "clip_eps_high": 0.2}
    mask = torch.from_numpy(np.random.default_rng(9).random(logp.shape) < 0.7)
    whole = grpo_loss(logp, old, advantages, mask, ref_logp_RT=ref, **options)
    parts = [
        grpo_loss(
            logp[rows], old[rows], advantages[rows], mask[rows],
            ref_logp_RT=ref[rows], num_tokens=float(mask.sum()), **options,
        )
        for rows in (slice(0, 10), slice(10, None))
    ]  # fmt: skip
    for name in ("loss", "policy_loss", "kl", "clip_frac"):
        total = sum(getattr(part, name) for part in parts)
        torch.testing.assert_close(total, getattr(whole, name), atol=EXACT, rtol=0)


def test_random_labels_have_no_policy_gradient_on_average(policy: PrefixTable) -> None:
    """Every labelling of one group by fair coins, rollouts fixed: their gradients sum to 0 (arXiv:2512.16912)."""
    group_size = 4
    logp = all_logp(policy)[:group_size]
    labels = torch.tensor(list(itertools.product((0.0, 1.0), repeat=group_size)), dtype=torch.float64)
    total = sum(
        loss_of(logp, logp.detach(), group_advantages(row, group_size, scale="group", ddof=1)) for row in labels
    )
    assert gradient(total, policy).abs().max() < 1e-10


def test_weights_of_places_are_counts_of_tokens(policy: PrefixTable, reference: PrefixTable) -> None:
    """A place of weight 2 is one that is there twice."""
    logp, ref, old = all_logp(policy), all_logp(reference), all_logp(PrefixTable(T, V, seed=7).double()).detach()
    advantages = torch.from_numpy(np.random.default_rng(8).normal(size=len(logp)))
    options = {"beta": 0.3, "kl_estimator": "k3", "clip_eps_low": 0.2, "clip_eps_high": 0.2}
    mask = torch.from_numpy(np.random.default_rng(9).random(logp.shape) < 0.7)
    weighted = grpo_loss(
        logp, old, advantages, mask, ref_logp_RT=ref,
        weight_T=torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64), **options,
    )  # fmt: skip
    twice = [0, 0, 1, 2]
    repeated = grpo_loss(
        logp[:, twice], old[:, twice], advantages, mask[:, twice], ref_logp_RT=ref[:, twice], **options
    )
    for name in ("loss", "policy_loss", "kl", "clip_frac"):
        torch.testing.assert_close(getattr(weighted, name), getattr(repeated, name), atol=EXACT, rtol=0)


def test_a_place_of_weight_0_has_no_gradient(policy: PrefixTable) -> None:
    logp = all_logp(policy)
    advantages = torch.from_numpy(np.random.default_rng(6).normal(size=len(logp)))
    weight_T = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    found = gradient(loss_of(all_logp(policy), logp.detach(), advantages, weight_T=weight_T), policy)
    assert (found[0] == 0).all()
    assert (found[1:] != 0).any()

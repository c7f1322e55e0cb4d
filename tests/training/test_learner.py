import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fakes import FakePolicy, toy_prompts

from pyrite.core.errors import TrainingError
from pyrite.core.types import Rollouts
from pyrite.records.recipe import GrpoConfig
from pyrite.training.draws import Purpose, generator
from pyrite.training.learner import Learner
from pyrite.training.processes import Processes

ADVANTAGES = torch.tensor([1.0, -1.0, 0.5, -0.5], dtype=torch.float64)
ALL = np.ones(4, dtype=np.bool_)


def learner(path: Path, **settings: object) -> Learner:
    policy = FakePolicy.create(seed=1)
    return Learner(policy, GrpoConfig(learning_rate=0.1, **settings), Processes(policy.module), path)


def drawn(policy: FakePolicy) -> Rollouts:
    rngs = [generator(0, Purpose.DRAW, step=1, position=position) for position in range(2)]
    return policy.sample(toy_prompts(2), group_size=2, rngs=rngs)


def with_row(policy: FakePolicy, rollouts: Rollouts, row: int, tokens: list[int]) -> Rollouts:
    changed = rollouts.tokens.copy()
    changed[row] = tokens
    return policy.rollouts(changed, rollouts.prompts, rollouts.group_size)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_image_that_is_left_out_leaves_no_trace_in_the_update(tmp_path: Path, beta: float) -> None:
    kept = np.array([True, True, True, False])
    results = []
    for tokens in ([0, 0, 0], [2, 1, 2]):
        one = learner(tmp_path, beta=beta, updates_per_rollout=3)
        rollouts = with_row(one.policy, drawn(one.policy), 3, tokens)
        one.update(rollouts, ADVANTAGES * torch.from_numpy(kept), kept, step=1)
        results.append(one.policy.table.logits.detach().clone())
    assert torch.equal(*results)


def test_image_that_is_kept_does_leave_a_trace(tmp_path: Path) -> None:
    results = []
    for tokens in ([0, 0, 0], [2, 1, 2]):
        one = learner(tmp_path)
        one.update(with_row(one.policy, drawn(one.policy), 3, tokens), ADVANTAGES, ALL, step=1)
        results.append(one.policy.table.logits.detach().clone())
    assert not torch.equal(*results)


def test_tokens_become_likelier_with_their_advantage(tmp_path: Path) -> None:
    one = learner(tmp_path, beta=0.0)
    rollouts = one.policy.rollouts(np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2], [2, 0, 1]]), toy_prompts(4), 1)
    before = one.policy.logp(rollouts).detach().sum(1)
    one.update(rollouts, torch.tensor([1.0, 0.0, -1.0, 0.0]), ALL, step=1)
    change = one.policy.logp(rollouts).detach().sum(1) - before
    assert change[0] > 0 > change[2]


def test_divergence_is_zero_at_the_start_and_not_after(tmp_path: Path) -> None:
    one = learner(tmp_path)
    rollouts = drawn(one.policy)
    _, before = one.update(rollouts, ADVANTAGES, ALL, step=1)
    after = one.divergence(rollouts)
    assert before.kl.tolist() == before.kl_k3.tolist() == before.gap.tolist() == [0, 0, 0, 0]
    assert np.all(after.kl_k3 > 0)
    assert np.all(after.gap > 0)
    np.testing.assert_allclose(after.surprise, -rollouts.behaviour_logp.sum(1, dtype=np.float64))


def test_guided_sampling_shows_as_a_gap(tmp_path: Path) -> None:
    """What a policy drawn from another distribution than its own records, as classifier-free guidance makes it."""
    one = learner(tmp_path)
    rollouts = drawn(FakePolicy.create(seed=2))
    assert one.divergence(rollouts).gap.min() > 0.01
    assert one.divergence(rollouts).kl.tolist() == [0, 0, 0, 0]


def test_reference_does_not_move_with_the_policy(tmp_path: Path) -> None:
    one = learner(tmp_path)
    before = one.reference.table.logits.clone()
    one.update(drawn(one.policy), ADVANTAGES, ALL, step=1)
    assert torch.equal(one.reference.table.logits, before)
    assert not torch.equal(one.policy.table.logits, before)


@pytest.mark.parametrize(("warmup", "rates"), [(0, [0.1, 0.1, 0.1]), (2, [0.05, 0.1, 0.1])])
def test_learning_rate_of_a_step(tmp_path: Path, warmup: int, rates: list[float]) -> None:
    assert [learner(tmp_path, warmup_steps=warmup).learning_rate(step) for step in (1, 2, 3)] == rates


def test_gradient_is_shortened_to_the_norm_allowed(tmp_path: Path) -> None:
    """AdamW's first step has the learning rate's length however long the gradient, so the norm is read off directly."""
    one = learner(tmp_path, max_grad_norm=0.01)
    update, _ = one.update(drawn(one.policy), ADVANTAGES, ALL, step=1)
    norm = torch.cat([value.grad.flatten() for value in one.policy.module.parameters()]).norm().item()
    assert update.grad_norm > 0.01
    assert norm == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("updates", [1, 3])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, 100])
def test_gradients_of_micro_batches_add_up_to_that_of_the_batch(tmp_path: Path, micro_batch: int, updates: int) -> None:
    kept = np.array([True, False, True, True])
    whole = learner(tmp_path, beta=0.3, updates_per_rollout=updates)
    parts = learner(tmp_path, beta=0.3, updates_per_rollout=updates, micro_batch=micro_batch)
    rollouts = drawn(whole.policy)
    wanted, far = whole.update(rollouts, ADVANTAGES * torch.from_numpy(kept), kept, step=1)
    found, near = parts.update(rollouts, ADVANTAGES * torch.from_numpy(kept), kept, step=1)

    torch.testing.assert_close(parts.policy.table.logits, whole.policy.table.logits, atol=1e-6, rtol=0)
    assert vars(found) == pytest.approx(vars(wanted), abs=1e-6)
    np.testing.assert_allclose(near.kl, far.kl, atol=1e-6)
    np.testing.assert_allclose(parts.divergence(rollouts).kl, whole.divergence(rollouts).kl, atol=1e-6)


def planning(path: Path, plan_weight: float, num_plan_tokens: int = 1) -> Learner:
    policy = FakePolicy.create(seed=1)
    policy.card = replace(policy.card, num_plan_tokens=num_plan_tokens)
    settings = GrpoConfig(learning_rate=0.1, beta=0.0, plan_weight=plan_weight)
    return Learner(policy, settings, Processes(policy.module), path)


def test_a_plan_of_weight_0_is_not_trained_and_the_image_is(tmp_path: Path) -> None:
    one = planning(tmp_path, 0.0)
    before = one.policy.table.logits.detach().clone()
    one.update(drawn(one.policy), ADVANTAGES, ALL, step=1)
    moved_S = (one.policy.table.logits != before).any(1)
    assert not moved_S[0]  # the first token, before which stands nothing
    assert moved_S[1:].any()


def test_a_plan_weighs_in_the_loss_as_often_as_it_is_told_to(tmp_path: Path) -> None:
    """The gradient of a batch is (w * plan + image) / (w * plan tokens + image tokens), so two give every other."""
    gradients = {}
    for weight in (0.0, 1.0, 3.0):
        one = planning(tmp_path, weight)
        one.update(drawn(one.policy), ADVANTAGES, ALL, step=1)
        gradients[weight] = one.policy.table.logits.grad * (weight * 4 + 8)
    plan = gradients[1.0] - gradients[0.0]
    torch.testing.assert_close(gradients[3.0], 3 * plan + gradients[0.0], atol=1e-6, rtol=0)


def test_a_batch_in_which_nothing_counts_is_refused(tmp_path: Path) -> None:
    one = planning(tmp_path, 0.0, num_plan_tokens=3)
    with pytest.raises(TrainingError, match=r"no token of the batch counts, because grpo.plan_weight is 0"):
        one.update(drawn(one.policy), ADVANTAGES, ALL, step=1)


def test_learning_rate_falls_along_half_a_cosine(tmp_path: Path) -> None:
    one = learner(tmp_path, lr_scheduler_type="cosine", steps=10, warmup_steps=2)
    rates = [one.learning_rate(step) for step in range(1, 11)]
    assert rates[:3] == pytest.approx([0.05, 0.1, 0.1])
    assert rates[2:] == pytest.approx([0.05 * (1 + math.cos(math.pi * k / 8)) for k in range(8)])
    assert sorted(rates[2:], reverse=True) == rates[2:]


def test_a_reference_is_asked_of_the_policy_by_its_kind(tmp_path: Path) -> None:
    class Resourceful(FakePolicy):
        def reference(self, kind: str) -> FakePolicy:
            self.asked = kind
            return self.frozen_copy()

    for kind in ("lora_off", "offloaded"):
        policy = Resourceful.create()
        Learner(policy, GrpoConfig(reference=kind), Processes(policy.module), tmp_path)
        assert policy.asked == kind
    with pytest.raises(TrainingError, match=r"grpo.reference = offloaded, and the policy 'fake' can only be copied"):
        learner(tmp_path, reference="offloaded")

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fakes import FakePolicy, toy_prompts

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
    norm = torch.cat([value.grad.flatten() for value in one.parameters.values()]).norm().item()
    assert update.grad_norm > 0.01
    assert norm == pytest.approx(0.01, rel=1e-4)

"""The fakes keep the contracts that real policies and rewards keep."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fakes import FakePolicy, TableReward, every_sequence, image_of, tokens_of, toy_prompts

SIZES = [(1, 2), (3, 3), (4, 4)]


@pytest.mark.parametrize(("num_tokens", "num_choices"), SIZES)
def test_probabilities_of_all_sequences_sum_to_one(num_tokens: int, num_choices: int) -> None:
    policy = FakePolicy.create(num_tokens, num_choices)
    sequences = every_sequence(num_tokens, num_choices)
    logp = policy.logp(policy.rollouts(sequences, toy_prompts(len(sequences)), 1))
    assert logp.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("num_tokens", "num_choices"), SIZES)
def test_sequences_are_drawn_as_often_as_they_are_likely(num_tokens: int, num_choices: int) -> None:
    """20,000 draws, a fixed seed: each frequency within 5 standard errors of its probability."""
    policy, num = FakePolicy.create(num_tokens, num_choices), 20_000
    rollouts = policy.sample(toy_prompts(1), group_size=num, rngs=[np.random.default_rng(0)])
    sequences = every_sequence(num_tokens, num_choices)
    prob = policy.logp(policy.rollouts(sequences, toy_prompts(len(sequences)), 1)).sum(1).exp().detach().numpy()
    rows = rollouts.tokens @ num_choices ** np.arange(num_tokens)[::-1]
    found = np.bincount(rows, minlength=len(sequences)) / num
    assert (np.abs(found - prob) < 5 * np.sqrt(prob / num)).all()


def test_log_probability_before_an_update_is_the_one_drawn_with() -> None:
    policy = FakePolicy.create()
    rollouts = policy.sample(toy_prompts(3), group_size=4, rngs=[np.random.default_rng(i) for i in range(3)])
    np.testing.assert_array_equal(policy.logp(rollouts).detach().numpy(), rollouts.behaviour_logp)


def test_a_prompts_images_depend_on_its_generator_alone() -> None:
    policy, prompts = FakePolicy.create(), toy_prompts(3)
    together = policy.sample(prompts, group_size=4, rngs=[np.random.default_rng(i) for i in range(3)])
    alone = policy.sample(prompts[2:], group_size=4, rngs=[np.random.default_rng(2)])
    np.testing.assert_array_equal(together.tokens[8:], alone.tokens)


def test_an_image_shows_its_tokens() -> None:
    for tokens in every_sequence(3, 4):
        np.testing.assert_array_equal(tokens_of(image_of(tokens)), tokens)


def test_a_table_is_looked_up_in_the_order_of_the_sequences() -> None:
    reward = TableReward("r", np.arange(27.0))
    images = [image_of(tokens) for tokens in every_sequence(3, 3)]
    np.testing.assert_array_equal(reward.score(images, toy_prompts(27)).values, np.arange(27))


def test_a_saved_policy_loads_as_the_same(tmp_path: Path) -> None:
    policy = FakePolicy.create(seed=5)
    policy.save(str(tmp_path))
    assert torch.equal(FakePolicy.load(str(tmp_path)).table.logits, policy.table.logits)


def test_the_reference_is_independent_and_takes_no_gradient() -> None:
    policy = FakePolicy.create()
    reference = policy.frozen_copy()
    with torch.no_grad():
        policy.table.logits += 1
    assert not torch.equal(reference.table.logits, policy.table.logits)
    assert not reference.table.logits.requires_grad

"""The arithmetic of memory against what torch really holds."""

from dataclasses import replace

import pytest
import torch
from tests.records.recipes import recipe
from tests.tiny_janus_pro import write_janus_pro

from pyrite.core.cards import ModelShape
from pyrite.core.types import Prompt
from pyrite.policies.janus import JanusPolicy, load_janus
from pyrite.records.training_memory import (
    JANUS_PRO_1B,
    Load,
    activation_bytes,
    fitting_micro_batch,
    load_of,
    reward_bytes_of,
    training_memory,
)

PROMPT = "a cat and a dog"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> JanusPolicy:
    return load_janus(write_janus_pro(tmp_path_factory.mktemp("janus"), width=64), device="cpu")


def shape_of(policy: JanusPolicy) -> ModelShape:
    text = policy.module.janus.config.text_config
    parameters = list(policy.module.parameters())
    return ModelShape(
        num_parameters=sum(value.numel() for value in parameters),
        num_trained=sum(value.numel() for value in parameters if value.requires_grad),
        layers=text.num_hidden_layers, width=text.hidden_size, ffn_width=text.intermediate_size,
        kv_width=text.hidden_size, prompt_tokens=len(policy.layout.image_prefixes([Prompt(PROMPT)], room=16)[0]),
        plan_tokens=0, image_tokens=policy.card.num_tokens, text_choices=text.vocab_size, image_choices=24,
    )  # fmt: skip


def rollouts_of(policy: JanusPolicy, num: int):
    import numpy as np

    return policy.sample([Prompt(PROMPT)], group_size=num, rngs=[np.random.default_rng(0)])


def test_what_stays_is_counted_exactly(policy: JanusPolicy) -> None:
    parameters = list(policy.module.parameters())
    trained = [value for value in parameters if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    policy.logp(rollouts_of(policy, 2)).sum().backward()
    optimizer.step()

    found = training_memory(shape_of(policy), Load(rollouts=2, micro_batch=2))
    assert found.weights == sum(value.nbytes for value in parameters)
    assert found.gradients == sum(value.grad.nbytes for value in trained)
    moments = [state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
    assert found.moments == sum(moment.nbytes for moment in moments)
    assert found.reference == sum(value.nbytes for value in policy.frozen_copy().module.parameters())
    optimizer.zero_grad()


@pytest.mark.parametrize("num", [2, 4])
def test_activations_are_what_the_backward_pass_keeps_within_a_third(policy: JanusPolicy, num: int) -> None:
    rollouts = rollouts_of(policy, num)
    weights = {value.untyped_storage().data_ptr() for value in policy.module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logp = policy.logp(rollouts)
    estimate = num * activation_bytes(shape_of(policy), Load(rollouts=num, micro_batch=num))
    assert sum(kept.values()) == pytest.approx(estimate, rel=1 / 3), logp.shape


def test_checkpointing_and_pieces_take_less() -> None:
    plain = Load(rollouts=16, micro_batch=4)
    lean = replace(plain, checkpoints_gradients=True)
    assert activation_bytes(JANUS_PRO_1B, lean) < 0.1 * activation_bytes(JANUS_PRO_1B, plain)
    whole, pieces = (training_memory(JANUS_PRO_1B, replace(plain, num_shards=count)) for count in (1, 4))
    assert pieces.gradients == whole.gradients // 4
    assert pieces.always < whole.always
    assert pieces.cache > whole.cache  # where the policy is made whole


@pytest.mark.parametrize(("room", "least", "most"), [(20e9, 0, 0), (60e9, 1, 63), (1e12, 64, 64)])
def test_the_largest_micro_batch_that_fits(room: float, least: int, most: int) -> None:
    load = Load(rollouts=64, micro_batch=1)
    found = fitting_micro_batch(JANUS_PRO_1B, load, int(room))
    assert least <= found <= most
    if found:
        memory = training_memory(JANUS_PRO_1B, replace(load, micro_batch=found))
        assert memory.always + memory.activations <= room


def test_a_recipe_says_what_it_asks_for() -> None:
    mapping = recipe(
        policy={"name": "p", "options": {"dtype": "bfloat16", "cfg_scale": 5, "gradient_checkpointing": True}},
        grpo={"prompts_per_step": 6, "micro_batch": 3, "reference": "offloaded"},
        rewards=["hpsv2.1", {"name": "there", "reward": "remote"}],
        eval_rewards=[{"name": "pickscore", "options": {"dtype": "bfloat16"}}],
    ).model_dump(mode="json")
    assert load_of(mapping, num_processes=4) == Load(
        rollouts=16, micro_batch=3, weight_bytes=2, pass_bytes=2, has_copy=False, is_guided=True,
        checkpoints_gradients=True,
    )  # fmt: skip
    assert reward_bytes_of(mapping) == 986_109_441 * 6


def test_an_estimate_reads_as_a_sum() -> None:
    memory = training_memory(JANUS_PRO_1B, Load(rollouts=8, micro_batch=2, has_copy=False))
    assert str(memory).startswith(f"{memory.peak / 1e9:.0f} GB (weights {memory.weights / 1e9:.1f}, gradients ")
    assert "reference" not in str(memory)

"""Adapters: the policy begins as it was, trains without its weights, and is written down, read back and merged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyrite.core.errors import CheckpointError, MissingExtraError
from pyrite.core.types import Prompt, Rollouts
from pyrite.policies import janus_adapters
from pyrite.policies.janus import JanusPolicy, load_janus

PROMPTS = [Prompt("a red circle"), Prompt("two blue stars left of a green cross")]
LORA = {"r": 4, "alpha": 8}


def draw(policy: JanusPolicy, seed: int = 0) -> Rollouts:
    return policy.sample(PROMPTS, group_size=2, rngs=[np.random.default_rng([seed, row]) for row in range(2)])


def descend(policy: JanusPolicy, rollouts: Rollouts, rate: float = 0.05) -> None:
    optimiser = torch.optim.SGD([p for p in policy.module.parameters() if p.requires_grad], lr=rate)
    for _ in range(2):  # the first step moves one half of the adapters, the second both
        optimiser.zero_grad()
        policy.logp(rollouts).sum().backward()
        optimiser.step()


@pytest.fixture
def adapted(pro_folder: Path) -> JanusPolicy:
    return load_janus(pro_folder, lora=LORA, device="cpu")


def test_fresh_adapters_change_nothing_and_are_all_that_trains(pro_folder: Path, adapted: JanusPolicy) -> None:
    plain = load_janus(pro_folder, device="cpu")
    rollouts = draw(adapted)
    assert draw(plain).tokens.tolist() == rollouts.tokens.tolist()
    assert torch.equal(plain.logp(rollouts), adapted.logp(rollouts))
    trained = {name for name, p in adapted.module.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name and "language_model.layers" in name for name in trained)
    assert len(trained) == 2 * 7 * 2  # two halves, seven matrices, two layers
    adapted.logp(rollouts).sum().backward()
    assert trained == {name for name, p in adapted.module.named_parameters() if p.grad is not None}


def test_adapters_begin_the_same_whatever_was_drawn_before(pro_folder: Path) -> None:
    first = load_janus(pro_folder, lora=LORA, device="cpu")
    torch.rand(5)
    second = load_janus(pro_folder, lora=LORA, device="cpu")
    other = load_janus(pro_folder, lora={**LORA, "seed": 1}, device="cpu")
    weights = [
        torch.cat([p.flatten() for p in policy.module.parameters() if p.requires_grad])
        for policy in (first, second, other)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_sampling_uses_the_adapters_of_now(adapted: JanusPolicy) -> None:
    before = draw(adapted)
    descend(adapted, before)
    after = draw(adapted)
    assert after.tokens.tolist() != before.tokens.tolist()
    np.testing.assert_allclose(adapted.logp(after).detach().numpy(), after.behaviour_logp, atol=1e-4)


@pytest.mark.parametrize("gradient_checkpointing", [False, True], ids=["kept", "computed twice"])
def test_every_kind_of_reference_is_the_policy_as_it_was(pro_folder: Path, gradient_checkpointing: bool) -> None:
    policy = load_janus(pro_folder, lora=LORA, gradient_checkpointing=gradient_checkpointing, device="cpu")
    rollouts = draw(policy)
    before = policy.logp(rollouts).detach()
    references = {kind: policy.reference(kind) for kind in ("copy", "lora_off", "offloaded")}
    descend(policy, rollouts)
    own = policy.logp(rollouts)
    assert (own - before).abs().max() > 0.01
    for kind, reference in references.items():
        logp = reference.logp(rollouts)
        assert not logp.requires_grad, kind
        # the same products in the same order
        torch.testing.assert_close(logp, before, rtol=0, atol=1e-6, msg=kind)
        assert reference.card == policy.card
        sampled = reference.sample(PROMPTS, group_size=2, rngs=[np.random.default_rng([0, row]) for row in range(2)])
        assert sampled.tokens.tolist() == rollouts.tokens.tolist(), kind
    torch.testing.assert_close(policy.logp(rollouts), own, rtol=0, atol=1e-6)
    own.sum().backward()  # the forward before the references were asked can still be differentiated
    assert all(p.grad is not None for p in policy.module.parameters() if p.requires_grad)


def test_a_whole_policy_has_no_adapters_to_switch_off(pro_folder: Path) -> None:
    policy = load_janus(pro_folder, device="cpu")
    with pytest.raises(ValueError, match="no adapters to switch off"):
        policy.reference("lora_off")
    with pytest.raises(ValueError, match="'moved' is not known: copy, lora_off or offloaded"):
        policy.reference("moved")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_adapters_are_read_back_onto_their_weights(pro_folder: Path, tmp_path: Path, dtype: Any) -> None:
    policy = load_janus(pro_folder, lora=LORA, dtype=dtype, device="cpu")
    descend(policy, draw(policy))
    rollouts = draw(policy)
    policy.save(str(tmp_path / "adapters"))
    files = {path.name: path.stat().st_size for path in (tmp_path / "adapters").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "pyrite_base.json"} <= files.keys()
    assert sum(files.values()) < (pro_folder / "model.safetensors").stat().st_size / 4
    again = load_janus(tmp_path / "adapters", dtype=dtype, device="cpu")
    assert torch.equal(again.logp(rollouts), policy.logp(rollouts))
    trained = {name for name, p in policy.module.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in again.module.named_parameters() if p.requires_grad}
    assert {p.dtype for p in again.module.parameters() if p.requires_grad} == {torch.float32}
    assert again.card.revision != load_janus(pro_folder, device="cpu").card.revision


def test_exported_weights_need_no_adapters(pro_folder: Path, tmp_path: Path, adapted: JanusPolicy) -> None:
    descend(adapted, draw(adapted))
    rollouts = draw(adapted)
    before = adapted.logp(rollouts)
    adapted.export(str(tmp_path / "whole"))
    whole = load_janus(tmp_path / "whole", device="cpu")
    assert not any("lora" in name for name, _ in whole.module.named_parameters())
    # W x + B A x against (W + B A) x
    torch.testing.assert_close(whole.logp(rollouts), before, rtol=0, atol=1e-4)
    assert torch.equal(adapted.logp(rollouts), before)
    assert any("lora" in name for name, _ in adapted.module.named_parameters())


def test_a_copy_of_an_adapted_policy_is_independent(adapted: JanusPolicy) -> None:
    rollouts = draw(adapted)
    copied = adapted.frozen_copy()
    descend(adapted, rollouts)
    assert not any(p.requires_grad for p in copied.module.parameters())
    assert (copied.logp(rollouts) - adapted.logp(rollouts)).abs().max() > 0.01


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 4}, "'rank' is not known .there are alpha, r, seed, targets."),
        ({"r": 0}, "r = 0 is no rank"),
        ({"r": "8"}, "r = '8' is no rank"),
        ({"alpha": -1}, "alpha = -1 is no positive number"),
        ({"targets": ["lm_head"]}, r"targets = \['lm_head'\]: a list of some of q_proj"),
        ({"rank": 4, "r": 0, "alpha": 0}, "'rank'.*r = 0.*alpha = 0"),
    ],
    ids=["unknown", "rank 0", "rank in words", "alpha", "targets", "all at once"],
)
def test_impossible_adapters_are_refused(pro_folder: Path, lora: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_janus(pro_folder, lora=lora, device="cpu")


def other_weights(folder: Path) -> None:
    path = folder / "pyrite_base.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "revision": "0123456789ab"}))


def nobodys(folder: Path) -> None:
    (folder / "pyrite_base.json").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


def a_tensor_missing(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_weights, "trained on weights of revision 0123456789ab, and these have"),
        (nobodys, "does not say whose"),
        (cut, "could not be read"),
        (a_tensor_missing, "1 tensors of the adapters are missing, left over .* .first: .*lora_"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_adapters_that_do_not_fit_are_refused(
    adapted: JanusPolicy, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    adapted.save(str(tmp_path / "adapters"))
    damage(tmp_path / "adapters")
    with pytest.raises(CheckpointError, match=message):
        load_janus(tmp_path / "adapters", device="cpu")


def test_the_weights_of_adapters_can_be_named(adapted: JanusPolicy, pro_folder: Path, tmp_path: Path) -> None:
    rollouts = draw(adapted)
    adapted.save(str(tmp_path / "adapters"))
    (tmp_path / "adapters" / "pyrite_base.json").unlink()  # as other tools leave a folder
    again = load_janus(tmp_path / "adapters", base=pro_folder, device="cpu")
    assert torch.equal(again.logp(rollouts), adapted.logp(rollouts))
    with pytest.raises(ValueError, match="holds whole weights"):
        load_janus(pro_folder, base=pro_folder, device="cpu")


def test_without_peft_the_extra_is_named(pro_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janus_adapters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pyrite\[lora\]'"):
        load_janus(pro_folder, lora=LORA, device="cpu")

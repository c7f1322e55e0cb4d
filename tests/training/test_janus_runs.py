"""Whole runs of a tiny Janus-Pro: stopped and continued, with micro-batches, adapters and every kind of reference."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_janus_pro import write_janus_pro
from tests.training.janus_scenario import run_kind

from pyrite.core.errors import NonFiniteLossError
from pyrite.policies.janus import JanusPolicy, load_janus

LAST = Path("checkpoints/step_000003/trainer.safetensors")
TIMED = ("seconds/", "images_per_s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("janus_runs")
    write_janus_pro(folder / "janus")
    return folder


def lines(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith(TIMED)} for row in rows]


def stop_after_two(step: int, steps: int, row: Mapping[str, Any]) -> None:
    if step == 2:
        raise InterruptedError


@pytest.mark.parametrize("kind", ["micro", "lora-micro", "offloaded"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(folder: Path, kind: str) -> None:
    whole = run_kind(folder, kind, out=f"{kind}-whole")
    with pytest.raises(InterruptedError):
        run_kind(folder, kind, out=f"{kind}-stopped", progress=stop_after_two)
    stopped = run_kind(folder, kind, out=f"{kind}-stopped")
    for ours, theirs in zip(lines(stopped), lines(whole), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    found, wanted = load_file(stopped / LAST), load_file(whole / LAST)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kind", "same"), [("lora", "lora-micro"), ("full", "offloaded")])
def test_micro_batches_references_and_checkpointing_change_nothing(folder: Path, kind: str, same: str) -> None:
    one, other = run_kind(folder, kind, out=f"{kind}-one"), run_kind(folder, same, out=f"{kind}-other")
    for ours, theirs in zip(lines(other), lines(one), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_run_with_adapters_trains_and_keeps_adapters_alone(folder: Path) -> None:
    run = run_kind(folder, "lora", out="adapters")
    last = load_file(run / LAST)
    assert last
    assert all("lora_" in name for name in last)
    kept = run / "checkpoints/step_000003/policy"
    assert (kept / "adapter_model.safetensors").is_file()
    assert not list(kept.glob("model*.safetensors"))
    assert lines(run)[0]["kl"] == 0.0
    assert lines(run)[-1]["kl_k3"] > 0
    assert isinstance(load_janus(kept, device="cpu"), JanusPolicy)


def test_a_bad_number_in_one_micro_batch_saves_the_whole_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, passes = JanusPolicy.logp, []

    def logp(self: JanusPolicy, rollouts: Any) -> torch.Tensor:
        value = good(self, rollouts)
        passes.append(value.requires_grad)
        return value * torch.nan if sum(passes) == 2 and value.requires_grad else value

    monkeypatch.setattr(JanusPolicy, "logp", logp)
    with pytest.raises(NonFiniteLossError, match=r"step 1: the loss is nan.*step_000001_process_0.npz"):
        run_kind(folder, "lora-micro", out="bad")
    with np.load(folder / "bad/failed/step_000001_process_0.npz", allow_pickle=False) as batch:
        assert np.isnan(batch["logp"]).any(1).tolist() == [False] * 3 + [True] * 3 + [False] * 6

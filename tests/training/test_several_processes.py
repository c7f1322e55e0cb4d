"""A run of several processes is the run of one: the same losses and the same parameters, up to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_janus_pro import write_janus_pro
from tests.training.janus_scenario import run_kind

from pyrite.core.errors import PyriteError

ROOT = Path(__file__).parents[2]
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
SAME = ("loss", "grad_norm", "reward", "kl", "kl_k3", "entropy", "offpolicy_gap", "clip_frac")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("janus_runs")
    write_janus_pro(folder / "janus")
    return folder


def launch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCH, *arguments], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


def train_rows(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in SAME} for row in rows if row["split"] == "train"]


@pytest.mark.timeout(900)  # starts processes that import torch: seconds on an idle machine, minutes on a busy one
@pytest.mark.parametrize(
    ("prefix", "kinds", "environment"),
    [
        ("ddp", ("full", "lora-micro"), {}),
        ("fsdp2", ("micro", "lora", "bfloat16"), FSDP2),
    ],
    ids=["whole copies (DDP)", "in pieces (FSDP2)"],
)
def test_two_processes_train_the_janus_that_one_trains(
    folder: Path, prefix: str, kinds: tuple[str, ...], environment: dict[str, str]
) -> None:
    """The second process has one group of three, so both the uneven share and the idle pass are met."""
    done = launch("-m", "tests.training.janus_scenario", str(folder), prefix, *kinds, **environment)
    assert done.returncode == 0, done.stderr
    for kind in kinds:
        if (
            kind == "bfloat16"
        ):  # whose sums differ in the third digit with the number of rows, so that images differ too
            assert len(train_rows(folder / f"{prefix}-{kind}")) == 3
            continue
        alone, together = run_kind(folder, kind, out=f"{prefix}-{kind}-alone"), folder / f"{prefix}-{kind}"
        for ours, theirs in zip(train_rows(together), train_rows(alone), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5, rel=1e-5)
        last = Path("checkpoints/step_000003/trainer.safetensors")
        found, wanted = load_file(together / last), load_file(alone / last)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            if name.startswith("parameters/"):
                torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)


@pytest.mark.timeout(900)
def test_a_run_in_pieces_goes_on_in_one(folder: Path) -> None:
    done = launch("-m", "tests.training.janus_scenario", str(folder), "pieces", "full", **FSDP2)
    assert done.returncode == 0, done.stderr
    run = folder / "pieces-full"
    wanted = train_rows(run)
    for path in (run / "checkpoints" / "step_000003").iterdir():
        if path.is_file():
            path.unlink()
    (run / "summary.json").unlink()
    run_kind(folder, "full", out="pieces-full")
    for ours, theirs in zip(train_rows(run), wanted, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "launched with FSDP of version 1"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "launched with DeepSpeed, which is not installed"),
    ],
    ids=["FSDP 1", "DeepSpeed"],
)
def test_an_engine_that_training_does_not_know_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    write_janus_pro(tmp_path / "janus")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PyriteError, match=said):
        run_kind(tmp_path, "full")

"""A run of several processes is the run of one: the same losses and the same parameters, up to rounding."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_checkpoints import write_janus
from tests.tiny_janus_pro import write_janus_pro
from tests.training.janus_scenario import run_kind

from pyrite.core.errors import MissingExtraError, TrainingError
from pyrite.training.processes import Processes
from pyrite.training.zero_settings import zero_settings

ROOT = Path(__file__).parents[2]
SAME = ("loss", "grad_norm", "reward", "kl", "kl_k3", "entropy", "offpolicy_gap", "clip_frac")
KINDS = {
    "ddp": ("full", "lora-micro"),
    "fsdp2": ("full", "micro", "lora-micro", "pocket", "bfloat16"),
    "zero3": ("full", "lora-micro", "pocket"),
}
ENGINES = {"ddp": "Copies", "fsdp2": "Pieces", "zero3": "Zero"}
LAST = Path("checkpoints/step_000003")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("janus_runs")
    write_janus_pro(folder / "janus")
    write_janus(folder / "pocket")
    return folder


def launch(launcher: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As a user does, but for two processes. The machine has no GPU, so they train on its CPU."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes=2", "--main_process_port=0"]
    command += ["--config_file", f"recipes/accelerate/{launcher}.yaml"]
    if launcher == "zero3":  # which keeps parameters of less than 100 000 numbers whole: all that the tiny Janus has
        (folder / "deepspeed.json").write_text(
            '{"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}}'
        )
        command += ["--deepspeed_config_file", str(folder / "deepspeed.json")]
    command += ["-m", "tests.training.janus_scenario", str(folder), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def train_rows(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in SAME} for row in rows if row["split"] == "train"]


def alone(folder: Path, kind: str) -> Path:
    """The run of one process."""
    run = folder / f"alone-{kind}"
    return run if run.exists() else run_kind(folder, kind, out=run.name)


def without_last_step(run: Path) -> None:
    """As if it had been killed after two of its three steps."""
    shutil.rmtree(run / LAST)
    (run / "summary.json").unlink()


def assert_same(ours: Path, theirs: Path) -> None:
    """Up to rounding: the order of sums differs, in float32."""
    for our, their in zip(train_rows(ours), train_rows(theirs), strict=True):
        assert our == pytest.approx(their, abs=1e-5, rel=1e-5)
    found, wanted = (load_file(run / LAST / "trainer.safetensors") for run in (ours, theirs))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)


@pytest.mark.timeout(900)  # starts processes that import torch: seconds on an idle machine, minutes on a busy one
@pytest.mark.parametrize("launcher", ["ddp", "fsdp2", "zero3"])
def test_two_processes_train_the_janus_that_one_trains(folder: Path, launcher: str) -> None:
    """Every way to launch; also a run begun by one process and ended by two, and the other way round.

    The second process has one group of three, so both the uneven share and the idle pass are met.
    """
    begun_alone = folder / f"{launcher}-goes-on"
    shutil.copytree(alone(folder, "full"), begun_alone)
    without_last_step(begun_alone)
    runs = {kind: folder / f"{launcher}-{kind}" for kind in KINDS[launcher]}
    asked = [f"{kind}:{run.name}" for kind, run in runs.items()]
    done = launch(launcher, folder, *asked, f"full:{begun_alone.name}", "--guard", ENGINES[launcher])
    assert done.returncode == 0, done.stderr
    assert_same(begun_alone, alone(folder, "full"))
    for kind, together in runs.items():
        if kind == "bfloat16":  # sums differ in the third digit with the number of rows, so that images differ too
            assert len(train_rows(together)) == 3
        else:
            assert_same(together, alone(folder, kind))
    without_last_step(runs["full"])
    run_kind(folder, "full", out=runs["full"].name)
    assert_same(runs["full"], alone(folder, "full"))


def env(**deepspeed: str) -> dict[str, str]:
    return {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"} | {
        f"ACCELERATE_{key}": value for key, value in deepspeed.items()
    }


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "launched with FSDP of version 1"),
        (env(DEEPSPEED_ZERO_STAGE="2"), "zero_stage = 2: only stage 3 splits parameters"),
        (env(MIXED_PRECISION="bf16"), r"mixed_precision = bf16: policy\.options\.dtype of the recipe"),
        (env(GRADIENT_ACCUMULATION_STEPS="4"), r"gradient_accumulation_steps = 4: grpo\.micro_batch divides a step"),
        (env(GRADIENT_CLIPPING="0.5"), r"gradient_clipping = 0\.5: grpo\.max_grad_norm clips"),
        (env(DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE="cpu"), "offload_optimizer_device = cpu: moments stay"),
        (env(DEEPSPEED_OFFLOAD_PARAM_DEVICE="nvme"), "offload_param_device = nvme: parameters stay"),
        (env(DEEPSPEED_ZERO3_INIT="true"), "zero3_init_flag = true: each process loads the policy whole"),
    ],
    ids=["FSDP 1", "stage", "precision", "accumulation", "clipping", "moments", "parameters", "init"],
)
def test_a_launch_that_training_does_not_follow_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=said):
        Processes(torch.nn.Linear(1, 1))


def test_all_that_is_not_followed_is_said_at_once() -> None:
    with pytest.raises(TrainingError, match=r"zero_stage = 2.*mixed_precision = fp16.*zero3\.yaml is a configuration"):
        zero_settings(env(DEEPSPEED_ZERO_STAGE="2", MIXED_PRECISION="fp16"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "is no configuration of DeepSpeed"),
        ('{"zero_optimization": {"stage": 2}}', "zero_stage = 2"),
        ('{"optimizer": {"type": "Adam"}, "train_batch_size": "auto"}', '"optimizer" in the deepspeed_config_file'),
        ('{"zero_optimization": {"offload_param": {"device": "cpu"}}}', 'offload_param in "zero_optimization"'),
    ],
    ids=["missing", "broken", "a list", "stage", "optimizer", "offload"],
)
def test_a_file_of_deepspeeds_own_that_is_not_followed_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "deepspeed.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TrainingError, match=said):
        zero_settings(env(DEEPSPEED_CONFIG_FILE=str(path)))


def test_a_file_of_deepspeeds_own_says_how_pieces_travel(tmp_path: Path) -> None:
    path = tmp_path / "deepspeed.json"
    path.write_text(
        '{"zero_optimization": {"stage": 3, "overlap_comm": false, "sub_group_size": "auto"}, "bf16": "auto"}'
    )
    assert zero_settings(env(DEEPSPEED_CONFIG_FILE=str(path))) == {"stage": 3, "overlap_comm": False}
    assert zero_settings({}) is None


def test_deepspeed_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"DeepSpeed, which is not installed.*pip install 'pyrite\[deepspeed\]'"
    ):
        zero_settings(env())

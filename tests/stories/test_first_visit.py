"""A newcomer's visit with the shipped pocket world: train, kill, continue, score, and every way to get it wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pyrite.cli.main import app
from pyrite.cli.recipes import shipped_recipe
from pyrite.records.samples import read_metrics, read_samples
from pyrite.records.weights import checkpoints_root

HACK = str(shipped_recipe("pocket_hack.yaml"))
SMALL = [
    "grpo.steps=3",
    "grpo.prompts_per_step=2",
    "grpo.num_generations=2",
    "evaluation.every=2",
    "evaluation.prompts.num=4",
    "evaluation.images_per_prompt=2",
    "checkpoint.every=1",
]


def _train(out: Path, *changes: str) -> list[str]:
    options = [part for change in (*SMALL, *changes) for part in ("--set", change)]
    return ["train", HACK, "--out", str(out), *options]


def _run(*arguments: str) -> tuple[int, str]:
    """Exit code and everything that was printed."""
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output + (repr(result.exception) if result.exception else "")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run that was never disturbed."""
    folder = tmp_path_factory.mktemp("visit") / "undisturbed"
    code, output = _run(*_train(folder))
    assert code == 0, output
    return folder


def _without_seconds(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    clocked = ("seconds/", "images_per_s")
    return [{key: value for key, value in row.items() if not key.startswith(clocked)} for row in rows]


def test_a_run_leaves_what_the_run_folder_page_promises(finished: Path) -> None:
    for name in ("config.yaml", "environment.json", "metrics.jsonl", "samples.jsonl", "summary.json"):
        assert (finished / name).is_file()
    looks = [row for row in read_metrics(finished) if row["split"] == "eval"]
    assert [row["step"] for row in looks] == [0, 2, 3]
    for row in read_samples(finished):
        wanted = {"aesthetic-pocket"} if row["split"] == "train" else {"aesthetic-pocket", "artifact-pocket", "gold"}
        assert wanted <= set(row["scores"])
    kept = [row["image"] for row in read_samples(finished) if row["image"]]
    assert kept
    assert all((finished / path).is_file() for path in kept)


def test_the_same_command_again_changes_nothing(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.jsonl")}
    code, _ = _run(*_train(finished))
    assert code == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*.jsonl")} == before


def test_a_killed_run_continues_and_ends_as_if_never_killed(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "pyrite", *_train(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while process.poll() is None and not list(folder.glob("checkpoints/step_*")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (folder / "summary.json").exists()
    code, output = _run(*_train(folder))
    assert code == 0, output
    assert _without_seconds(read_metrics(folder)) == _without_seconds(read_metrics(finished))
    assert (folder / "samples.jsonl").read_bytes() == (finished / "samples.jsonl").read_bytes()
    last = sorted(finished.glob("checkpoints/step_*"))[-1].name
    for path in (finished / "checkpoints" / last).rglob("*.safetensors"):
        assert (folder / path.relative_to(finished)).read_bytes() == path.read_bytes()


def test_the_images_of_a_run_can_be_scored(finished: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(finished / "images" / "step_000000", images)
    broken = images / "broken.png"
    broken.write_bytes(next(images.glob("eval_*.png")).read_bytes()[:100])
    code, output = _run("score", str(images), "--rewards", "artifact-pocket", "--json")
    assert code == 0
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    unscored = [row for row in rows if row["scores"]["artifact-pocket"] is None]
    assert len(rows) == len(list(images.iterdir()))
    assert [Path(row["image"]) for row in unscored] == [broken]
    assert "cannot be read" in unscored[0]["reasons"]["artifact-pocket"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(["grpo.stepz=3"], "did you mean|steps", id="unknown key"),
        pytest.param(["grpo.num_generations=1"], "compares siblings", id="group of one"),
        pytest.param(["grpo.steps=0"], "trains nothing", id="no steps"),
        pytest.param(["rewards.0.name=hsp-pocket"], "hps-pocket", id="unknown reward"),
        pytest.param(["policy.name=janus-poket"], "janus-pocket", id="unknown policy"),
        pytest.param(["gold=pocket-golf"], "pocket-gold", id="unknown gold"),
        pytest.param(["prompts.source=nowhere.jsonl", "prompts.split=null"], "no prompt file", id="no prompt file"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_way_out(tmp_path: Path, changes: list[str], message: str) -> None:
    code, output = _run(*_train(tmp_path / "run", *changes))
    assert code == 2, output
    assert re.search(message, output, re.IGNORECASE), output


def test_a_folder_made_with_another_recipe_is_refused_naming_the_keys(finished: Path) -> None:
    code, output = _run(*_train(finished, "grpo.beta=0.5", "seed=3"))
    assert code == 3
    assert "grpo.beta" in output
    assert "seed" in output


def test_a_corrupted_checkpoint_is_refused_with_both_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "checkpoints"
    shutil.copytree(checkpoints_root(), root)
    weights = root / "hps-pocket" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    monkeypatch.setenv("PYRITE_CHECKPOINTS", str(root))
    code, output = _run(*_train(tmp_path / "run"))
    assert code == 3
    assert "sha256" in output
    assert "pyrite world build --only hps-pocket" in output


def test_an_output_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    code, output = _run(*_train(tmp_path / "run"))
    assert code == 3
    assert "in the way" in output or "file" in output


def test_scoring_nothing_teaches(tmp_path: Path) -> None:
    code, output = _run("score", str(tmp_path), "--rewards", "artifact-pocket")
    assert code == 2
    assert "no image was found" in output


def test_the_world_can_be_shown(tmp_path: Path) -> None:
    code, output = _run("world", "show", "--out", str(tmp_path / "world.png"))
    assert code == 0, output
    assert (tmp_path / "world.png").stat().st_size > 10_000


def test_the_demo_ends_in_one_page_and_is_not_done_twice(tmp_path: Path) -> None:
    options = [part for change in SMALL for part in ("--set", change)]
    command = ["demo", "--quick", "--no-open", "--out", str(tmp_path), *options]
    code, output = _run(*command)
    assert code == 0, output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "proxy + ArtifactReward" in page
    assert "data:image/png;base64" in page
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}
    code, output = _run(*command)
    assert code == 0, output
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")} == before

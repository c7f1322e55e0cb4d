"""Drawing images at the shell: from a name, from weights, from a run; by one process and by two; and every refusal."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.evaluation.generated import files_of
from tests.tiny_checkpoints import write_janus
from tests.tiny_janus_pro import write_janus_pro
from typer.testing import CliRunner

from pyrite.cli.main import app

PROMPTS = ("a red circle", "two blue squares", "a photo of a green star", "a cross left of a star")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr + (repr(result.exception) if result.exception else "")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_janus(tmp_path_factory.mktemp("janus"))


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS) + "\n")
    return path


@pytest.fixture
def drawing(weights: Path, prompts: Path, tmp_path: Path) -> tuple[object, ...]:
    return ("generate", "--policy", weights, "--prompts", prompts, "--out", tmp_path / "drawn", "--device", "cpu")


def test_what_is_drawn_can_be_scored_without_another_word(drawing: tuple[object, ...], tmp_path: Path) -> None:
    code, out, notes = run(*drawing, "-n", 2, "--batch-size", 3, "--json")
    assert code == 0, notes
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == [text for text in PROMPTS for _ in range(2)]
    assert re.search(r"drawn now: 8 in .* images/s; there before: 0. The set is complete", notes)
    code, out, notes = run("score", tmp_path / "drawn", "--rewards", "aesthetic-pocket", "--json", "--no-cache")
    assert code == 0, notes
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["prompt"] for row in rows] == [text for text in PROMPTS for _ in range(2)]
    assert all(row["scores"]["aesthetic-pocket"] is not None for row in rows)


def test_a_dry_run_says_what_the_run_then_does(drawing: tuple[object, ...], tmp_path: Path) -> None:
    assert run(*drawing, "-n", 2, "--limit", 2)[0] == 0
    code, out, notes = run(*drawing, "-n", 2, "--batch-size", 4, "--dry-run", "--json")
    assert code == 0, notes
    plan = json.loads(out)
    assert (plan["num_images"], plan["num_known"], plan["num_batches"]) == (8, 4, 1)
    assert "num_known  4" in run(*drawing, "-n", 2, "--dry-run")[1]
    assert "drawn now: 4 in" in run(*drawing, "-n", 2, "--batch-size", 4)[2]


def test_two_processes_leave_the_files_of_one(drawing: tuple[object, ...], tmp_path: Path) -> None:
    """Launched as a user launches them, for whom the two have a GPU each."""
    assert run(*drawing, "-n", 3, "--batch-size", 2)[0] == 0
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"]
    launcher += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    command = [sys.executable, *launcher, "-m", "pyrite", *map(str, drawing), "-n", "3", "--batch-size", "2"]
    command[command.index(str(tmp_path / "drawn"))] = str(tmp_path / "by_two")
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("drawn now: 6 in") == 2
    assert files_of(tmp_path / "by_two") == files_of(tmp_path / "drawn")


def test_a_checkpoint_of_a_run_draws_with_the_settings_it_was_trained_with(
    weights: Path, prompts: Path, tmp_path: Path
) -> None:
    for step in (4, 8):
        checkpoint = tmp_path / "run" / "checkpoints" / f"step_{step:06d}"
        write_janus(checkpoint / "policy", plan_tokens=step // 4)
        (checkpoint / "progress.json").write_text(json.dumps({"step": step, "offsets": {}}))
    options = "{temperature: 0.5, cfg_scale: 2.0, device: cuda}"
    (tmp_path / "run" / "config.yaml").write_text(f"policy:\n  name: janus-pocket\n  options: {options}\n")
    for spec, step in (("run", 8), ("run@4", 4)):
        out = tmp_path / f"drawn {step}"
        code, _, notes = run(
            "generate", "--policy", tmp_path / spec, "--prompts", prompts, "--out", out, "--device", "cpu",
            "--set", "cfg_scale=3",
        )  # fmt: skip
        assert code == 0, notes
        row = json.loads((out / "samples.jsonl").read_text().splitlines()[0])
        assert row["settings"] == {"temperature": 0.5, "cfg_scale": 3}
    assert (
        len({json.loads((tmp_path / f"drawn {step}" / "generation.json").read_text())["revision"] for step in (4, 8)})
        == 2
    )


def test_adapters_draw_on_the_weights_that_were_named(prompts: Path, tmp_path: Path) -> None:
    from pyrite.policies.janus import load_janus

    base = write_janus_pro(tmp_path / "base")
    load_janus(base, device="cpu", lora={"r": 2}).save(str(tmp_path / "adapter"))
    base.rename(tmp_path / "moved")

    def draw(out: str, *policy: object) -> tuple[int, str, str]:
        rest = ("--prompts", prompts, "--limit", 1, "--device", "cpu", "--out", tmp_path / out)
        return run("generate", "--policy", *policy, *rest)

    code, _, notes = draw("lost", tmp_path / "adapter")
    assert code == 3, notes
    assert "base" in notes
    code, _, notes = draw("found", tmp_path / "moved", "--lora", tmp_path / "adapter")
    assert code == 0, notes
    plainly = draw("plain", tmp_path / "moved")
    assert plainly[0] == 0, plainly[2]
    revisions = {json.loads((tmp_path / out / "generation.json").read_text())["revision"] for out in ("found", "plain")}
    assert len(revisions) == 2
    code, _, notes = draw("whole", tmp_path / "moved", "--set", f"base={base}")
    assert code == 2
    assert "holds whole weights. Leave it out" in notes


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"--prompts": "TMP/none.jsonl"}, 2, "none.jsonl cannot be read: No such file"),
        ({"--prompts": "TMP/bad.jsonl"}, 2, "line 1: is no JSON(.|\n)*line 3: the id '2'"),
        ({"--layout": "coco"}, 2, "no layout 'coco'"),
        ({"--policy": "janus-poket"}, 2, "no policy is called 'janus-poket'. Did you mean 'janus-pocket'"),
        ({"--policy": "TMP"}, 3, "is no policy: it holds neither config.json"),
        ({"--policy": "TMP@3"}, 3, "is no run folder.*no step 3.*Leave @3 out"),
        ({"--policy": "TMP/run@9"}, 3, "has the steps 4, and not 9"),
        ({"--policy": "TMP/early"}, 3, "has no complete checkpoint yet.*pyrite train"),
        ({"--policy": "TMP/odd"}, 3, "does not say what policy was trained"),
        ({"--policy": "TMP/clip"}, 3, "model of type 'clip_vision_model'|does not describe a Janus policy"),
        ({"--set": "cfg_scal=5"}, 2, "has no 'cfg_scal' .did you mean 'cfg_scale'"),
        ({"--set": "cfg_scale"}, 2, "written KEY=VALUE"),
        ({"--set": "temperature=0"}, 2, "must be positive"),
        ({"--lora": "TMP/run"}, 3, "is no LoRA: it has no adapter_config.json"),
        ({"--out": "TMP/prompts.txt"}, 3, "A file stands where a folder is needed"),
        ({"--out": "TMP/run"}, 3, "was not made by `pyrite generate`"),
    ],
    ids=[
        "no prompts", "bad prompts", "layout", "name", "no policy", "no run", "no step", "no checkpoint", "odd run",
        "architecture", "option", "form of option", "value of option", "lora", "out is a file", "out is a run",
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_with_the_way_out(
    drawing: tuple[object, ...], tmp_path: Path, changes: dict[str, str], code: int, told: str
) -> None:
    (tmp_path / "bad.jsonl").write_text('{\n{"prompt": "a", "id": "2"}\n{"prompt": "b", "id": "2"}\n')
    for name, config in (("run", "policy: {name: x}"), ("early", "policy: {name: x}"), ("odd", "- 3")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(config)
    for name in ("run", "odd"):
        (tmp_path / name / "checkpoints" / "step_000004").mkdir(parents=True)
        (tmp_path / name / "checkpoints" / "step_000004" / "progress.json").write_text('{"offsets": {}}')
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text('{"model_type": "clip_vision_model"}')
    arguments = list(drawing)
    for option, value in changes.items():
        value = value.replace("TMP", str(tmp_path))
        if option in arguments:
            arguments[arguments.index(option) + 1] = value
        else:
            arguments += [option, value]
    exit_code, _, notes = run(*arguments)
    assert exit_code == code, notes
    assert re.search(told, notes), notes

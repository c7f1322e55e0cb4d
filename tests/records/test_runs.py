import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.records.recipes import recipe

from pyrite.core.errors import RunFolderError
from pyrite.records import environment
from pyrite.records.checkpoints import Checkpoint
from pyrite.records.config import load_recipe
from pyrite.records.environment import code_version
from pyrite.records.runs import RunFolder

WEIGHTS = {"janus-pocket": "a" * 64}


def open_run(path: Path, **sections: Any) -> RunFolder:
    return RunFolder.create_or_resume(path, recipe(**sections), checkpoint_hashes=WEIGHTS)


def sample(step: int, **changes: Any) -> dict[str, Any]:
    return {"step": step, "split": "train", "prompt": "a cup", "index": 0, "scores": {"a": 0.5 * step}, **changes}


def train(run: RunFolder, steps: range, *, checkpoint_every: int = 2) -> None:
    """What a trainer does with a folder, the numbers depending on the step alone."""
    for step in steps:
        run.append_metrics({"step": step, "loss": 1 / step})
        image = run.save_image(step, "train_0000", Image.new("RGB", (4, 4), (step, 0, 0)))
        run.append_samples([sample(step, image=image)])
        if step % checkpoint_every == 0:
            with run.checkpoint(step) as folder:
                (folder / "state.json").write_text(str(step))


def contents(path: Path) -> dict[str, bytes]:
    """Every file but those that say when and where."""
    files = {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    return {name: data for name, data in files.items() if name not in {".lock", "environment.json"}}


def test_a_new_folder_holds_the_recipe_and_where_its_numbers_come_from(tmp_path: Path) -> None:
    with open_run(tmp_path / "deep" / "run") as run:
        assert (run.resumed_from, run.is_finished, run.latest_checkpoint()) == (None, False, None)
    assert load_recipe(run.path / "config.yaml") == recipe()
    origin = json.loads((run.path / "environment.json").read_text())
    assert origin["checkpoints"] == WEIGHTS
    assert set(origin["packages"]) == {"accelerate", "numpy", "pyrite", "scipy", "torch", "transformers"}
    assert origin["python"] == sys.version.split()[0]
    assert {"created", "platform", "cpu_count", "code"} <= set(origin)


def test_a_run_that_was_killed_and_continued_equals_one_that_was_not(tmp_path: Path) -> None:
    with open_run(tmp_path / "whole") as run:
        train(run, range(1, 7))
        run.finish({"steps": 6})

    with open_run(tmp_path / "killed") as run:
        train(run, range(1, 6))
        (run.path / "checkpoints" / ".step_000006.new").mkdir()  # the kill came while it saved
        with (run.path / "samples.jsonl").open("a") as file:
            file.write('{"step": 6, "pro')
    with open_run(tmp_path / "killed") as run:
        assert run.resumed_from == run.latest_checkpoint()
        assert run.resumed_from is not None
        assert run.resumed_from.step == 4
        assert (run.resumed_from.folder / "state.json").read_text() == "4"
        train(run, range(5, 7))
        run.finish({"steps": 6})

    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_run_killed_before_its_first_checkpoint_begins_at_the_beginning(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        train(run, range(1, 2))
    with open_run(tmp_path) as run:
        assert run.resumed_from is None
    assert (run.path / "samples.jsonl").read_bytes() == b""
    assert list((run.path / "images").iterdir()) == []


def test_a_finished_run_says_so_and_stays_as_it_is(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        train(run, range(1, 4))
        run.finish({"steps": 3, "seconds": {"draw": 1.5}})
        assert run.is_finished
    before = contents(tmp_path)
    with open_run(tmp_path) as run:
        assert run.is_finished
    assert contents(tmp_path) == before
    assert json.loads(before["summary.json"]) == {"status": "finished", "steps": 3, "seconds": {"draw": 1.5}}


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    with open_run(tmp_path, checkpoint={"keep": 2}) as run:
        train(run, range(1, 9))
        kept = sorted(folder.name for folder in (run.path / "checkpoints").iterdir())
    assert kept == ["step_000006", "step_000008"]


def test_a_checkpoint_that_fails_leaves_the_ones_before(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        train(run, range(1, 3))
        with pytest.raises(KeyboardInterrupt), run.checkpoint(3):
            raise KeyboardInterrupt
        assert [folder.name for folder in (run.path / "checkpoints").iterdir()] == ["step_000002"]


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    with open_run(tmp_path, checkpoint={"keep": 1}) as run:
        for text in ("first", "second"):
            with run.checkpoint(3) as folder:
                (folder / "state").write_text(text)
        latest = run.latest_checkpoint()
        assert isinstance(latest, Checkpoint)
        assert (latest.folder / "state").read_text() == "second"
        assert len(list((run.path / "checkpoints").iterdir())) == 1


def test_a_checkpoint_displaced_by_a_killed_one_comes_back(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        train(run, range(1, 3))
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "step_000002").rename(checkpoints / ".step_000002.old")
    (checkpoints / ".step_000002.new").mkdir()
    (checkpoints / "notes").mkdir()
    (checkpoints / "step_000009").mkdir()  # no progress.json: not complete
    with open_run(tmp_path) as run:
        assert run.resumed_from is not None
        assert run.resumed_from.step == 2
    assert sorted(folder.name for folder in checkpoints.iterdir()) == ["notes", "step_000002", "step_000009"]


def test_lines_missing_before_a_checkpoint_are_not_passed_over(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        train(run, range(1, 3))
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(RunFolderError, match="lines are missing, and a continued run would pass for a whole one"):
        open_run(tmp_path)
    with pytest.raises(RunFolderError, match="lines are missing"):  # and the lock was let go of
        open_run(tmp_path)


def test_a_folder_of_another_recipe_is_refused_with_the_keys_and_both_values(tmp_path: Path) -> None:
    open_run(tmp_path, grpo={"beta": 0.5}).close()
    with pytest.raises(RunFolderError, match="was made with another recipe") as caught:
        open_run(tmp_path, grpo={"beta": 0.1}, gold="pocket-gold")
    assert "\n  - grpo.beta: was 0.5, is 0.1\n" in str(caught.value)
    assert "\n  - gold: was null, is 'pocket-gold'\n" in str(caught.value)
    assert f"continue that run with its own recipe: pyrite train {tmp_path / 'config.yaml'}" in str(caught.value)


def test_a_folder_made_with_other_weights_is_refused(tmp_path: Path) -> None:
    open_run(tmp_path).close()
    with pytest.raises(RunFolderError, match="other weights:\n  - janus-pocket: was aaaaaaaaaaaa, is bbbbbbbbbbbb\n"):
        RunFolder.create_or_resume(tmp_path, recipe(), checkpoint_hashes={"janus-pocket": "b" * 64})


def test_a_run_continued_under_other_versions_says_so_once_for_each_change(tmp_path: Path) -> None:
    open_run(tmp_path).close()
    file = tmp_path / "environment.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({**before, "python": "2.7"}))
    for _ in range(2):
        open_run(tmp_path).close()
    after = json.loads(file.read_text())
    assert after["python"] == "2.7"
    assert [set(entry) for entry in after["resumed"]] == [{"time", "python"}]
    assert after["resumed"][0]["python"] == before["python"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.yaml", "a: [", "config.yaml cannot be read .*Restore it, or choose another folder"),
        ("config.yaml", "", "config.yaml holds no recipe"),
        ("environment.json", "{", "environment.json cannot be read"),
    ],
    ids=["torn config", "empty config", "torn environment"],
)
def test_a_folder_whose_papers_are_damaged_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    open_run(tmp_path).close()
    (tmp_path / name).write_text(text)
    with pytest.raises(RunFolderError, match=said):
        open_run(tmp_path)


def test_a_folder_with_other_things_in_it_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "step_000001").mkdir()
    with pytest.raises(
        RunFolderError, match=r"is not empty \(images\) and has no config.yaml, so it is not a run folder"
    ):
        open_run(tmp_path)
    assert (tmp_path / "images" / "step_000001").is_dir()


def test_a_start_that_was_killed_before_the_recipe_was_written_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{")
    (tmp_path / ".config.yaml.tmp").write_text("name")
    open_run(tmp_path).close()
    assert load_recipe(tmp_path / "config.yaml") == recipe()


def test_a_file_in_the_way_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(
            RunFolderError, match=r"cannot make the run folder .*A file stands where a folder is needed"
        ):
            open_run(path)


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
def test_a_full_disk_stops_the_run_with_advice(tmp_path: Path, name: str) -> None:
    open_run(tmp_path).close()
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/full")
    with open_run(tmp_path) as run, pytest.raises(RunFolderError, match="The disk is full: free some space"):
        train(run, range(1, 2))


def test_an_image_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        (tmp_path / "images").touch()
        with pytest.raises(RunFolderError, match=r"cannot write the image .*step_000001/a.png: .*A file stands where"):
            run.save_image(1, "a", Image.new("RGB", (1, 1)))


def test_an_image_is_read_back_pixel_by_pixel(tmp_path: Path) -> None:
    image = Image.effect_noise((8, 8), 50).convert("RGB")
    with open_run(tmp_path) as run:
        relative = run.save_image(10, "eval_0003", image)
    assert relative == "images/step_000010/eval_0003.png"
    with Image.open(tmp_path / relative) as kept:
        assert (kept.format, kept.tobytes()) == ("PNG", image.tobytes())


def test_a_score_that_is_missing_without_a_reason_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for value in (None, float("nan")):
            with pytest.raises(ValueError, match=r"sample 0 of step 1: \['a'\] unscored without a reason"):
                run.append_samples([sample(1, scores={"a": value, "b": 1.0})])
        run.append_samples([sample(1, scores={"a": float("nan")}, reasons={"a": "too dark"})])
    assert json.loads((tmp_path / "samples.jsonl").read_text())["scores"] == {"a": None}


HOLD = """
import sys
from pyrite.records.runs import RunFolder
from tests.records.recipes import recipe
run = RunFolder.create_or_resume(sys.argv[1], recipe(), checkpoint_hashes={"janus-pocket": "a" * 64})
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_in_use_by_another_process_is_refused_until_that_process_dies(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(
            RunFolderError, match=f"is in use by process {holder.pid}: two runs writing into one folder"
        ):
            open_run(tmp_path)
        holder.kill()
    open_run(tmp_path).close()


def test_a_folder_is_held_against_this_very_process_too(tmp_path: Path) -> None:
    with open_run(tmp_path), pytest.raises(RunFolderError, match=f"is in use by process {os.getpid()}"):
        open_run(tmp_path)


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    packages = environment.describe_environment({})["packages"]
    assert packages == {"numpy": np.__version__, "no-such-package": None}


def test_the_code_version_is_a_commit_and_says_when_files_differ(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert code_version(tmp_path) is None
    git("init")
    assert code_version(tmp_path) is None  # no commit yet
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "one")
    commit = git("rev-parse", "HEAD")
    assert code_version(tmp_path) == commit
    (tmp_path / "a").write_text("2")
    assert code_version(tmp_path) == f"{commit}-dirty"
    assert code_version(tmp_path / "a") is None

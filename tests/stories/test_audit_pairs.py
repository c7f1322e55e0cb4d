"""The pair test at the shell: on a table of one's own, on scores of `pyrite score`, as a probe of shipped rewards."""

import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.killing import kill_while_it_writes
from typer.testing import CliRunner

from pyrite.cli.audit_card import PAGE, RESULTS
from pyrite.cli.main import app
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render, to_uint8

KINDS = "smear,grid_pattern,flip"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    error = repr(result.exception) if result.exception and not isinstance(result.exception, SystemExit) else ""
    return result.exit_code, result.stdout, result.stderr + error


def write_table(path: Path, num: int = 24) -> Path:
    """An oracle, a reward that prefers ghosts, and one that ties on every pair."""
    lines = ["pair_id,label,kind,severity,oracle,fond_of_ghosts,constant"]
    for k in range(num):
        lines.append(f"p{k},0,,,1,0.5,3")
        lines += [f"p{k},1,smear,0.5,0,0.1,3", f"p{k},1,ghost,0.5,0,0.9,3"]
    path.write_text("\n".join(lines) + "\n")
    return path


def render_pictures(folder: Path, num: int) -> Path:
    """A set of clean renders with their prompts, as a user would have it."""
    import numpy as np

    folder.mkdir()
    rows = []
    for k, prompt in enumerate(sample_prompts("eval", num, 3)):
        Image.fromarray(to_uint8(render(random_scene(prompt, np.random.default_rng(k))))).save(folder / f"{k}.png")
        facts = prompt.to_json()
        rows.append(json.dumps({**facts, "id": str(k), "image": f"{k}.png"}))
    (folder / "set.jsonl").write_text("\n".join(rows) + "\n")
    return folder / "set.jsonl"


def test_a_table_tells_in_words_where_each_reward_is_blind(tmp_path: Path) -> None:
    code, out, notes = run("audit", "pairs", write_table(tmp_path / "own.csv"), "--out", tmp_path / "out")
    assert code == 1, notes
    assert "oracle sees every kind." in out
    assert "fond_of_ghosts prefers the damage of ghost (0.00) and sees smear." in out
    assert "constant is blind to every kind." in out
    assert re.search(r"oracle +48 +0 +0 +0 +1\.00 ", out)
    assert re.search(r"constant +0 +48 +0 +0 +0\.00 .* 2 of 2", out)
    assert "constant gives both sides of every pair the same score" in notes
    assert {PAGE, RESULTS} == {path.name for path in (tmp_path / "out").iterdir()}


def test_a_reward_that_sees_everything_ends_with_zero(tmp_path: Path) -> None:
    table = write_table(tmp_path / "own.csv")
    code, out, notes = run("audit", "pairs", table, "--rewards", "oracle", "--json")
    assert code == 0, notes
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["reward"], row["kind"], row["sight"], row["correct"]) for row in rows] == [
        ("oracle", "smear", "sees", 24), ("oracle", "ghost", "sees", 24),
    ]  # fmt: skip
    assert (tmp_path / "own.csv.pairs" / PAGE).exists()


def test_the_threshold_and_the_tolerance_are_options(tmp_path: Path) -> None:
    table = write_table(tmp_path / "own.csv")
    code, out, _ = run("audit", "pairs", table, "--rewards", "oracle", "--blind-below", 0.99)
    assert code == 0  # 24 of 24 pairs are too few to be sure of 0.99, and nothing was found
    assert "oracle is unclear on smear (1.00) and ghost (1.00)." in out
    code, out, _ = run("audit", "pairs", table, "--rewards", "oracle", "--tie-sd", 5, "--json")
    assert code == 1
    assert {json.loads(line)["tie"] for line in out.splitlines()} == {24}


def test_scores_of_pyrite_score_are_joined_with_the_set_they_are_of(tmp_path: Path) -> None:
    clean = render_pictures(tmp_path / "clean", 6)
    from pyrite.artifact.ladder import build_ladder

    images = [clean.parent / f"{k}.png" for k in range(6)]
    labels = build_ladder(images, tmp_path / "ladder", kinds=KINDS.split(","), severities=[0.5, 1])
    run("score", labels, "--rewards", "saturation,artifact-pocket", "--out", tmp_path / "scores")
    code, out, notes = run("audit", "pairs", tmp_path / "scores", "--set", labels, "--json", "--out", tmp_path / "out")
    assert code in (0, 1), notes
    rows = [json.loads(line) for line in out.splitlines()]
    assert {(row["reward"], row["kind"]) for row in rows} == {
        (reward, kind) for reward in ("saturation", "artifact-pocket") for kind in ("smear", "grid_pattern")
    }
    assert all(row["correct"] + row["tie"] + row["wrong"] == 12 for row in rows)
    found = json.loads((tmp_path / "out" / RESULTS).read_text())
    assert [row["kind"] for row in found["neutral"]] == ["flip", "flip"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["pairs", "TABLE", "--rewards", "orakle"], 2, "has no scores of 'orakle'.*Did you mean 'oracle'"),
        (["pairs", "FOLDER"], 2, "scores alone do not say which image has artifacts.*--set LABELS.jsonl"),
        (["pairs", "TABLE", "--blind-below", "0"], 2, "--blind-below"),
        (["pairs", "FOLDER/none.csv"], 3, "cannot read .*none.csv"),
        (["pairs", "TABLE", "--out", "TABLE"], 3, "cannot write into"),
        (["probe", "FOLDER", "--rewards", "saturation"], 2, "no image was found|images can be used"),
        (["probe", "PHOTOS", "--rewards", "saturation", "--severities", "0,1"], 2, "a severity is a number above 0"),
        (["probe", "PHOTOS", "--rewards", "saturation", "--severities", "high"], 2, "a severity is a number above 0"),
        (["probe", "PHOTOS", "--rewards", "saturation", "--kinds", "smeer"], 2, "no change is called 'smeer'.*'smear'"),
        (["probe", "PHOTOS", "--rewards", "saturation", "--kinds", "flip"], 2, "have label 0.*which of two images"),
        (["probe", "PHOTOS", "--rewards", "hps-pocket", "--kinds", "smear"], 2, "no score for both sides.*no prompt"),
    ],
    ids=[
        "no such reward", "labels missing", "no threshold", "no file", "out is a file", "no images", "severity 0",
        "no severity", "no such kind", "neutral only", "no prompts",
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_with_the_way_out(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    places = {"TABLE": tmp_path / "own.csv", "FOLDER": tmp_path / "empty", "PHOTOS": tmp_path / "clean"}
    write_table(places["TABLE"])
    places["FOLDER"].mkdir()
    render_pictures(places["PHOTOS"], 2)
    filled = [re.sub("TABLE|FOLDER|PHOTOS", lambda found: str(places[found[0]]), part) for part in arguments]
    exit_code, _, notes = run("audit", *filled)
    assert exit_code == code, notes
    assert re.search(told, re.sub(r"\s+", " ", notes)), notes


def test_a_probe_says_what_a_reward_is_blind_to_and_asks_nothing_twice(tmp_path: Path) -> None:
    photos = render_pictures(tmp_path / "clean", 6)
    command = ("audit", "probe", photos, "--rewards", "artifact-pocket,constant", "--kinds", KINDS, "--out")
    code, out, notes = run(*command, tmp_path / "out")
    assert code == 1, notes
    assert "constant is blind to" in out
    assert "artifact-pocket" in out
    files = {name: (tmp_path / "out" / name).read_bytes() for name in (PAGE, RESULTS, "set.jsonl")}
    again, _, notes = run(*command, tmp_path / "out")
    assert again == 1
    assert "scored now: artifact-pocket 0, constant 0." in notes
    assert files == {name: (tmp_path / "out" / name).read_bytes() for name in files}
    found = json.loads(files[RESULTS])
    assert found["num_pairs"] == 6 * 2 * 4
    assert {row["kind"] for row in found["monotonicity"]} == {"smear", "grid_pattern"}
    assert b'<section id="neutral">' in files[PAGE]
    [row] = [row for row in found["neutral"] if row["reward"] == "constant"]
    assert row["preferred"]["estimate"] == row["dispreferred"]["estimate"] == 0
    assert row["shift_sd"]["estimate"] is None


def test_a_detector_reads_the_nouns_of_the_prompts_in_the_ladder_too(tmp_path: Path) -> None:
    photos = render_pictures(tmp_path / "clean", 2)
    run("audit", "probe", photos, "--rewards", "constant", "--kinds", "smear", "--out", tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "set.jsonl").read_text().splitlines()]
    known = {row["prompt"]: row for row in map(json.loads, photos.read_text().splitlines())}
    for row in rows:
        assert row["nouns"] == known[row["prompt"]]["nouns"]
        assert row["prompt_id"] == known[row["prompt"]]["id"]
        assert row["id"].startswith("images/")


def test_a_killed_probe_continues_and_ends_with_the_files_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = render_pictures(tmp_path / "clean", 16)
    arguments = ["audit", "probe", str(photos), "--rewards", "artifact-pocket,sharpness", "--kinds", KINDS]
    arguments += ["--batch-size", "8", "--out"]

    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path / "undisturbed.sqlite"))
    code, _, notes = run(*arguments, tmp_path / "undisturbed")
    assert code in (0, 1), notes
    num = len((tmp_path / "undisturbed" / "set.jsonl").read_text().splitlines())

    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path / "killed.sqlite"))
    command = [sys.executable, "-m", "pyrite", *arguments, str(tmp_path / "killed")]
    kill_while_it_writes(command, tmp_path / "killed" / "scores" / ".samples.jsonl.new")
    assert not (tmp_path / "killed" / RESULTS).exists()

    again, _, notes = run(*arguments, tmp_path / "killed")
    assert again == code
    asked = re.search(r"scored now: artifact-pocket (\d+), sharpness (\d+)", notes)
    assert asked is not None
    assert all(0 < int(count) <= num - 8 for count in asked.groups())
    for name in (PAGE, RESULTS, "set.jsonl", "ladder/curated.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()

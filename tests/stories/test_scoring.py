"""Scoring an image set at the shell with the shipped rewards: once, again, with more rewards, and every way to err."""

import json
import re
import sys
from pathlib import Path

import pytest
from tests.evaluation.scored import make_folder, noise
from tests.killing import kill_while_it_writes
from typer.testing import CliRunner

from pyrite.cli.main import app
from pyrite.evaluation.score_folder import RESULTS, SAMPLES, TABLE


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr + (repr(result.exception) if result.exception else "")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos", 5)


def test_a_folder_is_scored_beside_itself_and_told_as_a_table(photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"no image")
    code, out, notes = run("score", photos, "--rewards", "artifact-pocket,aesthetic-pocket")
    assert code == 0, notes
    for word in ("artifact-pocket", "aesthetic-pocket", "mean", "95 % interval", "unscored"):
        assert word in out
    assert "artifact-pocket: 1 unscored, the first 'bad.png': the file is no image that Pillow knows" in notes
    assert "6 images; scored now: artifact-pocket 5, aesthetic-pocket 5" in notes
    assert {SAMPLES, RESULTS, TABLE} <= {path.name for path in photos.with_name("photos.scores").iterdir()}


def test_json_gives_the_lines_of_the_samples_and_nothing_else(photos: Path, tmp_path: Path) -> None:
    code, out, notes = run("score", photos, "--rewards", "artifact-pocket", "--json", "--out", tmp_path / "out")
    assert code == 0, notes
    assert out == (tmp_path / "out" / SAMPLES).read_text()
    assert len(out.splitlines()) == 5


def test_what_a_dry_run_says_is_what_the_run_then_does(photos: Path) -> None:
    command = ("score", photos, "--rewards", "artifact-pocket", "--prompt", "a red circle")
    run(*command, "--limit", 2)
    code, out, notes = run(*command, "--dry-run", "--json")
    assert code == 0, notes
    plan = json.loads(out)
    assert (plan["num_known"], plan["num_missing"]) == (2, 3)
    assert plan["weight_bytes"] > 100_000
    assert "known" in run(*command, "--dry-run")[1]
    assert "5 images; scored now: artifact-pocket 3." in run(*command)[2]


def test_without_a_cache_scores_are_kept_in_the_folder_alone(photos: Path, own_cache: Path) -> None:
    command = ("score", photos, "--rewards", "artifact-pocket", "--no-cache")
    assert "scored now: artifact-pocket 5" in run(*command)[2]
    assert "scored now: artifact-pocket 0" in run(*command)[2]
    assert json.loads(run(*command, "--dry-run", "--json")[1])["num_known"] == 5
    assert list(own_cache.iterdir()) == []


def test_the_cache_can_be_listed_exported_and_pruned(photos: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    run("score", photos, "--rewards", "artifact-pocket,aesthetic-pocket")
    code, out, notes = run("cache", "list", "--json")
    assert code == 0, notes
    assert [(row["reward"], row["num_scores"]) for row in map(json.loads, out.splitlines())] == [
        ("aesthetic-pocket", 5), ("artifact-pocket", 5),
    ]  # fmt: skip
    assert "artifact-pocket" in run("cache", "list")[1]
    for name in ("all.jsonl", "all.parquet"):
        assert "10 scores in" in run("cache", "export", tmp_path / name)[2]
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    table = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["score"] for row in table] == [line["score"] for line in lines]
    assert "5 scores forgotten" in run("cache", "prune", "--reward", "artifact-pocket")[2]
    assert "scored now: artifact-pocket 5, aesthetic-pocket 0" in run(
        "score", photos, "--rewards", "artifact-pocket,aesthetic-pocket"
    )[2]  # fmt: skip
    assert "10 scores forgotten" in run("cache", "prune", "--all")[2]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["score", "PHOTOS", "--rewards", "artefact-pocket"], 2, "Did you mean 'artifact-pocket'"),
        (["score", "PHOTOS", "--rewards", ","], 2, "names no reward"),
        (["score", "PHOTOS", "--rewards", "artifact-pocket,artifact-pocket"], 2, "names a reward twice"),
        (["score", "PHOTOS/nowhere", "--rewards", "artifact-pocket"], 2, "there is nothing at"),
        (["score", "PHOTOS", "--rewards", "artifact-pocket", "--layout", "coco"], 2, "there is no layout 'coco'"),
        (["score", "PHOTOS", "--rewards", "artifact-pocket", "--limit", "0"], 2, "leaves nothing to score"),
        (["score", "PHOTOS", "--rewards", "artifact-pocket", "--cache", "PHOTOS/000.png"], 3, "It is no score store"),
        (["score", "PHOTOS", "--rewards", "artifact-pocket", "--out", "PHOTOS/000.png"], 3, "A file stands where"),
        (["cache", "list", "--cache", "PHOTOS/none.sqlite"], 2, "no score store at .*`pyrite score` makes one"),
        (["cache", "prune"], 2, "was told nothing, and that would forget every score"),
        (["cache", "prune", "--all", "--reward", "x"], 2, "was told both what to forget and --all"),
        (["cache", "export", "scores.csv"], 2, r"'scores.csv' is neither a .jsonl nor a .parquet file"),
    ],
    ids=[
        "unknown reward", "no reward", "reward twice", "nothing there", "layout", "limit", "cache is an image",
        "out is a file", "no store", "prune nothing", "prune too much", "export",
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_with_the_way_out(photos: Path, arguments: list[str], code: int, told: str) -> None:
    exit_code, _, notes = run(*(argument.replace("PHOTOS", str(photos)) for argument in arguments))
    assert exit_code == code, notes
    assert re.search(told, notes), notes


def test_a_killed_command_continues_and_ends_with_the_files_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(96):
        noise(number, (64, 64)).save(photos / f"{number:03d}.png")
    rewards = ["--rewards", "artifact-pocket,hps-pocket", "--prompt", "a red circle", "--batch-size", "8"]

    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path / "undisturbed.sqlite"))
    code, _, notes = run("score", photos, *rewards, "--out", tmp_path / "undisturbed")
    assert code == 0, notes

    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path / "killed.sqlite"))
    command = [sys.executable, "-m", "pyrite", "score", str(photos), *rewards, "--out", str(tmp_path / "killed")]
    kill_while_it_writes(command, tmp_path / "killed" / f".{SAMPLES}.new")
    assert not (tmp_path / "killed" / RESULTS).exists()

    planned = run("score", photos, *rewards, "--dry-run", "--json")[1]
    kept = [json.loads(line)["num_known"] for line in planned.splitlines()]
    assert all(8 <= num < 96 for num in kept)
    code, _, notes = run("score", photos, *rewards, "--out", tmp_path / "killed")
    assert f"scored now: artifact-pocket {96 - kept[0]}, hps-pocket {96 - kept[1]}." in notes
    for name in (SAMPLES, RESULTS, TABLE):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()

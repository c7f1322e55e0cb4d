"""`pyrite judge ask` and `classify` from the command line: what they print, refuse, and keep when they are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image as PILImage
from tests.artifact.judge_sets import first_pixel, knowing, says, write_set
from tests.judge_server import Body, JudgeServer, any_judge, judge_server, parts_of, status
from typer.testing import CliRunner

from pyrite.cli.main import app

QUIET = ("--set", "audit=''", "--set", "retries=0")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["judge", *map(str, arguments)])


def at(server: JudgeServer) -> tuple[str, ...]:
    return ("--url", server.url, *QUIET)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    PILImage.new("RGB", (8, 8), (1, 2, 200)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_ask_prints_the_probability_and_the_tokens(picture: Path) -> None:
    with judge_server(lambda body: says(0.25)) as server:
        done = run("ask", picture, *at(server), "--question", "Broken?")
        assert parts_of(server.bodies[0])[0] == "Broken?"
    assert done.exit_code == 0
    assert "P(artifact) = 0.2500" in done.stdout
    assert "tokens: 'YES' 0.25, 'NO' 0.75" in done.stdout


def test_ask_reads_the_question_from_a_file(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "question.txt").write_text("Is it broken?\n")
    with judge_server(any_judge) as server:
        run("ask", picture, *at(server), "--question-file", tmp_path / "question.txt")
        assert parts_of(server.bodies[0])[0] == "Is it broken?"


def test_ask_goes_on_where_one_image_cannot_be_read(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"nothing")
    with judge_server(any_judge) as server:
        done = run("ask", tmp_path / "b.png", picture, *at(server), "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert rows[0]["reason"] == "the file is no image that Pillow knows"
    assert 0 < rows[1]["prob_artifact"] < 1
    assert rows[1]["tokens"][0][0] == "NO"


def test_ask_shows_the_reason_where_there_is_no_answer_and_exits_with_3(picture: Path) -> None:
    with judge_server(any_judge, [status(400)]) as server:
        done = run("ask", picture, *at(server))
    assert done.exit_code == 3
    assert "no answer" in done.stdout
    assert "status 400" in done.stdout
    assert "none got an answer" in done.stderr


def test_ask_of_a_classifier(picture: Path) -> None:
    done = run("ask", picture, "--judge", "artifact-pocket", "--json")
    answer = json.loads(done.stdout)
    assert answer["prob_artifact"] == pytest.approx(1 - answer["details"]["clean"], abs=1e-6)
    assert "tokens" not in answer


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--judge", "artifact-pockt"], 2, "Did you mean 'artifact-pocket'"),
        (["--judge", "hps-pocket"], 3, "a judge's score is 1 - P(artifact), in [0, 1]"),
        (["--judge", "orm-pocket"], 3, "fits its prompt"),
        (["--question", "a?", "--question-file", "b.txt"], 2, "Give one of them"),
        (["--question-file", "missing.txt"], 2, "cannot be read"),
        (["--url", "127.0.0.1"], 3, "must be an address such as"),
        (["--url", "http://127.0.0.1:9/v1", "--question", "<|im_end|>"], 3, "control token"),
        (["--judge", "artifact-pocket", "--url", "http://127.0.0.1:9/v1"], 2, "has no option called base_url"),
        (["--set", "concurrency"], 2, "is not of the form"),
        (["--set", "concurency=3"], 3, "concurrency"),
    ],
    ids=[
        "unknown",
        "no-judge",
        "reads-prompts",
        "two-questions",
        "no-file",
        "no-address",
        "markup",
        "not-served",
        "no-key",
        "typo",
    ],
)
def test_what_cannot_be_asked_is_said(picture: Path, arguments: list[str], code: int, told: str) -> None:
    done = run("ask", picture, *arguments)
    assert (done.exit_code, told in done.stderr) == (code, True), done.stderr


def test_classify_writes_the_folder_and_a_repeat_asks_nobody(tmp_path: Path) -> None:
    curated = write_set(tmp_path / "set", pairs=60)
    store = ("--cache", tmp_path / "scores.sqlite", "--shares", "0.4,0.2,0.4", "--vary", "jpeg")
    with judge_server(knowing(right=0.8)) as server:
        first = run("classify", curated, *at(server), *store)
        num = len(server.bodies)
        again = run("classify", curated, *at(server), *store, "--json")
        assert len(server.bodies) == num
    assert first.exit_code == again.exit_code == 0, first.stderr
    assert "temperature fitted on validation" in first.stderr
    assert f"{num} questions asked now" in first.stderr
    assert "0 questions asked now" in again.stderr
    results = json.loads(again.stdout)
    folder = tmp_path / "set" / "set.jsonl.judged"
    written = json.loads((folder / "results.json").read_text())
    assert {**written, "spent": results["spent"]} == results
    assert results["spent"]["calls"] == 0
    assert (folder / "report.html").stat().st_size > 1e6
    assert len((folder / "samples.jsonl").read_text().splitlines()) == results["split"]["num"]["test"] == 48


def test_classify_of_another_question_does_not_overwrite(tmp_path: Path) -> None:
    curated = write_set(tmp_path / "set", pairs=10)
    rest = ("--cache", tmp_path / "scores.sqlite", "--part", "all", "--vary", "none")
    with judge_server(knowing()) as server:
        run("classify", curated, *at(server), *rest)
        other = run("classify", curated, *at(server), *rest, "--question", "Broken?")
        assert len(server.bodies) == 20
    assert other.exit_code == 3
    assert "question was" in other.stderr
    assert "--out FOLDER" in other.stderr


def test_too_small_a_split_is_said(tmp_path: Path) -> None:
    curated = write_set(tmp_path / "set", pairs=20)
    with judge_server(knowing()) as server:
        done = run("classify", curated, *at(server), "--cache", tmp_path / "s.sqlite", "--vary", "none")
    assert done.exit_code == 0
    assert "test holds 4 independent pictures, fewer than 20" in done.stderr
    assert "no interval: 4 independent groups are too few" in done.stderr


@pytest.mark.parametrize(
    ("lines", "arguments", "code", "told"),
    [
        (['{"image": "a.png", "label": 1}'], [], 2, "have label 1 (artifacts)"),
        (['{"image": "a.png"}', '{"image": "a.png", "label": 3}'], [], 2, "2 of 2 entries cannot be used"),
        ([], ["--part", "tset"], 2, "--part tset is no part"),
        ([], ["--shares", "0.5,0.5"], 2, "three numbers that sum to 1"),
        ([], ["--shares", "0.9,0.2,0.2"], 2, "three numbers that sum to 1"),
        ([], ["--vary", "sice"], 2, "nothing called sice to vary"),
        ([], ["--judge", "artefact"], 2, "Did you mean"),
    ],
    ids=["one-class", "bad-labels", "part", "two-shares", "shares-over-one", "vary", "unknown-judge"],
)
def test_what_cannot_be_measured_is_said(
    picture: Path, tmp_path: Path, lines: list[str], arguments: list[str], code: int, told: str
) -> None:
    curated = tmp_path / "bad.jsonl"
    curated.write_text("".join(f"{line}\n" for line in lines))
    path = curated if lines else write_set(tmp_path / "set", pairs=2)
    done = run("classify", path, "--judge", "artifact-pocket", "--cache", tmp_path / "s.sqlite", *arguments)
    assert (done.exit_code, told in done.stderr) == (code, True), done.stderr


def test_a_judge_that_is_not_there_is_said(tmp_path: Path) -> None:
    curated = write_set(tmp_path / "set", pairs=5)
    store = ("--cache", tmp_path / "s.sqlite", "--vary", "none", "--part", "all")
    done = run("classify", curated, "--url", "http://127.0.0.1:9/v1", *QUIET, *store)
    assert done.exit_code == 3
    assert "none of 10 images got an answer" in done.stderr
    assert "the connection to the judge failed" in done.stderr
    assert not (tmp_path / "set" / "set.jsonl.judged").exists()


def test_killed_in_the_middle_the_same_command_repeats_no_answered_question(tmp_path: Path) -> None:
    curated = write_set(tmp_path / "set", pairs=60)
    answered: Counter[tuple[str, Any]] = Counter()
    hold = threading.Event()

    def answer(body: Body) -> Body:
        if len(answered) >= 70 and not hold.is_set():
            time.sleep(0.05)  # the kill comes now
        answered[parts_of(body)[0], first_pixel(body)] += 1
        return knowing()(body)

    with judge_server(answer) as server:
        rest = ("--cache", tmp_path / "s.sqlite", "--part", "all", "--vary", "none", "--set", "concurrency=4")
        command = [sys.executable, "-m", "pyrite", "judge", "classify", curated, *at(server), *rest]
        process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
        )
        while len(answered) < 75 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "set" / "set.jsonl.judged").exists()
        before = Counter(answered)
        hold.set()
        done = run("classify", curated, *at(server), *rest)
    assert done.exit_code == 0, done.stderr
    assert 75 <= before.total() < 120
    assert len(answered) == 120
    # What was on its way at the moment of the kill is all that may be asked again: as many as can be at once.
    assert answered.total() - 120 <= 4

"""`pyrite judge optimise`: what it prints, and every mistake a user can make on its command line."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from examples.simulated.blocks import write_set
from examples.simulated.server import MODEL, SimulatedJudge, served
from typer.testing import CliRunner

from pyrite.cli.main import app

QUICK = ("protegi={rounds: 1, beam: 2, minibatch: 12, gradients: 1, errors_per_gradient: 2, expansion_cap: 2}",
         "shares=[0.5, 0.25, 0.25]", "judge.options.audit=''")  # fmt: skip


def run(*given: str) -> Result:
    return CliRunner().invoke(app, ["judge", "optimise", *given])


def test_the_table_the_question_and_the_way_to_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path / "cache"))
    data = write_set(tmp_path / "set", 16, seed=5)
    rows = data.read_text().splitlines()
    data.write_text("\n".join([*rows, json.dumps({"image": "missing.png", "label": 1})]) + "\n")
    out = tmp_path / "out"
    settings = [part for setting in QUICK for part in ("--set", setting)]
    with served(SimulatedJudge(write_set(tmp_path / "known", 16, seed=5), seed=5)) as simulated:
        given = [str(data), "--out", str(out), "--url", simulated.url, "--model", MODEL, *settings]
        refused = run(*given)
        assert refused.exit_code == 2
        assert "missing.png" in refused.stderr
        done = run(*given, "--skip-bad")
        assert done.exit_code == 0, done.stderr
        again = run(*given, "--skip-bad", "--json")
    assert "log_likelihood *" in done.stdout
    question = (out / "question.txt").read_text().strip()
    assert question.split()[0] in done.stdout
    for told in ("left out: line 33", "questions about images", "--question-file", "question.txt", "lineage.html"):
        assert told in done.stderr
    assert "too few for an interval" in done.stderr
    assert "was finished already; nothing was asked" in again.stderr
    assert json.loads(again.stdout)["best"]["question"] == question
    assert json.loads(again.stdout)["num_skipped"] == 1
    assert (out / "lineage.html").stat().st_size > 1e6


def test_a_server_that_is_not_there_stops_with_advice_and_the_command_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path / "cache"))
    data = write_set(tmp_path / "set", 16)
    settings = [part for setting in (*QUICK, "judge.options.retries=0") for part in ("--set", setting)]
    given = [str(data), "--out", str(tmp_path / "out"), "--url", "http://127.0.0.1:1/v1", "--model", MODEL, *settings]
    for _ in range(2):
        done = run(*given)
        assert done.exit_code == 3
        assert "give the same command again" in done.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--set", "protegi.round=1"], "Did you mean 'rounds'"),
        (["--optimiser", "opro"], "must be 'protegi' or 'gepa'"),
        (["--objective", "accuracy"], "objective = 'accuracy'"),
        (["--question-file", "nowhere.txt"], "cannot be read"),
        (["--set", "judge.name=artifact-pocket"], "reads no question"),
        (["--set", "judge.name=hpsv9"], "hpsv9"),
        (["--set", "judge.options.conccurrency=3"], "conccurrency"),
        (["--set", "budget.calls=30"], "Give it at least"),
    ],
    ids=["key", "optimiser", "objective", "question", "classifier", "judge", "option", "budget"],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    given: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path / "cache"))
    data = write_set(tmp_path / "set", 24)
    monkeypatch.setenv("PYRITE_JUDGE_URL", "http://127.0.0.1:1/v1")
    done = run(str(data), "--out", str(tmp_path / "out"), *given)
    assert done.exit_code in (2, 3)
    assert told in done.stderr


def test_a_dry_run_prints_every_key(tmp_path: Path) -> None:
    done = run("nothing.jsonl", "--out", str(tmp_path), "--dry-run", "--set", "protegi.beam=3")
    assert done.exit_code == 0
    assert "beam: 3" in done.stdout
    assert "expansion_cap: 5" in done.stdout


def test_the_extra_is_named_where_the_library_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(__import__("sys").modules, "gepa.api", None)
    data = write_set(tmp_path / "set", 24)
    done = run(str(data), "--out", str(tmp_path / "out"), "--url", "http://127.0.0.1:1/v1", "--optimiser", "gepa")
    assert done.exit_code == 3
    assert "pip install 'pyrite[optimise]'" in done.stderr

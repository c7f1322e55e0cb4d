"""A search for a question, killed in the middle: the same command continues, and nothing is paid for twice."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from examples.simulated.blocks import write_set
from examples.simulated.server import MODEL, SimulatedJudge, served
from typer.testing import CliRunner

from pyrite.cli.main import app
from pyrite.records.store import ScoreStore

SETTINGS = (
    "shares=[0.5, 0.25, 0.25]",
    "protegi={rounds: 2, beam: 2, minibatch: 16, gradients: 2, errors_per_gradient: 2, expansion_cap: 3}",
    "gepa={proposals: 4, minibatch: 8}",
    "allocation.first_share=0.25",
    "judge.options.concurrency=4",
    "judge.options.usd_per_million_input=1.0",
    "judge.options.usd_per_million_output=1.0",
)


def arguments(data: Path, out: Path, url: str, optimiser: str) -> list[str]:
    overrides = [part for setting in SETTINGS for part in ("--set", setting)]
    asking = ["--url", url, "--model", MODEL, "--optimiser", optimiser, "--cache", str(out.with_suffix(".sqlite"))]
    return ["judge", "optimise", str(data), "--out", str(out), "--json", *asking, *overrides]


def written(out: Path) -> int:
    """How many answers and replies are on the disk."""
    with ScoreStore(out.with_suffix(".sqlite")) as store:
        num = sum(reward.num for reward in store.rewards())
    return num + (out / "replies.jsonl").read_bytes().count(b"\n")


def run(given: list[str]) -> dict[str, Any]:
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    # What a search needs is the same whoever was killed; what of it was asked in which life is not.
    found["judge_options"].pop("base_url")
    for name in ("image_calls_asked", "cost_usd"):
        found["spent"].pop(name)
    return found


@pytest.mark.parametrize(
    ("optimiser", "after"), [("protegi", 7), ("protegi", 70), ("gepa", 40)], ids=["first look", "in a round", "gepa"]
)
def test_a_killed_search_continues_without_a_repeated_call(
    optimiser: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path / "cache"))
    data = write_set(tmp_path / "set", 20, seed=3)
    with served(SimulatedJudge(data, seed=3)) as undisturbed:
        whole = run(arguments(data, tmp_path / "whole", undisturbed.url, optimiser))

    with served(SimulatedJudge(data, seed=3, freeze_after=after)) as simulated:
        given = arguments(data, tmp_path / "killed", simulated.url, optimiser)
        running = subprocess.Popen(
            [sys.executable, "-m", "pyrite", *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert simulated.frozen.wait(200)  # so many answers are out, and the next request hangs
        while written(tmp_path / "killed") < after:  # an answer that is only on its way is nobody's yet
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
        running.wait(60)
        assert not (tmp_path / "killed" / "results.json").exists()
        simulated.freeze_after = float("inf")
        continued = run(given)
        # Every request that was ever answered, as often as in the search that nobody killed: 1 for each image.
        assert simulated.answered == undisturbed.answered
        num = simulated.answered.total()
        assert run(given) == continued == whole | {"set": continued["set"]}
        assert simulated.answered.total() == num

"""Scoring on a local Ray with two workers: the files of the plain path, whatever dies on the way."""

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.scored import make_folder
from typer.testing import CliRunner

from pyrite.cli.main import app

NO_RAY = "" if importlib.util.find_spec("ray") else "Ray is not installed: pip install 'pyrite[ray]'"

ROOT = Path(__file__).parents[2]
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
EQUAL = {"samples.jsonl": True, "results.json": True, "scores.parquet": True}


SCENES = ("network", "equal", "killed")
MORE_SCENES = ("parquet", "again", "resumed", "deadly", "differing", "store")

# The one that comes first waits for all scenes: minutes on two cores with a load of 15.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the scenes of ray_parts.py came to that every run of the tests plays."""
    return _played(SCENES, tmp_path_factory)


@pytest.fixture(scope="module")
def told_more(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the others came to."""
    return _played(MORE_SCENES, tmp_path_factory)


def _played(scenes: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One Ray for several scenes, because it takes seconds to start.

    Where several processes share the suite, the first one that gets here plays them and the others read of them.
    """
    if NO_RAY:
        pytest.skip(NO_RAY)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    answer = shared / f"ray-{scenes[0]}.json"
    with (shared / f"ray-{scenes[0]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            answer.write_text(_run(tmp_path_factory.mktemp("ray"), scenes))
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def _run(root: Path, scenes: Sequence[str]) -> str:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "tests.evaluation.ray_parts", str(root), *scenes],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def _is_equal(found: dict[str, Any]) -> None:
    assert found["equal"] == EQUAL
    assert found["asked_alike"]
    assert found["num_asked"][0] == found["num_asked"][1]
    assert found["left"] == [".pyrite-score", "progress.sqlite", *sorted(EQUAL)]


def test_the_files_are_those_of_the_plain_path_byte_for_byte(told: dict[str, Any]) -> None:
    _is_equal(told["equal"])


@pytest.mark.slow
def test_images_that_lie_in_the_file_give_the_files_of_the_plain_path_too(told_more: dict[str, Any]) -> None:
    _is_equal(told_more["parquet"])


def test_no_image_is_asked_about_twice(told: dict[str, Any]) -> None:
    assert told["equal"]["asked_once"]


@pytest.mark.slow
def test_the_same_call_again_asks_nobody(told_more: dict[str, Any]) -> None:
    assert told_more["again"] == {"num_asked": {"bright": 0, "drawn": 0, "detailed": 0}, "asked_more": False}


def test_a_worker_that_is_killed_loses_nothing_and_nothing_is_scored_twice(told: dict[str, Any]) -> None:
    assert told["killed"] == {"deaths": 1, "equal": EQUAL, "num_asked": 50, "num_distinct": 50}


@pytest.mark.slow
def test_a_reward_that_raises_stops_the_run_in_its_words_and_the_same_call_continues(
    told_more: dict[str, Any],
) -> None:
    found = told_more["resumed"]
    assert found["message"][:2] == [
        "RewardError", "the model's server is gone. Start it, then give the same command again.",
    ]  # fmt: skip
    assert 0 < found["before"] < 50
    assert (found["num_asked"], found["num_distinct"], found["equal"]) == (50, 50, EQUAL)


@pytest.mark.slow
def test_an_image_that_kills_every_worker_is_named_and_not_tried_for_ever(told_more: dict[str, Any]) -> None:
    kind, message, left = told_more["deadly"]
    assert kind == "RewardError"
    assert "3 workers came to their end, one after the other, over the images from '048.png' to 'zz.png'" in message
    assert left == "['.pyrite-score', 'progress.sqlite']"  # no units, and the store is closed


@pytest.mark.slow
def test_other_weights_on_another_machine_are_refused(told_more: dict[str, Any]) -> None:
    kind, message, _ = told_more["differing"]
    assert kind == "RewardError"
    assert "would score with other models than the one that was asked first (bright: revision is" in message


@pytest.mark.slow
def test_a_store_that_cannot_be_opened_says_so_as_on_the_plain_path(told_more: dict[str, Any]) -> None:
    kind, message, _ = told_more["store"]
    assert kind == "StoreError"
    assert "damaged.sqlite" in message
    assert "--cache FILE" in message


def test_ray_listens_on_the_loopback_address_alone_and_tells_nobody_anything(told: dict[str, Any]) -> None:
    assert told["network"]["num_processes"] > 3
    assert told["network"]["addresses"]
    assert set(told["network"]["addresses"]) <= LOOPBACK
    assert told["network"]["usage"] == ["RAY_USAGE_STATS_ENABLED=0"]


@pytest.mark.skipif(bool(NO_RAY), reason=NO_RAY)
def test_a_cluster_that_is_not_there_is_said_to_be() -> None:
    script = (
        "from pyrite.evaluation.ray_cluster import Cluster, open_cluster\n"
        "with open_cluster(Cluster(1, address='127.0.0.1:9')): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "RunFolderError: there is no Ray cluster at '127.0.0.1:9' ([Errno 111] Connection refused)" in done.stderr


@pytest.mark.skipif(bool(NO_RAY), reason=NO_RAY)
def test_the_command_gives_the_files_of_the_plain_one(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", 20)
    command = [str(Path(sys.executable).with_name("pyrite")), "score", str(folder), "--rewards", "sharpness,saturation"]
    said = []
    for engine in ("plain", "ray"):
        more = ["--engine", engine, "--cache", str(tmp_path / f"{engine}.sqlite"), "--out", str(tmp_path / engine)]
        done = subprocess.run([*command, *more, "--json", "--batch-size", "8"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == 20
    for name in EQUAL:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()


def test_options_of_ray_without_ray_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "images", 1)
    done = CliRunner().invoke(app, ["score", str(folder), "--rewards", "sharpness", "--worker-gpus", "1"])
    assert done.exit_code == 2
    assert "Add --engine ray, or leave them out" in done.stderr


def test_without_ray_the_command_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "images", 1)
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_BACKEND_LOG_LEVEL"):
        monkeypatch.setenv(name, "")  # put back what the command sets
    done = CliRunner().invoke(app, ["score", str(folder), "--rewards", "sharpness", "--engine", "ray", "--no-cache"])
    assert done.exit_code == 3
    assert "needs 'ray', which is not installed, on this machine and on every other one" in done.stderr
    assert "pip install 'pyrite[ray]'" in done.stderr

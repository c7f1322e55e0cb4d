"""Parts at the same time: never before what they need, and never longer than whoever asked for them."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.timed_parts import make

from pyrite.world.build.side_by_side import run_side_by_side

NEEDS = {"first": [], "left": ["first"], "right": ["first"], "last": ["left", "right"]}


def test_parts_run_together_but_after_those_they_need(tmp_path: Path) -> None:
    records: dict[str, Any] = {}
    heard: list[tuple[str, str]] = []
    run_side_by_side(
        NEEDS,
        functools.partial(make, tmp_path),
        jobs=2,
        heard=lambda part, what: heard.append((part, what)),
        done=records.__setitem__,
    )
    assert sorted(heard) == sorted((part, "begins") for part in NEEDS)
    assert records.keys() == NEEDS.keys()
    for part, needs in NEEDS.items():
        assert all(records[need]["ended"] <= records[part]["began"] for need in needs)


def test_what_a_part_raises_arrives_and_nothing_that_needs_it_begins(tmp_path: Path) -> None:
    records: dict[str, Any] = {}
    needs = {"broken": [], "after": ["broken"]}
    with pytest.raises(ValueError, match="this part cannot be made"):
        run_side_by_side(
            needs, functools.partial(make, tmp_path), jobs=2, heard=lambda *_: None, done=records.__setitem__
        )
    assert not records


def test_parts_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import functools, pathlib\n"
        "from pyrite.world.build.side_by_side import run_side_by_side\n"
        "from tests.timed_parts import make\n"
        "if __name__ == '__main__':\n"
        f"    make = functools.partial(make, pathlib.Path({str(tmp_path)!r}))\n"
        "    run_side_by_side({'endless': []}, make, jobs=1, heard=lambda *_: None, done=lambda *_: None)\n"
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, path], env={**os.environ, "PYTHONPATH": str(root)}, start_new_session=True
    )
    while not (tmp_path / "endless").exists():
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while _lives(parent.pid):
        time.sleep(0.05)


def _lives(session: int) -> bool:
    """Whether any process of a session is left."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            return True
    return False

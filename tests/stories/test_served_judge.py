"""A judge on a server, from the command line: a wrong key stops, the same command continues, a repeat asks nobody."""

import json
from pathlib import Path

import pytest
from PIL import Image as PILImage
from tests.judge_server import any_judge, judge_server, status
from typer.testing import CliRunner

from pyrite.cli.main import app


def test_the_same_command_continues_after_a_wrong_key_and_then_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for row in range(3):
        PILImage.new("RGB", (8, 8), (row, 2, 3)).save(folder / f"{row}.png")
    command = ["score", str(folder), "--rewards", "artifact-served", "--out", str(tmp_path / "out"), "--json"]
    with judge_server(any_judge, [status(401)] * 3) as server:
        monkeypatch.setenv("PYRITE_JUDGE_URL", server.url)
        stopped = CliRunner().invoke(app, command)
        assert stopped.exit_code == 3
        assert "refused the key" in stopped.stderr
        assert "give the same command again" in stopped.stderr

        server.faults = [status(400)]
        first = CliRunner().invoke(app, command)
        assert (first.exit_code, len(first.stdout.splitlines())) == (0, 3)
        assert "status 400" in first.stderr
        num = len(server.bodies)
        again = CliRunner().invoke(app, command)
        assert len(server.bodies) == num + 1  # the one that failed on the way
        assert CliRunner().invoke(app, command).stdout == again.stdout
        assert len(server.bodies) == num + 1
    rows = [json.loads(line) for line in again.stdout.splitlines()]
    assert not any(row["reasons"] for row in rows)
    details = [row["details"]["artifact-served"] for row in rows]
    replies = (Path(tmp_path) / "out" / "samples.jsonl").read_text()
    assert all(one["prompt_tokens"] == 300 and str(int(one["request"])) in replies for one in details)

"""The tutorial "your own artifact judge in an afternoon", typed from top to bottom against its simulated judge."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "your-own-artifact-judge.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = "8123"
PATIENCE_S = 200


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = str(found.getsockname()[1])
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": programs, "PYRITE_CACHE": str(tmp_path / "cache")}
    server: subprocess.Popen[str] | None = None
    try:
        for language, text in BLOCK.findall(PAGE.read_text()):
            typed = text.replace(PORT, port)
            command = ["bash", "-ec", typed] if language == "bash" else [sys.executable, "-c", typed]
            if "simulated_judge.py" in typed:
                server = subprocess.Popen(
                    ["bash", "-ec", f"exec {typed}"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
                )
                assert server.stdout is not None
                assert "answers at" in server.stdout.readline()
                continue
            done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
            assert done.returncode == 0, f"{typed}\n{done.stderr}"
    finally:
        if server is not None:
            server.terminate()
            server.communicate()
    before, after = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("before", "after"))
    assert before["metrics"]["roc_auc"]["high"] < after["metrics"]["roc_auc"]["low"]
    assert before["question"] != after["question"] == (tmp_path / "found" / "question.txt").read_text().strip()
    assert before["split"]["num"]["test"] == after["split"]["num"]["test"]
    pocket = json.loads((tmp_path / "pocket" / "results.json").read_text())
    assert pocket["counts"]["unscored"] == 0
    for page in ("before/report.html", "after/report.html", "found/lineage.html", "set.jpg"):
        assert (tmp_path / page).stat().st_size > 10_000

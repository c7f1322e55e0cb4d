"""`pyrite serve` as a process: it starts, asks for a token where it must, and drains when it is told to stop."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx  # noqa: TID253 - the rule keeps the command light, not its tests
import pytest
from tests.serving.faults import RED, item
from typer.testing import CliRunner

from pyrite.cli.main import app
from pyrite.core.types import Prompt
from pyrite.rewards.remote import remote
from pyrite.rewards.remote_connection import TOKEN_VARIABLE

TOKEN = "correct-horse-battery-staple"

# A reward that takes until a file appears, served by the very function that the command calls.
SLOW = """
import sys, time
from pathlib import Path
from pyrite.cli.serve import _run
from pyrite.rewards.diagnostics import load_saturation
from pyrite.serving.app import create_app

class Slow:
    card = load_saturation().card
    def score(self, images, prompts):
        while not Path(sys.argv[1]).exists():
            time.sleep(0.01)
        return load_saturation().score(images, prompts)

_run(create_app({"saturation": Slow()}), "127.0.0.1", 0, 1)
"""


@contextmanager
def process(*command: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its URL, once it listens."""
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    ) as server:
        assert server.stderr is not None
        told = ""
        try:
            for line in server.stderr:
                told += line
                if found := re.search(r"running on (http://[\d.:]+)", line):
                    break
            else:
                pytest.fail(told)
            yield server, found[1]
        finally:
            server.kill()


def pyrite(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pyrite", "serve", *arguments)


def test_on_sigterm_what_was_accepted_is_answered_and_what_is_new_is_refused(tmp_path: Path) -> None:
    free = tmp_path / "free"
    with (
        process(sys.executable, "-c", SLOW, str(free)) as (server, url),
        ThreadPoolExecutor(1) as pool,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        accepted = pool.submit(httpx.post, f"{url}/score", json={"items": [item()]}, timeout=60)
        while client.get("/health").json()["waiting_images"] < 1:
            pass
        server.send_signal(signal.SIGTERM)
        while client.get("/health").status_code != 503:
            pass
        for refused in (client.post("/score", json={"items": [item()]}), httpx.post(f"{url}/score", json={})):
            assert (refused.status_code, refused.json()["error"]) == (503, "draining")
        free.touch()
        assert accepted.result().json()["scores"]["saturation"]["values"] == [1.0]
        assert server.wait(30) == -signal.SIGTERM


def test_the_command_serves_with_a_token_that_it_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with process(*pyrite("saturation,sharpness", "--port", "0")) as (server, url):
        assert httpx.get(f"{url}/rewards").status_code == 401
        assert remote(url, "saturation").score([RED], [Prompt("")]).values.tolist() == [1.0]
        server.send_signal(signal.SIGINT)
        assert server.wait(30) in (0, -signal.SIGINT)
        assert server.stderr is not None
        assert TOKEN not in server.stderr.read()


def test_several_workers_share_a_port_and_add_up_their_counters() -> None:
    with process(*pyrite("saturation", "--port", "0", "--workers", "2")) as (server, url):
        reward = remote(url, "saturation")  # waits for the workers
        for _ in range(20):
            assert reward.score([RED], [Prompt("")]).values.tolist() == [1.0]
        assert 'pyrite_requests_total{status="200"} 20.0' in httpx.get(f"{url}/metrics").text
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def refused(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["serve", *arguments])
    return done.exit_code, " ".join(done.stderr.split())


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "gpu1", "::"])
def test_beyond_loopback_a_token_is_needed(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    code, told = refused("saturation", "--host", host)
    assert code == 2
    assert f"--host {host} lets other machines in" in told
    assert "secrets.token_urlsafe" in told


def test_a_token_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "hunter2")
    code, told = refused("saturation", "--host", "0.0.0.0")
    assert code == 2
    assert "the token has 7 characters" in told
    assert "hunter2" not in told


def test_an_unknown_reward_is_refused_before_anything_listens() -> None:
    code, told = refused("hpsv9")
    assert code == 2
    assert "no reward is called 'hpsv9'" in told


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_ends_the_command(workers: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            pyrite("saturation", "--port", port, "--workers", workers), capture_output=True, text=True, timeout=120
        )
    assert done.returncode != 0
    assert "address already in use" in done.stderr.lower()


@pytest.mark.slow  # the supervisor gives a silent worker 20 s
def test_workers_that_cannot_load_end_the_command_with_the_reason(tmp_path: Path) -> None:
    nowhere = {**os.environ, "PYRITE_WEIGHTS": str(tmp_path), "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        pyrite("hpsv2.1", "--port", "0", "--workers", "2"), capture_output=True, text=True, env=nowhere, timeout=120
    )
    assert done.returncode != 0
    assert "pyrite weights fetch hpsv2.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_travel_to_workers_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyrite.cli import serve

    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setattr(serve, "_run", lambda *arguments: None)
    monkeypatch.setenv(serve.SETTINGS_VARIABLE, "")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    assert refused("saturation", "--workers", "2", "--max-waiting", "7") == (0, "")
    settings = os.environ[serve.SETTINGS_VARIABLE]
    assert json.loads(settings)["max_waiting"] == 7
    assert TOKEN not in settings

"""The judge client against a server that others wrote: `transformers serve`, with a tiny random model of text.

A model that reads pictures needs torchvision there, which this environment has not; the form of the reply is the same.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tiny_qwen import write_text_model

from pyrite.rewards.judge import JudgeClient
from pyrite.rewards.judge_call import Answered, Failed
from pyrite.rewards.judge_config import judge_config
from pyrite.rewards.queries import Query, Settings
from pyrite.rewards.yes_no import LISTED

START_S = 120.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and model of a server that runs as long as the tests here."""
    folder = write_text_model(tmp_path_factory.mktemp("served") / "judge")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", str(folder), "--port", str(port)]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=offline, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    import httpx

    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"transformers serve did not begin (exit code {process.poll()})")


def test_its_replies_are_read_and_it_sends_no_probabilities(served: tuple[str, Path]) -> None:
    url, model = served
    client = JudgeClient(judge_config("artifact-served", model=str(model), base_url=url, audit="", retries=0), "judge")
    [outcome] = client.ask([Query(("Are there artifacts?",), Settings(max_tokens=3, top_logprobs=LISTED))]).outcomes
    client.close()
    assert isinstance(outcome, Answered)
    assert outcome.said.text
    assert outcome.said.finish_reason == "length"
    assert outcome.said.tokens is None
    assert (outcome.said.completion_tokens, outcome.said.prompt_tokens > 0) == (3, True)


def test_a_model_it_does_not_have_is_no_answer(served: tuple[str, Path]) -> None:
    url, _ = served
    client = JudgeClient(judge_config("artifact-served", model="no/such", base_url=url, audit="", retries=0), "judge")
    [outcome] = client.ask([Query(("Are there artifacts?",), Settings(1))]).outcomes
    client.close()
    assert isinstance(outcome, Failed)
    assert "requested 'no/such'" in outcome.reason.replace("\\", "")

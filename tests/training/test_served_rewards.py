"""A reward server that dies in the middle of a run, and comes back."""

import threading
import time
from pathlib import Path
from typing import Any

import httpx  # noqa: TID253 - the rule keeps the command light, not its tests
import pytest
from tests.cli.test_serve import process, pyrite
from tests.training.scenario import run_toy
from tests.training.test_grpo import lines

from pyrite.core.errors import RewardError
from pyrite.core.types import Scores
from pyrite.rewards.remote import remote
from pyrite.training.scoring import score_panel

OVERRIDES = (
    "rewards=[{name: hashed, reward: remote, transform: null}]", "eval_rewards=[]", "gold=null", "checkpoint.every=100",
)  # fmt: skip


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


@pytest.mark.timeout(900)  # starts servers: seconds on an idle machine, minutes on a busy one
def test_a_run_whose_server_dies_stops_with_a_checkpoint_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"eval_rewards": {}, "gold": None}
    with process(*pyrite("random", "--port", "0")) as (server, url):
        run_toy(tmp_path / "whole", *OVERRIDES, rewards={"hashed": remote(url, "random")}, **parts)

        def kill(step: int, steps: int, row: object) -> None:
            if step == 2:
                server.kill()
                server.wait()

        mortal = {"hashed": remote(url, "random", deadline_s=2)}
        with pytest.raises(RewardError, match=rf"{url}.*"):
            run_toy(tmp_path / "run", *OVERRIDES, rewards=mortal, progress=kill, **parts)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_000002"]

    with process(*pyrite("random", "--port", port_of(url))) as (_, again):
        assert again == url
        run_toy(tmp_path / "run", *OVERRIDES, rewards={"hashed": remote(url, "random")}, **parts)
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


@pytest.mark.timeout(900)
def test_a_run_waits_for_a_server_that_is_away_for_a_moment(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"eval_rewards": {}, "gold": None}
    with process(*pyrite("random", "--port", "0")) as (server, url):
        reward = {"hashed": remote(url, "random", deadline_s=600)}

        def leave(step: int, steps: int, row: object) -> None:
            if step == 2:
                server.kill()
                server.wait()
                threading.Thread(target=come_back, daemon=True).start()

        done = threading.Event()

        def come_back() -> None:
            with process(*pyrite("random", "--port", port_of(url))):
                done.wait()

        try:
            run_toy(tmp_path / "run", *OVERRIDES, rewards=reward, progress=leave, **parts)
        finally:
            done.set()
    assert lines(tmp_path / "run")[-1]["step"] == 6


def test_rewards_elsewhere_are_asked_together_and_the_others_computed_meanwhile() -> None:
    together = threading.Barrier(3, timeout=60)

    class There:
        is_elsewhere = True

        def score(self, images: Any, prompts: Any) -> Scores:
            together.wait()
            return Scores.unscored(len(images), "asked")

    class Here(There):
        is_elsewhere = False

    assert list(score_panel({"a": There(), "b": Here(), "c": There()}, [], [])) == ["a", "b", "c"]


def test_an_error_of_one_elsewhere_is_raised() -> None:
    class Broken:
        is_elsewhere = True

        def score(self, images: Any, prompts: Any) -> Scores:
            raise httpx.ConnectError("nobody there")

    class Fine:
        def score(self, images: Any, prompts: Any) -> Scores:
            time.sleep(0)
            return Scores.unscored(len(images), "asked")

    import numpy as np
    from tests.fakes import image_of, toy_prompts

    images = [image_of(np.array([0, 1]))]
    with pytest.raises(RewardError, match="the reward 'broken' raised ConnectError: nobody there"):
        score_panel({"broken": Broken(), "fine": Fine()}, images, toy_prompts(1))

"""A judge as benchmarks know it: what goes out, what comes back, and that nothing about rewards has changed."""

import json

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.judge_server import chat, judge_server, parts_of, status

from pyrite.core.errors import RewardError
from pyrite.rewards.asked_judge import load_asked_judge
from pyrite.rewards.judge_config import JudgeConfig
from pyrite.rewards.queries import Query, Settings

NUMBER = 3882783673209539
IMAGE = PILImage.new("RGB", (6, 5), "red")


def test_a_question_goes_out_as_it_was_put() -> None:
    with judge_server(lambda body: chat("Score: 1")) as server:
        judge = load_asked_judge(
            "wise", model="m", max_tokens=500, base_url=server.url, thinking=False, temperature=0.0
        )
        heard = judge.ask(IMAGE, "Is it right?", system="Look.")
        judge.ask(IMAGE, "Is it right?")
    assert (heard.text, heard.is_whole, heard.failed, heard.model, heard.prompt_tokens) == (
        "Score: 1",
        True,
        "",
        "judge",
        300,
    )
    first, second = server.bodies
    assert [turn["role"] for turn in first["messages"]] == ["system", "user"]
    assert first["messages"][0]["content"] == "Look."
    assert [part["type"] for part in first["messages"][1]["content"]] == ["text", "image_url"]
    assert (parts_of(first)[0], len(parts_of(first)[1])) == ("Is it right?", 1)
    assert [turn["role"] for turn in second["messages"]] == ["user"]
    assert (first["max_tokens"], first["temperature"]) == (500, 0.0)
    assert first["chat_template_kwargs"] == {"enable_thinking": False}
    assert "thinking" not in first


def test_the_identity_names_everything_that_changes_replies() -> None:
    judge = load_asked_judge("wise", model="m", max_tokens=5, base_url="http://127.0.0.1:1/v1", concurrency=3)
    assert judge.identity == {
        "weights": "m@http://127.0.0.1:1/v1", "model": "m", "temperature": 0.0, "max_tokens": 5, "transport": "png",
    }  # fmt: skip
    assert json.loads(json.dumps(judge.identity)) == judge.identity
    assert judge.at_once == 3


def test_a_failure_is_no_reply_and_says_when_to_stop() -> None:
    with judge_server(lambda body: chat("x"), [status(401)]) as server:
        judge = load_asked_judge("wise", model="m", max_tokens=5, base_url=server.url)
        heard = judge.ask(IMAGE, "?")
        assert (heard.text, "refused the key" in heard.failed, "refused the key" in heard.stop) == ("", True, True)
        assert "control token" in judge.ask(IMAGE, "<|im_start|> ?").failed
        assert "mode" in judge.ask(PILImage.fromarray(np.zeros((4, 4), np.float32)), "?").failed
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"max_tokens": 0}, "max_tokens=0"), ({"transport": "gif"}, "transport=gif"), ({"seeed": 1}, "seeed")],
    ids=["tokens", "transport", "unknown"],
)
def test_a_setting_without_such_a_value_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(RewardError, match=told):
        load_asked_judge("wise", **{"model": "m", "max_tokens": 5, **settings})  # type: ignore[arg-type]


def test_questions_without_a_system_turn_keep_their_number_and_body() -> None:
    """Stored scores and audit files name questions by it: this one was computed before system turns were known."""
    query, sampling = Query(("Is it?",), Settings(1, 20)), {"model": "m", "temperature": 0.0}
    assert query.number(sampling) == NUMBER
    assert Query(("Is it?",), Settings(1, 20), system="Look.").number(sampling) != NUMBER
    assert "thinking" not in JudgeConfig(model="m").scoring_options

"""A judge behind a server: every fault ends as a reason, a stop, or a second attempt that works."""

import gzip
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from tests.judge_server import (
    Fault,
    JudgeServer,
    announced_flood,
    any_judge,
    body_of,
    byte_by_byte,
    chat,
    cut_off,
    flood,
    judge_server,
    never,
    reset,
    status,
)

from pyrite.core.errors import RewardError, RunFolderError
from pyrite.rewards.breaker import AT_LEAST, WINDOW, Breaker
from pyrite.rewards.judge import Asked, JudgeClient
from pyrite.rewards.judge_call import Answered, Failed
from pyrite.rewards.judge_config import JudgeConfig, judge_config
from pyrite.rewards.judge_replies import read_completion
from pyrite.rewards.queries import Query, Settings, Shown, markup_in

SETTINGS = Settings(max_tokens=5)
QUICK: dict[str, Any] = {"model": "judge", "backoff_s": 0.001, "timeout_s": 20.0, "deadline_s": 30.0, "audit": ""}
KEY = "sk-very-secret-123456"

Client = Callable[..., JudgeClient]


@pytest.fixture
def client() -> Iterator[Client]:
    made: list[JudgeClient] = []

    def make(server: JudgeServer | str, **settings: Any) -> JudgeClient:
        url = server if isinstance(server, str) else server.url
        made.append(JudgeClient(JudgeConfig(base_url=url, **{**QUICK, **settings}), "test"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def questions(num: int, start: int = 0) -> list[Query]:
    return [Query((f"question {row}",), SETTINGS) for row in range(start, start + num)]


def reasons(asked: Asked) -> list[str]:
    return [one.reason if isinstance(one, Failed) else "" for one in asked.outcomes]


def replies(asked: Asked) -> list[str]:
    return [one.said.text if isinstance(one, Answered) else "" for one in asked.outcomes]


def echo(body: dict[str, Any]) -> dict[str, Any]:
    return chat(body["messages"][0]["content"][0]["text"])


PASSING: dict[str, Fault] = {
    "429": status(429),
    "500": status(500),
    "502 with a page": status(502, b"<html>Bad gateway</html>"),
    "503": status(503),
    "408": status(408),
    "a reset connection": reset,
    "a server that dies in its reply": cut_off,
    "half a JSON": body_of(b'{"choices": [{"message"'),
    "HTML": body_of(b"<!doctype html><p>hello", "text/html"),
    "an empty body": body_of(b""),
    "no choices": body_of(b'{"choices": []}'),
    "choices of another kind": body_of(b'{"choices": {"message": 3}}'),
    "no JSON object": body_of(b"[1, 2]"),
    "deep nesting": body_of(b"[" * 100_000),
    "not text": body_of(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_is_tried_again(fault: Fault, client: Client) -> None:
    with judge_server(echo, [fault, fault]) as server:
        asked = client(server).ask(questions(1))
        assert replies(asked) == ["question 0"]
        assert asked.outcomes[0].attempts == 3


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_stays_is_a_reason_and_never_a_reply(fault: Fault, client: Client) -> None:
    with judge_server(echo, [fault] * 3) as server:
        [outcome] = client(server, retries=2).ask(questions(1)).outcomes
        assert isinstance(outcome, Failed)
        assert outcome.attempts == len(server.bodies) == 3
        assert len(outcome.reason) > 20


FINAL: dict[str, tuple[Fault, str]] = {
    "400": (status(400), "status 400: .*trouble 400"),
    "422": (status(422), "status 422"),
    "a redirect": (status(307, location="http://127.0.0.1:9/v1"), "status 307"),
    "a quota that is used up": (status(429, x_should_retry="false"), "status 429"),
    "10 MB": (flood, "more than 1048576 bytes"),
    "10 MB announced": (announced_flood, "10000000 bytes"),
    "10 MB of error": (status(400, b"x" * 10_000_000), "10000000 bytes"),
    "a compressed reply": (status(200, gzip.compress(b"x" * 9_000_000), content_encoding="gzip"), "compressed"),
}


@pytest.mark.parametrize(("fault", "why"), FINAL.values(), ids=FINAL)
def test_a_fault_that_would_repeat_is_not_tried_again(fault: Fault, why: str, client: Client) -> None:
    with judge_server(echo, [fault]) as server:
        asked = client(server).ask(questions(1))
        assert len(server.bodies) == 1
        with pytest.raises(AssertionError, match=why):
            raise AssertionError(reasons(asked)[0])


@pytest.mark.parametrize("fault", [never, byte_by_byte], ids=["never", "byte by byte"])
def test_a_judge_that_takes_its_time_is_cut_off(fault: Fault, client: Client) -> None:
    with judge_server(echo, [fault]) as server:
        asked = client(server, timeout_s=0.5, retries=0).ask(questions(2))
        assert sorted(reasons(asked)) == ["", "the judge did not answer within 0.5 s"]
        assert replies(client(server, timeout_s=20.0).ask(questions(1))) == ["question 0"]


def test_nobody_there_is_a_reason(client: Client) -> None:
    with judge_server(echo) as server:
        gone = server.url
    assert "the connection to the judge failed" in reasons(client(gone, retries=1).ask(questions(1)))[0]


@pytest.mark.parametrize(
    "after",
    ["600", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), "inf", "1e400"],
    ids=["seconds", "date", "for ever", "beyond a float"],
)
def test_a_pause_beyond_the_deadline_is_not_begun(after: str, client: Client) -> None:
    with judge_server(echo, [status(429, retry_after=after)]) as server:
        [why] = reasons(client(server).ask(questions(1)))
        assert "beyond deadline_s=30" in why
        assert len(server.bodies) == 1


@pytest.mark.parametrize("after", ["0.01", "-5", "nan", "soon", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_short_or_senseless_retry_after_does_not_stop_the_next_attempt(after: str, client: Client) -> None:
    with judge_server(echo, [status(503, retry_after=after)]) as server:
        assert replies(client(server).ask(questions(1))) == ["question 0"]


def test_the_server_decides_the_pause_if_it_asks_for_more(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    import asyncio

    sleep = asyncio.sleep

    async def noted(seconds: float, result: Any = None) -> Any:
        if seconds > 0.05:
            pauses.append(seconds)
        return await sleep(0, result)

    monkeypatch.setattr("pyrite.rewards.judge_call.asyncio.sleep", noted)
    with judge_server(echo, [status(429, retry_after="7"), status(500), status(500)]) as server:
        client(server, backoff_s=2.0).ask(questions(1))
    assert pauses[0] == 7.0
    assert 2.0 <= pauses[1] <= 4.0  # the second pause of 2, 4, 8, ... s, times 0.5 to 1
    assert 4.0 <= pauses[2] <= 8.0


STOPPING = {
    "401": (status(401, {"error": f"wrong key {KEY}"}), "refused the key .401.*PYRITE_JUDGE_KEY"),
    "403": (status(403), "refused the key .403"),
    "404": (status(404, {"message": "no such model"}), "has no model 'judge'.*no such model.*/v1/models"),
}


@pytest.mark.parametrize(("fault", "why"), STOPPING.values(), ids=STOPPING)
def test_what_holds_for_every_question_stops_them_all(fault: Fault, why: str, client: Client) -> None:
    with judge_server(echo, [fault] * 40) as server:
        asked = client(server, concurrency=2).ask(questions(40))
        assert len(server.bodies) < 10
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(asked.stop)
    assert all(reasons(asked))


def test_too_many_failures_stop_the_rest_and_keep_what_was_answered(client: Client) -> None:
    def answer(body: dict[str, Any]) -> Any:
        number = int(body["messages"][0]["content"][0]["text"].split()[1])
        return echo(body) if number < 15 else {}

    with judge_server(answer) as server:
        asked = client(server, concurrency=1, retries=0).ask(questions(500))
        assert len(server.bodies) == AT_LEAST  # 5 of 20 is more than 0.2
    assert replies(asked)[:15] == [f"question {row}" for row in range(15)]
    assert "5 of the last 20 requests failed, more than max_failure_rate=0.2" in asked.stop
    assert all("not asked any more" in why for why in reasons(asked)[20:])


def test_failures_below_the_limit_stop_nothing(client: Client) -> None:
    with judge_server(echo, [status(400)] * 4) as server:
        asked = client(server).ask(questions(60))
    assert not asked.stop
    assert sum(map(bool, reasons(asked))) == 4


def test_the_breaker_counts_the_latest_alone() -> None:
    breaker = Breaker(0.2)
    assert not any(breaker.count(failed=False) for _ in range(WINDOW))
    assert not any(breaker.count(failed=True) for _ in range(10))
    assert "11 of the last 50" in str(breaker.count(failed=True))
    assert not breaker.count(failed=True)  # whoever goes on begins anew


def test_a_limit_of_one_never_stops() -> None:
    breaker = Breaker(1.0)
    assert not any(breaker.count(failed=True) for _ in range(100))


def test_equal_questions_are_asked_once(client: Client) -> None:
    picture = PILImage.new("RGB", (4, 4), "red")
    twice = [Query(("q", Shown.of(picture)), SETTINGS, about) for about in ("one", "two")]
    other = Query(("q", Shown.of(PILImage.new("RGB", (4, 4), "blue"))), SETTINGS)
    with judge_server(any_judge) as server:
        asked = client(server).ask([*twice, other, *twice])
        assert len(server.bodies) == 2
    assert replies(asked)[0] == replies(asked)[1] == replies(asked)[4] != replies(asked)[2]


def test_as_many_are_in_flight_as_allowed_on_as_many_connections(client: Client) -> None:
    with judge_server(echo, delay_s=0.02) as server:
        judge = client(server, concurrency=4)
        assert replies(judge.ask(questions(40))) == [f"question {row}" for row in range(40)]
        judge.ask(questions(8))
        assert server.num_at_once == 4
        assert server.num_connections <= 4


def test_several_threads_may_ask_at_once(client: Client) -> None:
    found: dict[int, list[str]] = {}
    with judge_server(echo, delay_s=0.01) as server:
        judge = client(server)

        def ask(start: int) -> None:
            found[start] = replies(judge.ask(questions(5, start)))

        threads = [threading.Thread(target=ask, args=(start,)) for start in (0, 5, 10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {start: [f"question {row}" for row in range(start, start + 5)] for start in (0, 5, 10)}


def test_it_may_be_called_where_another_loop_runs(client: Client) -> None:
    import asyncio

    async def main(judge: JudgeClient) -> Asked:
        return judge.ask(questions(1))

    with judge_server(echo) as server:
        assert replies(asyncio.run(main(client(server)))) == ["question 0"]


def test_no_question_needs_no_server(client: Client) -> None:
    assert client("http://127.0.0.1:9/v1").ask([]).outcomes == []


# ---------------------------------------------------------------- key and audit


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_reply_is_kept_with_tokens_cost_and_caption(client: Client, tmp_path: Path) -> None:
    audit = tmp_path / "new" / "replies.jsonl"
    prices = {"usd_per_million_input": 10.0, "usd_per_million_output": 100.0}
    query = Query(("what?", Shown.of(PILImage.new("RGB", (2, 2)))), Settings(9, top_logprobs=10), "a cat")
    with judge_server(lambda _: chat("NO", tokens={"NO": -0.1, "YES": -3.0}), [status(500)]) as server:
        asked = client(server, audit=str(audit), **prices).ask([query])
    [row] = lines(audit)
    [outcome] = asked.outcomes
    assert isinstance(outcome, Answered)
    assert row["request"] == outcome.number < 2**52
    assert (row["reply"], row["tokens"]) == ("NO", [["NO", -0.1], ["YES", -3.0]])
    assert (row["prompt_tokens"], row["completion_tokens"]) == (300, 2)
    assert row["cost_usd"] == pytest.approx(0.0032)
    assert (row["prompt"], row["attempts"], row["model"], row["reward"]) == ("a cat", 2, "judge", "test")
    assert row["images"] == [query.image_keys[0]]


def test_a_failure_is_in_the_audit_too(client: Client, tmp_path: Path) -> None:
    audit = tmp_path / "replies.jsonl"
    with judge_server(echo, [status(400)]) as server:
        client(server, audit=str(audit)).ask(questions(2))
    assert sorted("failed" in row for row in lines(audit)) == [False, True]


def test_replies_lie_beside_the_score_store_unless_told_otherwise(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRITE_CACHE", str(tmp_path))
    with judge_server(echo) as server:
        client(server, audit=None).ask(questions(1))
    assert lines(tmp_path / "judge-replies.jsonl")[0]["reply"] == "question 0"


def test_an_audit_that_cannot_be_written_is_an_error(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with judge_server(echo) as server, pytest.raises(RunFolderError, match="choose another folder"):
        client(server, audit=str(tmp_path / "file" / "replies.jsonl")).ask(questions(1))


def test_the_key_goes_to_the_server_and_nowhere_else(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYRITE_JUDGE_KEY", KEY)
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"another-{name}")
    caplog.set_level("DEBUG")
    audit = tmp_path / "replies.jsonl"
    faults = [status(400, {"error": f"you sent {KEY}"}), status(500, KEY.encode())]
    with judge_server(lambda _: chat(f"I saw {KEY}"), faults) as server:
        judge = client(server, audit=str(audit), concurrency=1)
        asked = judge.ask(questions(3))
        server.faults.append(status(401, KEY.encode()))
        stopped = judge.ask(questions(1))
        sent = server.headers
    assert {head["authorization"] for head in sent} == {f"Bearer {KEY}"}
    assert not any("another-" in value for head in sent for value in head.values())
    shown = " ".join([*reasons(asked), stopped.stop, audit.read_text(), repr(judge.config), caplog.text])
    assert KEY not in shown
    assert "I saw ***" in shown


def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRITE_JUDGE_KEY", "sécret\nkey")
    with pytest.raises(RewardError, match="PYRITE_JUDGE_KEY holds characters") as error:
        client("http://127.0.0.1:9/v1").ask(questions(1))
    assert "cret" not in str(error.value)


# ---------------------------------------------------------------- settings

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"retrys": 3}, "Did you mean 'retries'"),
    "no address": ({"base_url": "judge:8000"}, "must be an address such as http://127.0.0.1:8000/v1"),
    "a key in the address": ({"base_url": "http://me:secret@host/v1"}, "no user, password or query"),
    "no patience": ({"timeout_s": 0}, "timeout_s = 0: must be above 0"),
    "no slot": ({"concurrency": 0}, "concurrency = 0: must be 1 or more"),
    "text for a number": ({"retries": "3"}, "must be a whole number"),
    "weights here": ({"weights": "folder"}, "weights: belongs to the server"),
    "two at once": ({"seed": 1.5, "dtype": "float32"}, "dtype: belongs(?s:.*)seed = 1.5"),
}


@pytest.mark.parametrize(("settings", "why"), WRONG.values(), ids=WRONG)
def test_a_setting_that_cannot_be_is_refused_at_the_door(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(RewardError, match=why) as error:
        judge_config("artifact-served", model="judge", **settings)
    assert "secret" not in str(error.value) or "password" in str(error.value)


def test_the_address_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRITE_JUDGE_URL", "http://10.0.0.7:8000/v1/")
    assert judge_config("x", model="judge").base_url == "http://10.0.0.7:8000/v1"
    assert judge_config("x", model="judge", base_url="http://h:1/v1").base_url == "http://h:1/v1"


def test_settings_of_the_sampling_are_sent_and_others_are_not(client: Client) -> None:
    with judge_server(echo) as server:
        client(server, top_p=0.9, seed=3, repetition_penalty=1.05).ask(questions(1))
        client(server).ask([Query(("q",), Settings(7, top_logprobs=10))])
    first, second = server.bodies
    assert (first["temperature"], first["top_p"], first["seed"], first["repetition_penalty"]) == (0.0, 0.9, 3, 1.05)
    assert set(second) == {"model", "messages", "max_tokens", "stream", "temperature", "logprobs", "top_logprobs"}
    assert server.paths == ["/v1/chat/completions"] * 2


# ---------------------------------------------------------------- replies on the wire

FORMS: dict[str, tuple[bytes, tuple[str, str, Sequence[tuple[str, float]] | None]]] = {
    "vllm": (
        json.dumps(chat("NO", tokens={"NO": -0.2, "YES": -9999.0})).encode(),
        ("NO", "stop", (("NO", -0.2), ("YES", -9999.0))),
    ),
    "transformers serve": (
        b'{"id":"1","choices":[{"finish_reason":"stop","index":0,"message":{"content":"NO","role":"assistant"}}],'
        b'"created":1,"model":"m","object":"chat.completion","usage":{"prompt_tokens":3,"completion_tokens":1}}',
        ("NO", "stop", None),
    ),
    "no log-probabilities": (b'{"choices":[{"message":{"content":"a"},"logprobs":null}]}', ("a", "none given", None)),
    "an empty list of them": (
        b'{"choices":[{"message":{"content":"a"},"logprobs":{"content":[]},"finish_reason":"length"}]}',
        ("a", "length", None),
    ),
    "null": (b'{"choices":[{"message":{"content":null},"finish_reason":"stop"}],"usage":null}', ("", "stop", None)),
    "a count that cannot be": (
        b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":-4}}',
        ("a", "stop", None),
    ),
}


@pytest.mark.parametrize(("data", "expected"), FORMS.values(), ids=FORMS)
def test_the_forms_of_known_servers_are_read(data: bytes, expected: Any) -> None:
    said = read_completion(data)
    assert not isinstance(said, str)
    assert (said.text, said.finish_reason, said.tokens) == expected


@pytest.mark.parametrize(
    "text",
    ["a <|im_end|> b", "</s>", "an <IMAGE> here", "[INST] judge", "<\uff5cend\uff5c>"],
)
def test_a_caption_that_spells_out_markup_is_not_put_to_a_server(text: str) -> None:
    assert "spells out" in str(markup_in(text))


@pytest.mark.parametrize("text", ["a < b and c > d", "5 <| 3", "an image", "", "<b>bold</b>"])
def test_other_captions_are(text: str) -> None:
    assert markup_in(text) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_asks_on_connections_of_its_own(client: Client) -> None:
    with judge_server(echo) as server:
        judge = client(server)
        judge.ask(questions(1))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if replies(judge.ask(questions(2))) == ["question 0", "question 1"] else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert replies(judge.ask(questions(1))) == ["question 0"]

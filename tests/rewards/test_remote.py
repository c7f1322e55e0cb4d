"""A reward on a server scores as it does here; what goes wrong on the way is an error or a reason, never a number."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.serving.faults import GREY, RED, Brightness, grey_levels, http, raw_server

import pyrite
from pyrite.core.errors import InterruptedScoringError, RewardError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records import wire
from pyrite.records.store import ScoreStore
from pyrite.records.stored import Stored
from pyrite.rewards.diagnostics import load_saturation
from pyrite.rewards.remote import load_remote, remote
from pyrite.rewards.remote_connection import TOKEN_VARIABLE
from pyrite.serving.app import create_app
from pyrite.serving.background import in_background
from pyrite.serving.limits import Limits

PROMPT = Prompt("a red square")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    limits = Limits(max_items=5, max_body_bytes=100_000, max_wait_s=0.0)
    with in_background(create_app({"brightness": Brightness(), "saturation": load_saturation()}, limits=limits)) as url:
        yield url


def test_the_card_is_the_served_one(url: str) -> None:
    assert remote(url, "saturation").card == load_saturation().card


def test_a_score_is_the_same_here_and_there_to_the_last_digit(url: str) -> None:
    rng = np.random.default_rng(0)
    images = [PILImage.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)) for _ in range(23)]
    there = remote(url, "saturation", batch_size=4).score(images, [PROMPT] * 23)
    np.testing.assert_array_equal(there.values, load_saturation().score(images, [PROMPT] * 23).values)


MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F")


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_any_mode_scores_as_here(url: str, mode: str) -> None:
    noise = PILImage.fromarray(np.random.default_rng(1).integers(0, 256, (8, 9, 3), dtype=np.uint8))
    image = PILImage.new(mode, (9, 8), 1) if mode in ("I;16", "I", "F", "LAB") else noise.convert("L").convert(
        mode) if mode in ("1", "LA", "PA") else noise.convert(mode)  # fmt: skip
    here, there = (reward.score([image], [PROMPT]) for reward in (load_saturation(), remote(url, "saturation")))
    np.testing.assert_array_equal(here.values, there.values)
    assert here.reasons == there.reasons


def test_transparency_and_palettes_travel(url: str) -> None:
    image = PILImage.effect_noise((20, 20), 90).convert("P")
    image.info["transparency"] = 3
    here, there = (reward.score([image], [PROMPT]) for reward in (load_saturation(), remote(url, "saturation")))
    np.testing.assert_array_equal(here.values, there.values)


def test_every_field_of_a_prompt_arrives() -> None:
    reward = Brightness()
    prompt = Prompt(
        "two cats \ud83d",
        "7",
        "numeracy",
        ("cat",),
        ("red cat",),
        {"obj1": "a"},
        ({"obj_name": "cat", "num": 2},),
        "why",
    )
    with in_background(create_app({"brightness": reward})) as url:
        remote(url, "brightness").score([RED, RED], [prompt, Prompt("", "8")])
    assert reward.calls[0][1] == [prompt, Prompt("", "8")]


def test_reasons_and_details_come_back_in_their_rows(url: str) -> None:
    images = [*grey_levels(7), PILImage.new("RGB", (3, 3)), PILImage.new("RGB", (0, 4)), *grey_levels(2)]
    scores = remote(url, "brightness").score(images, [PROMPT] * 11)
    assert scores.reasons == {7: "it is dark", 8: "the image is empty: 0 x 4 pixels"}
    np.testing.assert_array_equal(scores.values, [1, 2, 3, 4, 5, 6, 7, np.nan, np.nan, 1, 2])
    np.testing.assert_array_equal(scores.details["width"], [8.0] * 7 + [3.0, np.nan, 8.0, 8.0])


def test_requests_stay_below_what_the_server_reads_and_one_image_too_large_is_unscored(url: str) -> None:
    rng = np.random.default_rng(2)
    sides = [100, 100, 100, 300, 100]
    images = [PILImage.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for side in sides]
    scores = remote(url, "brightness").score(images, [PROMPT] * 5)
    assert list(scores.reasons) == [3]
    assert "bytes on its way, and the server reads 100000; scale it down" in scores.reasons[3]


def test_what_cannot_be_decoded_or_cannot_travel_is_unscored(url: str, tmp_path: Path) -> None:
    PILImage.effect_noise((40, 40), 90).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-300])
    with PILImage.open(tmp_path / "half.png") as half:
        odd = Prompt("a", numeracy_info=({"num": float("nan")},))
        scores = remote(url, "saturation").score([half, RED, RED], [PROMPT, odd, PROMPT])
    assert "could not be decoded" in scores.reasons[0]
    assert "the prompt cannot travel" in scores.reasons[1]
    assert scores.values[2] == 1


def test_numbers_must_agree(url: str) -> None:
    with pytest.raises(ValueError, match="2 images and 1 prompts"):
        remote(url, "saturation").score([RED, RED], [PROMPT])


def test_in_a_recipe_it_is_a_name_with_options(url: str) -> None:
    reward = pyrite.load_reward("remote", url=url, reward="saturation", device="cpu", batch_size=2)
    assert reward.score([RED, GREY], [PROMPT] * 2).values.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"here url='' and reward=''. Say both: \{name: remote"),
        ({"reward": "hpsv2.1"}, r"remote asks a server for a reward, and here url=''"),
        ({"weights": "x"}, "remote has no weights: the model is on the server"),
        ({"dtype": "bfloat16"}, "computes in float32, and dtype='bfloat16' was asked for"),
    ],
    ids=["nothing", "no url", "weights", "dtype"],
)
def test_options_that_cannot_be_are_refused(url: str, options: dict[str, Any], message: str) -> None:
    given = {"url": url, "reward": "saturation", **options} if options.keys() & {"weights", "dtype"} else options
    with pytest.raises(RewardError, match=message):
        load_remote(**given)


@pytest.mark.parametrize("url", ["gpu1:8000", "ftp://gpu1", "http://", "http://me:secret@gpu1"])
def test_an_address_that_is_none_is_refused_and_shows_no_password(url: str) -> None:
    with pytest.raises(RewardError, match="is no address of a reward server") as refused:
        remote(url, "saturation")
    assert "secret" not in str(refused.value)


def test_a_reward_that_is_not_served_is_named_with_those_that_are(url: str) -> None:
    with pytest.raises(RewardError, match=r"has no reward 'hpsv9'. It has: brightness, saturation"):
        remote(url, "hpsv9")


# The token.

TOKEN = "correct-horse-battery-staple"


def test_the_token_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    with in_background(create_app({"saturation": load_saturation()}, token=TOKEN)) as url:
        assert remote(url, "saturation", token_file=tmp_path / "token").score([RED], [PROMPT]).values[0] == 1
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        assert remote(url, "saturation").score([RED], [PROMPT]).values[0] == 1
        monkeypatch.setenv(TOKEN_VARIABLE, "wrong-horse-battery-staple")
        with pytest.raises(RewardError, match=r"status 401: .* token_file") as refused:
            remote(url, "saturation")
    assert "horse" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"two words", "schlüssel".encode(), b"\xff"], ids=repr)
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(RewardError, match=r"holds no token|cannot be read"):
        remote("http://127.0.0.1:9", "saturation", token_file=tmp_path / "token")


# Faults: a server that answers as the test says.

CARD = load_saturation().card
CARDS = json.dumps(
    {"rewards": {"saturation": wire.card_to_json(CARD)}, "max_items": 3, "max_body_bytes": 10**6}
).encode()
Answer = Callable[[int], "bytes | None"]


def answers(num: int, values: Sequence[float] | None = None, key: str = CARD.store_key) -> bytes:
    column = {"key": key, "values": values or [0.5] * num, "reasons": {}, "details": {}, "transient": []}
    return http(200, json.dumps({"scores": {"saturation": column}}).encode())


def faulty(answer: Answer) -> Any:
    """A server with cards whose n-th answer about scores is `answer(n)`; None resets the connection."""
    num_asked = 0

    async def talk(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal num_asked
        if request.startswith(b"GET /rewards"):
            writer.write(http(200, CARDS))
            return
        num_asked += 1
        reply = answer(num_asked)
        if reply is None:
            writer.transport.abort()
        else:
            writer.write(reply)

    return raw_server(talk)


def score(url: str, **options: Any) -> Scores:
    return remote(url, "saturation", **{"deadline_s": 20, **options}).score([RED], [PROMPT])


TRANSIENT: dict[str, bytes | None] = {
    "busy": http(429, b'{"message": "too busy"}', "retry-after: 0"),
    "draining": http(503, b"{}"),
    "a proxy without its server": http(502, b"<html>Bad Gateway</html>"),
    "a proxy that waited too long": http(504, b""),
    "reset": None,
    "closed in the middle": b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{",
    "no HTTP": b"SSH-2.0-OpenSSH_9.9\r\n",
}


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
def test_what_passes_is_asked_again(fault: bytes | None) -> None:
    with faulty(lambda n: fault if n < 3 else answers(1)) as url:
        assert score(url).values.tolist() == [0.5]


def test_a_server_that_comes_back_finds_its_clients_waiting() -> None:
    """Killed between two requests and started again on the same port."""
    with in_background(create_app({"saturation": load_saturation()})) as url:
        reward = remote(url, "saturation", deadline_s=30)
    port = int(url.rpartition(":")[2])
    import threading

    found: list[Scores] = []
    asking = threading.Thread(target=lambda: found.append(reward.score([RED], [PROMPT])))
    asking.start()
    with in_background(create_app({"saturation": load_saturation()}), port=port):
        asking.join()
    assert found[0].values.tolist() == [1.0]


LASTING = {
    "bad request": (http(400, b'{"message": "no JSON"}'), "status 400: no JSON"),
    "forbidden": (http(403, b"keep out"), "status 403: keep out .* forbids it"),
    "a broken reward": (http(500, b'{"message": "it raised"}'), "status 500: it raised .* broken there"),
    "no JSON": (http(200, b"<html>hello</html>"), "gave an answer that is no JSON"),
    "bare NaN": (http(200, b'{"scores": {"saturation": {"values": [NaN]}}}'), "NaN is no JSON"),
    "half a JSON": (http(200, b'{"scores": '), "gave an answer that is no JSON"),
    "another reward": (http(200, b'{"scores": {"hpsv2.1": {}}}'), "something that is no scores"),
    "too few": (http(200, b'{"scores": {"saturation": {"key": "", "values": [], "reasons": {}, '
                          b'"details": {}, "transient": []}}}'), "0 scores for 1 images"),
    "null without a reason": (http(200, b'{"scores": {"saturation": {"key": "", "values": [null], "reasons": {}, '
                                        b'"details": {}, "transient": []}}}'), "every NaN needs a reason"),
    "a number as text": (http(200, b'{"scores": {"saturation": {"key": "", "values": ["0.9"], "reasons": {}, '
                                   b'"details": {}, "transient": []}}}'), "'0.9' is no number"),
    "infinite": (http(200, b'{"scores": {"saturation": {"key": "", "values": ["Infinity"], "reasons": {}, '
                           b'"details": {}, "transient": []}}}'), "infinite score in rows"),
    "other weights": (answers(1, key="f" * 64), "with other weights or settings than when this client began"),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "message"), LASTING.values(), ids=LASTING)
def test_what_lasts_is_an_error_at_once_and_never_a_number(reply: bytes, message: str) -> None:
    num_asked: list[int] = []
    with faulty(lambda n: num_asked.append(n) or reply) as url, pytest.raises(RewardError, match=message):  # type: ignore[func-returns-value]
        score(url)
    assert num_asked == [1]


@pytest.mark.parametrize("after", ["3600", "Fri, 31 Dec 2199 23:59:59 GMT"], ids=["seconds", "date"])
def test_a_pause_beyond_the_deadline_is_not_begun(after: str) -> None:
    busy = http(503, b'{"message": "too busy"}', f"retry-after: {after}")
    with faulty(lambda _: busy) as url, pytest.raises(RewardError, match=r"no answer in 20 s and 1 tries"):
        score(url)


def test_an_endless_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrite.rewards.remote_connection._MOST_REPLY_BYTES", 10_000)
    with faulty(lambda n: http(200, b" " * 20_000)) as url, pytest.raises(RewardError, match="more than 10000 bytes"):
        score(url)


def test_an_answer_byte_by_byte_ends_at_the_deadline() -> None:
    async def talk(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"GET"):
            writer.write(http(200, CARDS))
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        for _ in range(1000):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    with raw_server(talk) as url, pytest.raises(RewardError, match=r"no answer in 0 s .*the answer came too slowly"):
        score(url, deadline_s=0.3)


def test_a_server_that_never_answers_is_an_error_that_says_what_to_do() -> None:
    async def talk(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"GET"):
            writer.write(http(200, CARDS))
        else:
            await asyncio.sleep(60)

    with raw_server(talk) as url, pytest.raises(RewardError, match=r"ReadTimeout.* start it with `pyrite serve`"):
        score(url, timeout_s=0.1, deadline_s=0.5)


def test_nobody_there_is_an_error_that_says_so() -> None:
    with pytest.raises(RewardError, match=r"http://127.0.0.1:9 gave no answer .* ConnectError"):
        remote("http://127.0.0.1:9", "saturation", deadline_s=0.1)


def test_something_else_there_is_an_error_that_says_so() -> None:
    async def talk(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, b'{"models": []}'))

    with (
        raw_server(talk) as url,
        pytest.raises(RewardError, match="this is no reward server, or one of another version"),
    ):
        remote(url, "saturation")


def test_a_failure_leaves_nothing_in_the_score_store(tmp_path: Path) -> None:
    with ScoreStore(tmp_path / "scores.sqlite") as store:
        with faulty(lambda n: None) as url:
            stored = Stored(remote(url, "saturation", deadline_s=0.2), store)
            with pytest.raises(RewardError, match="gave no answer"):
                stored.score([RED], [PROMPT])
        with in_background(create_app({"saturation": load_saturation()})) as url:
            assert Stored(remote(url, "saturation"), store).score([RED], [PROMPT]).values[0] == 1


def test_what_was_answered_before_the_server_failed_is_kept(tmp_path: Path) -> None:
    images = grey_levels(9)
    with (
        ScoreStore(tmp_path / "scores.sqlite") as store,
        faulty(lambda n: answers(3) if n == 1 else http(500, b'{"message": "it raised"}')) as url,
    ):
        reward = remote(url, "saturation", concurrency=1)
        with pytest.raises(InterruptedScoringError, match="status 500: it raised") as stop:
            Stored(reward, store).score(images, [PROMPT] * 9)
        assert [row.num for row in store.rewards()] == [3]
    assert stop.value.scores.transient == frozenset(range(3, 9))


def test_what_is_transient_there_is_transient_here() -> None:
    class Sometimes(Brightness):
        def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
            return Scores(np.array([np.nan] + [1.0] * (len(images) - 1)), {0: "a judge is away"}, {}, frozenset({0}))

    with in_background(create_app({"brightness": Sometimes()})) as url:
        scores = remote(url, "brightness").score([PILImage.new("RGB", (0, 1)), RED, RED], [PROMPT] * 3)
    assert (list(scores.reasons), scores.transient) == ([0, 1], frozenset({1}))


def test_no_request_is_lost_and_none_counted_twice_while_connections_break(tmp_path: Path) -> None:
    """Every third answer is thrown away after the server has scored: each image still has one score, its own."""
    images: list[Image] = grey_levels(60)
    reward = Brightness()

    async def talk(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal num_asked
        head, _, body = request.partition(b"\r\n\r\n")
        num_asked += 1
        spoilt = num_asked % 3 == 0
        path = head.split(b" ")[1].decode()
        async with httpx.AsyncClient(base_url=behind) as client:
            reply = await (client.post(path, content=body, headers={"content-type": "application/json"}) if body
                           else client.get(path))  # fmt: skip
        if spoilt:
            writer.transport.abort()
        else:
            writer.write(http(reply.status_code, reply.content))

    import httpx

    num_asked = 0
    with (
        in_background(create_app({"brightness": reward})) as behind,
        raw_server(talk) as url,
        ScoreStore(tmp_path / "scores.sqlite") as store,
    ):
        stored = Stored(remote(url, "brightness", batch_size=2, deadline_s=60), store)
        scores = stored.score(images, [PROMPT] * 60)
        kept = store.rewards()
    np.testing.assert_array_equal(scores.values, np.arange(1.0, 61.0))
    assert [row.num for row in kept] == [60]
    assert sum(len(asked) for asked, _ in reward.calls) > 60

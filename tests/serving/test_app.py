"""What the server answers to what, over a real socket."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx  # noqa: TID253 - the rule keeps the command light, not its tests
import pytest
from PIL import Image as PILImage
from tests.serving.faults import GREY, RED, Brightness, encoded, grey_levels, item, png

from pyrite.rewards.diagnostics import load_saturation
from pyrite.serving.app import create_app
from pyrite.serving.background import in_background
from pyrite.serving.limits import Limits

LIMITS = Limits(
    max_body_bytes=200_000,
    max_items=20,
    max_pixels=10_000,
    max_waiting_bytes=300_000,
    max_waiting_images=20,
    max_waiting_pixels=30_000,
    read_timeout_s=0.2,
    max_batch=8,
    max_wait_s=0.0,
)


@pytest.fixture
def reward() -> Brightness:
    return Brightness()


@pytest.fixture
def client(reward: Brightness) -> Iterator[httpx.Client]:
    app = create_app({"brightness": reward, "saturation": load_saturation()}, limits=LIMITS)
    with in_background(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def steady() -> Iterator[httpx.Client]:
    """A server that many tests share, so none may hold it up."""
    app = create_app({"brightness": Brightness(), "saturation": load_saturation()}, limits=LIMITS)
    with in_background(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def ask(client: httpx.Client, *items: dict[str, Any], **more: Any) -> httpx.Response:
    return client.post("/score", json={"rewards": ["brightness"], "items": list(items), **more})


def scored(response: httpx.Response, name: str = "brightness") -> dict[str, Any]:
    assert response.status_code == 200, response.text
    column: dict[str, Any] = response.json()["scores"][name]
    return column


def test_json_is_answered_with_values_reasons_and_details(steady: httpx.Client) -> None:
    black = PILImage.new("RGB", (5, 8))
    column = scored(ask(steady, item(RED), item(black), item(GREY)))
    assert column["values"] == [85.0, None, 128.0]
    assert column["reasons"] == {"1": "it is dark"}
    assert column["details"] == {"width": [8.0, 5.0, 8.0]}
    assert "NaN" not in ask(steady, item(black)).text


def test_a_form_with_files_is_the_same_question(steady: httpx.Client) -> None:
    row = {"rewards": ["brightness"], "items": [{"prompt": {"prompt": "a"}}, {"prompt": {"prompt": "b"}}]}
    files = [("images", ("0", png(RED), "image/png")), ("images", ("1", png(GREY, "JPEG"), "image/jpeg"))]
    assert scored(steady.post("/score", data={"request": json.dumps(row)}, files=files))["values"] == [85.0, 128.0]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_the_three_formats_are_read(steady: httpx.Client, form: str) -> None:
    assert scored(ask(steady, item(png(GREY, form))))["values"] == [128.0]


def test_without_names_all_rewards_are_asked(steady: httpx.Client) -> None:
    reply = steady.post("/score", json={"items": [item()]}).json()
    assert {name: column["values"] for name, column in reply["scores"].items()} == {
        "brightness": [85.0],
        "saturation": [1.0],
    }


def test_prompts_arrive_with_all_their_fields(client: httpx.Client, reward: Brightness) -> None:
    row = {
        "prompt": "two cats \ud83d",
        "id": 7,
        "nouns": ["cat"],
        "task_type": "numeracy",
        "numeracy_info": [{"obj_name": "cat", "num": 2}],
        "spatial_info": {"locality": "on"},
        "unknown": 1,
    }
    scored(client.post("/score", content=json.dumps({"rewards": ["brightness"], "items": [{**item(), "prompt": row}]}),
                       headers={"content-type": "application/json"}))  # fmt: skip
    [prompt] = reward.calls[0][1]
    assert prompt.to_json() == {key: value for key, value in row.items() if key != "unknown"} | {"id": "7"}


def test_nothing_asked_is_nothing_scored(steady: httpx.Client) -> None:
    assert scored(ask(steady)) | {"key": ""} == {"key": "", "values": [], "reasons": {}, "transient": [], "details": {}}


def test_the_cards_say_how_much_is_taken(client: httpx.Client, reward: Brightness) -> None:
    reply = client.get("/rewards").json()
    assert reply["rewards"]["brightness"]["range"] == [0.0, 255.0]
    assert (reply["max_items"], reply["max_body_bytes"]) == (20, 200_000)
    assert scored(ask(client, item()))["key"] == reward.card.store_key


def test_metrics_count_requests_and_images(client: httpx.Client) -> None:
    ask(client, item(), item(PILImage.new("RGB", (8, 8))))
    client.post("/score", json={})
    text = client.get("/metrics").text
    for line in (
        'pyrite_requests_total{status="200"} 1.0',
        'pyrite_requests_total{status="422"} 1.0',
        'pyrite_images_total{outcome="scored",reward="brightness"} 1.0',
        'pyrite_images_total{outcome="unscored",reward="brightness"} 1.0',
        "pyrite_waiting_images 0.0",
    ):
        assert line in text


# What is wrong with one image.

BOMB = png(PILImage.new("1", (20_000, 20_000)))
ANIMATED = [PILImage.new("RGB", (8, 8), colour) for colour in ("red", "blue")]


def animation(form: str) -> bytes:
    import io

    file = io.BytesIO()
    ANIMATED[0].save(file, form, save_all=True, append_images=ANIMATED[1:])
    return file.getvalue()


BAD_IMAGES = {
    "nothing": (b"", "the image is empty: 0 bytes"),
    "text": (b"<html>no image</html>", "the image is no PNG, JPEG or WEBP"),
    "gif": (png(RED, "GIF"), "the image is no PNG, JPEG or WEBP"),
    "tiff": (png(RED, "TIFF"), "the image is no PNG, JPEG or WEBP"),
    "png bomb": (BOMB, "more than 10000 pixels"),
    "large png": (png(PILImage.new("L", (101, 100))), "101 x 100 pixels, and this server decodes at most 10000"),
    "large jpeg": (png(PILImage.new("L", (200, 100)), "JPEG"), "200 x 100 pixels"),
    "large webp": (png(PILImage.new("RGB", (300, 100)), "WEBP"), "300 x 100 pixels"),
    "webp that lies": (b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00" + b"\xff" * 6 + b"\x00" * 9,
                       "16777216 x 16777216 pixels"),
    "truncated png": (png(PILImage.effect_noise((40, 40), 90))[:-300], "the image cannot be read"),
    "animated png": (animation("PNG"), "the image has 2 frames"),
    "animated webp": (animation("WEBP"), "the image has 2 frames"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "why"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_a_bad_image_is_unscored_with_a_reason_and_disturbs_nobody(steady: httpx.Client, data: bytes, why: str) -> None:
    column = scored(ask(steady, item(RED), item(data), item(GREY)))
    assert column["values"] == [85.0, None, 128.0]
    assert why in column["reasons"]["1"]


def test_bad_base64_is_unscored_with_a_reason(steady: httpx.Client) -> None:
    column = scored(ask(steady, {**item(), "image": "data:image/png;base64,é"}))
    assert column["reasons"] == {"0": "the image is no base64: string argument should contain only ASCII characters"}


# What is wrong with a request.

VALID = json.dumps({"items": [item()]}).encode()
BAD_NOUNS = b'{"items": [{"image": "", "prompt": {"prompt": "a", "nouns": 3}}]}'
MANY_PIXELS = json.dumps({"items": [item(PILImage.new("1", (99, 99)))] * 4}).encode()
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
BAD_REQUESTS = {
    "no kind": (415, "unsupported_media_type", b"{}", {}),
    "another kind": (415, "unsupported_media_type", b"{}", {"content-type": "text/plain"}),
    "empty": (400, "invalid_json", b"", JSON),
    "half a JSON": (400, "invalid_json", VALID[:-5], JSON),
    "bare NaN": (400, "invalid_json", b'{"items": [NaN]}', JSON),
    "no UTF-8": (400, "invalid_json", b'"\xff"', JSON),
    "nested too deep": (400, "invalid_json", b"[" * 100_000, JSON),
    "a list": (422, "invalid_request", b"[]", JSON),
    "no items": (422, "invalid_request", b"{}", JSON),
    "an unknown key": (422, "invalid_request", b'{"items": [], "reward": "x"}', JSON),
    "an item without a prompt": (422, "invalid_request", b'{"items": [{"image": ""}]}', JSON),
    "a prompt without a text": (422, "invalid_request", b'{"items": [{"image": "", "prompt": {"id": "1"}}]}', JSON),
    "nouns that are no list": (422, "invalid_request", BAD_NOUNS, JSON),
    "an unknown reward": (404, "unknown_reward", b'{"rewards": ["hpsv9"], "items": []}', JSON),
    "no reward": (422, "invalid_request", b'{"rewards": [], "items": []}', JSON),
    "a reward twice": (422, "invalid_request", b'{"rewards": ["saturation", "saturation"], "items": []}', JSON),
    "too many items": (413, "too_many_items", json.dumps({"items": [0] * 21}).encode(), JSON),
    "too many pixels": (413, "too_many_pixels", MANY_PIXELS, JSON),
    "a body too large": (413, "body_too_large", b" " * 200_001, JSON),
    "a form without a boundary": (400, "invalid_form", b"x", {"content-type": "multipart/form-data"}),
    "a form without a request": (422, "invalid_request", b"--x--\r\n", FORM),
    "a form that is none": (400, "invalid_form", b"--y\r\nnonsense", FORM),
}  # fmt: skip


@pytest.mark.parametrize(("status", "name", "body", "headers"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_gets_its_status_and_a_sentence(
    steady: httpx.Client, status: int, name: str, body: bytes, headers: dict[str, str]
) -> None:
    response = steady.post("/score", content=body, headers=headers)
    assert (response.status_code, response.json()["error"]) == (status, name)
    assert len(response.json()["message"]) > 30
    assert scored(ask(steady, item()))["values"] == [85.0]


def test_a_refusal_says_where_the_problem_is_and_repeats_no_input(steady: httpx.Client) -> None:
    refused = steady.post("/score", json={"items": [{"image": {"secret": 1}, "prompt": {"prompt": "a"}}]})
    assert refused.json()["problems"] == [{"where": "items.0.image", "what": "Input should be a valid string"}]
    assert "secret" not in refused.text


def test_as_many_files_as_items(steady: httpx.Client) -> None:
    request = json.dumps({"items": [{"prompt": {"prompt": "a"}}]})
    refused = steady.post("/score", data={"request": request}, files=[("images", (str(n), png())) for n in range(2)])
    assert refused.status_code == 422
    assert "1 items and 2 files" in refused.json()["message"]


def raw(client: httpx.Client, data: bytes) -> bytes:
    """Send bytes, then only listen, until the server closes the connection."""
    import socket

    with socket.create_connection((client.base_url.host, client.base_url.port or 0), 20) as line:
        line.sendall(data)
        answer = b""
        while piece := line.recv(65536):
            answer += piece
    return answer


HEAD = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def test_two_announced_gigabytes_are_refused_before_any_is_read(steady: httpx.Client) -> None:
    answer = raw(steady, HEAD + b"content-length: 2147483648\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the request has 2147483648 bytes or more" in answer


def test_a_body_without_a_length_is_limited_too(steady: httpx.Client) -> None:
    pieces = b"%x\r\n" % 200_001 + b" " * 200_001
    assert raw(steady, HEAD + b"transfer-encoding: chunked\r\n\r\n" + pieces).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_come_is_given_up(steady: httpx.Client) -> None:
    assert raw(steady, HEAD + b"content-length: 100\r\n\r\n{").startswith(b"HTTP/1.1 408 ")


# What happens under load.


def test_requests_that_wait_together_are_scored_together(client: httpx.Client, reward: Brightness) -> None:
    images = grey_levels(13)
    with ThreadPoolExecutor(13) as pool:
        with reward.held_up():
            first = pool.submit(ask, client, item(images[0]))
            assert reward.begun.wait(10)
            others = [pool.submit(ask, client, item(image)) for image in images[1:]]
            wait_for_waiting(client, 13)
        values = [scored(task.result())["values"] for task in (first, *others)]
    assert values == [[1.0 + row] for row in range(13)]
    assert [len(images) for images, _ in reward.calls] == [1, 8, 4]


def wait_for_waiting(client: httpx.Client, num: int) -> None:
    for _ in range(2000):
        if client.get("/health").json()["waiting_images"] == num:
            return
    raise AssertionError(client.get("/health").text)


def test_a_request_larger_than_a_batch_is_divided_and_put_together_again(
    client: httpx.Client, reward: Brightness
) -> None:
    column = scored(ask(client, *(item(image) for image in grey_levels(20))))
    assert column["values"] == [1.0 + row for row in range(20)]
    assert [len(images) for images, _ in reward.calls] == [8, 8, 4]


def test_beyond_what_may_wait_the_answer_is_429_and_when_to_return(client: httpx.Client, reward: Brightness) -> None:
    with ThreadPoolExecutor(2) as pool, reward.held_up():
        held = pool.submit(ask, client, *[item()] * 15)
        wait_for_waiting(client, 15)
        refused = ask(client, *[item()] * 6)
        assert (refused.status_code, refused.json()["error"]) == (429, "too_busy")
        assert int(refused.headers["retry-after"]) >= 1
        reward.free.set()
        assert scored(held.result())["values"] == [85.0] * 15
    assert ask(client, *[item()] * 6).status_code == 200


def test_a_reward_that_raises_fails_the_request_that_did_it_alone(client: httpx.Client, reward: Brightness) -> None:
    with ThreadPoolExecutor(3) as pool:
        with reward.held_up():
            first = pool.submit(ask, client, item())
            assert reward.begun.wait(10)
            fine = pool.submit(ask, client, item(GREY))
            wait_for_waiting(client, 2)
            bad = pool.submit(ask, client, item(prompt="raise"))
            wait_for_waiting(client, 3)
        assert scored(first.result())["values"] == [85.0]
        assert scored(fine.result())["values"] == [128.0]
        assert bad.result().status_code == 500
    assert "the reward 'brightness' raised ZeroDivisionError: by zero" in bad.result().json()["message"]
    assert scored(ask(client, item()))["values"] == [85.0]


def test_what_nobody_waits_for_any_more_is_not_scored(client: httpx.Client, reward: Brightness) -> None:
    with ThreadPoolExecutor(1) as pool:
        with reward.held_up():
            first = pool.submit(ask, client, item())
            assert reward.begun.wait(10)
            with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=client.base_url, timeout=0.3) as impatient:
                ask(impatient, *[item(GREY)] * 5)
            wait_for_waiting(client, 1)
        first.result()
    assert scored(ask(client, item()))["values"] == [85.0]
    assert [len(images) for images, _ in reward.calls] == [1, 1]


def test_a_reward_that_returns_no_scores_is_named(client: httpx.Client, reward: Brightness) -> None:
    reward.score = lambda images, prompts: [1.0] * len(images)  # type: ignore[method-assign,assignment,return-value]
    refused = ask(client, item())
    assert refused.status_code == 500
    assert "the reward 'brightness' returned list, of which no scores could be made" in refused.json()["message"]


def test_the_server_answers_while_a_model_computes(client: httpx.Client, reward: Brightness) -> None:
    with ThreadPoolExecutor(1) as pool, reward.held_up():
        pool.submit(ask, client, item())
        assert reward.begun.wait(10)
        assert client.get("/health").json() == {
            "status": "ok",
            "rewards": ["brightness", "saturation"],
            "waiting_images": 1,
        }


# Who may ask.

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    app = create_app({"brightness": Brightness()}, token=TOKEN)
    with in_background(app) as url, httpx.Client(base_url=url) as client:
        yield client


WRONG = {
    "none": {},
    "another": {"authorization": "Bearer wrong"},
    "a prefix": {"authorization": f"Bearer {TOKEN[:-1]}"},
    "another scheme": {"authorization": f"Basic {TOKEN}"},
    "no token": {"authorization": "Bearer"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("path", ["/score", "/rewards", "/metrics"])
def test_without_the_token_nothing_is_told(guarded: httpx.Client, path: str, headers: dict[str, str]) -> None:
    method = "POST" if path == "/score" else "GET"
    refused = guarded.request(method, path, headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (401, "unauthorised")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in refused.text


def test_a_token_that_is_no_ascii_is_wrong_and_no_error_of_ours(guarded: httpx.Client) -> None:
    assert guarded.get("/rewards", headers=[(b"authorization", "Bearer é".encode("latin-1"))]).status_code == 401


def test_the_token_is_asked_for_before_the_body_is_read(guarded: httpx.Client) -> None:
    assert raw(guarded, HEAD + b"connection: close\r\ncontent-length: 100\r\n\r\n").startswith(b"HTTP/1.1 401 ")


def test_with_the_token_everything_is_answered_and_health_needs_none(guarded: httpx.Client) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert scored(guarded.post("/score", json={"items": [item()]}, headers=headers))["values"] == [85.0]
    assert guarded.get("/metrics", headers=headers).status_code == 200
    assert guarded.get("/health").json()["status"] == "ok"


def test_draining_answers_what_is_under_way_and_refuses_the_rest() -> None:
    reward = Brightness()
    app = create_app({"brightness": reward})
    with in_background(app) as url, httpx.Client(base_url=url) as client, ThreadPoolExecutor(1) as pool:
        with reward.held_up():
            held = pool.submit(ask, client, item())
            assert reward.begun.wait(10)
            app.state.service.gate.is_draining = True
            refused = ask(client, item())
            assert (refused.status_code, refused.json()["error"]) == (503, "draining")
            assert refused.headers["retry-after"] == "5"
            assert client.get("/health").status_code == 503
        assert scored(held.result())["values"] == [85.0]


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    with in_background(create_app({"brightness": Brightness()})) as url, httpx.Client(base_url=url) as client:
        scored(ask(client, item()))
    assert threading.active_count() <= before


def test_two_clients_with_the_same_image_get_their_own_answers(client: httpx.Client) -> None:
    same = encoded(png())
    assert scored(ask(client, {"image": same, "prompt": {"prompt": ""}}))["values"] == [85.0]

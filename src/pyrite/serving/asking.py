"""From a request to images and prompts: the body is read within its limits, and nothing in it is believed."""

import asyncio
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from pyrite.core.types import Prompt
from pyrite.records import wire
from pyrite.serving.gate import HeldBytes, too_large
from pyrite.serving.limits import Limits
from pyrite.serving.pictures import Measured, from_base64, measure
from pyrite.serving.refusals import Refusal
from pyrite.serving.schemas import FormRequest, ScoreRequest

_MOST_PROBLEMS = 20
LINGER_BYTES, LINGER_S = 2**22, 2.0


@dataclass(frozen=True)
class Asked:
    """What a client wants to know.

    Args:
        rewards: names, all of them known.
        images: N, measured but not decoded, or why one cannot be scored.
        prompts: N.
    """

    rewards: tuple[str, ...]
    images: Sequence[Measured | str]
    prompts: Sequence[Prompt]

    @property
    def num_pixels(self) -> int:
        """Of all images that can be decoded."""
        return sum(image.num_pixels for image in self.images if isinstance(image, Measured))


def refuse_announced(request: Request, limits: Limits) -> None:
    """Look at the head of a request alone.

    Raises:
        Refusal: 413 for a body announced as too large, 415 for one of another kind.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limits.max_body_bytes:
        raise too_large(int(announced[:20]), limits)
    if _kind(request) not in ("application/json", "multipart/form-data"):
        raise Refusal(
            415,
            "unsupported_media_type",
            f"a body of type '{_kind(request)}' cannot be read. Send application/json, or multipart/form-data with a "
            "part 'request' and files 'images'.",
        )


async def read_form_or_json(request: Request, limits: Limits, held: HeldBytes) -> tuple[bytes, list[bytes] | None]:
    """The JSON of a request, and the files beside it if it is a form; in whatever pieces they arrive.

    Raises:
        Refusal: 400 for a body that breaks off or is no form, 408 for one that takes too long, 413 and 429 for one
            that is too large.
    """
    counted = Request(request.scope, _counting(request, held))
    try:
        async with asyncio.timeout(limits.read_timeout_s):
            if _kind(request) == "application/json":
                return await counted.body(), None
            return await _read_form(counted, limits)
    except TimeoutError:
        raise Refusal(
            408,
            "too_slow",
            f"the body did not arrive within {limits.read_timeout_s:.0f} s. Send less at once, or over a faster line.",
        ) from None
    except ClientDisconnect:
        raise Refusal(400, "broken_off", "the connection was closed before the whole body had arrived.") from None


async def discard_rest(request: Request) -> None:
    """Read and forget the rest of a refused request's body, up to `LINGER_BYTES` and for `LINGER_S`.

    A connection that is closed while the client still sends is reset, and then nobody reads why it was refused.
    """
    num_bytes = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while not getattr(request.state, "has_ended", False) and num_bytes < LINGER_BYTES:
                message = await request.receive()
                request.state.has_ended = not message.get("more_body", False)
                num_bytes += len(message.get("body", b""))


def parse_asked(body: bytes, files: Sequence[bytes] | None, known: Sequence[str], limits: Limits) -> Asked:
    """Validate a request and measure its images; takes time, so call it in a thread.

    Raises:
        Refusal: 400 for no JSON, 404 for an unknown reward, 413 for too many images, 422 for anything else.
    """
    row = _parsed(body)
    model = ScoreRequest if files is None else FormRequest
    _refuse_too_many(row, limits)
    asked = _validated(model, row)
    names = tuple(known if asked.rewards is None else asked.rewards)
    _refuse_names(names, known)
    raw: list[bytes | str] = [from_base64(item["image"]) for item in row["items"]] if files is None else [*files]
    if len(raw) != len(row["items"]):
        raise Refusal(
            422,
            "invalid_request",
            f"{len(row['items'])} items and {len(raw)} files: file i is scored for item i, so there must be as many of "
            "one as of the other. Repeat the prompt for each of its images.",
        )
    images = [data if isinstance(data, str) else measure(data, limits.max_pixels) for data in raw]
    prompts = [wire.prompt_from_wire(item["prompt"]) for item in row["items"]]
    return Asked(names, images, prompts)


def _counting(request: Request, held: HeldBytes) -> Any:
    async def receive() -> MutableMapping[str, Any]:
        message = await request.receive()
        request.state.has_ended = not message.get("more_body", False)
        held.add(len(message.get("body", b"")))
        return message

    return receive


async def _read_form(request: Request, limits: Limits) -> tuple[bytes, list[bytes]]:
    try:
        async with request.form(max_files=limits.max_items, max_fields=1, max_part_size=limits.max_body_bytes) as form:
            body = form.get("request")
            files = form.getlist("images")
            if not isinstance(body, str) or not all(isinstance(file, UploadFile) for file in files):
                raise Refusal(
                    422,
                    "invalid_request",
                    "a form needs a text part 'request' (JSON with 'items') and a file part 'images' for each item.",
                )
            return body.encode("utf-8", "surrogatepass"), [
                await file.read() for file in files if isinstance(file, UploadFile)
            ]
    except (HTTPException, MultiPartException) as error:
        why = error.detail if isinstance(error, HTTPException) else error.message
        raise Refusal(
            400,
            "invalid_form",
            f"the form cannot be read: {why}. Send one text part 'request' and at most {limits.max_items} files "
            "'images'.",
        ) from error


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _parsed(body: bytes) -> Any:
    try:
        return wire.parse(body)
    except ValueError as error:
        raise Refusal(400, "invalid_json", f"the body is no JSON: {error}. Send an object with 'items'.") from error


def _refuse_too_many(row: Any, limits: Limits) -> None:
    """Before thousands of items are validated one by one."""
    items = row.get("items") if isinstance(row, Mapping) else None
    if isinstance(items, list) and len(items) > limits.max_items:
        raise Refusal(
            413,
            "too_many_items",
            f"{len(items)} items in one request, and this server takes {limits.max_items}. Send them in several.",
        )


def _validated(model: type[ScoreRequest] | type[FormRequest], row: Any) -> ScoreRequest | FormRequest:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        problems = _problems(error)
        first = problems[0]
        raise Refusal(
            422,
            "invalid_request",
            f"{error.error_count()} problems in the request, the first at {first['where']}: {first['what']}. "
            "GET /openapi.json describes what can be sent.",
            problems=problems,
        ) from error


def _problems(error: ValidationError) -> tuple[Mapping[str, str], ...]:
    """Without the input: it may be megabytes, or somebody's text."""
    found = error.errors(include_input=False, include_url=False, include_context=False)[:_MOST_PROBLEMS]
    return tuple({"where": ".".join(str(part)[:80] for part in row["loc"]) or ".", "what": row["msg"]} for row in found)


def _refuse_names(names: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise Refusal(
            404,
            "unknown_reward",
            f"this server has no reward '{unknown[0][:80]}'. It has: {', '.join(known)}.",
        )
    if not names or len(set(names)) < len(names):
        raise Refusal(
            422,
            "invalid_request",
            f"'rewards' names {'none' if not names else 'one of them twice'}. Give each name once, or leave it out.",
        )


BODIES: tuple[type[BaseModel], ...] = (ScoreRequest, FormRequest)

"""The HTTP application: what is asked where, who may ask, and what every answer looks like.

    POST /score         images and prompts -> values, reasons and details of each reward
    GET  /rewards       the cards of the rewards, and how much the server takes at once
    GET  /health        ok or draining; asks for no token, so that a load balancer can look
    GET  /metrics       Prometheus text
    GET  /openapi.json  this, for programs

Every refusal has the same form (`schemas.RefusalReply`). What is wrong with one image is in the scores, as null with a
reason; a status other than 200 is about the request or the server.
"""

import asyncio
import hmac
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic.json_schema import models_json_schema

from pyrite.core.errors import PyriteError
from pyrite.core.protocols import Reward
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records import wire
from pyrite.serving import schemas
from pyrite.serving.asking import BODIES, Asked, discard_rest, parse_asked, read_form_or_json, refuse_announced
from pyrite.serving.batching import Batcher
from pyrite.serving.gate import Gate, HeldBytes, draining_on_signals
from pyrite.serving.limits import Limits
from pyrite.serving.metrics import CONTENT_TYPE, Metrics
from pyrite.serving.pictures import Measured, decode, refuse_bombs_quietly
from pyrite.serving.refusals import Refusal

_Result = TypeVar("_Result")

_SCHEMA = "#/components/schemas/{model}"
_DECODERS = min(4, os.cpu_count() or 1)
_BEARER = HTTPBearer(auto_error=False, description="Asked for unless the server listens on loopback alone.")
_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.RefusalReply, "description": text}
    for status, text in {
        400: "No JSON, no form, or a body that broke off.",
        401: "No token, or a wrong one.",
        404: "No reward of that name.",
        408: "The body took too long to arrive.",
        413: "More bytes, items or pixels than the server takes at once.",
        415: "Neither JSON nor a form.",
        422: "Not a request as described here.",
        429: "Too much is under way; Retry-After says when to ask again.",
        500: "A reward is broken: it raised an error.",
        503: "The server is shutting down.",
    }.items()
}


class Service:
    """What the endpoints share: the rewards, the gate, the batcher and the counters.

    Args:
        rewards: by the name to ask them under.
        limits: how much is taken at once.
    """

    def __init__(self, rewards: Mapping[str, Reward], limits: Limits) -> None:
        self.rewards = dict(rewards)
        self.limits = limits
        self.gate = Gate(limits)
        self.metrics = Metrics()
        self.batcher = Batcher(self.rewards, limits, on_batch=self._count_batch, on_reward=self.metrics.count_scores)

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Within it, requests are answered; leaving it waits for nobody."""
        refuse_bombs_quietly()
        self._decoders = ThreadPoolExecutor(_DECODERS, "decoder")
        batches = asyncio.create_task(self.batcher.run())
        with draining_on_signals(self.gate):
            yield
        batches.cancel()
        with suppress(asyncio.CancelledError):
            await batches
        self._decoders.shutdown(cancel_futures=True)

    async def answer(self, request: Request) -> dict[str, Scores]:
        """Read a request and score its images.

        Raises:
            Refusal: it cannot be answered.
        """
        with ExitStack() as stack:
            stack.enter_context(self.gate.request())
            refuse_announced(request, self.limits)
            with self.gate.body() as held:
                asked = await self._read(request, held)
                stack.enter_context(self.gate.images(len(asked.images), asked.num_pixels))
                images = await self._in_thread(_decoded, asked.images)
            prompts, rewards = asked.prompts, asked.rewards
            del asked  # and with it the files
            return await self._score(request, images, prompts, rewards)

    async def _read(self, request: Request, held: HeldBytes) -> Asked:
        body, files = await read_form_or_json(request, self.limits, held)
        return await self._in_thread(parse_asked, body, files, list(self.rewards), self.limits)

    async def _score(
        self, request: Request, images: Sequence[Image | str], prompts: Sequence[Prompt], rewards: tuple[str, ...]
    ) -> dict[str, Scores]:
        scoring = asyncio.ensure_future(self.batcher.score(images, prompts, rewards))
        leaving = asyncio.ensure_future(_disconnected(request))
        # Whoever has gone away will ask again: scoring for nobody would be paid for by everybody else.
        await asyncio.wait({scoring, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not scoring.done():
            scoring.cancel()
            raise Refusal(400, "broken_off", "the connection was closed before the scores were there.")
        try:
            return scoring.result()
        except PyriteError as error:
            raise Refusal(500, "reward_broken", str(error)) from error

    async def _in_thread(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work, *arguments)

    def _count_batch(self, num_images: int, seconds: float) -> None:
        self.metrics.batch_images.observe(num_images)
        self.gate.seconds_per_image += 0.2 * (seconds / num_images - self.gate.seconds_per_image)


def create_app(rewards: Mapping[str, Reward], *, limits: Limits | None = None, token: str | None = None) -> FastAPI:
    """The application, for uvicorn or any other ASGI server.

    Args:
        rewards: by the name to ask them under.
        limits: how much is taken at once.
        token: that `Authorization: Bearer` must bring; None lets everybody ask who can reach the server.
    """
    service = Service(rewards, limits or Limits())
    app = FastAPI(
        title="Pyrite reward server",
        summary="Scores of images: numbers, and for each missing one a reason.",
        version="1",
        lifespan=service.running,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.add_exception_handler(Refusal, _refused)
    guarded = [Depends(_token_guard(token))]
    _add_score(app, service, guarded)
    _add_reports(app, service, guarded)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    return app


def _add_score(app: FastAPI, service: Service, guarded: list[Any]) -> None:
    json_body, form_body = (_SCHEMA.format(model=model.__name__) for model in BODIES)
    form = {
        "type": "object",
        "required": ["request"],
        "properties": {
            "request": {"type": "string", "contentMediaType": "application/json", "contentSchema": {"$ref": form_body}},
            "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
        },
    }
    content = {"application/json": {"schema": {"$ref": json_body}}, "multipart/form-data": {"schema": form}}

    @app.post(
        "/score",
        dependencies=guarded,
        response_model=None,
        responses={200: {"model": schemas.ScoreReply, "description": "Scores of every item."}, **_REFUSED},
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def score(request: Request) -> Response:
        """Score images for prompts; a null among the values has its reason beside it."""
        start = time.monotonic()
        status = 500
        try:
            scores = await service.answer(request)
            cards = {name: service.rewards[name].card for name in scores}
            rows = {name: {"key": cards[name].store_key, **wire.scores_to_json(of)} for name, of in scores.items()}
            status = 200
            return _reply({"scores": rows})
        except Refusal as refusal:
            status = refusal.status
            raise
        finally:
            service.metrics.requests.labels(str(status)).inc()
            service.metrics.request_seconds.observe(time.monotonic() - start)


def _add_reports(app: FastAPI, service: Service, guarded: list[Any]) -> None:
    unauthorised: dict[int | str, dict[str, Any]] = {401: _REFUSED[401]}

    @app.get(
        "/rewards",
        dependencies=guarded,
        response_model=None,
        responses={200: {"model": schemas.RewardsReply, "description": "The cards."}, **unauthorised},
    )
    async def rewards() -> Response:
        """The rewards of this server and what they claim about themselves."""
        cards = {name: wire.card_to_json(reward.card) for name, reward in service.rewards.items()}
        limits = service.limits
        return _reply({"rewards": cards, "max_items": limits.max_items, "max_body_bytes": limits.max_body_bytes})

    @app.get(
        "/health",
        response_model=None,
        responses={
            200: {"model": schemas.HealthReply, "description": "It takes requests."},
            503: {"model": schemas.HealthReply, "description": "It is shutting down."},
        },
    )
    async def health() -> Response:
        """Whether the server takes requests."""
        gate = service.gate
        row = {
            "status": "draining" if gate.is_draining else "ok",
            "rewards": list(service.rewards),
            "waiting_images": gate.num_images,
        }
        return _reply(row, 503 if gate.is_draining else 200)

    @app.get(
        "/metrics",
        dependencies=guarded,
        response_model=None,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text."}, **unauthorised},
        response_class=Response,
    )
    async def metrics() -> Response:
        """What the server has counted."""
        service.metrics.waiting_images.set(service.gate.num_images)
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _token_guard(token: str | None) -> Callable[..., None]:
    async def guard(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        # In constant time: how long a wrong token takes must not say how much of it is right.
        if token is not None and (given is None or not _equal(given.credentials, token)):
            raise Refusal(
                401,
                "unauthorised",
                "this server asks for a token. Send it as 'Authorization: Bearer TOKEN'; for Pyrite's own client put "
                "it into $PYRITE_TOKEN.",
            )

    return guard  # type: ignore[return-value]


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8"))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _decoded(images: Sequence[Measured | str]) -> list[Image | str]:
    return [image if isinstance(image, str) else decode(image) for image in images]


def _reply(row: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(wire.dump(row), status, headers=headers, media_type="application/json")


async def _refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    await discard_rest(request)
    return _reply(refusal.body, refusal.status, refusal.headers)


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with the bodies that `POST /score` reads by itself."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, summary=app.summary, version=app.version, routes=app.routes)
        _, bodies = models_json_schema([(model, "validation") for model in BODIES], ref_template=_SCHEMA)
        described["components"]["schemas"].update(bodies["$defs"])
        app.openapi_schema = described
    return app.openapi_schema

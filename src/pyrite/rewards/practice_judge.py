"""A judge to practise on: answers "NO" after a fixed time, a fixed number of requests at once, so its ceiling is known.

For `pyrite bench judge`: what the client does not reach of `at_once / delay_s` requests a second is the client's own
cost. It runs in a process of its own, behind the HTTP server that vLLM has too.
"""

import asyncio
import json
import multiprocessing
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from pyrite.core.errors import MissingExtraError

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_READY_S = 60.0
_TOKENS = {"NO": -0.105, "YES": -2.35}


@contextmanager
def practice_judge(delay_s: float, at_once: int) -> Iterator[str]:
    """Address of a practice judge that lives as long as the block.

    Args:
        delay_s: from taking up a request to its answer.
        at_once: how many requests are taken up at once; the others wait.

    Raises:
        MissingExtraError: uvicorn is not installed.
    """
    try:
        import uvicorn  # noqa: F401 - the other process will need it
    except ImportError as error:
        raise MissingExtraError(
            "a practice judge needs an HTTP server, uvicorn, which is not installed. Type: pip install 'pyrite[serve]', "
            "or measure a server that runs already: --url"
        ) from error
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    server = processes.Process(target=_serve, args=(there, delay_s, at_once), daemon=True)
    server.start()
    try:
        if not here.poll(_READY_S):
            raise TimeoutError(f"the practice judge did not begin within {_READY_S:g} s")
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        server.terminate()
        server.join()


def practice_app(delay_s: float, at_once: int) -> App:
    """The ASGI application."""
    slots = asyncio.Semaphore(at_once)
    listed = [{"token": token, "logprob": logp} for token, logp in _TOKENS.items()]
    choice = {
        "message": {"role": "assistant", "content": "NO"},
        "finish_reason": "length",
        "logprobs": {"content": [{**listed[0], "top_logprobs": listed}]},
    }
    usage = {"prompt_tokens": 300, "completion_tokens": 1}
    body = json.dumps({"object": "chat.completion", "model": "practice", "choices": [choice], "usage": usage}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def answer(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        while (await receive()).get("more_body"):
            pass
        async with slots:
            await asyncio.sleep(delay_s)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def _serve(ready: Connection, delay_s: float, at_once: int) -> None:
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(practice_app(delay_s, at_once), lifespan="off", log_level="error", access_log=False)
    ready.send(listening.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listening])

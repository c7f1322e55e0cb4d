"""A judge to practise on: answers "NO" after a fixed time, a fixed number of requests at once, so its ceiling is known.

For `pyrite bench judge`: what the client does not reach of `at_once / delay_s` requests a second is this machine's own
cost of asking. It runs in a process of its own.
"""

import asyncio
import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

_READY_S = 60.0
_MAX_REQUEST_BYTES = 1 << 26
_TOKENS = {"NO": -0.105, "YES": -2.35}


@contextmanager
def practice_judge(delay_s: float, at_once: int) -> Iterator[str]:
    """Address of a practice judge that lives as long as the block.

    Args:
        delay_s: from taking up a request to its answer.
        at_once: how many requests are taken up at once; the others wait.
    """
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
        server.close()
        here.close()
        there.close()


def _serve(ready: Connection, delay_s: float, at_once: int) -> None:
    from aiohttp import web

    slots = asyncio.Semaphore(at_once)
    listed = [{"token": token, "logprob": logp} for token, logp in _TOKENS.items()]
    choice = {
        "message": {"role": "assistant", "content": "NO"},
        "finish_reason": "length",
        "logprobs": {"content": [{**listed[0], "top_logprobs": listed}]},
    }
    usage = {"prompt_tokens": 300, "completion_tokens": 1}

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        async with slots:
            await asyncio.sleep(delay_s)
        return web.json_response(
            {"object": "chat.completion", "model": "practice", "choices": [choice], "usage": usage}
        )

    app = web.Application(client_max_size=_MAX_REQUEST_BYTES)
    app.router.add_post("/v1/chat/completions", answer)
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    ready.send(listening.getsockname()[1])
    web.run_app(app, sock=listening, access_log=None, print=lambda *_: None)

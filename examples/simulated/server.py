"""The simulated model behind OpenAI's chat completions: a real server on a real socket, for this machine alone."""

import asyncio
import base64
import hashlib
import json
import math
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.simulated.judgement import first_tokens, lottery, prob_yes
from examples.simulated.sight import Sight
from examples.simulated.writing import write

if TYPE_CHECKING:
    from aiohttp import web

MODEL = "simulated-judge"
_MAX_REQUEST_BYTES = 1 << 26


class SimulatedJudge:
    """Answers requests about the images of a set, and counts them.

    Args:
        path: of a curated set.
        seed: of everything it draws.
        fail_share: of the requests that are refused with status 400, another lottery each time one is asked again.
        freeze_after: so many answers are given, and then none any more; for tests that kill whoever waits.
    """

    def __init__(self, path: Path, seed: int = 0, fail_share: float = 0.0, freeze_after: float = math.inf) -> None:
        self.sight = Sight.of(path)
        self.seed = seed
        self.fail_share = fail_share
        self.freeze_after = freeze_after
        self.answered: Counter[str] = Counter()
        """sha256 of a request -> how often it was answered."""
        self.failed: Counter[str] = Counter()
        self.num_text = 0
        """How many of the answers were texts: critiques, rewrites, paraphrases."""
        self.frozen = threading.Event()
        self.url = ""

    async def completions(self, request: "web.Request") -> "web.Response":
        """One chat completion."""
        from aiohttp import web

        data = await request.read()
        key = hashlib.sha256(data).hexdigest()
        if self.answered.total() >= self.freeze_after:
            self.frozen.set()
            await asyncio.sleep(3600)
        if lottery(self.seed, key, self.failed[key] + self.answered[key]) < self.fail_share:
            self.failed[key] += 1
            return web.json_response({"error": {"message": "this request was drawn to fail"}}, status=400)
        status, told = self.reply(json.loads(data), key)
        self.answered[key] += status == 200
        return web.json_response(told, status=status)

    def reply(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer to a request."""
        content = body["messages"][-1]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        truths = [self.sight.recognise(base64.b64decode(url.partition(",")[2])) for url in urls]
        shown = [truth for truth in truths if truth is not None]
        usage = {"prompt_tokens": 40 + 2 * len(text.split()) + 300 * len(urls)}
        if not body.get("logprobs"):
            self.num_text += 1
            reply = write(text, shown, random.Random(f"{self.seed} {key} {self.answered[key]}"))
            return 200, _completion(reply, None, usage | {"completion_tokens": 2 * len(reply.split())})
        if len(shown) != 1 or len(truths) != 1:
            return 400, {
                "error": {"message": "this simulated judge has never seen that image: --set names those it knows"}
            }
        tokens = first_tokens(text, prob_yes(text, shown[0], self.seed))
        return 200, _completion(next(iter(tokens)), tokens, usage | {"completion_tokens": 1})

    def app(self) -> "web.Application":
        """The routes of the server."""
        from aiohttp import web

        async def models(_: web.Request) -> web.Response:
            return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

        app = web.Application(client_max_size=_MAX_REQUEST_BYTES)
        app.router.add_post("/v1/chat/completions", self.completions)
        app.router.add_get("/v1/models", models)
        return app


@contextmanager
def served(judge: SimulatedJudge, port: int = 0) -> Iterator[SimulatedJudge]:
    """The judge on a port of this machine (0: any free one) as long as the block lasts; `judge.url` is its address."""
    from aiohttp import web

    loop, listening = asyncio.new_event_loop(), socket.create_server(("127.0.0.1", port), backlog=1024)
    runner = web.AppRunner(judge.app(), access_log=None, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.SockSite(runner, listening).start()

    async def stop() -> None:
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    judge.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    try:
        yield judge
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def _completion(text: str, tokens: dict[str, float] | None, usage: dict[str, int]) -> dict[str, Any]:
    listed = [{"token": token, "logprob": logp} for token, logp in (tokens or {}).items()]
    return {
        "id": "chatcmpl-simulated",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "length" if tokens else "stop",
                "logprobs": {"content": [{**listed[0], "top_logprobs": listed}]} if tokens else None,
            }
        ],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }

"""A judge on a socket of this machine: answers as OpenAI-compatible servers do, or fails in every way a server can.

It speaks bytes, not a framework, because most of the faults are replies that no framework would send.
"""

import asyncio
import base64
import hashlib
import json
import math
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

Body = dict[str, Any]
Fault = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Writes a whole response, or part of one; the connection is closed after it unless it was a whole one."""


class JudgeServer:
    """Answers each request from its body; the first ones meet the faults, one each, in order.

    Args:
        answer: from the request's body to the response's.
        faults: what the first requests meet.
        delay_s: before each answer.
    """

    def __init__(self, answer: Callable[[Body], Any], faults: Iterable[Fault] = (), delay_s: float = 0.0) -> None:
        self.answer = answer
        self.faults = list(faults)
        self.delay_s = delay_s
        self.bodies: list[Body] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.num_connections = 0
        self.num_now = 0
        self.num_at_once = 0
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                data = await reader.readexactly(int(headers["content-length"]))
                self.num_now += 1
                self.num_at_once = max(self.num_at_once, self.num_now)
                try:
                    self.paths.append(head[0].split(" ")[1])
                    self.headers.append(headers)
                    body = json.loads(data)
                    self.bodies.append(body)
                    fault = self.faults.pop(0) if self.faults else None
                    if fault is not None:
                        await fault(writer)
                        if not getattr(fault, "is_whole", False):
                            break
                    else:
                        await asyncio.sleep(self.delay_s)
                        _write(writer, 200, json.dumps(self.answer(body)).encode())
                    await writer.drain()
                finally:
                    self.num_now -= 1
        writer.close()

    async def _run(self, ready: threading.Event, stop: asyncio.Event) -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await self._serve(reader, writer)
            except asyncio.CancelledError:
                writer.transport.abort()
            finally:
                tasks.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 24)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        await stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


@contextmanager
def judge_server(
    answer: Callable[[Body], Any], faults: Iterable[Fault] = (), *, delay_s: float = 0.0
) -> Iterator[JudgeServer]:
    """A server that lives as long as the block."""
    server = JudgeServer(answer, faults, delay_s)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server._run(ready, stop)), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def chat(
    text: str | None, *, tokens: Mapping[str, float] | None = None, finish_reason: str = "stop", **message: Any
) -> Body:
    """A chat completion in vLLM's form, with log-probabilities of the first token, or without any."""
    listed = [
        {"token": token, "logprob": logp, "bytes": list(token.encode())} for token, logp in (tokens or {}).items()
    ]
    logprobs = {"content": [{**listed[0], "top_logprobs": listed}]} if listed else None
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "logprobs": logprobs,
        "finish_reason": finish_reason,
    }
    usage = {"prompt_tokens": 300, "total_tokens": 302, "completion_tokens": 2}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "judge", "choices": [choice], "usage": usage}


def parts_of(body: Body) -> tuple[str, list[bytes]]:
    """Text of a request, and its pictures as files."""
    content = body["messages"][-1]["content"]
    pictures = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    text = "".join(part["text"] for part in content if part["type"] == "text")
    return text, [base64.b64decode(url.partition(",")[2]) for url in pictures]


def lottery(body: Body) -> float:
    """A number in [0, 1) that question and pictures decide."""
    text, pictures = parts_of(body)
    return int.from_bytes(hashlib.sha256(text.encode() + b"".join(pictures)).digest()[:6], "big") / 2**48


def any_judge(body: Body) -> Body:
    """Answers each of the questions that Pyrite puts to servers, in the form it asks for."""
    luck = lottery(body)
    if body.get("logprobs"):
        return chat("NO", tokens={"NO": math.log(0.9 - 0.8 * luck), "YES": math.log(0.05 + 0.8 * luck)})
    if "Alignment Score" in parts_of(body)[0]:
        scores = {"Alignment": 1 + 4 * luck, "Coherence": 3, "Style": 5 - 3 * luck}
        return chat("\n".join(f"{axis} Score (1-5): {score:.4f}" for axis, score in scores.items()))
    return chat(f"cube (object): 1\nred (colour): 0\nFinal Score: {1 + 4 * luck:.4f}")


def status(code: int, told: Any = None, **headers: str) -> Fault:
    """A whole response with that status."""
    body = told if isinstance(told, bytes) else json.dumps(told or {"error": {"message": f"trouble {code}"}}).encode()

    async def fault(writer: asyncio.StreamWriter) -> None:
        _write(writer, code, body, {name.replace("_", "-"): value for name, value in headers.items()})

    fault.is_whole = True  # type: ignore[attr-defined]
    return fault


def body_of(data: bytes, kind: str = "application/json") -> Fault:
    """A response with status 200 and any bytes."""

    async def fault(writer: asyncio.StreamWriter) -> None:
        _write(writer, 200, data, {"content-type": kind})

    fault.is_whole = True  # type: ignore[attr-defined]
    return fault


async def reset(writer: asyncio.StreamWriter) -> None:
    """The connection is gone before a byte was answered."""
    writer.transport.abort()


async def cut_off(writer: asyncio.StreamWriter) -> None:
    """The server dies in the middle of its reply."""
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{"choices": [')
    await writer.drain()


async def never(writer: asyncio.StreamWriter) -> None:
    """No answer, as long as anybody waits."""
    await asyncio.sleep(3600)


async def byte_by_byte(writer: asyncio.StreamWriter) -> None:
    """An answer that comes so slowly that no time-out between two bytes would see it."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    for _ in range(100_000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(writer: asyncio.StreamWriter) -> None:
    """10 MB that nobody announced."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(160):
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def announced_flood(writer: asyncio.StreamWriter) -> None:
    """10 MB that are announced, of which the first bytes come."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\nxxxx")
    await writer.drain()


def _write(writer: asyncio.StreamWriter, code: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    lines = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {code} Status\r\n{head}\r\n".encode("latin-1") + body)

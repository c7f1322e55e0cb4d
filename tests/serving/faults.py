"""Rewards and servers that misbehave on purpose, and what a client sends."""

import asyncio
import base64
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image as PILImage

from pyrite.core.cards import RewardCard
from pyrite.core.types import Image, Prompt, Scores

RED, GREY = PILImage.new("RGB", (8, 8), "red"), PILImage.new("RGB", (8, 8), "grey")


@dataclass
class Brightness:
    """Mean of the pixels; can be held up, and raises for a prompt that says so.

    Args:
        free: while it is not set, `score` waits.
        calls: images and prompts of every call.
    """

    free: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    calls: list[tuple[list[Image], list[Prompt]]] = field(default_factory=list)
    card: RewardCard = field(
        default_factory=lambda: RewardCard("brightness", "It is bright.", (0.0, 255.0), True, revision="1")
    )

    def __post_init__(self) -> None:
        self.free.set()

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        self.calls.append((list(images), list(prompts)))
        self.begun.set()
        assert self.free.wait(30)
        if any("raise" in prompt.text for prompt in prompts):
            raise ZeroDivisionError("by zero")
        values = np.array([np.asarray(image.convert("RGB"), np.float64).mean() for image in images])
        dark = np.flatnonzero(values == 0).tolist()
        values[dark] = np.nan
        return Scores(
            values, dict.fromkeys(dark, "it is dark"), {"width": np.array([float(image.width) for image in images])}
        )

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Within it, `score` waits."""
        self.free.clear()
        self.begun.clear()
        try:
            yield
        finally:
            self.free.set()


def png(image: Image = RED, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def item(image: Image | bytes = RED, prompt: str = "a red square") -> dict[str, Any]:
    return {"image": encoded(image if isinstance(image, bytes) else png(image)), "prompt": {"prompt": prompt}}


def grey_levels(num: int) -> list[Image]:
    """Images that all score differently: image i has the brightness i + 1."""
    return [PILImage.new("L", (8, 8), 1 + level) for level in range(num)]


Talk = Callable[[bytes, asyncio.StreamWriter], "Any"]


@contextmanager
def raw_server(talk: Talk) -> Iterator[str]:
    """A TCP server that reads a request whole and then does as `talk(request, writer)` says; gives its URL."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    port: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ),
                0,
            )
            await talk(head + await reader.readexactly(length), writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0.01)  # so that connections are closed before their loop is

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: (loop.run_until_complete(main()), loop.close()))
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{port[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

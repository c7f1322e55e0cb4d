"""What is under way in a server, and what is refused because it would be too much or because the server is leaving."""

import asyncio
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pyrite.serving.limits import Limits
from pyrite.serving.refusals import Refusal

_MAX_RETRY_S = 30


class Gate:
    """Counts requests, bytes, images and pixels under way; belongs to the event loop's thread.

    Args:
        limits: how much is enough.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.is_draining = False
        self.num_requests = 0
        self.num_bytes = 0
        self.num_images = 0
        self.num_pixels = 0
        self.seconds_per_image = 0.01
        self._idle = asyncio.Event()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Within it, a request is under way.

        Raises:
            Refusal: 503 while draining, 429 while as many images wait as may.
        """
        if self.is_draining:
            raise Refusal(
                503,
                "draining",
                "the server is shutting down: it answers what it accepted and takes nothing new. Ask again in a "
                "moment, or ask another server.",
                retry_after_s=5,
            )
        if self.num_images >= self.limits.max_waiting_images:
            raise self._busy()
        self.num_requests += 1
        try:
            yield
        finally:
            self.num_requests -= 1
            if not self.num_requests:
                self._idle.set()

    @contextmanager
    def body(self) -> Iterator["HeldBytes"]:
        """Within it, the bytes of a body are held; they arrive one piece after another."""
        held = HeldBytes(self)
        try:
            yield held
        finally:
            self.num_bytes -= held.num

    @contextmanager
    def images(self, num_images: int, num_pixels: int) -> Iterator[None]:
        """Within it, images wait for their scores.

        Raises:
            Refusal: 413 for pixels that can never be taken at once, 429 for more than can be taken now.
        """
        if num_pixels > self.limits.max_waiting_pixels:
            raise Refusal(
                413,
                "too_many_pixels",
                f"the images have {num_pixels} pixels together, and this server holds {self.limits.max_waiting_pixels} "
                "at once. Send fewer images per request.",
            )
        images_fit = self.num_images + num_images <= self.limits.max_waiting_images
        pixels_fit = self.num_pixels + num_pixels <= self.limits.max_waiting_pixels
        if self.num_images and not (images_fit and pixels_fit):
            raise self._busy()
        self.num_images += num_images
        self.num_pixels += num_pixels
        try:
            yield
        finally:
            self.num_images -= num_images
            self.num_pixels -= num_pixels

    async def wait_until_idle(self) -> None:
        """Return once no request is under way."""
        while self.num_requests:
            self._idle.clear()
            await self._idle.wait()

    def _busy(self) -> Refusal:
        wait_s = min(_MAX_RETRY_S, max(1, math.ceil(self.num_images * self.seconds_per_image)))
        return Refusal(
            429,
            "too_busy",
            f"{self.num_images} images wait for their scores, and more would fill the memory. Ask again in {wait_s} s.",
            retry_after_s=wait_s,
        )


class HeldBytes:
    """The bytes of one body that are in memory; get one from `Gate.body`."""

    def __init__(self, gate: Gate) -> None:
        self.num = 0
        self._gate = gate

    def add(self, num: int) -> None:
        """More of them have arrived.

        Raises:
            Refusal: 413 if the body is too large, 429 if all bodies together are.
        """
        self.num += num
        self._gate.num_bytes += num
        if self.num > self._gate.limits.max_body_bytes:
            raise too_large(self.num, self._gate.limits)
        if self._gate.num_bytes > self._gate.limits.max_waiting_bytes and self._gate.num_bytes > self.num:
            raise self._gate._busy()


def too_large(num_bytes: int, limits: Limits) -> Refusal:
    """The answer to a body that is, or is announced to be, too large."""
    return Refusal(
        413,
        "body_too_large",
        f"the request has {num_bytes} bytes or more, and this server reads {limits.max_body_bytes}. Send fewer or "
        "smaller images per request.",
    )


@contextmanager
def draining_on_signals(gate: Gate) -> Iterator[None]:
    """Within it, the first SIGTERM or SIGINT makes the server drain; once it has, its own way of stopping is taken.

    A second signal does not wait. Only the main thread of a process is told of signals: in others, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    tasks: set[asyncio.Task[None]] = set()

    async def drain(number: int) -> None:
        with suppress(TimeoutError):  # who still waits then is cut off by the server's own stop
            await asyncio.wait_for(gate.wait_until_idle(), gate.limits.drain_timeout_s)
        stop(number)

    def stop(number: int) -> None:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, None)

    def on_signal(number: int, _: object) -> None:
        if gate.is_draining:
            stop(number)
            return
        gate.is_draining = True
        loop.call_soon_threadsafe(lambda: tasks.add(loop.create_task(drain(number))))

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

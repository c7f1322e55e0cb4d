"""One event loop for all judges of a process, on a thread of its own, so that synchronous code can ask many at once."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_LOCK = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}


def background_loop() -> asyncio.AbstractEventLoop:
    """The running loop of this process; a forked child, which has none of its parent's threads, gets its own."""
    with _LOCK:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="pyrite-judges", daemon=True).start()
            _loops[os.getpid()] = loop
        return loop


def run_in_background(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on the loop and give back what came out; Ctrl-C here cancels it there."""
    running = asyncio.run_coroutine_threadsafe(work, background_loop())
    try:
        return running.result()
    except BaseException:
        running.cancel()
        raise

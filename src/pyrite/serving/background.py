"""A server in a thread of this process, on a free port of loopback: for examples, tests and notebooks."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from pyrite.core.errors import RewardError

_START_S = 30.0
KEEP_ALIVE_S = 75
"""Longer than a client keeps an idle connection, so that it is the client who closes it."""


@contextmanager
def in_background(app: FastAPI, *, port: int = 0) -> Iterator[str]:
    """Within it, the application answers at the URL that is returned.

    Raises:
        RewardError: it did not start.
    """
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_S
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        if not server.started:
            raise RewardError("the server did not start; its log says why. Start it by itself: pyrite serve NAMES")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()

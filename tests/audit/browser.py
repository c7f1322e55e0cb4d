"""A headless Chromium that opens one page and tells what happened: DevTools over a pipe, no extra packages.

`visit` returns every console message, every uncaught exception, every request that left the page, the answers to
JavaScript expressions, and optionally a picture of the whole page.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_S = 200  # measured: 3 s on two idle cores, 100 s with a load of 10; pytest itself gives up after 300 s


@dataclass
class Visit:
    """What a visit showed: console errors, requests (without data: URLs), and the value of each expression."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)


def visit(
    page: Path, questions: Mapping[str, str], *, width: int, picture: Path | None = None, scale: float = 1
) -> Visit:
    """Open `page` at `width` CSS pixels, wait until it says it has drawn, and answer the questions."""
    executable = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    assert executable is not None, f"no browser on this machine ({', '.join(BROWSERS)}): apt-get install chromium"
    with tempfile.TemporaryDirectory() as profile, _Pipe(executable, profile) as pipe:
        return _look(pipe, page, questions, width=width, picture=picture, scale=scale)


_EVERY_PAGE = {
    "images": "document.images.length",
    "broken": "[...document.images].filter(image => image.naturalWidth === 0).length",
    "page_width": "document.documentElement.scrollWidth",
    "title": "document.title",
    "scripts": "[...document.scripts].filter(script => script.type !== 'application/json').length",
}


def visit_page(page: Path, questions: Mapping[str, str], *, width: int) -> Visit:
    """Visit a page of ours and check what holds for every one of them: offline, whole, as wide as the screen.

    Whatever a page shows, our own two scripts are the only ones in it. `images` and `title` are answered too.
    """
    seen = visit(page, {**_EVERY_PAGE, **questions}, width=width)
    assert seen.errors == []
    assert seen.requests == [page.resolve().as_uri()]
    assert seen.answers["broken"] == 0
    assert seen.answers["page_width"] == width
    assert seen.answers["scripts"] == 2
    return seen


def _look(
    pipe: "_Pipe", page: Path, questions: Mapping[str, str], *, width: int, picture: Path | None, scale: float
) -> Visit:
    target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
    session = pipe.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        pipe.call(f"{domain}.enable", session)
    pipe.call(
        "Emulation.setDeviceMetricsOverride",
        session,
        width=width,
        height=844,
        deviceScaleFactor=scale,
        mobile=width < 600,
    )
    pipe.call("Page.navigate", session, url=page.resolve().as_uri())
    seen = Visit()
    deadline = time.monotonic() + PATIENCE_S
    while not pipe.evaluate(session, "document.documentElement?.dataset.drawn === 'yes'"):
        assert time.monotonic() < deadline, (
            f"the page did not say it was drawn within {PATIENCE_S} s: {_errors(pipe.events)}"
        )
        time.sleep(0.2)
    seen.answers = {name: pipe.evaluate(session, expression) for name, expression in questions.items()}
    if picture is not None:
        shot = pipe.call("Page.captureScreenshot", session, format="png", captureBeyondViewport=True)
        picture.write_bytes(base64.b64decode(shot["data"]))
    seen.errors = _errors(pipe.events)
    urls = [
        event["params"]["request"]["url"] for event in pipe.events if event["method"] == "Network.requestWillBeSent"
    ]
    seen.requests = [url for url in urls if not url.startswith("data:")]
    return seen


def _errors(events: list[dict[str, Any]]) -> list[str]:
    problems = []
    for event in events:
        params = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            problems.append(json.dumps(params["exceptionDetails"])[:500])
        if event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            problems.append(json.dumps(params["args"])[:500])
        if event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            problems.append(json.dumps(params["entry"])[:500])
    return problems


class _Pipe:
    """The DevTools protocol as NUL-separated JSON on file descriptors 3 and 4 of the browser."""

    def __init__(self, executable: str, profile: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._number = 0
        self._buffer = b""
        child_reads, self._write = os.pipe()
        self._read, child_writes = os.pipe()
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
                 "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank")  # fmt: skip
        command = f'exec "$0" "$@" 3<&{child_reads} 4>&{child_writes}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, executable, *flags],
            pass_fds=(child_reads, child_writes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_reads)
        os.close(child_writes)

    def __enter__(self) -> "_Pipe":
        return self

    def __exit__(self, problem: type[BaseException] | None, *_: object) -> None:
        if problem is None:
            self.call("Browser.close")
        else:  # it may not answer any more: do not wait for it
            self._process.kill()
        self._process.wait(timeout=PATIENCE_S)
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send one command and return its result; events that arrive meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == self._number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                result: dict[str, Any] = reply["result"]
                return result
            self.events.append(reply)

    def evaluate(self, session: str, expression: str) -> Any:
        """The JSON value of a JavaScript expression; promises are awaited."""
        reply = self.call("Runtime.evaluate", session, expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, f"{expression}: {reply['exceptionDetails']}"
        return reply["result"].get("value")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], PATIENCE_S)
            assert ready, f"the browser has not answered for {PATIENCE_S} s"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser closed the connection"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

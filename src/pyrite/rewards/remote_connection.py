"""The connection of a `remote` reward to its server: requests with retries and a deadline, and the token they carry.

Nothing that comes back is trusted: an answer has a limit in bytes and in time, and whatever is no answer of a reward
server is an error that says so.
"""

import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyrite.core.errors import RewardError
from pyrite.records import wire
from pyrite.rewards.retry_after import retry_after_s

TOKEN_VARIABLE = "PYRITE_TOKEN"

_RETRIED = frozenset({408, 425, 429, 502, 503, 504})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_MOST_REPLY_BYTES = 2**26


@dataclass(frozen=True)
class ServerConnection:
    """The connection to one server; shared by threads.

    Args:
        url: of the server.
        client: an `httpx.Client` that knows the token.
        deadline_s: seconds after which a request is given up, all its retries included.
    """

    url: str
    client: Any
    deadline_s: float

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The JSON of an answer. Asks again after time-outs, lost connections, 429, 502, 503 and 504.

        Raises:
            RewardError: no answer before the deadline, or one that says the request or the server is wrong.
        """
        import httpx

        end = time.monotonic() + self.deadline_s
        pause_s, num_tries, trouble = _FIRST_PAUSE_S, 0, ""
        while True:
            num_tries += 1
            wait_s = random.uniform(0, pause_s)  # so that clients whom one fault threw out do not return as one
            try:
                status, headers, data = self._once(method, path, body, end)
            except (httpx.TransportError, TimeoutError) as error:
                trouble = f"{type(error).__name__}: {error}"
            else:
                if status == 200:
                    return self._parsed(path, data)
                trouble = f"status {status}: {_message(data)}"
                if status not in _RETRIED:
                    raise _refused(self.url, status, trouble)
                wait_s += retry_after_s(headers.get("retry-after"))
            if time.monotonic() + wait_s >= end:
                raise RewardError(
                    f"the reward server at {self.url} gave no answer in {self.deadline_s:.0f} s and {num_tries} tries, "
                    f"the last one: {trouble}. Without it nothing more can be scored. Look at {self.url}/health, "
                    "start it with `pyrite serve`, then give the same command again: what was scored is kept."
                )
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _once(self, method: str, path: str, body: bytes | None, end: float) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"content-type": "application/json"} if body is not None else {}
        with self.client.stream(method, path, content=body, headers=headers) as response:
            data = bytearray()
            for piece in response.iter_bytes():
                data += piece
                if time.monotonic() > end:
                    raise TimeoutError("the answer came too slowly")
                if len(data) > _MOST_REPLY_BYTES:
                    raise RewardError(
                        f"{self.url}{path} answers with more than {_MOST_REPLY_BYTES} bytes, which no reward server "
                        "does. Check the URL."
                    )
            return response.status_code, response.headers, bytes(data)

    def _parsed(self, path: str, data: bytes) -> Any:
        try:
            return wire.parse(data)
        except ValueError as error:
            raise no_server_of_ours(self.url, path, f"an answer that is no JSON ({error})") from error


def read_token(path: str | Path | None) -> str | None:
    """The token in a file, or in `$PYRITE_TOKEN`; None if there is none.

    Raises:
        RewardError: the file cannot be read, or the token is no single word of ASCII.
    """
    try:
        token = Path(path).read_text(encoding="utf-8") if path is not None else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, UnicodeDecodeError) as error:
        raise RewardError(
            f"the token file {path} cannot be read: {error}. Without the token the server answers nobody. Name a file "
            f"with the token alone, or put it into ${TOKEN_VARIABLE}."
        ) from error
    token = token.strip()
    if not token.isascii() or len(token.split()) > 1 or (path is not None and not token):
        where = f"the file {path}" if path is not None else f"${TOKEN_VARIABLE}"
        raise RewardError(f"{where} holds no token: one word of ASCII is meant. Put the token there, and nothing else.")
    return token or None


def checked_url(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        RewardError: it is no address, or holds a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        shown = url if "@" not in url else "(with a password in it)"
        raise RewardError(
            f"'{shown}' is no address of a reward server: http://HOST:PORT is meant, without a user or password, since "
            f"addresses are written into logs. A token goes into ${TOKEN_VARIABLE}."
        )
    return url.rstrip("/")


def _message(data: bytes) -> str:
    try:
        message = wire.parse(data)["message"]
    except (ValueError, KeyError, TypeError):
        message = data[:200].decode("utf-8", "replace")
    return str(message)[:500]


def _refused(url: str, status: int, trouble: str) -> RewardError:
    advice = {
        401: f"Put the server's token into ${TOKEN_VARIABLE}, or name its file as token_file.",
        403: "Something between here and the server forbids it.",
        500: "The reward is broken there; the server's log has the traceback.",
    }.get(status, "Check that client and server are of the same version of Pyrite.")
    return RewardError(f"the reward server at {url} refuses: {trouble} {advice}")


def no_server_of_ours(url: str, path: str, what: str) -> RewardError:
    """What is raised where something else answers than a reward server of this version."""
    return RewardError(
        f"{url}{path} gave {what}: this is no reward server, or one of another version. No score can be read from it. "
        "Check the URL, or install the same version of Pyrite on both sides."
    )

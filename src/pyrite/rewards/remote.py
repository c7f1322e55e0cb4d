"""A reward that another machine computes: `remote("http://gpu1:8000", "hpsv2.1").score(images, prompts)`.

The server is `pyrite serve`. The card is the served reward's own, so a score has one place in the store wherever it was
computed, and every answer names the card's store key: a server that comes back with other weights is refused and never
mixed in. Images travel as PNG in their own mode, prompts with all their fields, numbers with all their digits.

A request may be sent again, for it changes nothing on the server: scores of an image are counted once, here. What the
server says of one image is NaN with a reason; a server that cannot be reached is an error that brings along what was
scored until then, and nothing of the rest gets into a score store (docs/decisions/0007).
"""

import base64
import io
import os
import random
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from pyrite.core.cards import RewardCard
from pyrite.core.errors import InterruptedScoringError, RewardError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records import wire
from pyrite.rewards.images import UNDECODABLE, check_pairs, to_rgb, why_not_rgb

TOKEN_VARIABLE = "PYRITE_TOKEN"
BATCH_SIZE = 64
CONCURRENCY = 4
DEADLINE_S = 600.0
TIMEOUT_S = 120.0

_RETRIED = frozenset({408, 425, 429, 502, 503, 504})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_MOST_REPLY_BYTES = 2**26
_OVERHEAD_BYTES = 1024  # of a request beside its items
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_OF_MODELS = ("weights", "config")


class Row(NamedTuple):
    """One image on its way: its place in the batch, and its part of the request."""

    place: int
    item: bytes


@dataclass(frozen=True)
class Wire:
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
                wait_s += _retry_after(headers)
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
            raise _no_server_of_ours(self.url, path, f"an answer that is no JSON ({error})") from error


class RemoteReward:
    """A reward on a server; get one from `remote`.

    Args:
        card: of the served reward.
        name: under which the server knows it.
        connection: to the server.
        max_items: images per request.
        max_body_bytes: of a request.
        concurrency: requests under way at once.
    """

    def __init__(
        self,
        card: RewardCard,
        name: str,
        connection: Wire,
        *,
        max_items: int,
        max_body_bytes: int,
        concurrency: int,
    ) -> None:
        self.card = card
        self.name = name
        self.url = connection.url
        self._connection = connection
        self._max_items = max_items
        self._max_body_bytes = max_body_bytes
        self._concurrency = concurrency
        weakref.finalize(self, connection.client.close)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Have image i scored for prompt i.

        Raises:
            ValueError: the numbers of images and prompts differ.
            InterruptedScoringError: the server cannot be reached, refuses, or serves something else by now; brings
                the scores of the requests that it had answered.
        """
        check_pairs(images, prompts)
        num = len(images)
        parts = [range(start, min(start + self._max_items, num)) for start in range(0, num, self._max_items)]
        with ThreadPoolExecutor(self._concurrency, "remote") as pool:
            tasks = [pool.submit(self._score_part, images, prompts, part) for part in parts]
            _, unfinished = wait(tasks, return_when=FIRST_EXCEPTION)
            for task in unfinished:  # after an error, what has not begun never does
                task.cancel()
        errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
        found = [_or_transient(task, len(part)) for task, part in zip(tasks, parts, strict=True)]
        if not errors:
            return Scores.concatenate(found)
        if isinstance(errors[0], RewardError):
            scores = Scores.concatenate(found)
            raise InterruptedScoringError(str(errors[0]), scores, self.card.store_key) from errors[0]
        raise errors[0]

    def _score_part(self, images: Sequence[Image], prompts: Sequence[Prompt], part: range) -> Scores:
        reasons: dict[int, str] = {}
        rows: list[Row] = []
        for place, row in enumerate(part):
            item = _item(images[row], prompts[row])
            if isinstance(item, str):
                reasons[place] = item
            elif len(item) + _OVERHEAD_BYTES > self._max_body_bytes:
                reasons[place] = (
                    f"the image takes {len(item)} bytes on its way, and the server reads {self._max_body_bytes}; scale "
                    "it down"
                )
            else:
                rows.append(Row(place, item))
        values = np.full(len(part), np.nan)
        details: dict[str, Any] = {}
        transient: set[int] = set()
        for group in _groups(rows, self._max_body_bytes - _OVERHEAD_BYTES):
            scores = self._ask(group)
            places = [row.place for row in group]
            values[places] = scores.values
            reasons |= {places[row]: why for row, why in scores.reasons.items()}
            transient |= {places[row] for row in scores.transient}
            for name, column in scores.details.items():
                details.setdefault(name, np.full(len(part), np.nan))[places] = column
        return Scores(values, reasons, details, frozenset(transient))

    def _ask(self, group: Sequence[Row]) -> Scores:
        body = b'{"rewards":[%s],"items":[%s]}' % (wire.dump(self.name), b",".join(row.item for row in group))
        reply = self._connection.ask("POST", "/score", body)
        try:
            row = reply["scores"][self.name]
            key = row["key"]
            scores = wire.scores_from_json(row, len(group))
        except (KeyError, TypeError, ValueError) as error:
            raise _no_server_of_ours(self.url, "/score", f"something that is no scores ({error})") from error
        if key != self.card.store_key:
            raise RewardError(
                f"the server at {self.url} answers for '{self.name}' with other weights or settings than when this "
                f"client began (store key {str(key)[:12]} and not {self.card.store_key[:12]}), and such scores must "
                "not be mixed. Give the same command again to begin anew with the reward it serves now."
            )
        return scores


def remote(
    url: str,
    name: str,
    *,
    batch_size: int = BATCH_SIZE,
    concurrency: int = CONCURRENCY,
    timeout_s: float = TIMEOUT_S,
    deadline_s: float = DEADLINE_S,
    token_file: str | Path | None = None,
) -> RemoteReward:
    """A reward that `pyrite serve` computes on another machine.

    Args:
        url: of the server, as `http://host:8000`.
        name: of the reward, as the server was given it.
        batch_size: images per request; the server's own limit holds besides.
        concurrency: requests under way at once.
        timeout_s: in which the server must begin to answer a request, and in which it must go on.
        deadline_s: in which a request must be answered, retries included.
        token_file: holds the token; `$PYRITE_TOKEN` if left out. A token is never part of a recipe.

    Raises:
        RewardError: the server cannot be reached, asks for a token, or has no such reward.
    """
    import httpx

    url = _checked(url)
    token = read_token(token_file)
    # Idle connections are closed here before the server closes them, so that no request meets a closed one.
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=30)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    client = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, limits=limits)
    connection = Wire(url, client, deadline_s)
    try:
        reply = connection.ask("GET", "/rewards")
        card, max_items, max_body_bytes = _introduced(url, name, reply)
    except BaseException:
        client.close()
        raise
    return RemoteReward(
        card,
        name,
        connection,
        max_items=max(1, min(batch_size, max_items)),
        max_body_bytes=max_body_bytes,
        concurrency=concurrency,
    )


def load_remote(
    *,
    url: str = "",
    reward: str = "",
    batch_size: int = BATCH_SIZE,
    device: str = "",
    dtype: str | None = None,
    **options: Any,
) -> RemoteReward:
    """A served reward in a recipe: `{name: remote, options: {url: "http://gpu1:8000", reward: hpsv2.1}}`.

    Args:
        url: of the server.
        reward: its name there.
        batch_size: images per request.
        device: without effect: the server chose.
        dtype: must be the served reward's, if it is given.
        options: as for `remote`.

    Raises:
        RewardError: `url` or `reward` is missing, an option is the server's to choose, or as for `remote`.
    """
    if not (url and reward):
        raise RewardError(
            f"remote asks a server for a reward, and here url='{url}' and reward='{reward}'. Say both: {{name: remote, "
            "options: {url: 'http://gpu1:8000', reward: hpsv2.1}}"
        )
    if misplaced := [key for key in _OF_MODELS if key in options]:
        raise RewardError(
            f"remote has no {' and no '.join(misplaced)}: the model is on the server at {url}. Give it to the server's "
            "own command, `pyrite serve`."
        )
    served = remote(url, reward, batch_size=batch_size, **options)
    if dtype is not None and dtype != served.card.dtype:
        raise RewardError(
            f"'{reward}' at {url} computes in {served.card.dtype}, and dtype='{dtype}' was asked for: scores would "
            f"differ. Start the server with --dtype {dtype}, or leave dtype out."
        )
    return served


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


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        shown = url if "@" not in url else "(with a password in it)"
        raise RewardError(
            f"'{shown}' is no address of a reward server: http://HOST:PORT is meant, without a user or password, since "
            f"addresses are written into logs. A token goes into ${TOKEN_VARIABLE}."
        )
    return url.rstrip("/")


def _introduced(url: str, name: str, reply: Any) -> tuple[RewardCard, int, int]:
    try:
        cards: Mapping[str, Any] = reply["rewards"]
        limits = int(reply["max_items"]), int(reply["max_body_bytes"])
        if name not in cards:
            raise RewardError(
                f"the server at {url} has no reward '{name}'. It has: {', '.join(cards)}. Name one of them, or start "
                f'it with `pyrite serve "{name}"`.'
            )
        return wire.card_from_json(cards[name]), *limits
    except (KeyError, TypeError, ValueError) as error:
        raise _no_server_of_ours(url, "/rewards", f"something that is no list of cards ({error})") from error


def _or_transient(task: "Future[Scores]", num: int) -> Scores:
    """What a request was answered with; without an answer, rows that anybody may ask about again."""
    if not task.cancelled() and task.exception() is None:
        return task.result()
    lost = Scores.unscored(num, "the server gave no scores for this request")
    return Scores(lost.values, lost.reasons, transient=frozenset(range(num)))


def _item(image: Image, prompt: Prompt) -> bytes | str:
    """One item of a request, or why it cannot be sent."""
    if reason := why_not_rgb(image):
        # Sixteen bits fit into a PNG, but what no reward reads need not travel.
        return reason
    if image.mode not in _PNG_MODES:
        converted = to_rgb(image)
        if isinstance(converted, str):
            return converted
        image = converted
    file = io.BytesIO()
    try:
        image.save(file, "PNG", compress_level=1, icc_profile=None)
    except UNDECODABLE as error:
        return f"the image could not be decoded: {error}"
    try:
        row = wire.dump(prompt.to_json())
    except (TypeError, ValueError) as error:
        return f"the prompt cannot travel: {error}"
    return b'{"image":"%s","prompt":%s}' % (base64.b64encode(file.getvalue()), row)


def _groups(rows: Sequence[Row], most_bytes: int) -> Iterator[list[Row]]:
    """The rows in order, in groups of at most so many bytes."""
    group: list[Row] = []
    num_bytes = 0
    for row in rows:
        if group and num_bytes + len(row.item) + 1 > most_bytes:
            yield group
            group, num_bytes = [], 0
        group.append(row)
        num_bytes += len(row.item) + 1
    if group:
        yield group


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks to wait; dates, which `pyrite serve` does not send, count as none."""
    value = headers.get("retry-after", "")
    return float(value) if value.isdecimal() and len(value) < 6 else 0.0


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


def _no_server_of_ours(url: str, path: str, what: str) -> RewardError:
    return RewardError(
        f"{url}{path} gave {what}: this is no reward server, or one of another version. No score can be read from it. "
        "Check the URL, or install the same version of Pyrite on both sides."
    )

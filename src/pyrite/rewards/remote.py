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
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyrite.core.cards import RewardCard
from pyrite.core.errors import InterruptedScoringError, RewardError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records import wire
from pyrite.rewards.images import UNDECODABLE, check_pairs, to_rgb, why_not_rgb
from pyrite.rewards.remote_connection import ServerConnection, checked_url, no_server_of_ours, read_token

BATCH_SIZE = 64
CONCURRENCY = 4
DEADLINE_S = 600.0
TIMEOUT_S = 120.0

_OVERHEAD_BYTES = 1024  # of a request beside its items
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_OF_MODELS = ("weights", "config")


class Row(NamedTuple):
    """One image on its way: its place in the batch, and its part of the request."""

    place: int
    item: bytes


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

    is_elsewhere = True
    """Another machine computes it: the caller may compute other rewards meanwhile."""

    def __init__(
        self,
        card: RewardCard,
        name: str,
        connection: ServerConnection,
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
            raise no_server_of_ours(self.url, "/score", f"something that is no scores ({error})") from error
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

    url = checked_url(url)
    token = read_token(token_file)
    # Idle connections are closed here before the server closes them, so that no request meets a closed one.
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=30)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    client = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, limits=limits)
    connection = ServerConnection(url, client, deadline_s)
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
        raise no_server_of_ours(url, "/rewards", f"something that is no list of cards ({error})") from error


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

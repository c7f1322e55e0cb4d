"""The images of several requests in one call of a reward, and each request's own scores out of it again.

One thread runs the rewards, so that the event loop goes on reading, refusing and reporting while a model computes. A
batch is formed when that thread is free: of what waits then, or of what arrives within `max_wait_s` of the first image.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pyrite.core.errors import PyriteError, RewardError
from pyrite.core.protocols import Reward
from pyrite.core.scoring import score_checked
from pyrite.core.types import Image, Prompt, Scores
from pyrite.serving.limits import Limits

Found = dict[str, Scores | PyriteError]
"""Name of a reward -> what it says of some images, or what it raised."""


@dataclass(eq=False)
class Job:
    """The images of one request on their way.

    Args:
        images: N images, or the reason why one cannot be scored.
        prompts: N.
        rewards: the names of those that are asked.
        done: gets the scores of every reward, or the error of one.
        parts: name of a reward -> its scores so far, in the order of the images.
        arrived: when it was submitted, by the clock of the batcher.
    """

    images: Sequence[Image | str]
    prompts: Sequence[Prompt]
    rewards: tuple[str, ...]
    done: "asyncio.Future[dict[str, Scores]]"
    parts: dict[str, list[Scores]] = field(default_factory=dict)
    arrived: float = 0.0

    def add(self, found: Found) -> None:
        """The scores of the next images."""
        for name, scores in found.items():
            if isinstance(scores, PyriteError):
                if not self.done.done():
                    self.done.set_exception(scores)
                return
            self.parts.setdefault(name, []).append(scores)
        if not self.done.done() and sum(map(len, self.parts[self.rewards[0]])) == len(self.images):
            self.done.set_result({name: Scores.concatenate(self.parts[name]) for name in self.rewards})


class Slice(NamedTuple):
    """Consecutive images of one job that go into one batch."""

    job: Job
    rows: range


class Batcher:
    """Collects jobs, scores them in batches, and hands the scores out.

    Args:
        rewards: by name.
        limits: `max_batch` and `max_wait_s`.
        on_batch: told how many images a batch had and how long all of it took, in seconds.
        on_reward: told name, scores and seconds of every call of a reward.
    """

    def __init__(
        self,
        rewards: Mapping[str, Reward],
        limits: Limits,
        *,
        on_batch: Callable[[int, float], None],
        on_reward: Callable[[str, Scores, float], None],
    ) -> None:
        self._rewards = rewards
        self._limits = limits
        self._on_batch = on_batch
        self._on_reward = on_reward
        self._waiting: deque[Slice] = deque()
        self._arrival = asyncio.Event()

    async def score(
        self, images: Sequence[Image | str], prompts: Sequence[Prompt], rewards: tuple[str, ...]
    ) -> dict[str, Scores]:
        """The scores of N images by each of the rewards. If the caller is cancelled, what is not begun is not done.

        Raises:
            RewardError: one of the rewards raised on these very images.
        """
        done: asyncio.Future[dict[str, Scores]] = asyncio.get_running_loop().create_future()
        job = Job(images, prompts, rewards, done, arrived=time.monotonic())
        if not images:
            return {name: Scores(np.empty(0)) for name in rewards}
        self._waiting.append(Slice(job, range(len(images))))
        self._arrival.set()
        return await done

    async def run(self) -> None:
        """Score what arrives, for ever."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "rewards") as thread:
            while True:
                batch = await self._next_batch()
                start = time.monotonic()
                found = await loop.run_in_executor(thread, self._score_batch, batch)
                self._on_batch(sum(len(piece.rows) for piece in batch), time.monotonic() - start)
                for piece, scores in zip(batch, found, strict=True):
                    piece.job.add(scores)

    async def _next_batch(self) -> list[Slice]:
        while True:
            while not self._waiting:
                self._arrival.clear()
                await self._arrival.wait()
            closes = self._waiting[0].job.arrived + self._limits.max_wait_s
            while self._num_waiting() < self._limits.max_batch and (left := closes - time.monotonic()) > 0:
                self._arrival.clear()
                try:
                    await asyncio.wait_for(self._arrival.wait(), left)
                except TimeoutError:
                    break
            if batch := self._take():
                return batch

    def _num_waiting(self) -> int:
        return sum(len(piece.rows) for piece in self._waiting)

    def _take(self) -> list[Slice]:
        batch: list[Slice] = []
        room = self._limits.max_batch
        while self._waiting and room:
            job, rows = self._waiting.popleft()
            if job.done.done():  # its client went away, or a reward raised on its first part
                continue
            batch.append(Slice(job, rows[:room]))
            if len(rows) > room:
                self._waiting.appendleft(Slice(job, rows[room:]))
            room -= len(batch[-1].rows)
        return batch

    def _score_batch(self, batch: Sequence[Slice]) -> list[Found]:
        """In the thread of the rewards: what each slice gets."""
        found: list[Found] = [{} for _ in batch]
        for name in dict.fromkeys(name for piece in batch for name in piece.job.rewards):
            asking = [place for place, piece in enumerate(batch) if name in piece.job.rewards]
            answers = self._ask(name, [batch[place] for place in asking])
            for place, answer in zip(asking, answers, strict=True):
                found[place][name] = answer
        return found

    def _ask(self, name: str, pieces: Sequence[Slice]) -> list[Scores | PyriteError]:
        try:
            together = self._call(name, pieces)
        except PyriteError as error:
            if len(pieces) == 1:
                return [error]
            # One request's images may have done it, and the others must not pay: each is asked about alone.
            return [answer for piece in pieces for answer in self._ask(name, [piece])]
        starts = np.cumsum([0, *(len(piece.rows) for piece in pieces)]).tolist()
        return [
            _rows(together, range(start, start + len(piece.rows))) for start, piece in zip(starts, pieces, strict=False)
        ]

    def _call(self, name: str, pieces: Sequence[Slice]) -> Scores:
        images = [piece.job.images[row] for piece in pieces for row in piece.rows]
        prompts = [piece.job.prompts[row] for piece in pieces for row in piece.rows]
        reasons = {row: image for row, image in enumerate(images) if isinstance(image, str)}
        readable = {row: image for row, image in enumerate(images) if not isinstance(image, str)}
        if not readable:
            return Scores(np.full(len(images), np.nan), reasons)
        start = time.monotonic()
        scores = score_checked(name, self._rewards[name], list(readable.values()), [prompts[row] for row in readable])
        try:
            spread = _spread(scores, list(readable), reasons, len(images))
        except Exception as error:  # it answered with something that only looks like scores
            raise RewardError(
                f"the reward '{name}' returned {type(scores).__name__}, of which no scores could be made: {error}. A "
                "reward returns pyrite.Scores. Mend it, then start the server again."
            ) from error
        self._on_reward(name, scores, time.monotonic() - start)
        return spread


def _spread(scores: Scores, rows: Sequence[int], reasons: Mapping[int, str], num: int) -> Scores:
    """The scores of some rows among `num`; the others have a reason each."""
    columns = {name: np.full(num, np.nan) for name in ("", *scores.details)}
    for name, column in columns.items():
        column[list(rows)] = scores.details[name] if name else scores.values
    return Scores(
        columns.pop(""),
        {**reasons, **{rows[row]: why for row, why in scores.reasons.items()}},
        columns,
        frozenset(rows[row] for row in scores.transient),
    )


def _rows(scores: Scores, rows: range) -> Scores:
    """Those rows alone."""
    return Scores(
        scores.values[rows],
        {place: scores.reasons[row] for place, row in enumerate(rows) if row in scores.reasons},
        {name: np.asarray(column)[rows] for name, column in scores.details.items()},
        frozenset(place for place, row in enumerate(rows) if row in scores.transient),
    )

"""The questions of one call: every attempt at each, until all have ended or all are stopped.

The attempts are our own and not those of the `openai` library: its retries know no total deadline, keep their place in
the queue while they wait, and leave a reply in no known form to the caller. Nothing a server sends is trusted: an
attempt has an end however slowly bytes come, and the key is taken out of whatever is shown or written down.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pyrite.records.jsonl import JsonLines, teaching_os_errors
from pyrite.records.store import default_store_path
from pyrite.rewards.breaker import Breaker
from pyrite.rewards.judge_config import JudgeConfig
from pyrite.rewards.judge_replies import Said, read_completion
from pyrite.rewards.queries import Query
from pyrite.rewards.retry_after import retry_after_s

if TYPE_CHECKING:
    import openai

AUDIT_FILE = "judge-replies.jsonl"

_LONGEST_PAUSE_S = 30.0
_AGAIN = frozenset({408, 409, 425, 429})
_SHOWN = 200


@dataclass(frozen=True)
class Failed:
    """A question without an answer.

    Args:
        reason: what the machine or the network did.
        attempts: how many were made; 0 if it was never asked.
    """

    reason: str
    attempts: int = 0


@dataclass(frozen=True)
class Answered:
    """A question with an answer, whatever it says.

    Args:
        said: the reply.
        attempts: how many were made.
        seconds: from the first attempt to the reply.
        number: see `Query.number`; the audit has the same.
    """

    said: Said
    attempts: int
    seconds: float
    number: int


Outcome = Answered | Failed


class _Trouble(NamedTuple):
    """What went wrong with an attempt.

    Args:
        reason: in words.
        worth: another attempt; no other attempt; or no other question either.
        after_s: seconds that the server asks to wait.
    """

    reason: str
    worth: Literal["retry", "nothing", "stopping"]
    after_s: float = 0.0


class Call:
    """Several questions to one judge.

    Args:
        config: limits and prices.
        name: of the reward that asks.
        breaker: counts across calls.
        client: speaks to the server.
        slots: one for each request that may be in flight.
    """

    def __init__(
        self,
        config: JudgeConfig,
        name: str,
        breaker: Breaker,
        *,
        client: "openai.AsyncOpenAI",
        slots: asyncio.Semaphore,
    ) -> None:
        self.config = config
        self.name = name
        self.breaker = breaker
        self.client = client
        self.slots = slots
        self.stop = ""
        """Why all were stopped; empty while nothing was."""
        self.sampling = config.sampling
        self._tasks: list[asyncio.Task[Outcome]] = []
        self._audit = _open_audit(config)

    async def all(self, queries: Sequence[Query]) -> dict[Query, Outcome]:
        """Ask N distinct questions.

        Raises:
            RunFolderError: a reply cannot be written into the audit file.
        """
        self._tasks = [asyncio.ensure_future(self._one(query)) for query in queries]
        try:
            ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._audit is not None:
                self._audit.close()
        found: dict[Query, Outcome] = {}
        for query, one in zip(queries, ended, strict=True):
            if isinstance(one, asyncio.CancelledError):
                found[query] = Failed(f"the judge was not asked any more: {self.stop}")
            elif isinstance(one, BaseException):
                raise one
            else:
                found[query] = one
        return found

    async def _one(self, query: Query) -> Outcome:
        """All attempts at one question, and what is to be written down of them."""
        number = query.number(self.config.scoring_options)
        attempts, start, body = 0, 0.0, None
        while True:
            async with self.slots:
                if body is None:  # now it is its turn: pictures of waiting questions take no memory
                    body = await asyncio.to_thread(query.body, self.config.model, self.sampling)
                    start = time.monotonic()
                left_s = self.config.deadline_s - (time.monotonic() - start)
                attempts += 1
                # Others may have held every slot until the deadline was over: an attempt of 0 s says so.
                found = await self._attempt(body, max(0.0, min(self.config.timeout_s, left_s)))
            seconds = time.monotonic() - start
            if isinstance(found, Said):
                return self._ended(query, Answered(found, attempts, seconds, number), number)
            reason = self.config.redacted(found.reason)
            if found.worth == "stopping":
                self._stop_all(reason)
            if found.worth != "retry" or attempts > self.config.retries:
                return self._ended(query, Failed(reason, attempts), number)
            pause_s = max(found.after_s, self._backoff_s(attempts))
            if seconds + pause_s >= self.config.deadline_s:
                reason += f"; another attempt in {pause_s:.3g} s would be beyond deadline_s={self.config.deadline_s:g}"
                return self._ended(query, Failed(reason, attempts), number)
            await asyncio.sleep(pause_s)

    async def _attempt(self, body: bytes, limit_s: float) -> Said | _Trouble:
        import httpx2
        import openai

        from pyrite.rewards.reply_limit import ReplyRefusedError

        try:
            # The library's time-outs begin anew with each byte; this one does not.
            async with asyncio.timeout(limit_s):
                response = await self.client.post("/chat/completions", cast_to=httpx2.Response, content=body)
        except openai.APIStatusError as error:
            return self._refused(error)
        except (TimeoutError, openai.OpenAIError, ReplyRefusedError) as error:
            # What the library calls it is of no use: a refused connection is a time-out to it.
            cause = error if isinstance(error, TimeoutError) else _first_cause(error)
            if isinstance(cause, ReplyRefusedError):
                return _Trouble(str(cause), "nothing")
            if isinstance(cause, TimeoutError):
                return _Trouble(f"the judge did not answer within {limit_s:.3g} s", "retry")
            told = f"{type(cause).__name__}: {_shown(str(cause))}"
            return _Trouble(f"the connection to the judge failed ({told})", "retry")
        said = read_completion(response.content)
        return said if isinstance(said, Said) else _Trouble(said, "retry")

    def _refused(self, error: "openai.APIStatusError") -> _Trouble:
        """What an HTTP status other than 2xx means."""
        status, told = error.status_code, _shown(error.response.text)
        where = f"the judge at {self.config.base_url}"
        if status in (401, 403):
            return _Trouble(
                f"{where} refused the key ({status}: {told}), and would refuse every question. Put the key into the "
                f"environment variable {self.config.api_key_env}",
                "stopping",
            )
        if status == 404:
            return _Trouble(
                f"{where} has no model '{self.config.model}', or no judge is there (404: {told}). See what it serves: "
                f"curl {self.config.base_url}/models",
                "stopping",
            )
        worth_retry = (status in _AGAIN or status >= 500) and error.response.headers.get("x-should-retry") != "false"
        return _Trouble(
            f"the judge's server answered with status {status}: {told}",
            "retry" if worth_retry else "nothing",
            retry_after_s(error.response.headers.get("retry-after")),
        )

    def _backoff_s(self, attempts: int) -> float:
        """Doubling, and never the same for two that failed together."""
        longest: float = min(self.config.backoff_s * 2.0 ** min(attempts - 1, 60), _LONGEST_PAUSE_S)
        return longest * random.uniform(0.5, 1.0)

    def _ended(self, query: Query, outcome: Outcome, number: int) -> Outcome:
        failed = isinstance(outcome, Failed)
        if self._audit is not None:
            self._audit.append([self._audit_row(query, outcome, number)])
        if (why := self.breaker.count(failed=failed)) and isinstance(outcome, Failed):
            self._stop_all(
                f"{why}; the last one: {outcome.reason}. Most images would stay unscored. See that the server at "
                f"{self.config.base_url} is well"
            )
        return outcome

    def _stop_all(self, why: str) -> None:
        self.stop = self.stop or why
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    def _audit_row(self, query: Query, outcome: Outcome, number: int) -> dict[str, Any]:
        row: dict[str, Any] = {"request": number, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        row |= {"reward": self.name, "model": self.config.model, "address": self.config.base_url}
        row |= {"prompt": query.about, "images": query.image_keys, "attempts": outcome.attempts}
        if isinstance(outcome, Failed):
            return row | {"failed": outcome.reason}
        said = outcome.said
        row |= {"seconds": round(outcome.seconds, 4), "reply": self.config.redacted(said.text)}
        row |= {"refusal": self.config.redacted(said.refusal), "finish_reason": said.finish_reason}
        row |= {"tokens": said.tokens, "served_model": said.model}
        row |= {"prompt_tokens": said.prompt_tokens, "completion_tokens": said.completion_tokens}
        return row | {"cost_usd": self.config.cost_usd(said.prompt_tokens, said.completion_tokens)}


def _open_audit(config: JudgeConfig) -> JsonLines | None:
    if config.audit == "":
        return None
    path = Path(config.audit).expanduser() if config.audit else default_store_path().parent / AUDIT_FILE
    with teaching_os_errors(f"make the folder of {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
    return JsonLines(path)


def _first_cause(error: BaseException) -> BaseException:
    while (before := error.__cause__) is not None:
        error = before
    return error


def _shown(text: str) -> str:
    """A server's words as data: short, on one line, without control characters."""
    return repr(text.strip()[:_SHOWN])

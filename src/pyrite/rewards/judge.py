"""Asking a judge behind a server many questions at once, so that none is lost, paid for twice, or made up.

The `openai` library speaks to the server, on one pool of connections; `judge_call.py` makes the attempts. A question
ends as `Answered` or as `Failed`, never as a default; a judge that refuses everybody, or fails too often, stops the
whole call.
"""

import asyncio
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyrite.rewards.background import background_loop, run_in_background
from pyrite.rewards.breaker import Breaker
from pyrite.rewards.judge_call import Call, Outcome
from pyrite.rewards.judge_config import JudgeConfig
from pyrite.rewards.judge_replies import MAX_REPLY_BYTES
from pyrite.rewards.queries import Query

if TYPE_CHECKING:
    import httpx2
    import openai

_CONNECT_S = 10.0
_UNSAID = (
    "OpenAI-Organization",
    "OpenAI-Project",
    *(f"X-Stainless-{fact}" for fact in ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version")),
)
_KEEPALIVE_S = 4.0  # below the 5 s after which uvicorn, so vLLM, closes a connection nobody uses


@dataclass(frozen=True)
class Asked:
    """What came of a call.

    Args:
        outcomes: one per question, in order.
        stop: why everything had to stop; empty if nothing did.
    """

    outcomes: Sequence[Outcome]
    stop: str = ""


class JudgeClient:
    """A judge on an OpenAI-compatible server; may be called from several threads, and in a forked child.

    Args:
        config: address, model, limits.
        name: of the reward that asks, for the audit and for messages.
    """

    def __init__(self, config: JudgeConfig, name: str) -> None:
        self.config = config
        self.name = name
        self.breaker = Breaker(config.max_failure_rate)
        self._connection: _Connection | None = None

    def ask(self, queries: Sequence[Query]) -> Asked:
        """Ask all of the questions, each distinct one once; waits for the last answer.

        Raises:
            RunFolderError: a reply cannot be written into the audit file.
        """
        return run_in_background(self._ask(queries))

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._connection is not None and self._connection.is_ours:
            run_in_background(self._connection.openai.close())
        self._connection = None

    async def _ask(self, queries: Sequence[Query]) -> Asked:
        if self._connection is None or not self._connection.is_ours:
            self._connection = _Connection.open(self.config)
            weakref.finalize(self, _close_later, self._connection)
        connection = self._connection
        call = Call(self.config, self.name, self.breaker, client=connection.openai, slots=connection.slots)
        found = await call.all(list(dict.fromkeys(queries)))
        return Asked([found[query] for query in queries], call.stop)


@dataclass(frozen=True)
class _Connection:
    """What belongs to one process and its event loop."""

    openai: "openai.AsyncOpenAI"
    slots: asyncio.Semaphore
    process: int

    @classmethod
    def open(cls, config: JudgeConfig) -> "_Connection":
        import httpx2
        from openai import AsyncOpenAI, DefaultAioHttpClient, Omit

        pool = DefaultAioHttpClient(
            limits=httpx2.Limits(
                max_connections=config.concurrency,
                max_keepalive_connections=config.concurrency,
                keepalive_expiry=_KEEPALIVE_S,
            ),
            timeout=httpx2.Timeout(config.timeout_s, connect=min(_CONNECT_S, config.timeout_s)),
            follow_redirects=False,  # the question and the key are for this address alone
            event_hooks={"response": [_limit]},
        )
        # What other programs' variables say of accounts, and what this machine is, is none of this server's business.
        # Without compression the bytes that are counted are the bytes that are read.
        headers: Any = {**dict.fromkeys(_UNSAID, Omit()), "Accept-Encoding": "identity"}
        client = AsyncOpenAI(
            base_url=config.base_url,
            api_key=config.api_key,
            max_retries=0,
            http_client=pool,
            default_headers=headers,
        )
        return cls(client, asyncio.Semaphore(config.concurrency), os.getpid())

    @property
    def is_ours(self) -> bool:
        return self.process == os.getpid()


async def _limit(response: "httpx2.Response") -> None:
    from pyrite.rewards.reply_limit import limit_reply

    limit_reply(response, MAX_REPLY_BYTES)


def _close_later(connection: _Connection) -> None:
    """Close what a judge that is gone left open, without waiting: its last owner may be anywhere."""
    if connection.is_ours:
        asyncio.run_coroutine_threadsafe(connection.openai.close(), background_loop())

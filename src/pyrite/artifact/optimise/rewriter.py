"""Asks a model on a server for texts, each reply paid for once, and reads them as strictly as `texts.py` says."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from pyrite.artifact.optimise.budget import Spending
from pyrite.artifact.optimise.config import OptimiseConfig
from pyrite.artifact.optimise.ledger import Ledger
from pyrite.core.errors import RewardError
from pyrite.rewards.judge import Asked, JudgeClient
from pyrite.rewards.judge_call import Answered
from pyrite.rewards.judge_config import judge_config
from pyrite.rewards.queries import Query, mended

NAME = "rewriter"
# What a rewriter takes from the judge where its own options are silent.
_SHARED = (
    "model", "base_url", "revision", "api_key_env", "concurrency", "timeout_s", "deadline_s", "retries", "backoff_s",
    "max_failure_rate", "usd_per_million_input", "usd_per_million_output", "audit",
)  # fmt: skip
_MAX_FAILURE_RATE = 0.5
_MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"

Reader = Callable[[str], tuple[str, str]]
"""From a reply to its text, or to an empty one and why."""


class Rewriter:
    """Where critiques, rewrites and paraphrases come from.

    Args:
        config: of the search.
        ledger: of replies.
        spending: counts, and says when to stop.
        told: called after each batch.

    Raises:
        RewardError: a setting is unknown or has no such value.
    """

    def __init__(self, config: OptimiseConfig, ledger: Ledger, spending: Spending, told: Callable[[], None]) -> None:
        shared = {key: config.judge.options[key] for key in _SHARED if key in config.judge.options}
        settings: dict[str, Any] = {"model": _MODEL, "max_failure_rate": _MAX_FAILURE_RATE, **shared}
        settings |= {**config.rewriter.options, "temperature": config.rewriter.temperature}
        self.client = JudgeClient(judge_config(NAME, **settings), NAME)
        self.spending = spending
        self.dropped: Counter[str] = Counter()
        """Why a reply was no critique or no question -> how often."""
        self._ledger = ledger
        self._told = told

    def write(self, requests: Sequence[Query], draws: int, read: Reader) -> list[list[str]]:
        """For each of N requests the texts of those of its `draws` replies that held one.

        Args:
            requests: may repeat; a repeated request is asked again.
            draws: replies per request.
            read: from reply to text; what yields none is counted in `dropped`.

        Raises:
            BudgetSpentError: the requests are not paid for.
            RewardError: the server refuses everybody, or fails too often.
        """
        wanted = [request for request in requests for _ in range(draws)]
        keys = [str(request.number(self.client.config.scoring_options)) for request in wanted]
        self.spending.allow(len(wanted))
        rows = {place: row for place, key in enumerate(keys) if (row := self._ledger.recall(key)) is not None}
        rows |= self._ask({place: (keys[place], wanted[place]) for place in range(len(wanted)) if place not in rows})
        texts = [self._read(rows[place], read) for place in range(len(wanted))]
        self._told()
        return [[text for text in texts[start : start + draws] if text] for start in range(0, len(wanted), draws)]

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _ask(self, missing: dict[int, tuple[str, Query]]) -> dict[int, dict[str, Any]]:
        """Each request on a thread of its own, and each reply on the disk before the next one is looked at."""
        rows: dict[int, dict[str, Any]] = {}
        pool = ThreadPoolExecutor(self.client.config.concurrency, thread_name_prefix="pyrite-rewriter")
        stop = ""
        try:
            work = {pool.submit(self.client.ask, [query]): (place, key) for place, (key, query) in missing.items()}
            for done in as_completed(work):
                if done.cancelled():
                    continue
                place, key = work[done]
                asked = done.result()
                if asked.stop:  # none of these is an outcome: they are asked again when the server is well
                    stop = stop or asked.stop
                    pool.shutdown(wait=False, cancel_futures=True)
                    continue
                rows[place] = self._row(asked)
                self._ledger.keep(key, rows[place])
        finally:
            pool.shutdown(cancel_futures=True)
        if stop:
            raise RewardError(
                f"the rewriting model has stopped: {stop}, then give the same command again: what was paid for is kept."
            )
        return rows

    def _row(self, asked: Asked) -> dict[str, Any]:
        outcome, config = asked.outcomes[0], self.client.config
        if not isinstance(outcome, Answered):
            return {"text": None, "why": outcome.reason, "cost_usd": 0.0}
        said = outcome.said
        cost = config.cost_usd(said.prompt_tokens, said.completion_tokens)
        if said.finish_reason != "stop" or said.refusal:
            why = "the model refused" if said.refusal else "the reply was cut off or did not end by itself"
            return {"text": None, "why": why, "cost_usd": cost}
        return {"text": mended(config.redacted(said.text)), "why": "", "cost_usd": cost}

    def _read(self, row: dict[str, Any], read: Reader) -> str:
        self.spending.text_calls += 1
        self.spending.cost_usd += float("nan") if row["cost_usd"] is None else row["cost_usd"]
        if row["text"] is None:
            self.spending.text_failures += 1
            self.dropped[row["why"]] += 1
            return ""
        text, why = read(row["text"])
        if why:
            self.dropped[why] += 1
        return text

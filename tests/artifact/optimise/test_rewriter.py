"""Texts from a server: each reply paid for once, failures counted, and the key in nothing that is written."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.judge_server import Body, JudgeServer, chat, judge_server, parts_of, status

from pyrite.artifact.optimise.budget import BudgetSpentError, Spending
from pyrite.artifact.optimise.config import BudgetConfig, load_optimise_config
from pyrite.artifact.optimise.ledger import Ledger
from pyrite.artifact.optimise.rewriter import Rewriter
from pyrite.artifact.optimise.texts import paraphrase_request, question_in
from pyrite.core.errors import RewardError

QUESTION = "Is there a smear? Answer YES or NO."


def read(reply: str) -> tuple[str, str]:
    return question_in(reply, 1500)


def answer(body: Body) -> Any:
    text, _ = parts_of(body)
    return chat("no idea" if "junk" in text else f"<question>{QUESTION}</question>")


Make = Callable[..., Rewriter]


@pytest.fixture
def rewriter(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(server: JudgeServer, *overrides: str, calls: int | None = None) -> Rewriter:
            options = (
                f"judge.options.base_url={server.url}",
                "judge.options.audit=''",
                "judge.options.backoff_s=0.001",
            )
            config = load_optimise_config(None, [*options, *overrides])
            ledger = stack.enter_context(closing(Ledger(tmp_path / "r.jsonl")))
            made = Rewriter(config, ledger, Spending(BudgetConfig(calls=calls)), lambda: None)
            stack.callback(made.close)
            return made

        yield make


def test_a_reply_without_a_question_is_counted_and_dropped(rewriter: Make) -> None:
    with judge_server(answer) as server:
        found = rewriter(server, "judge.options.usd_per_million_input=2", "judge.options.usd_per_million_output=0")
        texts = found.write([paraphrase_request(text, 50) for text in ("good", "junk")], 1, read)
    assert texts == [[QUESTION], []]
    assert found.dropped.total() == 1
    assert found.spending.text_calls == 2
    assert found.spending.cost_usd == pytest.approx(2 * 300 * 2 / 1e6)
    body = server.bodies[0]
    assert (body["max_tokens"], body["temperature"]) == (50, 0.7)
    assert "logprobs" not in body


def test_a_second_life_asks_for_nothing_and_repeats_are_asked_again(rewriter: Make) -> None:
    with judge_server(answer) as server:
        requests = [paraphrase_request("good", 50)] * 2
        assert rewriter(server).write(requests, 2, read) == [[QUESTION] * 2] * 2
        assert len(server.bodies) == 4
        assert rewriter(server).write(requests, 2, read) == [[QUESTION] * 2] * 2
        assert len(server.bodies) == 4


def test_a_failed_or_cut_off_reply_is_no_text_and_no_end(rewriter: Make) -> None:
    with judge_server(
        lambda _: chat(f"<question>{QUESTION}</question>", finish_reason="length"), [status(400)]
    ) as server:
        found = rewriter(server, "judge.options.concurrency=1")
        assert found.write([paraphrase_request(text, 50) for text in "ab"], 1, read) == [[], []]
    assert found.spending.text_failures == 2
    assert sum("status 400" in why for why in found.dropped) == 1
    assert sum("cut off" in why for why in found.dropped) == 1


def test_a_server_that_refuses_everybody_stops_with_advice_and_keeps_what_came(rewriter: Make, tmp_path: Path) -> None:
    with judge_server(answer) as server:
        found = rewriter(server, "judge.options.concurrency=1")
        found.write([paraphrase_request("good", 50)], 1, read)
        server.faults = [status(401)] * 3
        with pytest.raises(RewardError, match="give the same command again"):
            found.write([paraphrase_request(text, 50) for text in "ab"], 1, read)
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 1


def test_the_budget_holds_for_texts(rewriter: Make) -> None:
    with judge_server(answer) as server:
        found = rewriter(server, calls=2)
        with pytest.raises(BudgetSpentError):
            found.write([paraphrase_request("good", 50)], 3, read)
        assert not server.bodies


def test_the_rewriter_may_be_another_server_and_model(rewriter: Make) -> None:
    with judge_server(answer) as server:
        there = (f"rewriter.options.base_url={server.url}", "rewriter.options.model=writer")
        found = rewriter(server, "judge.options.base_url=http://127.0.0.1:1/v1", "judge.options.model=judge", *there)
        found.write([paraphrase_request("good", 50)], 1, read)
    assert server.bodies[0]["model"] == "writer"
    assert math.isnan(found.spending.cost_usd)  # no prices: unknown, and not nothing


def test_an_unknown_option_is_named(rewriter: Make) -> None:
    with judge_server(answer) as server, pytest.raises(RewardError, match="conccurrency"):
        rewriter(server, "rewriter.options.conccurrency=2")

"""Asking, counting, and what happens where the judge fails."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from PIL import Image as PILImage
from tests.artifact.optimise.material import TableJudge

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.budget import BudgetSpentError, Spending
from pyrite.artifact.optimise.config import BudgetConfig
from pyrite.artifact.optimise.examiner import CHUNK, Examiner
from pyrite.artifact.optimise.ledger import Ledger
from pyrite.artifact.optimise.objectives import balanced
from pyrite.core.errors import ImageSetError, RewardError

NAN = math.nan


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    for row in range(4):
        PILImage.new("RGB", (2, 2), (row, 0, 0)).save(tmp_path / f"{row}.png")
    return [Example(str(row), tmp_path / f"{row}.png", has_artifact=bool(row % 2)) for row in range(4)]


Examine = Callable[..., Examiner]


@pytest.fixture
def examiner(tmp_path: Path) -> Iterator[Examine]:
    """Makes examiners, each a life of the run whose ledger has that name."""
    with ExitStack() as stack:

        def make(judge: TableJudge, spending: Spending | None = None, ledger: str = "a") -> Examiner:
            counted = spending or Spending(BudgetConfig())
            kept = stack.enter_context(closing(Ledger(tmp_path / f"{ledger}.jsonl")))
            return Examiner(judge, kept, counted, balanced, attempts=3, min_answered=0.5, told=lambda: None)

        yield make


def test_a_failure_is_counted_left_out_and_never_a_number(examples: list[Example], examiner: Examine) -> None:
    judge = TableJudge([0.1, 0.9, NAN, 0.4])
    found = examiner(judge)
    prob = found.ask("q", examples)
    assert math.isnan(prob[2])
    assert found.score("q", examples) == 0.75  # 0 right, 1 right, 3 wrong: (1 + 1/2) / 2
    assert found.reasons == {"the server answered 503": 1}
    assert (found.spending.image_calls, found.spending.image_failures) == (4, 1)
    assert len(judge.calls) == 4  # `score` asked nothing again


def test_too_few_answers_are_no_score(examples: list[Example], examiner: Examine) -> None:
    assert math.isnan(examiner(TableJudge([0.1, NAN, NAN, NAN])).score("q", examples))
    assert math.isnan(examiner(TableJudge([])).score("q", []))


def test_what_must_not_have_holes_is_asked_again_and_then_left(examples: list[Example], examiner: Examine) -> None:
    judge = TableJudge([0.1, 0.9, NAN, 0.4])
    found = examiner(judge)
    found.ask("q", examples, again=True)
    assert [row for _, row in judge.calls] == [0, 1, 2, 3, 2, 2]
    judge.table[2] = 0.3
    assert found.ask("other", examples, again=True)[2] == 0.3


def test_a_second_life_is_told_the_same_failures_included(examples: list[Example], examiner: Examine) -> None:
    first = examiner(TableJudge([0.1, 0.9, NAN, 0.4], cost_usd=0.5))
    first.ask("q", examples, again=True)
    judge = TableJudge([0.7] * 4)
    second = examiner(judge)
    assert second.ask("q", examples, again=True).tolist()[:2] == [0.1, 0.9]
    assert math.isnan(second.ask("q", examples)[2])
    assert not judge.calls
    assert second.spending == first.spending
    assert second.spending.cost_usd == pytest.approx(3.0)


def test_the_budget_stops_before_the_call_and_the_reserve_is_kept(examples: list[Example], examiner: Examine) -> None:
    judge = TableJudge([0.1] * 4)
    spending = Spending(BudgetConfig(calls=7), reserve=4)
    found = examiner(judge, spending)
    found.ask("q", examples[:3])
    with pytest.raises(BudgetSpentError, match=r"budget\.calls = 7: 3 are spent, 4 were kept back"):
        found.ask("other", examples[:1])
    assert len(judge.calls) == 3
    spending.reserve, spending.is_closing = 0, True
    found.ask("last", examples, again=True)
    assert spending.calls == 7


def test_money_stops_too_and_unknown_money_is_refused(examples: list[Example], examiner: Examine) -> None:
    spending = Spending(BudgetConfig(usd=1.0))
    found = examiner(TableJudge([0.1] * 4, cost_usd=0.2), spending)
    found.ask("q", examples)
    with pytest.raises(BudgetSpentError, match=r"budget\.usd = 1: 0\.8 are spent"):
        found.ask("other", examples[:2])
    unknown = examiner(TableJudge([0.1] * 4, cost_usd=NAN), Spending(BudgetConfig(usd=1.0)), ledger="b")
    unknown.ask("q", examples[:1])
    with pytest.raises(RewardError, match="usd_per_million_input"):
        unknown.ask("q", examples)


def test_an_image_that_is_gone_says_so(examples: list[Example], examiner: Examine) -> None:
    examples[0].image.unlink()
    with pytest.raises(ImageSetError, match="cannot be read now"):
        examiner(TableJudge([0.1] * 4)).ask("q", examples)


def test_many_images_go_in_chunks(examples: list[Example], examiner: Examine, tmp_path: Path) -> None:
    many = [Example(f"{row}", examples[0].image, has_artifact=False) for row in range(2 * CHUNK + 1)]
    found = examiner(TableJudge([0.1]))
    found.ask("q", many)
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3

"""A whole search: split, search on train, choose on validation, prove on test, write down.

Nothing here is a checkpoint. A killed run begins again from the beginning with the same draws, and every call that was
paid for is answered from the ledgers of its folder (or, for what was on its way, from the score store).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyrite.artifact.data import CuratedSet, Split, pairs, split_examples
from pyrite.artifact.judges import ArtifactJudge, why_not_askable
from pyrite.artifact.optimise.budget import BudgetSpentError, Spending
from pyrite.artifact.optimise.config import OptimiseConfig
from pyrite.artifact.optimise.examiner import Examiner
from pyrite.artifact.optimise.folder import (
    ANSWERS,
    QUESTION,
    QUESTIONS,
    REPLIES,
    RESULTS,
    ROUNDS,
    claim,
)
from pyrite.artifact.optimise.gepa_search import GepaSearch
from pyrite.artifact.optimise.ledger import Ledger
from pyrite.artifact.optimise.lineage import Candidate, Lineage
from pyrite.artifact.optimise.objectives import OBJECTIVES
from pyrite.artifact.optimise.proof import Proof, elect, prove
from pyrite.artifact.optimise.protegi import Protegi
from pyrite.artifact.optimise.rewriter import Rewriter
from pyrite.artifact.optimise.trail import question_rows
from pyrite.artifact.optimise.workbench import Optimiser, Workbench
from pyrite.core.errors import ImageSetError, RecipeError
from pyrite.records.jsonl import JsonLines, write_atomically, write_json

OPTIMISERS: Mapping[str, Callable[[], Optimiser]] = {"protegi": Protegi, "gepa": GepaSearch}

Told = Callable[[Spending, str], None]
"""Called after every chunk of calls with what is spent and how far the search is."""


@dataclass(frozen=True)
class Finished:
    """What a search came to.

    Args:
        results: as they stand in results.json.
        was_finished: an earlier run had finished; nothing was asked now.
    """

    results: Mapping[str, Any]
    was_finished: bool


def optimise(
    config: OptimiseConfig, data: CuratedSet, judge: ArtifactJudge, folder: Path, told: Told = lambda *_: None
) -> Finished:
    """Search for a better question; the same call again continues a run that was killed.

    Args:
        config: every number.
        data: the labelled images.
        judge: who is asked about images.
        folder: of the run, see `folder.py`.
        told: progress.

    Raises:
        RecipeError: the judge reads no question, the first one cannot be put, or the objective or the budget cannot be
            met by this set.
        ImageSetError: a part of the split is empty or has one label only.
        RunFolderError: the folder is not this run's, or cannot be written.
        RewardError: a server refuses everybody, or fails too often; what was paid for is kept.
    """
    split = split_examples(data.examples, shares=_three(config.shares), seed=config.seed)
    spending = Spending(config.budget)
    _refuse(config, judge, split, spending)
    with ExitStack() as stack:
        claim(folder, config, data.examples, stack)
        if (folder / RESULTS).exists():
            return Finished(_read_results(folder), was_finished=True)
        return Finished(_search(config, data, split, judge, folder, spending, told, stack), was_finished=False)


def _search(
    config: OptimiseConfig,
    data: CuratedSet,
    split: Split,
    judge: ArtifactJudge,
    folder: Path,
    spending: Spending,
    told: Told,
    stack: ExitStack,
) -> dict[str, Any]:
    lineage = Lineage()
    start = lineage.add(config.question, None, "start")
    rounds: list[Mapping[str, Any]] = []

    def say() -> None:
        told(spending, f"round {rounds[-1]['round']}, train {rounds[-1]['train']:.4f}" if rounds else "begins")

    def logged(row: Mapping[str, Any]) -> None:
        rounds.append({**row, **asdict(spending, dict_factory=_numbers_only), "dropped": rewriter.dropped.total()})

    answers, replies = (stack.enter_context(_closing(Ledger(folder / name))) for name in (ANSWERS, REPLIES))
    examiner = Examiner(
        judge,
        answers,
        spending,
        OBJECTIVES[config.objective],
        attempts=config.attempts,
        min_answered=config.min_answered,
        told=say,
    )
    rewriter = Rewriter(config, replies, spending, say)
    stack.callback(rewriter.close)
    bench = Workbench(config, split.train, examiner, rewriter, lineage, logged)
    finalists: list[Candidate] = [start]
    stopped = ""
    try:
        OPTIMISERS[config.optimiser]().search(bench, finalists)
    except BudgetSpentError as spent:
        stopped = str(spent)
    for candidate in lineage:
        seen = [example for example in split.train if example.id in examiner.known(candidate.question)]
        candidate.train, candidate.num_train = examiner.score(candidate.question, seen), len(seen)
    spending.reserve, spending.is_closing = 0, True
    standing = [start, *(one for one in finalists if one.id != start.id)]
    best = elect(examiner, standing, split.validation)
    proof = prove(examiner, start, best, split.test, config.seed)
    results = _results(config, data, split, lineage, (start, best), proof, spending)
    results |= {"stopped": stopped, "dropped": dict(rewriter.dropped), "unanswered": dict(examiner.reasons)}
    _write_rows(folder / ROUNDS, rounds)
    _write_rows(folder / QUESTIONS, question_rows(lineage, examiner, split.train, folder))
    write_atomically(folder / QUESTION, best.question + "\n")
    write_json(folder / RESULTS, results)  # last: its presence says that everything is there
    return _read_results(folder)


def _results(
    config: OptimiseConfig,
    data: CuratedSet,
    split: Split,
    lineage: Lineage,
    ends: tuple[Candidate, Candidate],
    proof: Proof,
    spending: Spending,
) -> dict[str, Any]:
    start, best = ends
    return {
        "optimiser": config.optimiser,
        "objective": config.objective,
        "judge": config.judge.name,
        "judge_options": config.judge.options,
        "set": str(data.path),
        "num_images": {name: len(part) for name, part in split.parts.items()},
        "num_skipped": len(data.skipped),
        "notes": list(split.shortcomings),
        "num_questions": len(lineage),
        "start": {**_told_of(start), "test_metrics": dict(proof.start)},
        "best": {**_told_of(best), "test_metrics": dict(proof.best)},
        "difference": {name: asdict(interval) for name, interval in proof.difference.items()},
        "num_test_images": proof.num_images,
        "num_test_unanswered": proof.num_unanswered,
        "spent": {**asdict(spending, dict_factory=_numbers_only), "calls": spending.calls},
    }


def _told_of(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.id,
        "question": candidate.question,
        "train": candidate.train,
        "validation": candidate.validation,
        "test": candidate.test,
    }


def _refuse(config: OptimiseConfig, judge: ArtifactJudge, split: Split, spending: Spending) -> None:
    """What cannot come to anything is refused before it costs anything."""
    problems = []
    if not judge.asks:
        problems.append(
            f"judge.name = '{judge.name}' reads no question, so none is better than another. Use artifact-served, or "
            "artifact for a model in this process."
        )
    if why := why_not_askable(config.question):
        problems.append(f"question: cannot be put to a judge: {why}. Write another one.")
    for name, part in split.parts.items():
        if len({example.has_artifact for example in part}) < 2:
            raise ImageSetError(
                f"the {name} part has {len(part)} images, of {len({one.has_artifact for one in part})} label(s): no "
                "question can be told from another there. Add images, or change the parts with "
                "--set 'shares=[0.5, 0.25, 0.25]'."
            )
        if config.objective == "pair_accuracy" and not pairs(part):
            problems.append(
                f"objective = pair_accuracy: the {name} part has no pair of a clean and a damaged image (pair_id). Use "
                "auc or log_likelihood."
            )
    most = 1 + (config.protegi.beam if config.optimiser == "protegi" else config.gepa.finalists)
    spending.reserve = most * len(split.validation) + 2 * len(split.test)
    least = spending.reserve + len(split.train)
    if config.budget.calls is not None and config.budget.calls < least:
        problems.append(
            f"budget.calls = {config.budget.calls} is spent before anything is found: choosing takes up to "
            f"{most} x {len(split.validation)} calls, the test 2 x {len(split.test)}, and the first look at the "
            f"training images {len(split.train)}. Give it at least {least}."
        )
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise RecipeError(f"the search cannot run like this:{listed}")


def _three(shares: Sequence[float]) -> tuple[float, float, float]:
    train, validation, test = shares
    return train, validation, test


def _numbers_only(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        key: value for key, value in items if isinstance(value, int | float) and key not in ("reserve", "is_closing")
    }


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.unlink(missing_ok=True)
    file = JsonLines(path)
    file.append(rows)
    file.close()


def _read_results(folder: Path) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    return found


def _closing(ledger: Ledger) -> Any:
    from contextlib import closing

    return closing(ledger)

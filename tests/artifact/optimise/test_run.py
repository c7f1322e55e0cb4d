"""Whole searches on the simulated judge: better questions, honest ends, and the same again from the ledgers."""

import json
from pathlib import Path
from typing import Any

import pytest
from examples.simulated.blocks import write_set
from examples.simulated.direct import FAILED, DirectJudge
from examples.simulated.server import SimulatedJudge, served
from tests.artifact.optimise.material import TableJudge, quick_config

from pyrite.artifact.data import CuratedSet, load_curated
from pyrite.artifact.optimise.run import Finished, optimise
from pyrite.core.errors import ImageSetError, RecipeError, RunFolderError
from pyrite.records.jsonl import read_jsonl


def search(simulated: SimulatedJudge, data: Path, folder: Path, *overrides: str, **given: Any) -> Finished:
    return optimise(quick_config(simulated, *overrides, **given), load_curated(data), DirectJudge(simulated), folder)


@pytest.mark.parametrize("optimiser", ["protegi", "gepa"])
def test_a_search_finds_a_better_question_and_writes_down_all_of_it(
    optimiser: str, simulated: SimulatedJudge, small_set: Path, tmp_path: Path
) -> None:
    found = search(simulated, small_set, tmp_path / "run", optimiser=optimiser).results
    assert found["best"]["validation"] > found["start"]["validation"]
    assert found["best"]["train"] > found["start"]["train"]
    assert found["num_images"] == {"train": 24, "validation": 12, "test": 12}
    assert set(found["difference"]) == {"log_likelihood", "auc", "pair_accuracy", "balanced_accuracy"}
    questions, _ = read_jsonl(tmp_path / "run" / "questions.jsonl")
    assert len(questions) == found["num_questions"] > 3
    assert [row["id"] for row in questions] == list(range(len(questions)))
    assert all(row["parent"] < row["id"] for row in questions[1:])
    shown = {wrong["image"] for row in questions for wrong in row["wrong"]}
    assert shown
    assert all((tmp_path / "run" / image).is_file() for image in shown)
    assert (tmp_path / "run" / "question.txt").read_text().strip() == found["best"]["question"]
    rounds, _ = read_jsonl(tmp_path / "run" / "rounds.jsonl")
    assert rounds[-1]["image_calls"] <= found["spent"]["image_calls"]


def test_sharing_the_calls_out_takes_at_most_half_of_them(tmp_path: Path) -> None:
    """The benchmark in small: `benchmarks/question_optimisation.py`."""
    data = write_set(tmp_path / "set", 60, seed=4)
    wide = (
        "protegi={rounds: 2, beam: 2, minibatch: 40, gradients: 3, expansion_cap: 8}",
        "allocation.first_share=0.125",
    )
    spent = {}
    for method in ("full", "halving"):
        with served(SimulatedJudge(data, seed=4)) as simulated:
            found = search(simulated, data, tmp_path / method, f"allocation.method={method}", *wide).results
        spent[method] = found["spent"]["image_calls"]
    last = 3 * 30 + 2 * 30  # validation and test, which cost both the same
    assert spent["halving"] - last <= 0.5 * (spent["full"] - last)


def test_no_image_of_the_test_part_is_asked_about_before_the_end(
    simulated: SimulatedJudge, small_set: Path, tmp_path: Path
) -> None:
    found = search(simulated, small_set, tmp_path / "run")
    questions, _ = read_jsonl(tmp_path / "run" / "questions.jsonl")
    ends = {found.results[end]["id"] for end in ("start", "best")}
    assert {row["id"] for row in questions if row["test"] is not None} == ends
    elected = [row for row in questions if row["validation"] is not None]
    assert len(elected) <= 3  # the beam of two, and the first question


@pytest.mark.parametrize("optimiser", ["protegi", "gepa"])
def test_the_same_search_again_is_the_same_and_asks_nobody(
    optimiser: str, simulated: SimulatedJudge, small_set: Path, tmp_path: Path
) -> None:
    first = search(simulated, small_set, tmp_path / "run", optimiser=optimiser).results
    num = simulated.answered.total()
    again = search(simulated, small_set, tmp_path / "run", optimiser=optimiser)
    assert again.was_finished
    assert again.results == first
    (tmp_path / "run" / "results.json").unlink()  # as if killed before the last write
    judge = DirectJudge(simulated)
    config = quick_config(simulated, optimiser=optimiser)
    redone = optimise(config, load_curated(small_set), judge, tmp_path / "run")
    assert not redone.was_finished
    assert redone.results == first
    assert not judge.asked
    assert simulated.answered.total() == num


def test_a_judge_that_fails_on_a_fifth_of_the_calls_does_not_end_the_search(small_set: Path, tmp_path: Path) -> None:
    with served(SimulatedJudge(small_set, seed=4, fail_share=0.2)) as simulated:
        found = search(simulated, small_set, tmp_path / "run").results
    spent = found["spent"]
    assert 0.1 < spent["image_failures"] / spent["image_calls"] < 0.3
    assert found["unanswered"] == {FAILED: spent["image_failures"]}
    assert spent["text_failures"] > 0
    assert found["num_questions"] > 3
    assert found["best"]["validation"] >= found["start"]["validation"]
    answers, _ = read_jsonl(tmp_path / "run" / "answers.jsonl")
    probs = [prob for row in answers for prob in row["prob"]]
    assert probs.count(None) == spent["image_failures"]
    assert 0.0 not in probs


def test_a_spent_budget_ends_cleanly_within_it_with_the_best_so_far(
    simulated: SimulatedJudge, small_set: Path, tmp_path: Path
) -> None:
    found = search(simulated, small_set, tmp_path / "run", "budget.calls=160").results
    assert "budget.calls = 160" in found["stopped"]
    assert found["spent"]["calls"] <= 160
    assert found["best"]["validation"] >= found["start"]["validation"]
    priced = ("judge.options.usd_per_million_input=1", "judge.options.usd_per_million_output=1", "budget.usd=0.12")
    found = search(simulated, small_set, tmp_path / "money", *priced).results
    assert "budget.usd = 0.12" in found["stopped"]
    assert 0.05 < found["spent"]["cost_usd"] <= 0.12


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["budget.calls=50"], "Give it at least 84"),
        (["question='Is it <|im_end|> broken? YES or NO'"], "cannot be put to a judge"),
    ],
    ids=["budget", "question"],
)
def test_what_cannot_come_to_anything_is_refused_before_a_call(
    overrides: list[str], message: str, simulated: SimulatedJudge, small_set: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        search(simulated, small_set, tmp_path / "run", *overrides)
    assert not simulated.answered
    assert not (tmp_path / "run").exists()


def test_a_judge_that_reads_no_question_is_refused(simulated: SimulatedJudge, small_set: Path, tmp_path: Path) -> None:
    judge = TableJudge([])
    judge.asks = False
    with pytest.raises(RecipeError, match="reads no question"):
        optimise(quick_config(simulated), load_curated(small_set), judge, tmp_path / "run")


def test_parts_with_one_label_and_sets_without_pairs_are_refused(
    simulated: SimulatedJudge, small_set: Path, tmp_path: Path
) -> None:
    data = load_curated(small_set)
    few = CuratedSet(data.path, data.examples[:4])
    with pytest.raises(ImageSetError, match="no question can be told from another there"):
        optimise(quick_config(simulated), few, DirectJudge(simulated), tmp_path / "run")
    rows = [json.loads(line) for line in small_set.read_text().splitlines()]
    alone = small_set.with_name("alone.jsonl")
    alone.write_text("".join(json.dumps({key: row[key] for key in ("image", "label")}) + "\n" for row in rows))
    with pytest.raises(RecipeError, match="has no pair of a clean and a damaged image"):
        search(simulated, alone, tmp_path / "run", objective="pair_accuracy")


def test_a_folder_of_another_search_is_refused_with_the_keys(
    simulated: SimulatedJudge, small_set: Path, tmp_path: Path
) -> None:
    search(simulated, small_set, tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"protegi\.rounds: was 2, is 3"):
        search(simulated, small_set, tmp_path / "run", "protegi.rounds=3")
    more = search(simulated, small_set, tmp_path / "run", "judge.options.concurrency=2")  # changes no number
    assert more.was_finished
    for_other_pixels = write_set(tmp_path / "set", 24, seed=5)
    rows = small_set.read_text()
    for_other_pixels.write_text(rows)
    with pytest.raises(RunFolderError, match="set_sha256"):
        search(simulated, for_other_pixels, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty"):
        search(simulated, small_set, tmp_path / "other")


def test_a_broken_judge_never_makes_a_question_look_good(
    simulated: SimulatedJudge, small_set: Path, tmp_path: Path
) -> None:
    """A judge that answers nothing leaves every objective unknown, and the first question stays."""
    simulated.fail_share = 1.0
    found = search(simulated, small_set, tmp_path / "run", "rewriter.options.retries=0", "protegi.rounds=1").results
    assert found["best"]["id"] == found["start"]["id"] == 0
    assert found["best"]["validation"] is None
    assert found["num_test_images"] == 0
    assert found["difference"] == {}

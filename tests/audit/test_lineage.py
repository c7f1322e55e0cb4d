"""The page about a search: everything is on it, what models wrote is text, and it opens offline."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from tests.audit.browser import visit_page

from pyrite.audit.lineage import write_lineage
from pyrite.core.errors import RunFolderError

EVIL = "Is it <script>document.title='cheated'</script> broken? & YES or NO"
METRICS = ("log_likelihood", "auc", "pair_accuracy", "balanced_accuracy")


def question(number: int, parent: int | None, **changes: Any) -> dict[str, Any]:
    wrong = {"id": "a", "image": "images/a.png", "has_artifact": True, "kind": "smear", "prob_artifact": 0.1}
    plain = {
        "id": number, "question": f"{EVIL} {number}", "parent": parent, "origin": "critique" if number else "start",
        "why": "" if parent is None else "It forgets <b>seams</b>.", "round": number, "train": -0.5 + 0.01 * number,
        "num_train": 20, "survived": number, "validation": None, "test": None, "num_asked": 20, "num_unanswered": 1,
        "num_wrong": 3, "wrong": [wrong],
    }  # fmt: skip
    return plain | changes


def write_run(folder: Path, **changes: Any) -> Path:
    """The files of a finished search of four questions, one of which was never judged."""
    (folder / "images").mkdir(parents=True)
    PILImage.new("RGB", (20, 20), "red").save(folder / "images" / "a.png")
    rows = [
        question(0, None, validation=-0.6, test=-0.61),
        question(1, 0),
        question(2, 1, validation=-0.4, test=-0.42),
        question(3, 0, train=None, num_asked=0, num_train=0, wrong=[], survived=-1),
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {"round": 1, "candidates": 4, "best": 2, "train": -0.4, "num_train": 20, "beam": [2, 1], "image_calls": 90,
            "text_calls": 9, "dropped": 2, "cost_usd": None}  # fmt: skip
    (folder / "rounds.jsonl").write_text(json.dumps(told) + "\n")
    (folder / "config.yaml").write_text("objective: log_likelihood\n")
    change = {"estimate": 0.19, "low": 0.05, "high": 0.3, "reason": ""}
    ends = [
        {"id": row["id"], "question": row["question"], "validation": row["validation"], "test": row["test"],
         "train": row["train"], "test_metrics": dict.fromkeys(METRICS, 0.5)}
        for row in (rows[0], rows[2])
    ]  # fmt: skip
    results = {
        "optimiser": "protegi", "objective": "log_likelihood", "judge": "artifact-served", "judge_options": {},
        "set": "set.jsonl", "num_images": {"train": 20, "validation": 8, "test": 8}, "num_skipped": 0, "notes": [],
        "num_questions": 4, "start": ends[0], "best": ends[1], "difference": dict.fromkeys(METRICS, change),
        "num_test_images": 8, "num_test_unanswered": 0, "stopped": "", "dropped": {"no questions": 2}, "unanswered": {},
        "spent": {"image_calls": 99, "image_calls_asked": 95, "image_failures": 0, "text_calls": 9, "text_failures": 1,
                  "cost_usd": None, "calls": 108},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results | changes))
    return folder


def page(folder: Path) -> str:
    return write_lineage(folder, folder / "lineage.html").read_text()


def test_the_sentence_says_what_was_proven(tmp_path: Path) -> None:
    text = page(write_run(tmp_path / "run"))
    assert "On 8 images that nothing was chosen by, the log-likelihood goes from 0.500 to 0.500" in text
    assert "95 % interval +0.050 to +0.300" in text
    assert "Wrong about 3 of 20 training images; 1 without an answer" in text
    assert "Never judged." in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stopped": "budget.calls = 9"}, "stopped by its budget (budget.calls = 9)"),
        ({"num_skipped": 3}, "3 entries of the set were left out as bad"),
        ({"num_test_unanswered": 2}, "2 test images got no answer"),
        ({"notes": ["test holds 8 independent pictures"]}, "test holds 8 independent pictures."),
        ({"difference": {}}, "could not be compared with the first one"),
        (
            {"difference": {"log_likelihood": {"estimate": 0.1, "low": None, "high": None, "reason": "8 groups"}}},
            "+0.100, without an interval: 8 groups.",
        ),
    ],
    ids=["budget", "skipped", "unanswered", "small", "nothing", "no interval"],
)
def test_what_must_be_said_is_said(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    assert sentence in page(write_run(tmp_path / "run", **changes))


def test_the_first_question_may_stay(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {"best": results["start"]}))
    assert "None of 4 questions was better on the validation images than the first one." in page(folder)


def test_failures_are_counted_on_the_page(tmp_path: Path) -> None:
    spent = {"image_calls": 99, "image_calls_asked": 95, "image_failures": 20, "text_calls": 9, "text_failures": 1,
             "cost_usd": 0.5, "calls": 108}  # fmt: skip
    text = page(write_run(tmp_path / "run", spent=spent, unanswered={"status 503": 20}))
    assert "20 of 99 calls of the judge got no answer; they are in no number. The commonest reason: status 503" in text


def test_a_folder_that_is_no_finished_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="Give the folder of a run"):
        write_lineage(tmp_path, tmp_path / "lineage.html")


QUESTIONS = {
    "nodes": "document.querySelectorAll('details.question').length",
    "open": "document.querySelectorAll('details.question[open]').length",
    "drawn": "document.querySelectorAll('#tree svg.main-svg .trace').length",
}


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_the_page_opens_offline_and_a_hostile_question_stays_text(width: int, tmp_path: Path) -> None:
    out = write_lineage(write_run(tmp_path / "run"), tmp_path / "lineage.html")
    seen = visit_page(out, QUESTIONS, width=width)
    assert seen.answers["title"] == "A question for artifact-served"
    assert (seen.answers["nodes"], seen.answers["open"]) == (4, 3)  # the way to the chosen question is open
    assert seen.answers["drawn"] == 2
    assert seen.answers["images"] == 3

"""The page about a search for a question: every question, where it came from, how good it is, what it got wrong.

Read from the files that `pyrite judge optimise` leaves behind (`pyrite.artifact.optimise.folder` lists them); what the
models wrote is shown as text and nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pyrite.audit.lineage_tree import nan, path_to, tree_chart, tree_under
from pyrite.audit.report.page import render
from pyrite.audit.report.tables import MISSING, Table, number
from pyrite.records.jsonl import read_jsonl, teaching_os_errors, write_atomically

TEMPLATE = "lineage.html.j2"
_SPELLED = {
    "log_likelihood": "log-likelihood", "auc": "AUC", "pair_accuracy": "pair accuracy",
    "balanced_accuracy": "balanced accuracy",
}  # fmt: skip


def write_lineage(folder: Path, out: Path) -> Path:
    """Write the page of a finished search.

    Args:
        folder: of the search.
        out: the HTML file.

    Raises:
        RunFolderError: a file is missing, cannot be read, or the page cannot be written.
    """
    with teaching_os_errors(f"read {folder}"):
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        config = (folder / "config.yaml").read_text(encoding="utf-8")
    questions, rounds = (read_jsonl(folder / f"{name}.jsonl")[0] for name in ("questions", "rounds"))
    chosen, roots = results["best"]["id"], [row for row in questions if row["parent"] is None]
    path = path_to(questions, chosen)
    context: dict[str, Any] = {
        "title": f"A question for {results['judge']}",
        "sentence": _sentence(results),
        "is_better": _is_better(results),
        "notes_list": _notes(results),
        "proof": _proof(results),
        "start": results["start"],
        "best": results["best"],
        "chart_list": [tree_chart(questions, path, _SPELLED[results["objective"]])],
        "roots": [tree_under(row, questions, path, folder, chosen=chosen) for row in roots],
        "rounds": _rounds(rounds),
        "spent": _spent(results),
        "config": config,
        "quiet_cells": (MISSING,),
        "version": metadata.version("pyrite"),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    write_atomically(out, render(context, TEMPLATE))
    return out


def _sentence(results: Mapping[str, Any]) -> str:
    name, change = _SPELLED[results["objective"]], results["difference"].get(results["objective"])
    if results["best"]["id"] == results["start"]["id"]:
        return f"None of {results['num_questions']} questions was better on the validation images than the first one."
    if change is None or change["estimate"] is None:
        return "The chosen question could not be compared with the first one on the test images."
    begun, ended = (results[end]["test_metrics"][results["objective"]] for end in ("start", "best"))
    told = (
        f"On {results['num_test_images']} images that nothing was chosen by, the {name} goes from "
        f"{_num(begun, 3)} to {_num(ended, 3)}: {_num(change['estimate'], 3, signed=True)}"
    )
    if change["low"] is None:
        return f"{told}, without an interval: {change.get('reason') or 'too few images'}."
    return f"{told}, 95 % interval {_num(change['low'], 3, signed=True)} to {_num(change['high'], 3, signed=True)}."


def _is_better(results: Mapping[str, Any]) -> bool:
    change = results["difference"].get(results["objective"]) or {}
    return change.get("low") is not None and change["low"] > 0


def _notes(results: Mapping[str, Any]) -> list[str]:
    notes = [f"{note}." for note in results["notes"]]
    if results["stopped"]:
        notes.append(f"The search was stopped by its budget ({results['stopped']}); this is the best question so far.")
    if num := results["num_skipped"]:
        notes.append(f"{num} entries of the set were left out as bad (--skip-bad).")
    if num := results["spent"]["image_failures"]:
        why = max(results["unanswered"], key=results["unanswered"].__getitem__, default="")
        notes.append(
            f"{num} of {results['spent']['image_calls']} calls of the judge got no answer; they are in no number. The "
            f"commonest reason: {why}"
        )
    if num := results["num_test_unanswered"]:
        notes.append(f"{num} test images got no answer to one of the two questions and are left out of the comparison.")
    return notes


def _proof(results: Mapping[str, Any]) -> Table:
    rows = []
    for name, change in results["difference"].items():
        begun, ended = (results[end]["test_metrics"][name] for end in ("start", "best"))
        limits = f"{_num(change['low'], 3, signed=True)} to {_num(change['high'], 3, signed=True)}"
        interval = limits if change["low"] is not None else MISSING
        label = _SPELLED[name] + (" (searched for)" if name == results["objective"] else "")
        rows.append((label, _num(begun, 3), _num(ended, 3), _num(change["estimate"], 3, signed=True), interval))
    caption = (
        f"Both questions on the {results['num_test_images']} test images, asked once. More is better everywhere. "
        "Intervals are from resampling whole pairs."
    )
    return Table(caption, ("objective", "first", "chosen", "difference", "95 % interval"), tuple(rows))


def _rounds(rounds: Sequence[Mapping[str, Any]]) -> Table | None:
    if not rounds:
        return None
    head = ("round", "questions judged", "best", "its objective", "on images", "image calls", "texts", "dropped", "USD")
    rows = tuple(
        (
            str(row["round"]), str(row["candidates"]), f"no. {row['best']}", _num(row["train"], 3),
            str(row["num_train"]), str(row["image_calls"]), str(row["text_calls"]), str(row["dropped"]),
            _num(row["cost_usd"], 4),
        )
        for row in rounds
    )  # fmt: skip
    return Table("After each round; calls and cost are totals so far.", head, rows)


def _spent(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    spent = results["spent"]
    dropped = [f"{num} × {why}" for why, num in results["dropped"].items()]
    return [
        ("optimiser", results["optimiser"]),
        ("judge", results["judge"]),
        ("set", results["set"]),
        ("images", ", ".join(f"{name} {num}" for name, num in results["num_images"].items())),
        (
            "questions about images",
            f"{spent['image_calls']}, {spent['image_calls_asked']} of them put to the judge",
        ),
        ("texts", f"{spent['text_calls']}, of which {spent['text_failures']} failed"),
        ("cost, USD", _num(spent["cost_usd"], 4)),
        ("replies dropped", "; ".join(dropped) or "none"),
    ]


def _num(value: float | None, digits: int, *, signed: bool = False) -> str:
    return number(nan(value), digits, signed)

"""The page about a search for a question: every question, where it came from, how good it is, what it got wrong.

Read from the files that `pyrite judge optimise` leaves behind (`pyrite.artifact.optimise.folder` lists them); what the
models wrote is shown as text and nothing else.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pyrite.audit.report.charts import GRID, GUARDED, PROXY, Chart, axis, layout, safe
from pyrite.audit.report.page import render
from pyrite.audit.report.pictures import Picture, inline
from pyrite.audit.report.tables import MISSING, Table, number
from pyrite.records.jsonl import read_jsonl, teaching_os_errors, write_atomically

TEMPLATE = "lineage.html.j2"
_SPELLED = {
    "log_likelihood": "log-likelihood", "auc": "AUC", "pair_accuracy": "pair accuracy",
    "balanced_accuracy": "balanced accuracy",
}  # fmt: skip
_ORIGIN = {
    "start": "where the search began",
    "critique": "rewritten along a critique",
    "paraphrase": "reworded",
    "reflection": "rewritten by reflection",
}
_HOVER_CHARS = 90


@dataclass(frozen=True)
class Wrong:
    """A training image that a question got wrong."""

    picture: Picture
    name: str
    truth: str
    prob: float


@dataclass(frozen=True)
class Node:
    """A question on the page, with those that were made from it.

    Args:
        id: its number.
        question: its text.
        origin: how it was made, in words.
        why: the critique it was made along.
        role: "chosen", "start", "finalist" or "".
        train: its objective on training images.
        num_train: how many those were.
        validation: NaN unless it stood for election.
        test: NaN unless it is the first or the chosen one.
        num_wrong: of the training images it was asked about.
        num_asked: those.
        num_unanswered: those of them without an answer.
        wrong: the ones it was surest about.
        children: made from it, the best first.
        is_on_path: the chosen question, or one that it descends from.
    """

    id: int
    question: str
    origin: str
    why: str
    role: str
    train: float
    num_train: int
    validation: float
    test: float
    num_wrong: int
    num_asked: int
    num_unanswered: int
    wrong: tuple[Wrong, ...]
    children: tuple["Node", ...]
    is_on_path: bool


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
    path = _path(questions, results["best"]["id"])
    context: dict[str, Any] = {
        "title": f"A question for {results['judge']}",
        "sentence": _sentence(results),
        "is_better": _is_better(results),
        "notes_list": _notes(results),
        "proof": _proof(results),
        "start": results["start"],
        "best": results["best"],
        "chart_list": [_tree_chart(questions, path, results)],
        "roots": [_node(row, questions, path, results, folder) for row in questions if row["parent"] is None],
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


def _path(questions: Sequence[Mapping[str, Any]], chosen: int) -> list[int]:
    """The chosen question and those it descends from."""
    parents = {row["id"]: row["parent"] for row in questions}
    path: list[int] = []
    at: int | None = chosen
    while at is not None and at not in path:
        path.append(at)
        at = parents.get(at)
    return path


def _tree_chart(questions: Sequence[Mapping[str, Any]], path: Sequence[int], results: Mapping[str, Any]) -> Chart:
    """Every question by round and objective, with a line from what it was made from."""
    place = {row["id"]: (row["round"], row["train"]) for row in questions}
    lines: dict[str, list[Any]] = {"x": [], "y": []}
    trunk: dict[str, list[Any]] = {"x": [], "y": []}
    for row in questions:
        if row["parent"] is not None and row["train"] is not None and place[row["parent"]][1] is not None:
            into = trunk if row["id"] in path and row["parent"] in path else lines
            for axis_name, at in (("x", 0), ("y", 1)):
                into[axis_name] += [place[row["parent"]][at], place[row["id"]][at], None]
    most = max([row["num_train"] for row in questions] or [1]) or 1
    data: list[dict[str, Any]] = [
        {**lines, "mode": "lines", "line": {"color": GRID, "width": 1}, "hoverinfo": "skip"},
        {**trunk, "mode": "lines", "line": {"color": GUARDED, "width": 2.4}, "hoverinfo": "skip"},
    ]
    for label, colour, symbol, rows in _series(questions, path):
        data.append({
            "x": [row["round"] for row in rows], "y": _column(rows, "train"), "mode": "markers", "name": label,
            "marker": {"color": colour, "symbol": symbol, "size": [6 + 6 * row["num_train"] / most for row in rows]},
            "customdata": [[row["id"], _short(row["question"]), row["num_train"]] for row in rows],
            "hovertemplate": "no. %{customdata[0]}: %{y:.3f} on %{customdata[2]} images<br>%{customdata[1]}"
                             "<extra></extra>",
        })  # fmt: skip
    figure = {
        "data": data,
        "layout": layout(
            xaxis=axis("round"), yaxis=axis(f"{_SPELLED[results['objective']]}, training images"), hovermode="closest"
        ),
    }
    caption = (
        "A line leads from each question to what was made of it; green to the chosen one. Larger marks were judged on "
        "more images: a small one may stand high by luck. Questions that fell early are compared only among their own."
    )
    key = tuple(("◆" if symbol == "diamond" else "●", label, colour) for label, colour, symbol, rows in
                _series(questions, path) if rows)  # fmt: skip
    return Chart("tree", figure, "Every question that was judged", caption, 420, key)


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    """A column, with None where there is no number."""
    return [None if row[name] is None else round(float(row[name]), 6) for row in rows]


def _series(
    questions: Sequence[Mapping[str, Any]], path: Sequence[int]
) -> list[tuple[str, str, str, list[Mapping[str, Any]]]]:
    judged = [row for row in questions if row["train"] is not None]
    on_path = [row for row in judged if row["id"] in path]
    beam = [row for row in judged if row["id"] not in path and row["survived"] >= 0]
    rest = [row for row in judged if row["id"] not in path and row["survived"] < 0]
    return [
        ("fell in its round", "#b9b5ab", "circle", rest),
        ("survived a round", PROXY, "circle", beam),
        ("the chosen question and its ancestors", GUARDED, "diamond", on_path),
    ]


def _node(
    row: Mapping[str, Any],
    questions: Sequence[Mapping[str, Any]],
    path: Sequence[int],
    results: Mapping[str, Any],
    folder: Path,
) -> Node:
    """The tree under a question; as deep as the search had rounds."""
    by_parent: defaultdict[int | None, list[Mapping[str, Any]]] = defaultdict(list)
    for other in questions:
        by_parent[other["parent"]].append(other)

    def build(one: Mapping[str, Any]) -> Node:
        children = sorted(by_parent[one["id"]], key=lambda child: (child["id"] not in path, -_value(child["train"])))
        role = "chosen" if one["id"] == results["best"]["id"] else "start" if one["parent"] is None else ""
        return Node(
            id=one["id"],
            question=one["question"],
            origin=_ORIGIN.get(one["origin"], one["origin"]),
            why=one["why"],
            role=role or ("finalist" if one["validation"] is not None else ""),
            train=_nan(one["train"]),
            num_train=one["num_train"],
            validation=_nan(one["validation"]),
            test=_nan(one["test"]),
            num_wrong=one["num_wrong"],
            num_asked=one["num_asked"],
            num_unanswered=one["num_unanswered"],
            wrong=tuple(_wrong(item, folder) for item in one["wrong"]),
            children=tuple(build(child) for child in children),
            is_on_path=one["id"] in path,
        )

    return build(row)


def _wrong(item: Mapping[str, Any], folder: Path) -> Wrong:
    truth = f"has {item['kind'].replace('_', ' ') or 'artifacts'}" if item["has_artifact"] else "is clean"
    if not item["has_artifact"] and item["kind"]:
        truth += f" ({item['kind'].replace('_', ' ')})"
    return Wrong(inline(folder, item["image"]), item["id"], truth, item["prob_artifact"])


def _short(text: str) -> str:
    return safe(text if len(text) <= _HOVER_CHARS else text[: _HOVER_CHARS - 1] + "…")


def _nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _value(value: float | None) -> float:
    return float("-inf") if value is None else float(value)


def _num(value: float | None, digits: int, *, signed: bool = False) -> str:
    return number(_nan(value), digits, signed)

"""The tree of the questions of a search: a chart of all of them, and each with what it got wrong."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrite.audit.report.charts import GRID, GUARDED, PROXY, Chart, axis, layout, safe
from pyrite.audit.report.pictures import Picture, inline

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


def path_to(questions: Sequence[Mapping[str, Any]], chosen: int) -> list[int]:
    """The chosen question and those it descends from."""
    parents = {row["id"]: row["parent"] for row in questions}
    path: list[int] = []
    at: int | None = chosen
    while at is not None and at not in path:
        path.append(at)
        at = parents.get(at)
    return path


def tree_chart(questions: Sequence[Mapping[str, Any]], path: Sequence[int], objective: str) -> Chart:
    """Every question by round and objective, with a line from what it was made from.

    Args:
        questions: rows of questions.jsonl.
        path: the chosen question and its ancestors.
        objective: in words.
    """
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
        "layout": layout(xaxis=axis("round"), yaxis=axis(f"{objective}, training images"), hovermode="closest"),
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


def tree_under(
    row: Mapping[str, Any],
    questions: Sequence[Mapping[str, Any]],
    path: Sequence[int],
    folder: Path,
    *,
    chosen: int,
) -> Node:
    """The tree under a question; as deep as the search had rounds.

    Args:
        row: of the question.
        questions: all rows of questions.jsonl.
        path: the chosen question and its ancestors.
        folder: of the search, which has the images.
        chosen: number of the chosen question.
    """
    by_parent: defaultdict[int | None, list[Mapping[str, Any]]] = defaultdict(list)
    for other in questions:
        by_parent[other["parent"]].append(other)

    def build(one: Mapping[str, Any]) -> Node:
        children = sorted(by_parent[one["id"]], key=lambda child: (child["id"] not in path, -_value(child["train"])))
        role = "chosen" if one["id"] == chosen else "start" if one["parent"] is None else ""
        return Node(
            id=one["id"],
            question=one["question"],
            origin=_ORIGIN.get(one["origin"], one["origin"]),
            why=one["why"],
            role=role or ("finalist" if one["validation"] is not None else ""),
            train=nan(one["train"]),
            num_train=one["num_train"],
            validation=nan(one["validation"]),
            test=nan(one["test"]),
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


def nan(value: float | None) -> float:
    """The number, or NaN for the null that stands for it in JSON."""
    return float("nan") if value is None else float(value)


def _value(value: float | None) -> float:
    return float("-inf") if value is None else float(value)

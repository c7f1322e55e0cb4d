"""Figures and tables of a benchmark's page, from what `pyrite evaluate --benchmark` wrote down."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyrite.audit.report.charts import RUN_COLOURS, Chart, axis, layout, numbers, safe
from pyrite.audit.report.tables import MISSING, Table, number

OVERALL = "Overall"
_MOST_IDS = 40


def bars(evaluations: Sequence[tuple[str, Mapping[str, Any]]]) -> Chart:
    """The scores of every category with their intervals, a bar per evaluation.

    A category of which images are missing is drawn pale, at the mean of those that were judged: no official number.

    Args:
        evaluations: name and results of each, at most four.
    """
    data = []
    names = [row["name"] for row in _scores(evaluations[0][1])]
    for place, (name, results) in enumerate(evaluations):
        rows = {row["name"]: row for row in _scores(results)}
        ordered = [rows.get(one) for one in names]
        scores, partly, high, low = (
            np.array([_value(row, key) for row in ordered]) for key in ("score", "mean_of_judged", "high", "low")
        )
        look = {
            "type": "bar", "x": [safe(one) for one in names], "name": safe(name), "offsetgroup": str(place),
            "customdata": [_told(row) for row in ordered],
            "hovertemplate": "%{customdata}<extra>" + safe(name) + "</extra>",
        }  # fmt: skip
        colour = RUN_COLOURS[place % len(RUN_COLOURS)]
        whiskers = {
            "type": "data", "symmetric": False, "array": numbers(high - scores), "arrayminus": numbers(scores - low),
            "color": "#8a8578", "thickness": 1.4, "width": 4,
        }  # fmt: skip
        data.append({**look, "y": numbers(scores), "marker": {"color": colour}, "error_y": whiskers})
        if np.isnan(scores).any():  # of their own: without an interval there must be no whisker either
            shown = np.where(np.isnan(scores), partly, np.nan)
            data.append({**look, "y": numbers(shown), "marker": {"color": colour, "opacity": 0.28}})
    figure = {
        "data": data,
        "layout": layout(
            barmode="group", bargap=0.28, hovermode="closest",
            xaxis=axis("", showgrid=False, nticks=0), yaxis=axis("score", range=[0, 1.02]),
        ),
    }  # fmt: skip
    key = tuple(("■", name, RUN_COLOURS[place % len(RUN_COLOURS)]) for place, (name, _) in enumerate(evaluations))
    pale = any(row["score"] is None and row["num_judged"] for _, one in evaluations for row in _scores(one))
    caption = "Whiskers are 95\u00a0% intervals over the prompts of a category."
    caption += " Pale bars rest on a part of the prompts and are no official scores." if pale else ""
    return Chart(
        "scores", figure, "Score per category", caption, height=380, key=key if len(key) > 1 else (), min_width=560
    )


def score_table(results: Mapping[str, Any]) -> Table:
    """Category, score with interval, what it is made of, and how much it rests on."""
    axes = list(results["overall"]["values"])
    is_partial = any(row["num_judged"] < row["num_expected"] for row in results["categories"])
    rows = [
        (
            row["name"],
            _with_ends(row),
            *(number(row["values"].get(name, float("nan"))) for name in axes),
            *[number(_value(row, "mean_of_judged"), 3)] * is_partial,
            f"{row['num_judged']} of {row['num_expected']}",
        )
        for row in _scores(results)
    ]
    head = (
        "category",
        "score",
        *(name.replace("_", " ") for name in axes),
        *["mean of the judged"] * is_partial,
        "judged",
    )
    return Table("Scores with 95\u00a0% intervals in brackets; a dash where a score was not earned.", head, tuple(rows))


def beside_table(evaluations: Sequence[tuple[str, Mapping[str, Any]]], judges: Sequence[str]) -> Table | None:
    """All evaluations of the page, one per row; None for one alone."""
    if len(evaluations) < 2:
        return None
    names = [row["name"] for row in _scores(evaluations[0][1])]
    rows = []
    for (name, results), judge in zip(evaluations, judges, strict=True):
        found = {row["name"]: row for row in _scores(results)}
        rows.append((name, judge, *(number(_value(found.get(one), "score"), 3) for one in names)))
    return Table("Scores of all evaluations on this page.", ("images", "judge", *names), tuple(rows))


def agreement_table(against: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table | None:
    """Two judges about the same images; None if no image was seen by both."""
    rows = []
    for one, name in zip(against, names, strict=True):
        found = one["agreement"]
        if found is None:
            continue
        change = found["difference"]
        ends = f" [{_signed(change['low'])}, {_signed(change['high'])}]" if change["low"] is not None else ""
        kappas = ", ".join(
            f"{mark.replace('_', ' ')} {number(_known(of['kappa']))}" for mark, of in found["marks"].items()
        )
        rows.append((
            name, str(found["num_images"]), number(_known(found["same_frac"])), number(_known(found["spearman"])),
            f"{_signed(change['estimate'])}{ends}", kappas or MISSING,
        ))  # fmt: skip
    head = ("other judge", "images", "same score", "rank correlation", "other − this", "kappa of the marks")
    return Table("The same images before another judge.", head, tuple(rows)) if rows else None


def repeat_table(repeats: Mapping[str, Any] | None) -> Table | None:
    """How far the judge agrees with itself; None if each image was judged once."""
    if repeats is None:
        return None
    rows = [("the score", number(_known(repeats["same_frac"])), number(_known(repeats["deviation"]), 3))]
    rows += [
        (name.replace("_", " "), number(_known(value)), MISSING)
        for name, value in repeats["same_frac_of"].items()
        if len(repeats["same_frac_of"]) > 1
    ]
    caption = f"{repeats['num']} judgements of each of {repeats['num_images']} images."
    return Table(caption, ("what", "share of images with the same in all", "standard deviation"), tuple(rows))


def missing_table(missing: Sequence[Mapping[str, str]]) -> Table | None:
    """Why prompts have no score, and which; None if none is missing."""
    by_reason: dict[str, list[str]] = {}
    for one in missing:
        by_reason.setdefault(one["reason"], []).append(one["id"])
    rows = []
    for why, ids in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        more = f" and {len(ids) - _MOST_IDS} more: see results.json" if len(ids) > _MOST_IDS else ""
        rows.append((str(len(ids)), ", ".join(ids[:_MOST_IDS]) + more, why))
    return Table("Prompts without a score.", ("how many", "ids", "why"), tuple(rows), is_text=True) if rows else None


def _scores(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*results["categories"], results["overall"]]


def _value(row: Mapping[str, Any] | None, name: str) -> float:
    return float("nan") if row is None or row[name] is None else float(row[name])


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _with_ends(row: Mapping[str, Any]) -> str:
    text = number(_value(row, "score"), 3)
    return text if row["low"] is None else f"{text} [{number(row['low'], 3)}, {number(row['high'], 3)}]"


def _signed(value: float | None) -> str:
    return number(_known(value), 3, signed=True)


def _told(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    ends = f", {row['low']:.3f} to {row['high']:.3f}" if row["low"] is not None else ""
    judged = f"{row['num_judged']} of {row['num_expected']} judged"
    if row["score"] is None:
        mean = f"{row['mean_of_judged']:.3f} over those judged, " if row["mean_of_judged"] is not None else ""
        return f"no score: {mean}{judged}"
    return f"{row['score']:.3f}{ends}, {judged}"

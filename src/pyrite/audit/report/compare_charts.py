"""Figures and tables of the page that compares two image sets."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyrite.audit.curves import Estimate
from pyrite.audit.report import charts
from pyrite.audit.report.charts import Chart, Figure, axis, layout, safe
from pyrite.audit.report.tables import MISSING, Table, number, with_interval

A_COLOUR, B_COLOUR, TIE_COLOUR = charts.PROXY, "#a6611a", "#d6d2c8"
_LONGEST = 24
_ROW_PX = 40


def effects(found: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    """How far apart the sets are by each reward, in units that compare; None if no reward has any."""
    known = {name: one["effect"] for name, one in found.items() if one["effect"]["estimate"] is not None}
    if not known:
        return None
    data = []
    for place, (name, effect) in enumerate(known.items()):
        middle = effect["estimate"]
        colour = A_COLOUR if middle > 0 else B_COLOUR
        ends = [effect["low"], effect["high"]] if effect["low"] is not None else [middle, middle]
        data.append({
            "x": [round(middle, 6)], "y": [place], "mode": "markers", "name": safe(name),
            "marker": {"symbol": "diamond", "size": 10, "color": colour},
            "error_x": {"type": "data", "symmetric": False, "array": [round(ends[1] - middle, 6)],
                        "arrayminus": [round(middle - ends[0], 6)], "color": colour, "thickness": 2, "width": 4},
            "hovertemplate": f"{middle:+.2f} [{ends[0]:+.2f}, {ends[1]:+.2f}]<extra>{safe(name)}</extra>",
        })  # fmt: skip
    zero = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 0, "x1": 0, "layer": "below",
            "line": {"color": charts.AXIS_LINE, "width": 1.2}}  # fmt: skip
    figure: Figure = {
        "data": data,
        "layout": layout(
            xaxis=axis("A − B, in sd of the differences"), yaxis=_names(list(known)), shapes=[zero], hovermode="closest"
        ),
    }
    return Chart(
        "effects",
        figure,
        "How far apart",
        "Right of the line A scores higher, left of it B. A bar is the 95\u00a0% interval; one that crosses the line "
        "leaves open who is ahead. Measured in standard deviations of the differences, so that rewards compare.",
        80 + _ROW_PX * len(known),
    )


def outcomes(found: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Wins, ties and losses of A by each reward, as shares of the pairs."""
    names = list(found)
    totals = [max(1, one["num_pairs"]) for one in found.values()]
    data = []
    for key, label, colour in (
        ("wins", "A is better", A_COLOUR), ("ties", "tie", TIE_COLOUR), ("losses", "B is better", B_COLOUR)
    ):  # fmt: skip
        counts = [one[key] for one in found.values()]
        data.append({
            "type": "bar", "orientation": "h", "y": list(range(len(names))), "name": label,
            "x": [round(100 * num / total, 4) for num, total in zip(counts, totals, strict=True)],
            "marker": {"color": colour}, "customdata": counts,
            "hovertemplate": "%{customdata} pairs, %{x:.1f} %<extra>" + label + "</extra>",
        })  # fmt: skip
    half = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 50, "x1": 50,
            "line": {"color": charts.TEXT, "width": 1, "dash": "dot"}}  # fmt: skip
    figure: Figure = {
        "data": data,
        "layout": layout(
            barmode="stack", bargap=0.35, shapes=[half], hovermode="closest",
            xaxis=axis("% of pairs", range=[0, 100]), yaxis=_names(names),
        ),
    }  # fmt: skip
    marks = (("■", "A is better", A_COLOUR), ("■", "tie", "#8f8b80"), ("■", "B is better", B_COLOUR))
    return Chart("outcomes", figure, "Who wins how often", "", 80 + _ROW_PX * len(names), marks)


def table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """All numbers, a row per reward."""
    head = ("", "mean of A", "mean of B", "A − B", "wins", "ties", "losses", "win rate", "pairs without a number")
    rows = tuple((name, *_cells(one, name)) for name, one in found.items())
    caption = (
        "Mean over pairs, on each reward's own scale, with 95\u00a0% intervals over prompts in brackets. The win rate "
        "counts a tie as half a win."
    )
    return Table(caption, head, rows)


def by_task_type(found: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """For each reward a table with a row per task type; none where the prompts name no task types."""
    head = ("task type", "pairs", "A − B", "wins", "ties", "losses", "win rate")
    return [
        Table(
            name,
            head,
            tuple(
                (
                    task,
                    str(part["num_pairs"]),
                    _difference(part, name),
                    *(str(part[key]) for key in ("wins", "ties", "losses")),
                    with_interval(estimate(part["win_rate"])),
                )
                for task, part in one["by_task_type"].items()
            ),
        )
        for name, one in found.items()
        if one["by_task_type"]
    ]


def estimate(found: Mapping[str, Any]) -> Estimate:
    """An interval as it stands in results.json."""
    return Estimate(*(math.nan if found[key] is None else found[key] for key in ("estimate", "low", "high")))


def digits(value: float | None) -> int:
    """So many that three figures of a number are shown, and two behind the point at least."""
    if value is None or value == 0:
        return 2
    return max(2, 2 - math.floor(math.log10(abs(value))))


def _cells(one: Mapping[str, Any], name: str) -> tuple[str, ...]:
    means = tuple(
        MISSING if one[key] is None or name == "judge" else number(one[key], digits(one["difference"]["estimate"]))
        for key in ("mean_a", "mean_b")
    )
    counts = tuple(str(one[key]) for key in ("wins", "ties", "losses"))
    return (*means, _difference(one, name), *counts, with_interval(estimate(one["win_rate"])), str(one["num_missing"]))


def _difference(one: Mapping[str, Any], name: str) -> str:
    if name == "judge":  # a preference has no scale of its own
        return MISSING
    change = one["difference"]
    return with_interval(estimate(change), digits(change["estimate"]), signed=True)


def _names(names: Sequence[str]) -> Figure:
    short = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    ticks = {"tickvals": list(range(len(names))), "ticktext": [safe(name) for name in short]}
    return axis("", showgrid=False, autorange="reversed", **ticks)

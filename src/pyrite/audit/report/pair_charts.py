"""Figures of the pair page: the blind-spot map, scores over severity, and what neutral changes do."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyrite.audit.curves import Curve
from pyrite.audit.pairs.blind_spots import Sight, Spot
from pyrite.audit.pairs.ladder import Invariance
from pyrite.audit.report import charts
from pyrite.audit.report.charts import DIVERGING, Figure, axis, layout, numbers, safe
from pyrite.core.types import FloatArray

LOWER, HIGHER = "#a6611a", "#1f5fbf"
MARKS = {Sight.SEES: "", Sight.PREFERS: "✕", Sight.BLIND: "○", Sight.UNSURE: "?", Sight.UNKNOWN: ""}
MARK_KEY = (
    ("✕", "prefers the damage", charts.TEXT),
    ("○", "blind", charts.TEXT),
    ("?", "unclear", charts.TEXT),
    ("■", "always right", str(DIVERGING[-1][1])),
    ("■", "never right", str(DIVERGING[0][1])),
)
_LONGEST = 24
_DASHES = ("solid", "dash", "dot")


def blind_spot_map(spots: Sequence[Spot]) -> Figure:
    """Rewards by kinds of damage: accuracy in colour and as a number, and a mark for what it means."""
    rewards = list(dict.fromkeys(spot.reward for spot in spots))
    kinds = list(dict.fromkeys(spot.kind for spot in spots))
    cell = {(spot.reward, spot.kind): spot for spot in spots}
    accuracy = np.array([[cell[name, kind].tally.accuracy.estimate for kind in kinds] for name in rewards])
    text = [[_cell_text(cell[name, kind]) for kind in kinds] for name in rewards]
    hover = [[_hover(cell[name, kind]) for kind in kinds] for name in rewards]
    trace = {
        "type": "heatmap", "x": list(range(len(kinds))), "y": list(range(len(rewards))),
        "z": [numbers(row) for row in accuracy], "zmin": 0, "zmax": 1, "colorscale": DIVERGING,
        "text": text, "texttemplate": "%{text}", "textfont": {"size": 11}, "customdata": hover,
        "hovertemplate": "%{customdata}<extra></extra>", "xgap": 2, "ygap": 2, "showscale": False,
    }  # fmt: skip
    return {
        "data": [trace],
        "layout": layout(
            xaxis=_names([_words(kind) for kind in kinds], tickangle=-40, side="top", ticklabeloverflow="allow"),
            yaxis=_names(rewards, autorange="reversed"),
            hovermode="closest",
            margin={"l": 10, "r": 64, "t": 10, "b": 10},  # slanted names reach beyond the last column
        ),
    }


def over_severity(curves: Mapping[str, tuple[FloatArray, Curve]], rewards: Sequence[str]) -> Figure:
    """Mean shift from the clean image over the severity of one kind of damage, a line per reward.

    Args:
        curves: reward -> (severities, curve), as `ladder.severity_curve` gives them.
        rewards: all rewards of the page, so that a reward looks the same in every chart.
    """
    data: list[Figure] = []
    for name, (severities, curve) in curves.items():
        colour, dash, marker = _look(rewards.index(name))
        up, down = curve.high - curve.mean, curve.mean - curve.low
        data.append({
            "x": numbers(severities), "y": numbers(curve.mean), "name": safe(name), "mode": "lines+markers",
            "line": {"color": colour, "width": 2.2, "dash": dash},
            "marker": {"symbol": marker, "size": 7, "color": colour},
            "error_y": {"type": "data", "symmetric": False, "array": numbers(up), "arrayminus": numbers(down),
                        "color": colour, "thickness": 1, "width": 0},
            "hovertemplate": "%{y:+.2f} sd<extra>" + safe(name) + "</extra>",
        })  # fmt: skip
    axes = {
        "xaxis": axis("severity", range=[-0.04, 1.04], tickvals=[0, 0.25, 0.5, 0.75, 1]),
        "yaxis": axis("shift from clean, sd"),
    }
    level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "layer": "below",
             "line": {"color": charts.AXIS_LINE, "width": 1.2}}  # fmt: skip
    return {"data": data, "layout": layout(**axes, shapes=[level], hovermode="closest")}


def reward_key(rewards: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """(symbol, reward, colour) of the lines of `over_severity`."""
    looks = [_look(place) for place in range(len(rewards))]
    return tuple(
        (f"{charts.SYMBOLS[marker][0]}{'' if dash == 'solid' else '┄'}", name, colour)
        for name, (colour, dash, marker) in zip(rewards, looks, strict=True)
    )


def neutral_bars(found: Sequence[Invariance]) -> Figure:
    """One reward: for each neutral change the share of pictures that score lower (left) and higher (right)."""
    kinds = [item.kind for item in found]
    hover = [
        f"lower {item.dispreferred.estimate:.0%}, higher {item.preferred.estimate:.0%}, "
        f"mean shift {_signed(item.shift.estimate)} sd"
        for item in found
    ]
    sides = (
        ("lower", LOWER, [-100 * item.dispreferred.estimate for item in found]),
        ("higher", HIGHER, [100 * item.preferred.estimate for item in found]),
    )
    data = [
        {
            "type": "bar", "orientation": "h", "y": list(range(len(kinds))), "x": numbers(np.array(values)),
            "name": name, "marker": {"color": colour}, "customdata": hover,
            "hovertemplate": "%{customdata}<extra></extra>",
        }
        for name, colour, values in sides
    ]  # fmt: skip
    ticks = [-100, -50, 0, 50, 100]
    axes = {
        "xaxis": axis("% of pictures", range=[-104, 104], tickvals=ticks, ticktext=[str(abs(tick)) for tick in ticks]),
        "yaxis": _names([_words(kind) for kind in kinds], autorange="reversed"),
    }
    return {"data": data, "layout": layout(barmode="relative", hovermode="closest", bargap=0.3, **axes)}


def _look(place: int) -> tuple[str, str, str]:
    """Colour, dash and marker of the reward at a place; different for the first 24."""
    num = len(charts.REWARD_COLOURS)
    marker = charts.RUN_MARKERS[place % len(charts.RUN_MARKERS)]
    return charts.REWARD_COLOURS[place % num], _DASHES[place // num % len(_DASHES)], marker


def _names(names: Sequence[str], **changes: Any) -> Figure:
    """An axis of names, long ones cut short: on a phone a name would leave no room for the numbers."""
    short = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    ticks = {"tickvals": list(range(len(names))), "ticktext": [safe(name) for name in short]}
    return axis("", showgrid=False, **ticks, **changes)


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _cell_text(spot: Spot) -> str:
    value = spot.tally.accuracy.estimate
    if not np.isfinite(value):
        return "–"
    number = f"{value:.2f}".replace("0.", ".") if value < 1 else "1"
    return f"{number} {MARKS[spot.sight]}".strip()


def _hover(spot: Spot) -> str:
    tally = spot.tally
    low, high = tally.accuracy.low, tally.accuracy.high
    ends = f", 95 % interval {low:.2f} to {high:.2f}" if np.isfinite(low) else ", too few pictures for an interval"
    return (
        f"<b>{safe(spot.reward)}</b> on {safe(_words(spot.kind))}: {spot.sight.value}<br>"
        f"{tally.num_correct} correct, {tally.num_tie} ties, {tally.num_wrong} wrong"
        f"{ends}"
    )


def _signed(value: float) -> Any:
    return f"{value:+.2f}".replace("-", "−") if np.isfinite(value) else "–"

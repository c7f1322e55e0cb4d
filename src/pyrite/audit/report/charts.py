"""Figures as plain plotly dictionaries: no plotly import here, so the report starts fast and has nothing to hide.

Colours keep one meaning on the whole page: ochre is gold, blue is the proxy, and in charts that compare runs the first
run is ink and the second green. Every series also differs by marker or dash, so colour is never the only key.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrite.audit.curves import Curve
from pyrite.core.types import FloatArray
from pyrite.stats.best_of_n import best_of_n_kl

Figure = dict[str, Any]

GOLD, PROXY, OWN = "#b07d00", "#1f5fbf", "#6f9bd8"
INK, GUARDED = "#3b3f4a", "#1b8a5a"
RUN_COLOURS = (INK, GUARDED, "#8a4fbf", "#c2476b")
RUN_MARKERS = ("circle", "diamond", "square", "triangle-up")
SYMBOLS = {"circle": "●○", "diamond": "◆◇", "square": "■□", "triangle-up": "▲△"}
PHASE_COLOURS = {
    "draw": "#1f5fbf", "score": "#4fa3d9", "gold": "#b07d00", "shape": "#c8577f", "advantage": "#2f8f83",
    "update": "#3b3f4a", "look": "#9aa3ad", "keep": "#d6d2c8",
}  # fmt: skip
REWARD_COLOURS = (PROXY, "#4fa3d9", "#c8577f", "#7a57b5", "#2f8f83", "#8c6239", "#6b7280", "#d2691e")
GRID, AXIS_LINE, TEXT = "#ebe8e1", "#bdb8ac", "#4a4a4a"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
DIVERGING = [[0.0, "#a6611a"], [0.25, "#dfc27d"], [0.5, "#f7f6f3"], [0.75, "#80a8d8"], [1.0, "#1f5fbf"]]


@dataclass(frozen=True)
class Chart:
    """One figure with what a reader needs beside it.

    Args:
        id: of the element on the page.
        figure: `{"data": [...], "layout": {...}}`.
        heading: short title above the figure.
        key: (symbol, label, colour) of each series; written as text above the figure, where it can wrap on a phone.
        caption: what to look for.
        height: in CSS pixels.
        min_width: in CSS pixels; on a narrower screen the figure scrolls sideways instead of shrinking.
    """

    id: str
    figure: Figure
    heading: str
    caption: str
    height: int = 360
    key: tuple[tuple[str, str, str], ...] = ()
    min_width: int = 0


@dataclass(frozen=True)
class Line:
    """One series with its band: what it is called, its colour and how it is told apart without colour."""

    label: str
    curve: Curve
    colour: str
    dash: str = "solid"
    marker: str = "circle"
    is_open: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """(symbol, label, colour) for the key above a chart."""
        return SYMBOLS[self.marker][self.is_open], self.label, self.colour


def safe(text: str) -> str:
    """Text from a run, for plotly, which reads a little HTML in labels and hovers."""
    return html.escape(text, quote=False)


def numbers(values: FloatArray) -> list[float | None]:
    """JSON has no NaN: a missing value is null and plotly leaves a gap."""
    return [round(float(value), 6) if np.isfinite(value) else None for value in values]


def layout(**changes: Any) -> Figure:
    """The look all charts share; axes are fixed so that a finger on a phone scrolls the page, not the chart."""
    base: Figure = {
        "font": {"family": FONT, "size": 13, "color": TEXT},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 52, "r": 16, "t": 12, "b": 46},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": AXIS_LINE, "font": {"size": 12}},
        "showlegend": False,
        "dragmode": False,
    }
    return base | changes


def axis(title: str, **changes: Any) -> Figure:
    """One quiet axis."""
    base: Figure = {
        "title": {"text": title, "standoff": 8, "font": {"size": 12.5}},
        "gridcolor": GRID,
        "linecolor": AXIS_LINE,
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
        "ticks": "",
        "nticks": 7,
    }
    return base | changes


def hero(
    lines: Sequence[Line], *, gold_scale: tuple[float, float] | None, y_range: tuple[float, float],
    x_range: tuple[float, float], parting: tuple[float, float, float] | None,
) -> Figure:  # fmt: skip
    """Proxy and gold of one run on one scale, base-sample standard deviations, with gold's own units on the right.

    Args:
        lines: what is drawn, already standardised; the one in the colour of gold gets the right axis.
        gold_scale: (mean, standard deviation) of gold over the base samples: from the left scale to gold's own.
        y_range: of the left axis; shared by all runs so that pictures compare.
        x_range: of the steps; shared likewise.
        parting: (step, low, high) where proxy and gold part, or None.
    """
    data: list[Figure] = []
    notes: list[Figure] = []
    shapes = [_horizontal(0.0)]
    right: Figure = {}
    for line in lines:
        if line.colour == GOLD and gold_scale is not None:
            mean, sd = gold_scale
            own_units = mean + sd * line.curve.mean
            data += _with_band(line, "%{customdata:.3f} (%{y:+.2f} sd)", numbers(own_units))
            # an invisible point gives plotly a reason to draw the right axis
            data.append({"x": [int(line.curve.steps[0])], "y": [mean], "yaxis": "y2", "mode": "markers",
                         "marker": {"opacity": 0}, "hoverinfo": "skip", "showlegend": False})  # fmt: skip
            right = {"yaxis2": _gold_axis([mean + sd * y for y in y_range])}
        elif line.dash == "solid":
            data += _with_band(line, "%{y:+.2f} sd")
        else:
            data.append(_series(line, "%{y:+.2f} sd"))
    if parting is not None:
        step, low, high = parting
        shapes += [_vertical_band(low, high), _vertical(step)]
        notes.append({
            "x": step, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False,
            "text": f"they part at step {step:.0f}", "font": {"size": 11.5, "color": "#666"},
        })  # fmt: skip
    axes = {"xaxis": axis("training step", range=list(x_range)), "yaxis": axis("base-sample sd", range=list(y_range))}
    margin = {"l": 50, "r": 56, "t": 26, "b": 46}
    return {"data": data, "layout": layout(**axes, **right, shapes=shapes, annotations=notes, margin=margin)}


def over_steps(
    lines: Sequence[Line], *, y_title: str, x_range: tuple[float, float], y_range: tuple[float, float]
) -> Figure:
    """Several rewards of one run over steps, without bands: the panel is for telling which ones join in."""
    data = [_series(line, "%{y:+.2f}") for line in lines]
    return {
        "data": data,
        "layout": layout(
            xaxis=axis("training step", range=list(x_range)),
            yaxis=axis(y_title, range=list(y_range)),
            shapes=[_horizontal(0.0)],
        ),
    }


def against(
    paths: Sequence[tuple[int, str, FloatArray, Curve]],
    *,
    x_title: str,
    y_title: str,
    root_x: bool,
    zero_y: bool = False,
) -> Figure:
    """One quantity against how far a run has travelled; each run is a path, its points are evaluations.

    Args:
        paths: (place of the run on the page, its name, (S,) distance travelled, curve of the quantity).
        x_title: with units.
        y_title: with units.
        root_x: space the x axis by the square root, as is usual for KL.
        zero_y: begin the y axis at zero.
    """
    data: list[Figure] = []
    for k, name, travelled, curve in paths:
        colour, marker = RUN_COLOURS[k % len(RUN_COLOURS)], RUN_MARKERS[k % len(RUN_MARKERS)]
        x = np.sqrt(np.maximum(travelled, 0)) if root_x else travelled
        up, down = curve.high - curve.mean, curve.mean - curve.low
        data.append({
            "x": numbers(x), "y": numbers(curve.mean), "name": safe(name), "mode": "lines+markers",
            "line": {"color": colour, "width": 2.2}, "marker": {"symbol": marker, "size": 8, "color": colour},
            "error_y": {"type": "data", "symmetric": False, "array": numbers(up), "arrayminus": numbers(down),
                        "color": colour, "thickness": 1, "width": 0},
            "customdata": [[int(step), round(float(far), 3)] for step, far in zip(curve.steps, travelled, strict=True)],
            "hovertemplate": "step %{customdata[0]}: %{y:.3f} at %{customdata[1]}<extra>" + safe(name) + "</extra>",
        })  # fmt: skip
    x_axis = axis(x_title)
    if root_x:
        furthest = max((float(np.nanmax(travelled)) for _, _, travelled, _ in paths), default=0.0)
        ticks = [level for level in (0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if level <= furthest * 1.1]
        ticks = [level for level in ticks if level in (0, ticks[-1]) or level >= furthest / 12]
        x_axis |= {"tickvals": [level**0.5 for level in ticks], "ticktext": [f"{level:g}" for level in ticks]}
    y_axis = axis(y_title) | ({"rangemode": "tozero"} if zero_y else {})
    return {"data": data, "layout": layout(xaxis=x_axis, yaxis=y_axis, hovermode="closest")}


def heat_map(names: Sequence[str], matrix: FloatArray) -> Figure:
    """Rank correlations between scores; (K, K) in [-1, 1], NaN where undefined."""
    labels = [safe(name) for name in names]
    # Without the zero before the point, seven names still fit beside each other.
    text = [[f"{value:.2f}".replace("-", "−").replace("0.", ".") if np.isfinite(value) else "–" for value in row]
            for row in matrix]  # fmt: skip
    trace = {
        "type": "heatmap", "x": labels, "y": labels, "z": [numbers(row) for row in matrix], "zmin": -1, "zmax": 1,
        "colorscale": DIVERGING, "text": text, "texttemplate": "%{text}",
        "textfont": {"size": 11.5 if len(labels) < 6 else 9.5},
        "hovertemplate": "%{y} and %{x}: %{text}<extra></extra>", "xgap": 2, "ygap": 2, "showscale": False,
    }  # fmt: skip
    return {
        "data": [trace],
        "layout": layout(
            xaxis=axis("", tickangle=-40, showgrid=False, nticks=0),
            yaxis=axis("", autorange="reversed", showgrid=False, nticks=0),
            hovermode="closest",
            margin={"l": 10, "r": 10, "t": 6, "b": 10},
        ),
    }


def best_of_n(lines: Sequence[Line], *, y_title: str) -> Figure:
    """A quantity of the chosen image against n, doubling, with the KL of best-of-n, log n - (n - 1) / n, below n."""
    data: list[Figure] = []
    ticks: list[int] = []
    for line in lines:
        data += _with_band(line, "%{y:.3f}")
        ticks = sorted({*ticks, *(int(n) for n in line.curve.steps)})
    labels = [f"{n}<br>{best_of_n_kl(n):.2f}" for n in ticks]
    return {
        "data": data,
        "layout": layout(
            xaxis=axis("n images per prompt; below it the KL in nats", type="log", tickvals=ticks, ticktext=labels),
            yaxis=axis(y_title),
        ),
    }


def seconds_per_phase(runs: Mapping[str, Mapping[str, float]]) -> Figure:
    """One stacked bar per run: the share of wall-clock time of each phase, seconds in the hover."""
    totals = {name: sum(seconds.values()) for name, seconds in runs.items()}
    data = []
    for _, phase, colour in phase_key(runs):
        spent = [seconds.get(phase, 0.0) for seconds in runs.values()]
        share = [100 * value / total if total else 0.0 for value, total in zip(spent, totals.values(), strict=True)]
        data.append({
            "type": "bar", "orientation": "h", "y": [safe(name) for name in runs], "x": numbers(np.array(share)),
            "name": safe(phase), "marker": {"color": colour, "line": {"color": "#fff", "width": 1}},
            "customdata": [round(value, 1) for value in spent],
            "hovertemplate": "%{customdata} s, %{x:.0f} %<extra>" + safe(phase) + "</extra>",
        })  # fmt: skip
    axes = {"xaxis": axis("% of the time", range=[0, 100]), "yaxis": axis("", autorange="reversed", showgrid=False)}
    return {"data": data, "layout": layout(barmode="stack", hovermode="closest", bargap=0.35, **axes)}


def phase_key(runs: Mapping[str, Mapping[str, float]]) -> tuple[tuple[str, str, str], ...]:
    """(symbol, phase, colour) of every phase that took time, in the order of the training loop."""
    found = {phase for seconds in runs.values() for phase, spent in seconds.items() if spent > 0}
    ordered = [*(phase for phase in PHASE_COLOURS if phase in found), *sorted(found - set(PHASE_COLOURS))]
    return tuple(("■", phase, PHASE_COLOURS.get(phase, "#8a4fbf")) for phase in ordered)


def run_key(names: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """(symbol, run, colour) for charts that compare runs."""
    return tuple(
        (SYMBOLS[RUN_MARKERS[k % len(RUN_MARKERS)]][0], name, RUN_COLOURS[k % len(RUN_COLOURS)])
        for k, name in enumerate(names)
    )


def _series(line: Line, hover: str, custom: Sequence[Any] | None = None) -> Figure:
    symbol = f"{line.marker}-open" if line.is_open else line.marker
    trace: Figure = {
        "x": line.curve.steps.tolist(), "y": numbers(line.curve.mean),
        "name": safe(line.label), "mode": "lines+markers",
        "line": {"color": line.colour, "width": 2.4, "dash": line.dash},
        "marker": {"symbol": symbol, "size": 7, "color": line.colour}, "hovertemplate": hover,
    }  # fmt: skip
    return trace if custom is None else trace | {"customdata": list(custom)}


def _with_band(line: Line, hover: str, custom: Sequence[Any] | None = None) -> list[Figure]:
    steps = line.curve.steps.tolist()
    edge: Figure = {"x": steps, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    low = edge | {"y": numbers(line.curve.low)}
    high = edge | {"y": numbers(line.curve.high), "fill": "tonexty", "fillcolor": _faint(line.colour)}
    return [low, high, _series(line, hover, custom)]


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def _horizontal(y: float) -> Figure:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "layer": "below",
            "line": {"color": AXIS_LINE, "width": 1.2}}  # fmt: skip


def _vertical(x: float) -> Figure:
    return {
        "type": "line",
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "x0": x,
        "x1": x,
        "line": {"color": "#777", "width": 1.2, "dash": "dot"},
    }


def _vertical_band(low: float, high: float) -> Figure:
    return {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": low, "x1": high, "layer": "below",
            "fillcolor": "rgba(120,120,120,0.10)", "line": {"width": 0}}  # fmt: skip


def _gold_axis(y_range: list[float]) -> Figure:
    title = {"text": "gold, its own scale", "standoff": 6, "font": {"size": 12.5, "color": GOLD}}
    low, high = y_range
    # gold is a share in the pocket world: ticks outside [0, 1] would promise values it cannot have
    ticks = [tick / 5 for tick in range(6) if low <= tick / 5 <= high] if low > -1 and high < 3 else None
    look = axis(
        "", overlaying="y", side="right", range=y_range, showgrid=False, tickfont={"color": GOLD}, tickvals=ticks
    )
    return look | {"title": title}

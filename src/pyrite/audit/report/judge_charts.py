"""Figures and tables about a judge of artifacts, from what `pyrite judge classify` wrote down."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyrite.audit.report.charts import AXIS_LINE, INK, PROXY, Chart, axis, layout, numbers
from pyrite.audit.report.tables import MISSING, Table, number
from pyrite.core.types import FloatArray
from pyrite.stats.classification import NUM_BINS, reliability

BROKEN, CLEAN = "#b3541e", "#1b8a5a"

_HISTOGRAM_BINS = 20
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1 of artifacts",
    "roc_auc": "AUC",
    "log_loss": "log-loss, nats",
    "expected_calibration_error": "calibration error",
}


def reliability_chart(results: Mapping[str, Any], labels: FloatArray, calibrated: FloatArray) -> Chart:
    """What was promised against what came, as answered and with the temperature."""
    curve = results["reliability"]
    promised, came, low, high = (_column(curve[name]) for name in ("promised", "came", "low", "high"))
    error = {
        "type": "data", "symmetric": False, "array": numbers(high - came), "arrayminus": numbers(came - low),
        "color": PROXY, "thickness": 1.4, "width": 4,
    }  # fmt: skip
    data: list[dict[str, Any]] = [
        {"x": [0, 1], "y": [0, 1], "mode": "lines", "line": {"color": AXIS_LINE, "dash": "dash"}, "hoverinfo": "skip"},
        {
            "x": numbers(promised), "y": numbers(came), "mode": "lines+markers", "error_y": error,
            "line": {"color": PROXY, "width": 2}, "marker": {"size": 8, "symbol": "circle"}, "name": "as answered",
            "customdata": curve["counts"], "connectgaps": True,
            "hovertemplate": "promised %{x:.2f}, came %{y:.2f} (%{customdata} images)<extra>as answered</extra>",
        },
    ]  # fmt: skip
    key = [("●", "as answered", PROXY)]
    if np.isfinite(calibrated).any():
        after = reliability(labels.astype(np.bool_), calibrated)
        data.append({
            "x": numbers(after.promised), "y": numbers(after.came), "mode": "lines+markers", "name": "calibrated",
            "line": {"color": INK, "width": 2, "dash": "dot"}, "marker": {"size": 8, "symbol": "diamond-open"},
            "customdata": after.counts.tolist(), "connectgaps": True,
            "hovertemplate": "promised %{x:.2f}, came %{y:.2f} (%{customdata} images)<extra>calibrated</extra>",
        })  # fmt: skip
        key.append(("◇", f"with the temperature {results['calibration']['temperature']:.2f}", INK))
    figure = {
        "data": data,
        "layout": layout(
            xaxis=axis("P(artifact), mean of the bin", range=[-0.02, 1.02]),
            yaxis=axis("share with artifacts", range=[-0.04, 1.04]),
            hovermode="closest",
        ),
    }
    caption = (
        f"{NUM_BINS} bins of equal width; on the dashed line a judge means what it says. Bars are Wilson's 95 % "
        "intervals; a bin of fewer than five pictures has none."
    )
    return Chart("reliability", figure, "Reliability", caption, 380, tuple(key))


def histogram(labels: FloatArray, prob: FloatArray, threshold: float) -> Chart:
    """How P(artifact) is spread over the images of each label."""
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    data = []
    for label, name, colour, fill in (
        (0, "without artifacts", CLEAN, "rgba(27,138,90,0.18)"),
        (1, "with artifacts", BROKEN, BROKEN),
    ):
        counts, _ = np.histogram(prob[(labels == label) & np.isfinite(prob)], edges)
        data.append({
            "type": "bar", "x": numbers(middles), "y": counts.tolist(), "name": name,
            "marker": {"color": fill, "line": {"color": colour, "width": 1.5}},
            "hovertemplate": "%{y} images around %{x:.3f}<extra>" + name + "</extra>",
        })  # fmt: skip
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": threshold, "x1": threshold,
            "line": {"color": "#777", "width": 1.2, "dash": "dot"}}  # fmt: skip
    figure = {
        "data": data,
        "layout": layout(
            xaxis=axis("P(artifact)", range=[0, 1]), yaxis=axis("images"), barmode="group", bargap=0.1,
            hovermode="closest", shapes=[line],
        ),
    }  # fmt: skip
    key = (("□", "without artifacts", CLEAN), ("■", "with artifacts", BROKEN))
    caption = f"A judge that knows has two heaps, one on each side of {threshold:g} (dotted)."
    return Chart("scores", figure, "What the judge said", caption, 380, key)


def confusion_table(found: Mapping[str, int], threshold: float) -> Table:
    """Labels against verdicts."""
    rows = (
        ("with artifacts", str(found["true_positive"]), str(found["false_negative"])),
        ("without artifacts", str(found["false_positive"]), str(found["true_negative"])),
    )
    caption = f"Confusion matrix: a verdict of “artifact” is P(artifact) of {threshold:g} or more."
    return Table(caption, ("label", "called artifact", "called clean"), rows)


def metric_table(results: Mapping[str, Any]) -> Table:
    """Every metric with its interval, and what the temperature changes of those it can change."""
    change = results["calibration"]["change"]
    rows = tuple(
        (METRIC_NAMES[name], interval(value), interval(change[name], signed=True) if name in change else MISSING)
        for name, value in results["metrics"].items()
    )
    caption = (
        "95\u00a0% intervals from drawing whole pairs 2000 times. Of log-loss and calibration error less is better, "
        "and only they can change with a temperature: the order of the images stays."
    )
    return Table(caption, ("metric", "as answered", "change by the temperature"), rows)


def condition_table(conditions: Sequence[Mapping[str, Any]]) -> Table | None:
    """How firm the verdicts are; None if nothing was varied."""
    rows = []
    for one in conditions:
        if "skipped" in one:
            continue
        metrics, change = one["metrics"], one["change"]
        rows.append((
            one["name"],
            interval(metrics["balanced_accuracy"]),
            interval(metrics["roc_auc"]),
            interval(change["roc_auc"], signed=True),
            interval(change["log_loss"], signed=True),
            f"{one['turned']} of {one['both']}",
            str(one["unscored"]),
        ))  # fmt: skip
    head = ("asked again", "balanced accuracy", "AUC", "AUC change", "log-loss change", "verdicts turned", "no answer")
    caption = "Changes are against the plain question, on the same images, so their intervals are of the difference."
    return Table(caption, head, tuple(rows)) if rows else None


def kind_table(kinds: Sequence[Mapping[str, Any]]) -> Table | None:
    """Every kind of image; None where the set names no kinds."""
    if not any(kind["kind"] for kind in kinds):
        return None
    rows = tuple(
        (
            kind["kind"] or "(none given)",
            "with" if kind["label"] else "without",
            str(kind["num"]),
            _shown(kind["right"]),
            _shown(kind["mean_prob"]),
            _shown(kind["auc"]),
        )
        for kind in sorted(kinds, key=lambda kind: (-kind["label"], kind["right"] if kind["right"] is not None else 2))
    )
    caption = "By kind, the one judged worst first. AUC: against all images without artifacts."
    return Table(caption, ("kind", "artifacts", "images", "right", "mean P(artifact)", "AUC"), rows)


def unscored_table(unscored: Sequence[Mapping[str, Any]]) -> Table | None:
    """Why images have no answer; None if all have one."""
    rows = tuple((one["first"], str(one["num"]), one["reason"]) for one in unscored)
    caption = "Images without an answer: left out of every number on this page, and never read as “no artifact”."
    return Table(caption, ("first image", "images", "reason"), rows, is_text=True) if rows else None


def interval(value: Mapping[str, Any], *, signed: bool = False) -> str:
    """A number with its interval in brackets; alone where there is none."""
    estimate, low, high = (_number(value[name]) for name in ("estimate", "low", "high"))
    text = number(estimate, 3, signed)
    return text if not np.isfinite(low) else f"{text} [{number(low, 3, signed)}, {number(high, 3, signed)}]"


def _shown(value: float | None) -> str:
    return number(_number(value), 3)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _column(values: Sequence[float | None]) -> FloatArray:
    return np.array([_number(value) for value in values])

"""Tables of the report: numbers already written as text, so the template only places them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrite.audit.analysis import Audited, Comparison
from pyrite.audit.curves import GOLD_NAMES, Curve, Estimate
from pyrite.audit.matching import round_levels, value_on_reaching
from pyrite.core.types import FloatArray

NOT_REACHED = "not reached"
MISSING = "–"


@dataclass(frozen=True)
class Table:
    """A caption, column heads, and rows whose first cell heads the row; text goes left, numbers right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_text: bool = False


def number(value: float, digits: int = 2, signed: bool = False) -> str:
    """A number as text with a real minus sign; a dash where there is none."""
    if not np.isfinite(value):
        return MISSING
    rounded = round(value, digits) + 0.0  # + 0.0: no minus zero
    return f"{rounded:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def with_interval(estimate: Estimate, digits: int = 2, signed: bool = False) -> str:
    """A number and its interval in brackets, or the number alone when there is no interval."""
    text = number(estimate.value, digits, signed)
    if not np.isfinite(estimate.low):
        return text
    return f"{text} [{number(estimate.low, digits, signed)}, {number(estimate.high, digits, signed)}]"


def summary(comparison: Comparison) -> Table:
    """The numbers the verdicts rest on, one row per run."""
    rows = []
    for item in comparison.runs:
        verdict, proxy = item.verdict, item.proxy_curve
        change = Estimate.of(proxy.mean[-1] - proxy.mean[0], proxy.draws[:, -1] - proxy.draws[:, 0])
        own = "the proxy" if item.is_own_proxy else with_interval(verdict.proxy_change, 1, signed=True)
        lost = verdict.gold_fall
        fall = Estimate(100 * lost.value, 100 * lost.low, 100 * lost.high)
        peak = f"{number(verdict.gold_peak)} at step {verdict.peak_step}" if verdict.peak_step >= 0 else MISSING
        gold = (number(verdict.gold_first), peak, number(verdict.gold_last), with_interval(fall, 0))
        kl = number(item.kl_curve.mean[-1]) if item.kl_curve else MISSING
        rows.append((item.name, with_interval(change, 1, signed=True), own, *gold, kl))
    head = (
        "run",
        "proxy change, sd",
        "own reward change, sd",
        "gold at start",
        "gold at peak",
        "gold at end",
        "gold lost from peak, %",
        "KL at end, nats",
    )
    return Table("The numbers behind the verdict, with 95\u00a0% intervals in brackets.", head, tuple(rows))


def gold_at_equal_kl(comparison: Comparison) -> Table | None:
    """Gold when each run first reached round values of KL; None without gold or KL."""
    return _matched(comparison, "KL, nats per image", lambda item: item.kl_curve)


def gold_at_equal_proxy(comparison: Comparison) -> Table | None:
    """Gold when each run first gained round amounts of proxy; None without gold or a common proxy."""
    return _matched(comparison, "proxy, base-sample sd", lambda item: item.proxy_curve if item.has_proxy else None)


def _matched(comparison: Comparison, unit: str, travelled_of: Callable[[Audited], Curve | None]) -> Table | None:
    pairs = [(item, travelled_of(item), item.gold_curve) for item in comparison.runs]
    present = [(item, travelled, gold) for item, travelled, gold in pairs if travelled is not None and gold is not None]
    if not present:
        return None
    levels = round_levels(max(float(np.nanmax(travelled.mean)) for _, travelled, _ in present))
    if not levels:
        return None
    rows = tuple(
        (f"{level:g}", *(_gold_at(level, travelled, gold) for _, travelled, gold in present)) for level in levels
    )
    caption = (
        f"Gold when a run first reached a given {unit.split(',')[0]}: linear between evaluations, 95\u00a0% interval "
        "in brackets; no interval where some resamples never get that far."
    )
    return Table(caption, (unit, *(item.name for item, _, _ in present)), rows)


def _gold_at(level: float, travelled: Curve, gold: Curve) -> str:
    value = float(value_on_reaching(level, travelled.mean[None], gold.mean[None])[0])
    if not np.isfinite(value):
        return NOT_REACHED
    return with_interval(Estimate.of(value, value_on_reaching(level, travelled.draws, gold.draws)))


def by_task(item: Audited) -> Table | None:
    """Gold, its parts and the proxy by task type, first step, gold's peak and last step; None without task types."""
    samples = item.run.samples
    types = [str(name) for name in np.unique(samples.task_types) if name]
    if not types:
        return None
    steps = _moments(item)
    columns: list[tuple[str, FloatArray, int, bool]] = [
        (name.replace("gold_", ""), samples.scores[name], 2, False) for name in GOLD_NAMES if name in samples.scores
    ]
    if item.has_proxy:
        columns.append(("proxy, sd", item.proxy, 1, True))
    rows = []
    for task in [*types, "all"]:
        of_task = np.full(len(samples), True) if task == "all" else samples.task_types == task
        cells = [
            _arrows(values, samples.steps, of_task, steps, digits, signed) for _, values, digits, signed in columns
        ]
        rows.append((task, str(len(np.unique(samples.prompt_ids[of_task]))), *cells))
    when = " → ".join(f"step {step}" for step in steps)
    peak = ", gold's peak in the middle" if len(steps) == 3 else ""
    return Table(f"{item.name}: {when}{peak}.", ("task type", "prompts", *(name for name, *_ in columns)), tuple(rows))


def _moments(item: Audited) -> list[int]:
    steps = item.run.samples.step_values
    moments = {steps[0], steps[-1]}
    if item.verdict.peak_step >= 0:
        moments.add(item.verdict.peak_step)
    return sorted(moments)


def _arrows(
    values: FloatArray, at: np.ndarray, rows: np.ndarray, steps: Sequence[int], digits: int, signed: bool
) -> str:
    means = []
    for step in steps:
        chosen = values[rows & (at == step)]
        known = chosen[np.isfinite(chosen)]
        means.append(number(float(known.mean()) if len(known) else float("nan"), digits, signed))
    return " → ".join(means)


def unscored(comparison: Comparison) -> Table | None:
    """How many images went unscored and why, over all samples of a run; None if every image was scored."""
    rows = [
        (item.name, score, str(count), reason)
        for item in comparison.runs
        for score, reasons in sorted(item.run.unscored.items())
        for reason, count in reasons.most_common(3)
    ]
    if not rows:
        return None
    caption = "Unscored images: left out of every mean on this page, never counted as zero (training images included)."
    return Table(caption, ("run", "score", "images", "reason"), tuple(rows), is_text=True)


def differences(recipes: Sequence[tuple[str, Mapping[str, Any]]]) -> Table | None:
    """The settings in which the runs differ, one row each; None for a single run, equal recipes or none."""
    flat = [dict(flatten(recipe)) for _, recipe in recipes]
    keys = list(dict.fromkeys(key for settings in flat for key in settings if key != "name"))
    rows = tuple(
        (key, *(settings.get(key, MISSING) for settings in flat))
        for key in keys
        if len({settings.get(key) for settings in flat}) > 1
    )
    if not rows or not all(flat):
        return None
    return Table(
        "Settings in which the runs differ; everything else is equal.",
        ("setting", *(name for name, _ in recipes)),
        rows,
        is_text=True,
    )


def flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, text); a list of rewards or names becomes one line."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            rows += flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            rows.append((f"{prefix}{key}", " + ".join(_one_line(item) for item in value)))
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def _one_line(item: Any) -> str:
    if isinstance(item, Mapping) and "name" in item:
        return f"{item.get('weight', 1.0)} × {item['name']}"
    return str(item)

"""Sections about change over training: proxy and gold, the held-out panel, equal KL and equal proxy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyrite.audit.analysis import Audited, Comparison
from pyrite.audit.curves import GOLD_NAMES, Curve, curve
from pyrite.audit.report import charts, tables
from pyrite.audit.report.charts import Chart, Line
from pyrite.audit.verdict import Outcome
from pyrite.core.types import FloatArray

NO_GOLD = "Gold was not recorded, so nothing here says whether the images became better or worse."
ALONE = "There is no second run to compare with: give a guarded run to see it beside this one."
KL_TITLE = "KL, nats per image (square-root scale)"
PROXY_TITLE = "proxy, base-sample sd"

Section = dict[str, Any]


def curves(comparison: Comparison) -> Section:
    """Proxy and gold over steps, one picture per run on the same axes."""
    notes = [] if comparison.has_gold else [NO_GOLD]
    notes += [_no_common_proxy(item) for item in comparison.runs if not item.has_proxy and comparison.proxy is not None]
    notes += [ALONE] if len(comparison.runs) == 1 else []
    lines = [(item, _hero_lines(item, comparison)) for item in comparison.runs]
    shown = [(item, of_run) for item, of_run in lines if of_run]
    y_range = _y_range([line.curve for _, of_run in shown for line in of_run], bands=True)
    axes: dict[str, Any] = {"gold_scale": _gold_scale(comparison), "x_range": _x_range(comparison), "y_range": y_range}
    made = []
    for k, (item, of_run) in enumerate(shown):
        figure = charts.hero(of_run, parting=_parting(item), **axes)
        key = tuple(line.key for line in of_run)
        made.append(Chart(f"curves-{k}", figure, item.name, _hero_caption(item), 400, key))
    return {"notes": notes, "charts": made}


def panel(comparison: Comparison) -> Section:
    """Every score over steps, standardised, with who trains on it."""
    names = list(dict.fromkeys(name for item in comparison.runs for name in _ordered_names(item)))
    lines = [_panel_lines(item, names, comparison) for item in comparison.runs]
    y_range = _y_range([line.curve for of_run in lines for line in of_run])
    caption = (
        "Held-out scores that stop following the trained ones are a warning; held-out scores that stay calm are no "
        "proof of health."
    )
    made = []
    for k, (item, of_run) in enumerate(zip(comparison.runs, lines, strict=True)):
        if of_run:
            title = "change, base-sample sd"
            figure = charts.over_steps(of_run, y_title=title, x_range=_x_range(comparison), y_range=y_range)
            made.append(Chart(f"panel-{k}", figure, item.name, caption, 380, tuple(line.key for line in of_run)))
    return {"notes": _panel_notes(comparison, names), "charts": made}


def matched(comparison: Comparison) -> Section:
    """Gold and proxy against KL, gold against proxy, and both as tables."""
    runs = list(enumerate(comparison.runs))
    notes = [] if comparison.has_gold else [NO_GOLD]
    if any(item.kl_curve is None for _, item in runs):
        notes.append("KL was not recorded in every run; runs without it are missing from the comparison at equal KL.")
    gold_kl = [(k, a.name, a.kl_curve.mean, a.gold_curve) for k, a in runs if a.kl_curve and a.gold_curve]
    proxy_kl = [(k, a.name, a.kl_curve.mean, a.proxy_curve) for k, a in runs if a.kl_curve and a.has_proxy]
    gold_proxy = [(k, a.name, a.proxy_curve.mean, a.gold_curve) for k, a in runs if a.gold_curve and a.has_proxy]
    key = charts.run_key([item.name for _, item in runs])
    made = []
    if gold_kl:
        figure = charts.against(gold_kl, x_title=KL_TITLE, y_title="gold", root_x=True, zero_y=True)
        caption = "The higher line gets more out of the same distance from the base policy."
        made.append(Chart("matched-gold-kl", figure, "Gold at equal KL", caption, 320, key))
    if gold_proxy:
        figure = charts.against(gold_proxy, x_title=PROXY_TITLE, y_title="gold", root_x=False, zero_y=True)
        caption = "A line that turns down to the right pays for proxy with gold."
        made.append(Chart("matched-gold-proxy", figure, "Gold at equal proxy", caption, 320, key))
    if proxy_kl:
        figure = charts.against(proxy_kl, x_title=KL_TITLE, y_title=PROXY_TITLE, root_x=True)
        caption = "How much proxy a run buys with its distance."
        made.append(Chart("matched-proxy-kl", figure, "Proxy at equal KL", caption, 320, key))
    found = [tables.gold_at_equal_kl(comparison), tables.gold_at_equal_proxy(comparison)]
    return {"notes": notes, "charts": made, "tables": [table for table in found if table is not None]}


def _no_common_proxy(item: Audited) -> str:
    return (
        f"The first run's proxy cannot be computed for {item.name}: it lacks one of the scores, or the recipe's "
        "transforms are not reproduced by the recorded scores. Its proxy is left out."
    )


def _hero_lines(item: Audited, comparison: Comparison) -> list[Line]:
    lines = []
    if item.has_proxy:
        lines.append(Line(f"proxy {_at_end(item.proxy_curve)}", item.proxy_curve, charts.PROXY))
    if not item.is_own_proxy and np.isfinite(item.own_curve.mean).any():
        label = f"own reward {_at_end(item.own_curve)}"
        lines.append(Line(label, item.own_curve, charts.OWN, dash="dot", marker="square", is_open=True))
    scale = _gold_scale(comparison)
    if item.gold_curve is not None and scale is not None:
        mean, sd = scale
        gold = item.gold_curve
        scaled = Curve(gold.steps, (gold.mean - mean) / sd, (gold.draws - mean) / sd)
        label = f"gold {tables.number(float(gold.mean[0]))} → {tables.number(float(gold.mean[-1]))}"
        lines.append(Line(label, scaled, charts.GOLD, marker="diamond"))
    return lines


def _at_end(found: Curve) -> str:
    return f"{tables.number(float(found.mean[-1]), 1, signed=True)} sd"


def _gold_scale(comparison: Comparison) -> tuple[float, float] | None:
    scale = comparison.scales.get("gold")
    return (scale.mean, scale.sd) if scale is not None and np.isfinite(scale.sd) else None


def _parting(item: Audited) -> tuple[float, float, float] | None:
    found = item.parting
    return (found.step, found.low, found.high) if found is not None and found.is_found else None


def _hero_caption(item: Audited) -> str:
    verdict = item.verdict
    own = "" if item.is_own_proxy else " Dotted: this run's own reward, what it was really trained on."
    if verdict.outcome is Outcome.UNKNOWN:
        return f"Not judged: {verdict.missing}.{own}"
    found = item.parting
    if found is None or not found.is_found:
        return f"Proxy and gold do not part in this run: {found.reason if found else 'one is missing'}.{own}"
    return (
        f"Blue goes up, ochre comes down: the gap is the hack. Upright line: step {found.step:.0f}, from where more "
        f"proxy brings less gold; shaded: its 95\u00a0% interval ({found.low:.0f} to {found.high:.0f}).{own}"
    )


def _ordered_names(item: Audited) -> list[str]:
    scores = [name for name in item.run.samples.scores if name not in GOLD_NAMES]
    trained = [name for name in item.run.trained_names if name in scores]
    return [*trained, *(name for name in scores if name not in trained)]


def _panel_notes(comparison: Comparison, names: Sequence[str]) -> list[str]:
    notes = [
        f"{name} has no spread over the base samples of {comparison.first.name}, so it cannot be put on this scale."
        for name in names
        if name not in comparison.scales or not np.isfinite(comparison.scales[name].sd)
    ]
    if not comparison.first.run.trained_names:
        notes.append("There is no recipe in the run folder, so which scores train and which are held out is not known.")
    elif all(name in item.run.trained_names for item in comparison.runs for name in names):
        notes.append("No held-out reward was recorded: every score on this chart trains.")
    return notes


def _panel_lines(item: Audited, names: Sequence[str], comparison: Comparison) -> list[Line]:
    lines = []
    samples = item.run.samples
    has_recipe = bool(item.run.trained_names)
    for k, name in enumerate(names):
        scale = comparison.scales.get(name)
        if name not in samples.scores or scale is None or not np.isfinite(scale.sd):
            continue
        trains = name in item.run.trained_names
        role = "" if not has_recipe else ", trains" if trains else ", held out"
        values = curve(samples, scale(samples.scores[name]))
        colour = charts.REWARD_COLOURS[k % len(charts.REWARD_COLOURS)]
        solid = trains or not has_recipe
        lines.append(Line(f"{name}{role}", values, colour, dash="solid" if solid else "dash", is_open=not solid))
    scale = comparison.scales.get("gold")
    if item.gold_curve is not None and scale is not None and np.isfinite(scale.sd):
        gold = curve(samples, scale(samples.scores["gold"]))
        lines.append(Line("gold, never trains", gold, charts.GOLD, dash="dash", marker="diamond", is_open=True))
    return lines


def _x_range(comparison: Comparison) -> tuple[float, float]:
    steps = np.concatenate([item.run.samples.steps for item in comparison.runs])
    margin = max(1.0, 0.03 * float(steps.max() - steps.min()))
    return float(steps.min()) - margin, float(steps.max()) + margin


def _y_range(found: Sequence[Curve], *, bands: bool = False) -> tuple[float, float]:
    parts: list[FloatArray] = [np.zeros(1)]
    for of_run in found:
        parts += [of_run.mean, of_run.low, of_run.high] if bands else [of_run.mean]
    values = np.concatenate(parts)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.12 * max(high - low, 0.5)
    return low - margin, high + margin

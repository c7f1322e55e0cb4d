"""What each section of the report shows, and the sentence it shows instead when a part is missing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from pyrite.audit.analysis import Audited, Comparison
from pyrite.audit.curves import GOLD_NAMES, Curve, curve
from pyrite.audit.report import charts, pictures, tables
from pyrite.audit.report.charts import Chart, Line
from pyrite.audit.verdict import Outcome, sentence
from pyrite.core.types import FloatArray

KINDS = {
    Outcome.HACKED: "hacked",
    Outcome.COLLAPSE: "collapse",
    Outcome.NOT_SEEN: "clear",
    Outcome.UNKNOWN: "unknown",
}
NO_GOLD = "Gold was not recorded, so nothing here says whether the images became better or worse."

Section = dict[str, Any]


def verdicts(comparison: Comparison) -> list[dict[str, str]]:
    """One sentence per run, the plain one first."""
    found = []
    for item in comparison.runs:
        subject = "The proxy" if item.is_own_proxy else "Its own reward"
        outcome = item.verdict.outcome
        found.append({"name": item.name, "kind": KINDS[outcome], "word": outcome.value, "sentence": sentence(item.verdict, subject)})
    return found


def proxy_sentence(comparison: Comparison) -> str:
    """What the proxy of this page is."""
    if comparison.proxy is None:
        return "Nothing says which of the scores was trained on, so no proxy is shown: name it with `proxy`."
    where = "" if len(comparison.runs) == 1 else ", computed alike for every run"
    return f"The proxy is what {comparison.first.name} was trained on{where}: {comparison.proxy.label}."


def curves(comparison: Comparison) -> Section:
    """Proxy and gold over steps, one picture per run on the same axes."""
    notes = [] if comparison.has_gold else [NO_GOLD]
    shown = [item for item in comparison.runs if item.has_proxy or item.gold_curve is not None]
    notes += [_no_common_proxy(item) for item in comparison.runs if not item.has_proxy and comparison.proxy is not None]
    notes += ["There is no second run to compare with: give a guarded run to see it beside this one."] * (len(comparison.runs) == 1)
    x_range = _x_range(comparison)
    bands = [band for item in shown for band in _hero_lines(item, comparison)]
    y_range = _y_range([line.curve for line in bands], bands=True)
    made = []
    for k, item in enumerate(shown):
        lines = _hero_lines(item, comparison)
        figure = charts.hero(
            lines, gold_scale=_gold_scale(comparison), x_range=x_range, y_range=y_range,
            parting=_parting(item),
        )  # fmt: skip
        made.append(Chart(f"curves-{k}", figure, item.name, _hero_caption(item), 400, tuple(line.key for line in lines)))
    return {"notes": notes, "charts": made}


def images(comparison: Comparison) -> Section:
    """The grid of images over training, runs side by side."""
    with_images = [item for item in comparison.runs if pictures.steps_with_images(item.run.samples)]
    notes = [f"{item.name} kept no images." for item in comparison.runs if item not in with_images]
    columns, rows = [], []
    if with_images:
        columns, rows = pictures.grid(
            [item.run for item in with_images], [item.proxy for item in with_images],
            num_rows=8, num_columns={1: 9, 2: 6}.get(len(with_images), 4),
        )  # fmt: skip
        if not rows:
            notes.append("No prompt and seed was kept at every step shown, so images over training cannot be compared.")
    return {
        "notes": notes,
        "columns": [(item.name, steps) for item, steps in zip(with_images, columns, strict=False)],
        "rows": rows,
        "has_gold": comparison.has_gold,
        "caption": "Look for what the proxy pays for: extra or repeated objects, loud colours, fragments where an object should be.",
    }


def panel(comparison: Comparison) -> Section:
    """Every score over steps, standardised, with who trains on it."""
    names = list(dict.fromkeys(name for item in comparison.runs for name in _ordered_names(item)))
    usable = {name: scale for name, scale in comparison.scales.items() if np.isfinite(scale.sd)}
    notes = [
        f"{name} has no spread over the base samples, or no base samples at all, so it cannot be put on this scale."
        for name in names
        if name not in usable
    ]
    if not any(name not in GOLD_NAMES and name not in item.run.trained_names for item in comparison.runs for name in names):
        notes.append("No held-out reward was recorded: every score on this chart trains.")
    if not comparison.first.run.trained_names:
        notes.append("There is no recipe in the run folder, so which scores train and which are held out is not known.")
    lines = [_panel_lines(item, names, comparison) for item in comparison.runs]
    y_range = _y_range([line.curve for of_run in lines for line in of_run])
    made = [
        Chart(
            f"panel-{k}",
            charts.over_steps(of_run, y_title="change, base-sample sd", x_range=_x_range(comparison), y_range=y_range),
            item.name,
            "Held-out scores that stop following the trained ones are a warning; held-out scores that all stay calm are none.",
            380,
            tuple(line.key for line in of_run),
        )
        for k, (item, of_run) in enumerate(zip(comparison.runs, lines, strict=True))
        if of_run
    ]
    return {"notes": notes, "charts": made}


def matched(comparison: Comparison) -> Section:
    """Gold and proxy against KL, gold against proxy, and both as tables."""
    runs = comparison.runs
    notes = [] if comparison.has_gold else [NO_GOLD]
    if any(item.kl_curve is None for item in runs):
        notes.append("KL was not recorded in every run; runs without it are missing from the comparison at equal KL.")
    numbered = list(enumerate(runs))
    gold_kl = [(k, item.name, item.kl_curve.mean, item.gold_curve) for k, item in numbered if item.kl_curve and item.gold_curve]
    proxy_kl = [(k, item.name, item.kl_curve.mean, item.proxy_curve) for k, item in numbered if item.kl_curve and item.has_proxy]
    gold_proxy = [(k, item.name, item.proxy_curve.mean, item.gold_curve) for k, item in numbered if item.gold_curve and item.has_proxy]
    made = []
    key = charts.run_key([item.name for item in runs])
    kl_title = "KL, nats per image (square-root scale)"
    if gold_kl:
        figure = charts.against(gold_kl, x_title=kl_title, y_title="gold", root_x=True, zero_y=True)
        made.append(Chart("matched-gold-kl", figure, "Gold at equal KL", "The higher line gets more out of the same distance from the base policy.", 320, key))
    if gold_proxy:
        figure = charts.against(gold_proxy, x_title="proxy, base-sample sd", y_title="gold", root_x=False, zero_y=True)
        made.append(Chart("matched-gold-proxy", figure, "Gold at equal proxy", "A line that turns down to the right pays for proxy with gold.", 320, key))
    if proxy_kl:
        figure = charts.against(proxy_kl, x_title=kl_title, y_title="proxy, base-sample sd", root_x=True)
        made.append(Chart("matched-proxy-kl", figure, "Proxy at equal KL", "How much proxy a run buys with its distance.", 320, key))
    found = [tables.gold_at_equal_kl(comparison), tables.gold_at_equal_proxy(comparison)]
    return {"notes": notes, "charts": made, "tables": [table for table in found if table is not None]}


def tasks(comparison: Comparison) -> Section:
    """Gold, its parts and the proxy by task type."""
    found = [(item, tables.by_task(item)) for item in comparison.runs]
    notes = [f"{item.name} records no task types." for item, table in found if table is None]
    return {"notes": notes, "tables": [table for _, table in found if table is not None]}


def offenders(comparison: Comparison) -> Section:
    """Images that the proxy likes and gold does not."""
    notes = [] if comparison.has_gold else ["Gold was not recorded, so no sample can be shown to be overrated."]
    found = []
    for item in comparison.runs:
        if item.gold_curve is None or not item.has_proxy:
            continue
        worst = pictures.worst_offenders(item.run, item.proxy, count=4)
        if worst:
            found.append((item.name, worst))
        else:
            notes.append(f"{item.name} kept no images of its last step.")
    return {
        "notes": notes,
        "runs": found,
        "first_step": comparison.first.run.samples.step_values[0],
        "last_steps": {item.name: item.run.samples.step_values[-1] for item in comparison.runs},
    }


def record(comparison: Comparison) -> Section:
    """Where the time went, the settings, and where the numbers come from."""
    seconds = {item.name: _seconds(item) for item in comparison.runs}
    known = {name: phases for name, phases in seconds.items() if phases}
    notes = [f"{name} records no seconds per phase." for name in seconds if name not in known]
    made = []
    if known:
        total = ", ".join(f"{name} {sum(phases.values()):.0f} s" for name, phases in known.items())
        figure = charts.seconds_per_phase(known)
        made.append(Chart("seconds", figure, "Seconds per phase", f"Share of the time each phase took; in all: {total}.", 96 + 44 * len(known), charts.phase_key(known)))
    runs = [
        {
            "name": item.name,
            "recipe": yaml.safe_dump(dict(item.run.recipe), sort_keys=False, allow_unicode=True) if item.run.recipe else "",
            "provenance": tables.flatten(item.run.environment),
        }
        for item in comparison.runs
    ]
    return {
        "notes": notes,
        "charts": made,
        "unscored": tables.unscored(comparison),
        "differences": tables.differences([(item.name, item.run.recipe) for item in comparison.runs]),
        "runs": runs,
    }


def _no_common_proxy(item: Audited) -> str:
    return (
        f"The first run's proxy cannot be computed for {item.name}: it lacks one of the scores, or the recipe's transforms "
        "are not reproduced by the recorded scores. Its proxy is left out."
    )


def _hero_lines(item: Audited, comparison: Comparison) -> list[Line]:
    lines = []
    if item.has_proxy:
        lines.append(Line(f"proxy {_at_end(item.proxy_curve)}", item.proxy_curve, charts.PROXY))
    if not item.is_own_proxy and np.isfinite(item.own_curve.mean).any():
        lines.append(Line(f"own reward {_at_end(item.own_curve)}", item.own_curve, charts.OWN, dash="dot", marker="square", is_open=True))
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
    """Only a certain fall of gold under a rising proxy has a step where the two part."""
    verdict = item.verdict
    parts = verdict.gold_fall.low > 0 and verdict.proxy_change.low > 0
    return (verdict.parting.value, verdict.parting.low, verdict.parting.high) if parts else None


def _hero_caption(item: Audited) -> str:
    verdict = item.verdict
    own = "" if item.is_own_proxy else " Dotted: this run's own reward, what it was really trained on."
    if verdict.outcome is Outcome.UNKNOWN:
        return f"Not judged: {verdict.missing}.{own}"
    if _parting(item) is None:
        return f"Proxy and gold do not part in this run: no certain fall of gold under a rising proxy.{own}"
    where = verdict.parting
    return (
        f"Blue goes up, ochre comes down: the gap is the hack. Dotted line: the step of gold's peak ({where.value:.0f}), from which "
        f"more proxy brings less gold; shaded: its 95 % interval ({where.low:.0f} to {where.high:.0f}).{own}"
    )


def _ordered_names(item: Audited) -> list[str]:
    scores = [name for name in item.run.samples.scores if name not in GOLD_NAMES]
    trained = [name for name in item.run.trained_names if name in scores]
    return [*trained, *(name for name in scores if name not in trained)]


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


def _seconds(item: Audited) -> dict[str, float]:
    spent: dict[str, float] = {}
    for row in item.run.metrics:
        for key, value in row.items():
            if key.startswith("seconds/") and value is not None:
                phase = key.removeprefix("seconds/")
                spent[phase] = spent.get(phase, 0.0) + float(value)
    return spent


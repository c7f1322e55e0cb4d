"""Sections that show things rather than curves: verdicts, images, task types, offenders, and the record of the run."""

from typing import Any

import numpy as np
import yaml

from pyrite.audit.analysis import Audited, Comparison
from pyrite.audit.report import charts, pictures, tables
from pyrite.audit.report.charts import Chart
from pyrite.audit.verdict import Outcome, sentence

KINDS = {
    Outcome.HACKED: "hacked",
    Outcome.COLLAPSE: "collapse",
    Outcome.NOT_SEEN: "clear",
    Outcome.UNKNOWN: "unknown",
}

Section = dict[str, Any]


def verdicts(comparison: Comparison) -> list[dict[str, str]]:
    """One sentence per run, the plain one first."""
    found = []
    for item in comparison.runs:
        words = sentence(item.verdict, "The proxy" if item.is_own_proxy else "Its own reward")
        outcome = item.verdict.outcome
        found.append({"name": item.name, "kind": KINDS[outcome], "word": outcome.value, "sentence": words})
    return found


def proxy_sentence(comparison: Comparison) -> str:
    """What the proxy of this page is."""
    if comparison.proxy is None:
        return "Nothing says which of the scores was trained on, so no proxy is shown: name it with `proxy`."
    where = "" if len(comparison.runs) == 1 else ", computed alike for every run"
    return f"The proxy is what {comparison.first.name} was trained on{where}: {comparison.proxy.label}."


def images(comparison: Comparison) -> Section:
    """The grid of images over training, runs side by side."""
    with_images = [item for item in comparison.runs if pictures.steps_with_images(item.run.samples)]
    names = {item.name for item in with_images}
    notes = [f"{item.name} kept no images." for item in comparison.runs if item.name not in names]
    columns, rows = pictures.grid(
        [item.run for item in with_images],
        [item.proxy for item in with_images],
        num_rows=8,
        num_columns={1: 9, 2: 6}.get(len(with_images), 4),
    )
    if with_images and not rows:
        notes.append("No prompt and seed was kept at every step shown, so images over training cannot be compared.")
    return {
        "notes": notes,
        "columns": [(item.name, steps) for item, steps in zip(with_images, columns, strict=False)],
        "rows": rows,
        "has_gold": comparison.has_gold,
        "caption": "Look for what the proxy pays for: extra or repeated objects, loud colours, fragments of objects.",
    }


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
    notes = [f"{item.name}: {note}" for item in comparison.runs for note in item.run.notes]
    notes += [f"{name} records no seconds per phase." for name in seconds if name not in known]
    made = []
    if known:
        total = ", ".join(f"{name} {sum(phases.values()):.0f} s" for name, phases in known.items())
        caption = f"Share of the time each phase took; in all: {total}."
        figure, height = charts.seconds_per_phase(known), 96 + 44 * len(known)
        made.append(Chart("seconds", figure, "Seconds per phase", caption, height, charts.phase_key(known)))
    return {
        "notes": notes,
        "charts": made,
        "unscored": tables.unscored(comparison),
        "differences": tables.differences([(item.name, item.run.recipe) for item in comparison.runs]),
        "runs": [
            {
                "name": item.name,
                "recipe": _yaml(item) if item.run.recipe else "",
                "provenance": tables.flatten(item.run.environment),
            }
            for item in comparison.runs
        ],
    }


def _yaml(item: Audited) -> str:
    return yaml.safe_dump(dict(item.run.recipe), sort_keys=False, allow_unicode=True)


def _seconds(item: Audited) -> dict[str, float]:
    spent: dict[str, float] = {}
    for row in item.run.metrics:
        for key, value in row.items():
            if key.startswith("seconds/") and np.isfinite(value):
                phase = key.removeprefix("seconds/")
                spent[phase] = spent.get(phase, 0.0) + float(value)
    return spent

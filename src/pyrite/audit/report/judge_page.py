"""One offline page about a judge of artifacts, from the folder of `pyrite judge classify`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.audit.report import judge_charts
from pyrite.audit.report.page import render
from pyrite.audit.report.pictures import Picture, thumbnail
from pyrite.audit.report.tables import MISSING, number
from pyrite.records.jsonl import read_jsonl, write_atomically

_MOST_MISTAKES = 8
_CONTENTS = (
    ("numbers", "Numbers"),
    ("calibration", "Calibration"),
    ("robustness", "Asked otherwise"),
    ("kinds", "By kind"),
    ("mistakes", "Worst mistakes"),
    ("record", "What was asked"),
)


@dataclass(frozen=True)
class Mistake:
    """One image on the wrong side of the threshold."""

    name: str
    picture: Picture
    prob: float
    kind: str
    prompt: str


def write_judge_page(folder: Path, out: Path) -> Path:
    """Write the page of a folder whose two files were just written here: the images they name are put into it.

    Args:
        folder: with results.json and samples.jsonl.
        out: the HTML file.

    Raises:
        RunFolderError: a file cannot be read or written.
    """
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    samples, _ = read_jsonl(folder / "samples.jsonl")
    labels = np.array([row["label"] for row in samples], np.float64)
    prob, calibrated = (
        np.array([np.nan if row[name] is None else row[name] for row in samples], np.float64)
        for name in ("prob_artifact", "calibrated")
    )
    threshold = results["threshold"]
    conditions = results["conditions"]
    notes = [*results["split"]["shortcomings"], *_reasons(results["metrics"])]
    if num := len(results["set"]["skipped"]):
        notes.append(f"{num} entries of the set were left out as bad (--skip-bad); results.json lists them.")
    context: dict[str, Any] = {
        "title": f"The judge {results['judge']['name']} on {Path(results['set']['path']).name}",
        "sentence": _sentence(results),
        "notes_list": notes,
        "contents": _CONTENTS,
        "metrics": judge_charts.metric_table(results),
        "confusion": judge_charts.confusion_table(results["confusion"], threshold),
        "unscored": judge_charts.unscored_table(results["unscored"]),
        "charts_list": [
            judge_charts.reliability_chart(results, labels, calibrated),
            judge_charts.histogram(labels, prob, threshold),
        ],
        "calibration_sentence": _calibration(results["calibration"]),
        "conditions": judge_charts.condition_table(conditions),
        "skipped_conditions": _not_asked(conditions),
        "legend": [(one["name"], one["what"]) for one in conditions if "skipped" not in one],
        "kinds": judge_charts.kind_table(results["kinds"]),
        "mistakes": (
            ("Artifacts that were missed", _mistakes(samples, 1, threshold)),
            ("False alarms", _mistakes(samples, 0, threshold)),
        ),
        "question": results["question"],
        "facts": _facts(results),
        "quiet_cells": (MISSING,),
        "version": metadata.version("pyrite"),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    write_atomically(out, render(context, "judge.html.j2"))
    return out


def _sentence(results: Mapping[str, Any]) -> str:
    counts, metrics = results["counts"], results["metrics"]
    part = {"all": "of all parts"}.get(results["split"]["part"], f"of the part “{results['split']['part']}”")
    num = counts["positive"] + counts["negative"]
    right = judge_charts.interval(metrics["accuracy"])
    told = f"Right about {right} of {num} images {part} ({counts['positive']} with artifacts)"
    if metrics["roc_auc"]["estimate"] is not None:
        told += f"; it ranks an image with artifacts above one without in {judge_charts.interval(metrics['roc_auc'])}"
    silent = f" {counts['unscored']} images got no answer and are in no number." if counts["unscored"] else ""
    return f"{told}.{silent}"


def _reasons(metrics: Mapping[str, Any]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, value in metrics.items():
        if value["reason"]:
            by_reason.setdefault(value["reason"], []).append(name.replace("_", " "))
    return [f"No interval, or no number, for {', '.join(names)}: {why}." for why, names in by_reason.items()]


def _not_asked(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for one in conditions:
        if "skipped" in one:
            by_reason.setdefault(one["skipped"], []).append(one["name"])
    return [f"Not asked: {', '.join(names)}, because {why}." for why, names in by_reason.items()]


def _calibration(found: Mapping[str, Any]) -> str:
    if found["temperature"] is None:
        return f"No temperature was fitted: {found['reason']}."
    fitted_on = found["fitted_on"]
    num = fitted_on["positive"] + fitted_on["negative"]
    bound = f" It stands at the end of its range: {found['reason']}." if found["reason"] else ""
    return (
        f"The temperature is {found['temperature']:.3g}, fitted on the {num} answered validation images, none of which "
        f"is measured here. Above 1 the judge was too sure of itself, below 1 not sure enough.{bound}"
    )


def _mistakes(samples: Sequence[Mapping[str, Any]], label: int, threshold: float) -> list[Mistake]:
    """The images of a label that are furthest on the wrong side, the worst first."""
    wrong = [
        row
        for row in samples
        if row["label"] == label
        and row["prob_artifact"] is not None
        and (row["prob_artifact"] >= threshold) != bool(label)
    ]
    wrong.sort(key=lambda row: (row["prob_artifact"] if label else -row["prob_artifact"], row["id"]))
    return [
        Mistake(row["id"], thumbnail(Path(row["image"])), row["prob_artifact"], row["kind"], row["prompt"])
        for row in wrong[:_MOST_MISTAKES]
    ]


def _facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    judge, split, of_set = results["judge"], results["split"], results["set"]
    options = {name: value for name, value in judge["options"].items() if name != "question"}
    sizes = ", ".join(f"{name} {num}" for name, num in split["num"].items())
    return [
        ("judge", judge["name"]),
        ("weights", judge["revision"]),
        *((name, str(value)) for name, value in options.items()),
        ("set", of_set["path"]),
        ("sha256 of the set", of_set["sha256"]),
        ("images", f"{of_set['num_examples']} ({sizes}), split with seed {split['seed']}"),
        ("key in the score store", judge["key"]),
        ("chance", f"a judge that knows nothing: balanced accuracy {number(0.5)}, AUC {number(0.5)}"),
    ]

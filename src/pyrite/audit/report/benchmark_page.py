"""One offline page about a set of images and a benchmark, from the folder of `pyrite evaluate --benchmark`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pyrite.audit.report import benchmark_charts
from pyrite.audit.report.charts import RUN_COLOURS
from pyrite.audit.report.page import render
from pyrite.audit.report.pictures import Picture, thumbnail
from pyrite.audit.report.tables import MISSING, number
from pyrite.evaluation.benchmarks.tables import judge_name, judge_names
from pyrite.records.jsonl import read_jsonl, write_atomically

_MOST_IMAGES = 4
_LONGEST_WORDS = 400
_CONTENTS = (
    ("scores", "Scores"),
    ("agreement", "Agreement"),
    ("images", "Worst and best"),
    ("missing", "What is missing"),
    ("record", "Settings"),
)


@dataclass(frozen=True)
class Shown:
    """One image with what the judge said of it."""

    name: str
    picture: Picture
    score: float
    marks: str
    prompt: str
    explanation: str
    words: str


@dataclass(frozen=True)
class Best:
    """The ends of one category."""

    category: str
    worst: Sequence[Shown]
    best: Sequence[Shown]


def write_benchmark_page(folder: Path, out: Path) -> Path:
    """Write the page of a folder whose files were just written here: the images they name are put into it.

    Args:
        folder: with results.json and samples.jsonl.
        out: the HTML file.

    Raises:
        RunFolderError: a file cannot be read or written.
    """
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    samples, _ = read_jsonl(folder / "samples.jsonl")
    names = _names(results)
    all_of_them = list(zip(names, [results, *results["against"]], strict=True))
    judges = judge_names([one["examiner"] for _, one in all_of_them])
    context: dict[str, Any] = {
        "title": f"{Path(results['images']).name or results['images']}: {results['benchmark']}",
        "summary": results["summary"],
        "sentence": _sentence(results),
        "notes_list": [*_notes(results), *_others(results, names[1:])],
        "contents": _CONTENTS,
        "charts_list": [benchmark_charts.bars(all_of_them[: len(RUN_COLOURS)])],
        "scores": benchmark_charts.score_table(results),
        "beside": benchmark_charts.beside_table(all_of_them, judges),
        "repeats": benchmark_charts.repeat_table(results["repeats"]),
        "repeats_sentence": _repeated(results["repeats"]),
        "agreement": benchmark_charts.agreement_table(results["against"], names[1:]),
        "categories": [_ends(row["name"], samples) for row in results["categories"]],
        "missing": benchmark_charts.missing_table(results["missing"]),
        "facts": _facts(results),
        "quiet_cells": (MISSING,),
        "version": metadata.version("pyrite"),
    }
    write_atomically(out, render(context, "benchmark.html.j2"))
    return out


def _sentence(results: Mapping[str, Any]) -> str:
    overall = results["overall"]
    judge = judge_name(results["examiner"])
    if overall["score"] is None:
        return f"No overall score: {overall['reason']}. Judged by {judge}."
    ends = (
        f", 95\u00a0% interval {number(overall['low'], 3)} to {number(overall['high'], 3)}"
        if overall["low"] is not None
        else ""
    )
    return f"{number(overall['score'], 3)} overall{ends}, judged by {judge}."


def _notes(results: Mapping[str, Any]) -> list[str]:
    notes = [f"{note[0].upper()}{note[1:]}." for note in results["notes"]]
    if results["examiner"].get("question_is_published") is False:
        notes.append(
            "The judge was asked another question than the published one, so the scores compare only with each other."
        )
    if results["reading"].get("mode") == "reference":
        notes.append(
            "Replies were read as the published code reads them, which takes one verdict where several are given."
        )
    reasons: dict[str, list[str]] = {}
    for row in [*results["categories"], results["overall"]]:
        if row["score"] is not None and row["reason"]:
            reasons.setdefault(row["reason"], []).append(row["name"])
    return notes + [f"No interval for {', '.join(names)}: {why}." for why, names in reasons.items()]


def _others(results: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    swapped = [name for one, name in zip(results["against"], names, strict=True) if not one["same_examiner"]]
    if not swapped:
        return []
    return [
        f"{', '.join(swapped)}: judged otherwise than {_names(results)[0]}, so a difference may be that of the judges."
    ]


def _names(results: Mapping[str, Any]) -> list[str]:
    """The last part of each path, with the judge or else the folder where two would be the same."""
    all_of_them = [results, *results["against"]]
    short = [Path(one["images"]).name or one["images"] for one in all_of_them]
    judges = judge_names([one["examiner"] for one in all_of_them])
    named = [f"{name}, {judge}" if short.count(name) > 1 else name for name, judge in zip(short, judges, strict=True)]
    places = ["", *(Path(one["folder"]).name for one in results["against"])]
    return [
        f"{name} ({place})" if place and named.count(name) > 1 else name
        for name, place in zip(named, places, strict=True)
    ]


def _repeated(repeats: Mapping[str, Any] | None) -> str:
    if repeats is None:
        return ""
    known = [number(value, 3) for value in repeats["overall"] if value is not None]
    if len(known) < repeats["num"]:
        return "Not every repeat has an overall score, because images are missing from it."
    return f"Overall scores of the repeats: {', '.join(known)}. The first one is reported."


def _ends(category: str, samples: Sequence[Mapping[str, Any]]) -> Best:
    """The images of a category at both ends, none of them twice."""
    rows = [row for row in samples if row["category"] == category and row["score"] is not None]
    rows.sort(key=lambda row: row["score"])
    worst = rows[: min(_MOST_IMAGES, len(rows) // 2)]
    best = rows[len(worst) :][::-1][:_MOST_IMAGES]
    return Best(category, [_shown(row) for row in worst], [_shown(row) for row in best])


def _shown(row: Mapping[str, Any]) -> Shown:
    # What came with official files names images on somebody's disk: nobody has looked whether they are those.
    picture = thumbnail(Path(row["image"])) if row["image_sha256"] else Picture("", "not looked at here")
    marks = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in row["values"].items())
    words = row["words"] if len(row["words"]) <= _LONGEST_WORDS else f"{row['words'][:_LONGEST_WORDS]}…"
    return Shown(
        row["id"],
        picture,
        row["score"],
        marks if len(row["values"]) > 1 else "",
        row["prompt"],
        row["explanation"],
        words,
    )


def _facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    prompts = results["prompts"]
    spent = {name.replace("_", " "): f"{value:g}" for name, value in results["spent"].items()}
    return [
        ("benchmark", f"{results['benchmark']} ({', '.join(results['cites'])})"),
        ("images", results["images"]),
        ("prompts", f"{prompts['num']} of {prompts['num_official']}, sha256 {prompts['sha256']}"),
        *((f"judge: {name}", str(value)) for name, value in results["examiner"].items()),
        *((f"reading: {name}", str(value)) for name, value in results["reading"].items()),
        *spent.items(),
    ]

"""What an evaluation says, as files: results.json, samples.jsonl, the official ones."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrite.core.errors import RunFolderError
from pyrite.evaluation.benchmarks.compare import agreement, repeatability
from pyrite.evaluation.benchmarks.folder import OFFICIAL, RESULTS, SAMPLES
from pyrite.evaluation.benchmarks.protocol import Benchmark, CategoryScore
from pyrite.evaluation.benchmarks.run import Seen
from pyrite.records.jsonl import JsonLines, read_jsonl, teaching_os_errors, write_atomically, write_json

_MOST_REASONS = 20


def write_results(
    benchmark: Benchmark,
    seen: Seen,
    out: Path,
    *,
    examiner: Mapping[str, Any],
    images: str,
    notes: Sequence[str] = (),
    against: Sequence["Other"] = (),
) -> dict[str, Any]:
    """Write everything that is made from the evidence but the page and the tables.

    Args:
        benchmark: adds up.
        seen: what there is.
        out: the folder.
        examiner: who looked, as `evaluation.json` has it.
        images: where they are, or what drew them, in words.
        notes: what has to be said besides.
        against: other evaluations.

    Returns:
        What results.json holds.

    Raises:
        RunFolderError: a file cannot be written.
    """
    with teaching_os_errors(f"write into {out}"):
        (out / OFFICIAL).mkdir(parents=True, exist_ok=True)
    tables = [benchmark.result(seen.cases, judged) for judged in seen.judged]
    rows = _rows(seen)
    results = {
        "benchmark": tables[0].label or benchmark.name,
        "member": benchmark.name,
        "summary": benchmark.summary,
        "cites": list(benchmark.cites),
        "examiner": dict(examiner),
        "reading": dict(benchmark.reading),
        "images": images,
        "prompts": {"num": len(seen.cases), "num_official": benchmark.num_official, "sha256": _digest(seen)},
        "is_complete": not seen.missing and len(seen.cases) == benchmark.num_official,
        "overall": _score(tables[0].overall),
        "categories": [_score(one) for one in tables[0].categories],
        "missing": [{"id": name, "reason": why} for name, why in seen.missing.items()],
        "repeats": repeatability(seen.judged, [one.overall.score.estimate for one in tables]),
        "against": [_beside(examiner, rows, other) for other in against],
        "spent": dict(seen.spent),
        "notes": [*notes, *tables[0].notes],
    }
    _replace_lines(out / SAMPLES, rows)
    for name, text in benchmark.official_files(seen.cases, seen.judged[0]).items():
        write_atomically(out / OFFICIAL / name, text)
    write_json(out / RESULTS, results)
    loaded: dict[str, Any] = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    return loaded


def read_results(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """results.json and samples.jsonl of a folder.

    Raises:
        RunFolderError: one is missing or cannot be read.
    """
    try:
        results = json.loads((path / RESULTS).read_text(encoding="utf-8"))
        results["member"], results["overall"], results["categories"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} has no {RESULTS} of an evaluation that could be compared ({error}). Give the folder that another "
            "`pyrite evaluate --benchmark` wrote as --out."
        ) from error
    return results, read_jsonl(path / SAMPLES)[0]


@dataclass(frozen=True)
class Other:
    """Another evaluation by the same benchmark.

    Args:
        folder: it lies in.
        results: its results.json.
        samples: its samples.jsonl.
    """

    folder: Path
    results: Mapping[str, Any]
    samples: Sequence[Mapping[str, Any]]


def read_others(name: str, folders: Sequence[Path]) -> list[Other]:
    """The evaluations that are to stand beside one by the benchmark `name`.

    Raises:
        RunFolderError: a folder cannot be read, or holds one by another benchmark.
    """
    found = [Other(folder, *read_results(folder)) for folder in folders]
    for one in found:
        if one.results["member"] != name:
            raise RunFolderError(
                f"{one.folder} holds '{one.results['benchmark']}', and this is '{name}': their scores are different "
                "things. Take it out of --against."
            )
    return found


def reasons_of(missing: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Each reason with the ids it holds for, the most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for one in missing:
        by_reason.setdefault(one["reason"], []).append(one["id"])
    ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    return [{"reason": why, "ids": ids} for why, ids in ordered[:_MOST_REASONS]]


def _rows(seen: Seen) -> list[dict[str, Any]]:
    return [
        {
            "id": one.work.case.prompt.id,
            "n": one.work.n,
            "prompt": one.work.case.prompt.text,
            "explanation": one.work.case.prompt.explanation,
            "category": one.work.case.category,
            "image": str(one.work.path),
            "image_sha256": one.work.image_sha256,
            "score": one.verdict.score,
            "reason": one.verdict.reason,
            "values": dict(one.verdict.values),
            "words": one.verdict.words,
            **({"repeats": [items[place].verdict.score for items in seen.judged]} if len(seen.judged) > 1 else {}),
        }
        for place, one in enumerate(seen.judged[0])
    ]


def _score(row: CategoryScore) -> dict[str, Any]:
    score = row.score
    return {
        "name": row.name,
        "score": score.estimate,
        "low": score.low,
        "high": score.high,
        "reason": score.reason,
        "num_judged": row.num_judged,
        "num_expected": row.num_expected,
        "mean_of_judged": row.mean_of_judged,
        "values": dict(row.values),
    }


def _beside(examiner: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], other: Other) -> dict[str, Any]:
    """Another evaluation: its table, whether its numbers compare, and how far two judges agree on the same images."""
    same_examiner = other.results["examiner"] == json.loads(json.dumps(dict(examiner)))
    return {
        "folder": str(other.folder),
        "images": other.results["images"],
        "examiner": other.results["examiner"],
        "same_examiner": same_examiner,
        "overall": other.results["overall"],
        "categories": other.results["categories"],
        "agreement": None if same_examiner else agreement(_as_read(rows), other.samples),
    }


def _as_read(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "score": None if math.isnan(row["score"]) else row["score"]} for row in rows]


def _digest(seen: Seen) -> str:
    facts = [[case.prompt.id, case.prompt.text, case.prompt.explanation] for case in seen.cases]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _replace_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    with teaching_os_errors(f"write {path}"):
        unfinished.unlink(missing_ok=True)
        lines = JsonLines(unfinished)
        try:
            lines.append(rows)
            lines.sync()
        finally:
            lines.close()
        unfinished.replace(path)

"""The folder that `pyrite judge classify` leaves behind; its page is made by `pyrite.audit.report.judge_page`.

    OUT/
      samples.jsonl     one object per image that was measured, in the order of the split
      results.json      what was asked of whom, every number with its interval, why images have no answer
      report.html       the page

Nothing in them differs between two runs: what was asked and paid is told on the terminal.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.artifact.classified import Classified, OfKind, Varied
from pyrite.artifact.data import CuratedSet, Split
from pyrite.core.errors import RunFolderError
from pyrite.records.jsonl import teaching_os_errors, write_atomically, write_json
from pyrite.records.stored import file_key
from pyrite.stats.classification import THRESHOLD, bins
from pyrite.stats.intervals import Interval
from pyrite.stats.proportions import share

SAMPLES, RESULTS, PAGE = "samples.jsonl", "results.json", "report.html"
FORMAT = "pyrite-judge-classification/1"

_MOST_REASONS = 20


@dataclass(frozen=True)
class Request:
    """What is to be measured, as results.json says it; another request does not overwrite its results.

    Args:
        curated: the set.
        split: of it.
        shares: of train, validation and test.
        seed: of the split.
        part: of the split.
        judge: name, store key and settings of the reward that is asked.
        question: what it is asked; empty if it reads none.
    """

    curated: CuratedSet
    split: Split
    shares: tuple[float, float, float]
    seed: int
    part: str
    judge: Mapping[str, Any]
    question: str

    def facts(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "set": {
                "path": str(self.curated.path),
                "sha256": file_key(self.curated.path.read_bytes()),
                "num_examples": len(self.curated.examples),
                "skipped": dict(self.curated.skipped),
            },
            "split": {
                "part": self.part,
                "shares": list(self.shares),
                "seed": self.seed,
                "num": {name: len(part) for name, part in self.split.parts.items()},
                "shortcomings": list(self.split.shortcomings),
            },
            "judge": dict(self.judge),
            "question": self.question,
        }


def refuse_other_results(folder: Path, request: Request) -> None:
    """Look at what is in the folder before anything is asked.

    Raises:
        RunFolderError: it holds something else, or results of another request.
    """
    path = folder / RESULTS
    if not path.exists():
        if (folder / SAMPLES).exists():
            raise RunFolderError(
                f"{folder} holds a {SAMPLES} of something else, which would be overwritten. Choose another folder: "
                "--out FOLDER."
            )
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        is_ours = before["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours:
        raise RunFolderError(
            f"{path} is of something else, and would be overwritten. Choose another folder: --out FOLDER."
        )
    now = json.loads(json.dumps(request.facts()))
    changed = [name for name, value in now.items() if before.get(name) != value]
    if changed:
        name = changed[-1]  # the question, where that is what differs: it is also part of the judge's key
        raise RunFolderError(
            f"{folder} holds the results of another request: {_difference(name, before.get(name), now[name])}. Choose "
            "another folder for this one (--out FOLDER), or remove that one."
        )


def write_results(folder: Path, request: Request, found: Classified) -> dict[str, Any]:
    """Put the two files in place and return what results.json holds.

    Raises:
        RunFolderError: they cannot be written.
    """
    results: dict[str, Any] = {
        "format": FORMAT,
        **request.facts(),
        "counts": found.counts._asdict(),
        "threshold": THRESHOLD,
        "metrics": {name: _interval(value) for name, value in found.metrics.items()},
        "confusion": found.confusion._asdict(),
        "unscored": [{"reason": why, "num": num, "first": first} for why, num, first in found.unscored[:_MOST_REASONS]],
        "reliability": _reliability(found),
        "calibration": {
            "temperature": found.calibration.temperature.value,
            "reason": found.calibration.temperature.reason,
            "fitted_on": found.calibration.fitted_on._asdict(),
            "change": {name: _interval(value) for name, value in found.calibration.change.items()},
        },
        "conditions": [_varied(varied) for varied in found.varied],
        "kinds": [_kind(kind) for kind in found.kinds],
    }
    rows = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in _rows(found))
    with teaching_os_errors(f"make the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / SAMPLES, rows)
    write_json(folder / RESULTS, results)
    loaded: dict[str, Any] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    return loaded


def _rows(found: Classified) -> list[dict[str, Any]]:
    answers = found.answers
    asked = [varied for varied in found.varied if varied.answers is not None]
    rows = []
    for number, example in enumerate(found.examples):
        reason = answers.reasons.get(number)
        rows.append(
            {
                "id": example.id,
                "image": str(example.image.absolute()),
                "label": int(example.has_artifact),
                "pair_id": example.pair_id,
                "kind": example.kind,
                "severity": example.severity,
                "prompt": example.prompt,
                "prob_artifact": _number(answers.prob[number]),
                "calibrated": _number(found.calibration.prob[number]),
                "reason": reason,
                "details": {name: _number(column[number]) for name, column in answers.details.items()},
                "conditions": {
                    varied.condition.name: _number(varied.answers.prob[number])
                    for varied in asked
                    if varied.answers is not None
                },
            }
        )
    return rows


def _varied(varied: Varied) -> dict[str, Any]:
    condition, answers = varied.condition, varied.answers
    said = {"name": condition.name, "what": condition.what, "question": condition.question}
    if answers is None:
        return {**said, "skipped": varied.skipped}
    return {
        **said,
        "metrics": {name: _interval(value) for name, value in varied.metrics.items()},
        "change": {name: _interval(value) for name, value in varied.change.items()},
        "turned": varied.turned,
        "both": varied.both,
        "unscored": len(answers.reasons),
    }


def _reliability(found: Classified) -> dict[str, Any]:
    """The curve, each share with Wilson's interval over pairs."""
    curve = found.reliability
    known = ~np.isnan(found.answers.prob)
    labels = np.array([float(example.has_artifact) for example in found.examples])[known]
    groups = np.array([example.group for example in found.examples], dtype=np.str_)[known]
    bin_of = bins(found.answers.prob[known])
    ends = [share(labels[bin_of == number], clusters=groups[bin_of == number]) for number in range(len(curve.counts))]
    return {
        "edges": curve.edges,
        "promised": curve.promised,
        "came": curve.came,
        "counts": curve.counts,
        "low": [one.low for one in ends],
        "high": [one.high for one in ends],
    }


def _kind(kind: OfKind) -> dict[str, Any]:
    return {
        "kind": kind.kind,
        "label": int(kind.has_artifact),
        "num": kind.counts.positive + kind.counts.negative,
        "unscored": kind.counts.unscored,
        "right": kind.right,
        "mean_prob": kind.mean_prob,
        "auc": kind.auc,
    }


def _interval(value: Interval) -> dict[str, Any]:
    return {"estimate": value.estimate, "low": value.low, "high": value.high, "reason": value.reason}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _difference(name: str, before: Any, now: Any) -> str:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        key = next(key for key in now if before.get(key) != now[key])
        return f"{name} {key} was {str(before.get(key))[:100]!r}, is {str(now[key])[:100]!r}"
    return f"{name} was {str(before)[:100]!r}, is {str(now)[:100]!r}"

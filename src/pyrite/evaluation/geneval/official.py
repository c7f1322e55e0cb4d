"""GenEval's results.jsonl: a line per image with whether it is right, and why not. Written and read.

The keys are those of evaluate_images.py: filename, tag, prompt, correct, reason, and `metadata` and `details` as JSON
within JSON. Images that could not be judged have no line: the official code would have stopped at them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrite.core.errors import ImageSetError
from pyrite.evaluation.benchmarks.protocol import Case, Judged, Verdict, Work
from pyrite.evaluation.geneval.evidence import read_evidence
from pyrite.evaluation.geneval.rules import Rules, kept_objects
from pyrite.records.jsonl import teaching_os_errors

RESULTS = "results.jsonl"
_MOST_LISTED = 10


@dataclass(frozen=True)
class OfficialRow:
    """One line of a results.jsonl.

    Args:
        prompt: its text.
        path: of the image, as it stands there.
        is_correct: what the official code said.
        reason: in its words.
    """

    prompt: str
    path: Path
    is_correct: bool
    reason: str


def results_file(judged: Sequence[Judged], rules: Rules) -> str:
    """The text of results.jsonl, of the images that have a verdict."""
    lines = []
    for one in judged:
        if one.verdict.reason:
            continue
        row: dict[str, Any] = {
            "filename": str(one.work.path),
            "tag": one.work.case.category,
            "prompt": one.work.case.prompt.text,
            "correct": bool(one.verdict.score),
            "reason": one.verdict.words,
            "metadata": json.dumps(dict(one.work.case.row)),
            "details": json.dumps(_details(one, rules)),
        }
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def _details(one: Judged, rules: Rules) -> dict[str, list[list[float]]]:
    """Class -> left, top, right, bottom and score of each box that counted."""
    if not one.evidence:
        return {}
    task, objects = read_evidence(one.evidence[-1])
    kept = kept_objects(objects, rules.confidence(task.tag), rules)
    return {name: [[*found.box, found.score] for found in boxes] for name, boxes in sorted(kept.items())}


def read_results(path: Path) -> list[OfficialRow]:
    """The lines of a results.jsonl of the official code, or of `results_file`.

    Raises:
        ImageSetError: it cannot be read, or a line is not such a one; says which.
    """
    rows, problems = [], []
    with teaching_os_errors(f"read {path}"):
        lines = path.read_bytes().decode("utf-8-sig", "replace").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(json.loads(line)))
        except (ValueError, TypeError) as error:
            problems.append(f"line {number}: {error}")
    if problems or not rows:
        listed = "".join(f"\n  - {problem}" for problem in problems[:_MOST_LISTED])
        raise ImageSetError(
            f"{path} is no results.jsonl of GenEval: {len(problems)} of its lines cannot be read.{listed}\nEach line "
            'is an object such as {"filename": "00000/samples/0000.png", "tag": "colors", "prompt": "a photo of a red '
            'bench", "correct": true, "reason": ""}. Repair them, or make the file again.'
        )
    return rows


def _row(value: Any) -> OfficialRow:
    if not isinstance(value, Mapping):
        raise TypeError(f"it is {type(value).__name__}, not an object")
    for key in ("filename", "prompt"):
        if not isinstance(value.get(key), str) or not value[key]:
            raise TypeError(f"it has no text under '{key}'")
    if value.get("correct") not in (True, False):
        raise TypeError(f"'correct' is {value.get('correct')!r}, not true or false")
    return OfficialRow(value["prompt"], Path(value["filename"]), bool(value["correct"]), str(value.get("reason") or ""))


def judged_from(path: Path, cases: Sequence[Case]) -> list[Judged]:
    """Official results as verdicts, in the order of the prompts and then of the images' names.

    Raises:
        ImageSetError: it cannot be read, a prompt is none of the benchmark's, or an image comes twice.
    """
    case_of = {case.prompt.text: case for case in cases}
    by_prompt: dict[str, list[OfficialRow]] = {}
    strange, seen = [], set()
    for row in read_results(path):
        if row.prompt not in case_of:
            strange.append(row.prompt)
        if row.path in seen:
            raise ImageSetError(f"{path} has two lines about {row.path}, and both cannot count. Keep one.")
        seen.add(row.path)
        by_prompt.setdefault(row.prompt, []).append(row)
    if strange:
        raise ImageSetError(
            f"{path}: {len(strange)} of its images are of prompts that the benchmark does not have (the first: "
            f"'{strange[0][:80]}'), so they were judged by other metadata. Give the metadata they were judged by: "
            "--source."
        )
    return [
        Judged(Work(case, row.path, n=n), Verdict(float(row.is_correct), words=row.reason))
        for text, case in case_of.items()
        for n, row in enumerate(sorted(by_prompt.get(text, []), key=lambda row: _order(row.path)))
    ]


def _order(path: Path) -> tuple[int, str]:
    return int(path.stem) if path.stem.isascii() and path.stem.isdigit() else 0, path.name

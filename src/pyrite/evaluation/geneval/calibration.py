"""How far GenEval's numbers depend on the detector: the tasks at other thresholds, and agreement with official results.

All of it is read from stored detections. Thresholds that the published rules do not use give no GenEval score; they
show how far one would move if this detector were a little surer, or less sure, than the published one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pyrite.evaluation.benchmarks.protocol import Judged
from pyrite.evaluation.geneval.evidence import read_evidence, why_empty
from pyrite.evaluation.geneval.rules import TAGS, Rules, judge
from pyrite.stats.agreement import weighted_kappa

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Place = tuple[str, int]
"""Id of the prompt and number of the image."""


def calibration(
    judged: Sequence[Judged], rules: Rules, *, min_score: float, official: Sequence[Judged] | None = None
) -> dict[str, Any]:
    """Scores of every task at every threshold, and agreement with official verdicts on the same images, as JSON.

    Args:
        judged: one per image, with its evidence.
        rules: whose other numbers hold throughout.
        min_score: the detector kept no box below it, so no lower threshold is tried.
        official: verdicts of the official code on the same images.
    """
    seen = {_place(one): read_evidence(one.evidence[-1]) for one in judged if not why_empty(one.evidence)}
    told = {_place(one): one.verdict.score for one in official or ()}
    tags = [tag for tag in TAGS if any(one.work.case.category == tag for one in judged)]
    asked = {rules.threshold, rules.counting_threshold, *(value for value in THRESHOLDS if value >= min_score)}
    rows = []
    for threshold in sorted(asked):
        at = replace(rules, threshold=threshold, counting_threshold=threshold)
        verdicts: dict[str, dict[Place, float]] = {tag: {} for tag in tags}
        for place, (task, objects) in seen.items():
            if (is_correct := judge(task, objects, at).is_correct) is not None:
                verdicts[task.tag][place] = float(is_correct)
        rows.append({
            "threshold": threshold,
            "tasks": {tag: _task(verdicts[tag], told, is_used=threshold == rules.confidence(tag)) for tag in tags},
        })  # fmt: skip
    ours = {_place(one): one.verdict.score for one in judged if not one.verdict.reason}
    by_tag = {tag: [_place(one) for one in judged if one.work.case.category == tag] for tag in tags}
    agreement = {tag: _agreement({place: ours[place] for place in by_tag[tag] if place in ours}, told) for tag in tags}
    return {
        "rules": vars(rules),
        "min_score": min_score,
        "num_images": len(seen),
        "thresholds": rows,
        "agreement": {**agreement, "all": _agreement(ours, told)} if official is not None else None,
    }


def _task(verdicts: Mapping[Place, float], told: Mapping[Place, float], *, is_used: bool) -> dict[str, Any]:
    score = float(np.mean(list(verdicts.values()))) if verdicts else None
    return {"score": score, "num": len(verdicts), "is_used": is_used, "kappa": _agreement(verdicts, told)["kappa"]}


def _agreement(ours: Mapping[Place, float], told: Mapping[Place, float]) -> dict[str, Any]:
    """Images judged by both, the share judged alike, and Cohen's kappa; null where it is not defined."""
    both = sorted(ours.keys() & told.keys())
    if not both:
        return {"num": 0, "same": None, "kappa": None}
    first, second = (np.array([one[place] for place in both], np.float64) for one in (ours, told))
    kappa = weighted_kappa(first, second)
    return {
        "num": len(both),
        "same": float((first == second).mean()),
        "kappa": None if np.isnan(kappa) else float(kappa),
        "only_ours": int((first > second).sum()),
        "only_official": int((first < second).sum()),
    }


def calibration_page(found: Mapping[str, Any], label: str) -> str:
    """The same as a Markdown table, for people.

    Args:
        found: of `calibration`.
        label: of the detector's results.
    """
    tags = list(found["thresholds"][0]["tasks"]) if found["thresholds"] else []
    has_kappa = found["agreement"] is not None
    lines = [
        f"# {label}: how the tasks depend on the detection threshold",
        "",
        f"{found['num_images']} images. A star marks the threshold that a task is scored at."
        + (" In brackets, Cohen's kappa with the official verdicts." if has_kappa else ""),
        "",
        _line(["threshold", *tags]),
        _line(["---:"] * (1 + len(tags))),
    ]
    for row in found["thresholds"]:
        lines.append(_line([f"{row['threshold']:g}", *(_cell(row["tasks"][tag], has_kappa) for tag in tags)]))
    if has_kappa:
        lines += ["", "| task | images | alike | kappa | right only here | right only officially |"]
        lines += [_line(["---", *["---:"] * 5])]
        for tag, one in found["agreement"].items():
            numbers = (one["same"], one["kappa"])
            told = ["-" if number is None else f"{number:.3f}" for number in numbers]
            lines.append(
                _line([tag, str(one["num"]), *told, *(str(one.get(key, 0)) for key in ("only_ours", "only_official"))])
            )
    return "\n".join(lines) + "\n"


def _cell(task: Mapping[str, Any], has_kappa: bool) -> str:
    if task["score"] is None:
        return "-"
    star = "*" if task["is_used"] else ""
    kappa = "" if not has_kappa else " (-)" if task["kappa"] is None else f" ({task['kappa']:.2f})"
    return f"{task['score']:.3f}{star}{kappa}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _place(one: Judged) -> Place:
    """The number in the file's name tells images apart, in GenEval's tree: one may be missing on either side."""
    stem = one.work.path.stem
    return one.work.case.prompt.id, int(stem) if stem.isascii() and stem.isdigit() else one.work.n

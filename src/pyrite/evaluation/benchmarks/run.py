"""Running a benchmark: look at what was not looked at, then add up what there is.

The two steps meet in the folder alone (`folder.py`), so either can be run apart, killed and given again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyrite.evaluation.benchmarks.folder import EvaluationFolder, open_folder, read_evidence
from pyrite.evaluation.benchmarks.images import FoundImages
from pyrite.evaluation.benchmarks.protocol import Benchmark, Case, Evidence, Judged, Verdict, Work

Progress = Callable[[int, int], None]
"""Called with how many images are done with and how many there are, repeats counted."""


@dataclass(frozen=True)
class Looked:
    """What was looked at.

    Args:
        num_new: replies, or other pieces of evidence, that came now.
        num_known: images of which nothing more was wanted.
        num_left: images of which something is still wanted.
        stop: why it ended early; empty if it did not.
    """

    num_new: int
    num_known: int
    num_left: int
    stop: str = ""


def facts_of(benchmark: Benchmark) -> dict[str, Any]:
    """What decides about the evidence: `evaluation.json`."""
    return {"benchmark": benchmark.name, "examiner": dict(benchmark.identity)}


def look(
    benchmark: Benchmark,
    found: FoundImages,
    out: Path,
    *,
    repeats: int = 1,
    progress: Progress = lambda done, total: None,
) -> Looked:
    """Have every image looked at `repeats` times; what there is already counts.

    Args:
        benchmark: looks.
        found: the images.
        out: the folder.
        repeats: how often.
        progress: told after each image.

    Raises:
        RunFolderError: the folder cannot be written, or holds what another judge saw.
    """
    total = repeats * len(found.work)
    with open_folder(out, facts_of(benchmark)) as folder:
        num_known = sum(not benchmark.wants(folder.evidence(one)) for one in _repeated(found.work, repeats))
        num_done = num_known
        progress(num_done, total)

        def done() -> None:
            nonlocal num_done
            num_done += 1
            progress(num_done, total)

        stop = ""
        for repeat in range(repeats):  # one after the other: a judge answers equal questions of one moment once
            stop = stop or _look_once(benchmark, found.work, repeat, folder, done)
        num_left = sum(benchmark.wants(folder.evidence(one)) for one in _repeated(found.work, repeats))
        return Looked(folder.num_new, num_known, num_left, stop)


def num_wanted(
    benchmark: Benchmark, found: FoundImages, evidence: Mapping[str, Sequence[Evidence]], repeats: int
) -> int:
    """How many images `look` would have looked at, repeats counted."""
    return sum(benchmark.wants(evidence.get(one.key, ())) for one in _repeated(found.work, repeats))


def _look_once(
    benchmark: Benchmark, work: Sequence[Work], repeat: int, folder: EvaluationFolder, done: Callable[[], None]
) -> str:
    wanted = [replace(one, repeat=repeat) for one in work]
    wanted = [one for one in wanted if benchmark.wants(folder.evidence(one))]
    return benchmark.examine(wanted, [folder.evidence(one) for one in wanted], folder.keep, done)


def _repeated(work: Sequence[Work], repeats: int) -> list[Work]:
    return [replace(one, repeat=repeat) for repeat in range(repeats) for one in work]


@dataclass(frozen=True)
class Seen:
    """Everything an evaluation rests on, read back.

    Args:
        cases: the prompts.
        judged: per repeat a verdict for every image.
        missing: id -> why its prompt has no score in the first repeat.
        spent: replies, tokens and cost of all evidence in the folder.
    """

    cases: Sequence[Case]
    judged: Sequence[Sequence[Judged]]
    missing: Mapping[str, str]
    spent: Mapping[str, float]


def read_seen(benchmark: Benchmark, cases: Sequence[Case], found: FoundImages, out: Path) -> Seen:
    """The verdicts on the images, from the evidence in a folder; asks nobody.

    Raises:
        RunFolderError: the evidence cannot be read.
    """
    evidence = read_evidence(out)
    repeats = 1
    while any(replace(one, repeat=repeats).key in evidence for one in found.work):
        repeats += 1
    judged = [
        [_judged(benchmark, one, evidence) for one in (replace(work, repeat=repeat) for work in found.work)]
        for repeat in range(repeats)
    ]
    return Seen(cases, judged, missing_of(cases, judged[0], found.missing), _spent(evidence))


def seen_officially(cases: Sequence[Case], judged: Sequence[Judged]) -> Seen:
    """The verdicts that official result files brought."""
    return Seen(cases, [judged], missing_of(cases, judged, {}, "the official files have no score of it"), {})


def missing_of(
    cases: Sequence[Case], judged: Sequence[Judged], without_image: Mapping[str, str], otherwise: str = ""
) -> dict[str, str]:
    """Id -> why a prompt has no score, in the order of the prompts."""
    found = {one.work.case.prompt.id for one in judged}
    silent = {one.work.case.prompt.id: one.verdict.reason for one in judged if one.verdict.reason}
    reasons = {**silent, **without_image}
    reasons |= {case.prompt.id: otherwise for case in cases if case.prompt.id not in {*found, *reasons}}
    return {case.prompt.id: reasons[case.prompt.id] for case in cases if case.prompt.id in reasons}


def _judged(benchmark: Benchmark, work: Work, evidence: Mapping[str, Sequence[Evidence]]) -> Judged:
    own = evidence.get(work.key, ())
    verdict = benchmark.verdict(own) if own else Verdict(float("nan"), "it has not been looked at yet")
    return Judged(work, verdict, own)


def _spent(evidence: Mapping[str, Sequence[Evidence]]) -> dict[str, float]:
    """Sums over everything that was heard; a count that is missing once makes the sum unknown and is left out."""
    heard = [one for items in evidence.values() for one in items if "failed" not in one and "unreadable" not in one]
    totals: dict[str, float] = {"replies": float(len(heard))}
    for name in ("prompt_tokens", "completion_tokens", "cost_usd"):
        if heard and all(name in one for one in heard):
            totals[name] = float(sum(one[name] for one in heard))
    return totals

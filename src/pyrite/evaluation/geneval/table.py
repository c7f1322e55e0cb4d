"""GenEval's table: the share of right images of each task, and the mean of the six; what summary_scores.py prints.

The official script takes the mean over the tasks and images that happen to be in its file. Here a task or the whole
has no number while an image that belongs to it has none.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pyrite.evaluation.benchmarks.protocol import Case, CategoryScore, Judged, Result
from pyrite.evaluation.geneval.rules import TAGS
from pyrite.stats.intervals import Interval
from pyrite.stats.proportions import share
from pyrite.stats.strata import bootstrap_strata


def table(
    cases: Sequence[Case], judged: Sequence[Judged], *, samples: int | None, label: str, notes: Sequence[str] = ()
) -> Result:
    """The official table; intervals are for other prompts of the same kind, whose images go together.

    Args:
        cases: the prompts that were asked for.
        judged: one per image.
        samples: images that each prompt has to have; None for as many as the prompt with the most has.
        label: of the results.
        notes: of the benchmark.
    """
    per_case = Counter(one.work.case.prompt.id for one in judged)
    samples = samples or max(per_case.values(), default=1)
    scored = [one for one in judged if not one.verdict.reason]
    rows = [_row(tag, cases, scored, samples) for tag in TAGS if any(case.category == tag for case in cases)]
    right = {one.work.case.prompt.id for one in scored if one.verdict.score}
    num_expected = len(cases) * samples
    values = {}
    if scored:
        values = {
            "correct_images": float(np.mean([one.verdict.score for one in scored])),
            "correct_prompts": len(right) / len({one.work.case.prompt.id for one in scored}),
        }
    overall = CategoryScore(
        "Overall", _overall(cases, scored, rows, num_expected), len(scored), num_expected, np.nan, values
    )
    return Result(rows, overall, [*notes, *_unevenness(per_case, samples), *_duplicates(judged)], label)


def _row(tag: str, cases: Sequence[Case], scored: Sequence[Judged], samples: int) -> CategoryScore:
    own = [one for one in scored if one.work.case.category == tag]
    hits = np.array([one.verdict.score for one in own], np.float64)
    num_expected = samples * sum(case.category == tag for case in cases)
    mean = float(hits.mean()) if len(hits) else np.nan
    if len(own) < num_expected:
        why = f"{num_expected - len(own)} of its {num_expected} images have no verdict"
        return CategoryScore(tag, Interval(np.nan, np.nan, np.nan, why), len(own), num_expected, mean)
    score = share(hits, clusters=np.array([one.work.case.prompt.id for one in own]))
    return CategoryScore(tag, score, len(own), num_expected, mean)


def _overall(
    cases: Sequence[Case], scored: Sequence[Judged], rows: Sequence[CategoryScore], num_expected: int
) -> Interval:
    if absent := [tag for tag in TAGS if tag not in {case.category for case in cases}]:
        why = f"no prompt is of the task {', '.join(absent)}, and the overall score is the mean of all six"
        return Interval(np.nan, np.nan, np.nan, why)
    if lacking := [row.name for row in rows if row.num_judged < row.num_expected]:
        why = (
            f"{num_expected - len(scored)} of {num_expected} images have no verdict ({', '.join(lacking)}), and the "
            "overall score weighs all tasks alike"
        )
        return Interval(np.nan, np.nan, np.nan, why)
    # Every prompt has as many images, so the mean of its prompts' means is that of its images.
    means: dict[str, dict[str, list[float]]] = {tag: {} for tag in TAGS}
    for one in scored:
        means[one.work.case.category].setdefault(one.work.case.prompt.id, []).append(one.verdict.score)
    values = {tag: np.array([np.mean(scores) for scores in prompts.values()]) for tag, prompts in means.items()}
    return bootstrap_strata(values, dict.fromkeys(TAGS, 1 / len(TAGS)), rng=np.random.default_rng(0))


def _unevenness(per_case: Counter[str], samples: int) -> list[str]:
    few = sorted(name for name, num in per_case.items() if num < samples)
    if not few:
        return []
    return [f"{len(few)} prompts have fewer than {samples} images, the first {few[0]} with {per_case[few[0]]}"]


def _duplicates(judged: Sequence[Judged]) -> list[str]:
    """Files that are the same to the byte: a model that draws an image twice has fewer samples than files."""
    places: dict[str, list[str]] = {}
    for one in judged:
        if one.work.image_sha256:
            places.setdefault(one.work.image_sha256, []).append(str(one.work.path))
    same = [paths for paths in places.values() if len(paths) > 1]
    if not same:
        return []
    num = sum(len(paths) - 1 for paths in same)
    return [
        f"{num} images are copies of others to the byte, such as {same[0][0]} and {same[0][1]}; each counts, as in the "
        "official code, but a seed may have been used twice"
    ]

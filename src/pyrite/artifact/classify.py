"""How good a judge of artifacts is on labelled images: asked, compared with the labels, calibrated, asked otherwise.

The images of the part that is measured are asked about as they are, then under each condition of `conditions.py`; those
of the validation part are asked about once, to fit the temperature. Nothing is fitted on what is measured. Answers go
through the judge's store, so the same call continues where another was killed and repeats no call that was answered.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pyrite.artifact.classified import Answers, Calibration, Classified, OfKind, Spent, Varied
from pyrite.artifact.conditions import Condition
from pyrite.artifact.data import Example, Split
from pyrite.artifact.judges import RewardJudge
from pyrite.artifact.measures import COMPARED, Labelled, differences, measured
from pyrite.core.errors import RewardError
from pyrite.core.types import FloatArray, Image
from pyrite.records.image_files import bombs_are_errors, open_image
from pyrite.stats.classification import (
    THRESHOLD,
    Counts,
    Temperature,
    confusion,
    count,
    fit_temperature,
    reliability,
    rescaled,
    roc_auc,
)

PARTS = ("test", "validation", "train", "all")

Progress = Callable[[int, int], None]
"""How many images have been asked about, under all conditions, and how many there are."""

_AT_ONCE = 64


def part_of(split: Split, name: str) -> tuple[Example, ...]:
    """The examples of one of `PARTS`."""
    return split.train + split.validation + split.test if name == "all" else split.parts[name]


def classify(
    judge: RewardJudge,
    question: str,
    split: Split,
    *,
    part: str = "test",
    varied: Sequence[Condition] = (),
    progress: Progress | None = None,
) -> Classified:
    """Measure a judge on one part of a split.

    Args:
        judge: who is asked.
        question: what is asked.
        split: of a curated set.
        part: of `PARTS`; on "validation" and "all" no temperature is fitted, for it would be fitted on what it is
            judged on.
        varied: conditions to ask under besides.
        progress: called as images are answered.

    Raises:
        RewardError: no image at all got an answer, or the judge stopped; what was answered is kept.
        StoreError: the store cannot be read or written.
    """
    examples = part_of(split, part)
    if not examples:
        raise RewardError(
            f"the part '{part}' of the split is empty, so nothing can be measured on it. Give a larger set, other "
            "shares, or --part all."
        )
    spent = Spent()
    possible = {condition.name: _why_not(judge, condition) for condition in varied}
    fits = part in ("test", "train")
    tick = _Ticker(
        progress, len(examples) * (1 + sum(not why for why in possible.values())) + len(split.validation) * fits
    )
    plain = Condition("plain", "the question and the image as they are", question)
    answers = _ask(judge, plain, examples, spent, tick)
    if len(answers.reasons) == len(examples):
        why, num = Counter(answers.reasons.values()).most_common(1)[0]
        raise RewardError(
            f"none of {len(examples)} images got an answer from '{judge.name}', {num} of them because: {why}. There is "
            "nothing to measure. See that the judge is well (`pyrite judge ask IMAGE`), then give the same command "
            "again."
        )
    images = _labelled(examples, answers.prob)
    calibration = _calibrated(judge, plain, split.validation if fits else (), images, spent, tick, part)
    conditions = tuple(
        Varied(condition, skipped=why)
        if (why := possible[condition.name])
        else _under(condition, _ask(judge, condition, examples, spent, tick), images)
        for condition in varied
    )
    return Classified(
        examples,
        answers,
        count(images.has_artifact, images.prob),
        measured(images),
        confusion(images.has_artifact, images.prob),
        reliability(images.has_artifact, images.prob),
        _by_kind(examples, images),
        calibration,
        conditions,
        spent,
    )


class _Ticker:
    """Adds up what the parts of a measurement have done."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, num: int) -> None:
        self._done += num
        if self._progress is not None:
            self._progress(self._done, self._total)


def _ask(judge: RewardJudge, condition: Condition, examples: Sequence[Example], spent: Spent, tick: _Ticker) -> Answers:
    """Some images at a time: so few are in memory, and a killed run has kept what it had."""
    asked = judge if condition.position is None else judge.at(condition.position)
    prob = np.full(len(examples), np.nan)
    reasons: dict[int, str] = {}
    details: dict[str, FloatArray] = {}
    for rows in _batches(len(examples)):
        opened: dict[int, Image] = {}
        with bombs_are_errors():
            for row in rows:
                image = open_image(examples[row].image)
                if isinstance(image, str):
                    reasons[row] = image
                else:
                    opened[row] = image if condition.change is None else condition.change(image)
        judged = asked.judge(condition.question, list(opened.values()))
        spent.add(judged)
        at = list(opened)
        prob[at] = judged.prob_artifact
        reasons |= {at[row]: why for row, why in judged.reasons.items()}
        for name, column in judged.details.items():
            details.setdefault(name, np.full(len(examples), np.nan))[at] = column
        tick(len(rows))
    return Answers(prob, reasons, details)


def _batches(num: int) -> Iterator[range]:
    return (range(start, min(start + _AT_ONCE, num)) for start in range(0, num, _AT_ONCE))


def _labelled(examples: Sequence[Example], prob: FloatArray) -> Labelled:
    labels = np.array([example.has_artifact for example in examples], dtype=np.bool_)
    return Labelled(labels, prob, np.array([example.group for example in examples], dtype=np.str_))


def _calibrated(
    judge: RewardJudge,
    plain: Condition,
    validation: Sequence[Example],
    images: Labelled,
    spent: Spent,
    tick: _Ticker,
    part: str,
) -> Calibration:
    if not validation:
        why = "the validation part is empty" if part in ("test", "train") else f"'{part}' holds the validation images"
        unknown = Temperature(np.nan, f"{why}, so there is nothing else to fit it on")
        return Calibration(unknown, Counts(0, 0, 0), {}, np.full(len(images.prob), np.nan))
    fitted_on = _labelled(validation, _ask(judge, plain, validation, spent, tick).prob)
    temperature = fit_temperature(fitted_on.has_artifact, fitted_on.prob)
    counts = count(fitted_on.has_artifact, fitted_on.prob)
    if np.isnan(temperature.value):
        return Calibration(temperature, counts, {}, np.full(len(images.prob), np.nan))
    prob = rescaled(images.prob, temperature.value)
    after = Labelled(images.has_artifact, prob, images.groups)
    change = differences(images, after, ("log_loss", "expected_calibration_error"))
    return Calibration(temperature, counts, change, prob)


def _why_not(judge: RewardJudge, condition: Condition) -> str:
    """Why a condition cannot be put to a judge; empty if it can."""
    if condition.position is not None:
        return judge.why_not_movable
    if not judge.asks and condition.change is None:
        return f"'{judge.name}' reads no question"
    return ""


def _under(condition: Condition, answers: Answers, plain: Labelled) -> Varied:
    images = Labelled(plain.has_artifact, answers.prob, plain.groups)
    both = ~np.isnan(plain.prob) & ~np.isnan(answers.prob)
    turned = (plain.prob[both] >= THRESHOLD) != (answers.prob[both] >= THRESHOLD)
    change = differences(plain, images, COMPARED)
    return Varied(condition, answers, measured(images), change, int(turned.sum()), int(both.sum()))


def _by_kind(examples: Sequence[Example], images: Labelled) -> tuple[OfKind, ...]:
    kinds = np.array([example.kind for example in examples], dtype=np.str_)
    found = []
    for kind, has_artifact in sorted({(str(example.kind), example.has_artifact) for example in examples}):
        rows = (kinds == kind) & (images.has_artifact == has_artifact)
        prob: npt.NDArray[np.float64] = images.prob[rows]
        known = prob[~np.isnan(prob)]
        right = float(((known >= THRESHOLD) == has_artifact).mean()) if len(known) else np.nan
        mean = float(known.mean()) if len(known) else np.nan
        beside = rows | ~images.has_artifact
        auc = roc_auc(images.has_artifact[beside], images.prob[beside]) if has_artifact else np.nan
        found.append(OfKind(kind, has_artifact, count(images.has_artifact[rows], prob), right, mean, auc))
    return tuple(found)

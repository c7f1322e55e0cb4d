"""What a measurement of a judge holds, as values; `classify.py` makes them, `classified_files.py` writes them down."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pyrite.artifact.conditions import Condition
from pyrite.artifact.data import Example
from pyrite.artifact.judges import Judged
from pyrite.core.types import FloatArray
from pyrite.stats.classification import Confusion, Counts, Reliability, Temperature
from pyrite.stats.intervals import Interval


@dataclass(frozen=True)
class Answers:
    """What a judge said of N examples under one condition.

    Args:
        prob: (N,) P(artifact), NaN where there is no answer.
        reasons: row -> why there is none.
        details: name -> (N,) what else it said.
    """

    prob: FloatArray
    reasons: Mapping[int, str]
    details: Mapping[str, FloatArray]


@dataclass
class Spent:
    """What was asked in this run, and what it cost; NaN where that is not known."""

    calls: int = 0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    cost_usd: float = 0.0

    def add(self, judged: Judged) -> None:
        """Count one call of `judge`."""
        self.calls += judged.num_calls
        self.prompt_tokens += judged.prompt_tokens
        self.completion_tokens += judged.completion_tokens
        self.cost_usd += judged.cost_usd


@dataclass(frozen=True)
class Calibration:
    """A temperature fitted on validation, and what it does to the part that is measured.

    Args:
        temperature: the fitted one.
        fitted_on: labels and answers of validation.
        change: metric -> how much more it is with the temperature than without; empty if none could be fitted.
        prob: (N,) P(artifact) with the temperature; NaN where there is no answer, or no temperature.
    """

    temperature: Temperature
    fitted_on: Counts
    change: Mapping[str, Interval]
    prob: FloatArray


@dataclass(frozen=True)
class Varied:
    """What became of the verdicts under one condition.

    Args:
        condition: what was done.
        answers: what the judge said then.
        metrics: name -> value, on the images that were answered then.
        change: name -> how much more it is than with the plain question, on the images answered in both.
        turned: images whose verdict at 0.5 is another one than with the plain question.
        both: images answered in both.
        skipped: why it was not asked; empty if it was.
    """

    condition: Condition
    answers: Answers | None = None
    metrics: Mapping[str, Interval] = field(default_factory=dict)
    change: Mapping[str, Interval] = field(default_factory=dict)
    turned: int = 0
    both: int = 0
    skipped: str = ""


@dataclass(frozen=True)
class OfKind:
    """How one kind of image was judged.

    Args:
        kind: as the set calls it; empty for images without a kind.
        has_artifact: their label.
        counts: how many there are.
        right: share of right verdicts at 0.5.
        mean_prob: mean P(artifact).
        auc: for a kind with artifacts, P(one of them ranks above an image without artifacts); NaN for the others.
    """

    kind: str
    has_artifact: bool
    counts: Counts
    right: float
    mean_prob: float
    auc: float


@dataclass(frozen=True)
class Classified:
    """A judge, measured."""

    examples: tuple[Example, ...]
    answers: Answers
    counts: Counts
    metrics: Mapping[str, Interval]
    confusion: Confusion
    reliability: Reliability
    kinds: tuple[OfKind, ...]
    calibration: Calibration
    varied: tuple[Varied, ...]
    spent: Spent

    @property
    def unscored(self) -> list[tuple[str, int, str]]:
        """Why images have no answer, how many of them, and the first one's id; the commonest reason first."""
        reasons = self.answers.reasons
        first = {why: self.examples[row].id for row, why in sorted(reasons.items(), reverse=True)}
        return [(why, num, first[why]) for why, num in Counter(reasons.values()).most_common()]

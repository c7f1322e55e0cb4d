"""A question's answers on labelled images: asked once, written down, counted, and summed up as one number."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pyrite.artifact.data import Example
from pyrite.artifact.judges import ArtifactJudge
from pyrite.artifact.optimise.budget import BudgetSpentError, Spending
from pyrite.artifact.optimise.ledger import Ledger
from pyrite.artifact.optimise.objectives import Objective
from pyrite.core.errors import ImageSetError
from pyrite.core.types import FloatArray, Image
from pyrite.records.image_files import open_image

CHUNK = 64
"""Images per call of the judge, and per line of the ledger."""


class Examiner:
    """Puts questions about examples to a judge and remembers what it said.

    Args:
        judge: who is asked.
        ledger: of answers.
        spending: counts, and says when to stop.
        objective: what a question's answers are worth.
        attempts: how often the same question about the same image is put, at most.
        min_answered: below this share of answers, a question has no score.
        told: called after each chunk.
    """

    def __init__(
        self,
        judge: ArtifactJudge,
        ledger: Ledger,
        spending: Spending,
        objective: Objective,
        *,
        attempts: int,
        min_answered: float,
        told: Callable[[], None],
    ) -> None:
        self.judge = judge
        self.spending = spending
        self.objective = objective
        self.reasons: Counter[str] = Counter()
        """Why there was no answer -> how often."""
        self._ledger = ledger
        self._attempts = attempts
        self._min_answered = min_answered
        self._told = told
        self._prob: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._tried: Counter[tuple[str, str]] = Counter()

    def ask(self, question: str, examples: Sequence[Example], *, again: bool = False) -> FloatArray:
        """(N,) P(artifact) of each example, NaN where the judge failed; asks what it has not been asked.

        Args:
            question: beside each image.
            examples: the images.
            again: ask again, up to `attempts` times, where there is no answer; for what must not have holes.

        Raises:
            BudgetSpentError: the calls are not paid for.
            RewardError: the judge refuses everybody, or fails too often.
        """
        known = self._prob[question]
        for attempt in range(self._attempts if again else 1):
            missing = [one for one in examples if math.isnan(known.get(one.id, math.nan))]
            missing = [one for one in missing if self._tried[question, one.id] < (self._attempts if again else 1)]
            try:
                for start in range(0, len(missing), CHUNK):
                    self._ask(question, missing[start : start + CHUNK], is_last=again and not attempt)
            except BudgetSpentError:
                if not attempt:
                    raise
                break  # a hole stays a hole
        return np.array([known.get(example.id, math.nan) for example in examples])

    def score(self, question: str, examples: Sequence[Example], *, again: bool = False) -> float:
        """The objective of a question on examples; NaN if too few were answered to say.

        Raises:
            BudgetSpentError: as `ask`.
            RewardError: as `ask`.
        """
        return self.worth(examples, self.ask(question, examples, again=again))

    def worth(self, examples: Sequence[Example], prob_artifact: FloatArray) -> float:
        """The objective of answers; NaN if fewer than `min_answered` of them are numbers."""
        if not len(examples) or np.isfinite(prob_artifact).mean() < self._min_answered:
            return math.nan
        return self.objective(examples, prob_artifact)

    def known(self, question: str) -> Mapping[str, float]:
        """Example id -> P(artifact), of every example the question was put about; NaN where there was no answer."""
        return self._prob[question]

    def _ask(self, question: str, examples: Sequence[Example], *, is_last: bool) -> None:
        """Put one chunk, or read back what an earlier life of the run was told."""
        facts = repr([question, [example.id for example in examples]])
        key = hashlib.sha256(facts.encode(errors="surrogatepass")).hexdigest()
        if not (is_last and self.spending.is_closing):
            self.spending.allow(len(examples))
        row = self._ledger.recall(key)
        if row is None:
            row = self._fresh(question, examples)
            self._ledger.keep(key, row)
        known = self._prob[question]
        for example, prob in zip(examples, row["prob"], strict=True):
            known[example.id] = math.nan if prob is None else float(prob)
            self._tried[question, example.id] += 1
        self.spending.image_calls += len(examples)
        self.spending.image_calls_asked += row["asked"]
        self.spending.image_failures += sum(prob is None or prob != prob for prob in row["prob"])
        self.spending.cost_usd += math.nan if row["cost_usd"] is None else row["cost_usd"]
        self.reasons.update(row["reasons"])
        self._told()

    def _fresh(self, question: str, examples: Sequence[Example]) -> dict[str, Any]:
        judged = self.judge.judge(question, [load_image(example) for example in examples])
        # Of a chunk that a kill cut in two, the store knows a part, which was paid for all the same: the whole chunk is
        # charged at the price of what was asked now. Nothing asked costs nothing.
        cost = judged.cost_usd / judged.num_calls * len(examples) if judged.num_calls else 0.0
        return {
            "prob": judged.prob_artifact.tolist(),
            "reasons": Counter(judged.reasons.values()),
            "asked": judged.num_calls,
            "cost_usd": cost,
        }


def load_image(example: Example) -> Image:
    """The image of an example.

    Raises:
        ImageSetError: it was readable when the set was loaded and is not any more.
    """
    image = open_image(example.image)
    if isinstance(image, str):
        raise ImageSetError(
            f"{example.image} was there when the set was read and cannot be read now: {image}. Restore it, then give "
            "the same command again: what was paid for is kept."
        )
    return image

"""Which of two images is better, asked in both orders, because many judges prefer the one they are shown first.

The question is UnifiedReward's for pairs. A preference that turns round with the order is the judge's habit and not a
verdict: the pair is unscored, and how often it happens is reported beside the preferences.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyrite.core.errors import RewardError
from pyrite.core.types import FloatArray, Image, Prompt
from pyrite.rewards.images import check_pairs, to_rgb
from pyrite.rewards.judge import JudgeClient
from pyrite.rewards.judge_call import Failed, Outcome
from pyrite.rewards.judge_config import judge_config
from pyrite.rewards.queries import Query, Settings, Shown, Transport, markup_in, mended
from pyrite.rewards.replies import read_preference

NAME = "pairwise"

# CodeGoat24/UnifiedReward@3c16510, inference_qwen/image_generation/qwen_pair_rank_image_generation.py.
QUESTION = (
    "You are given a text caption and two generated images based on that caption. Your task is to evaluate and compare "
    "these images based on two key criteria:\n"
    "1. Alignment with the Caption: Assess how well each image aligns with the provided caption. Consider the accuracy "
    "of depicted objects, their relationships, and attributes as described in the caption.\n"
    "2. Overall Image Quality: Examine the visual quality of each image, including clarity, detail preservation, color "
    "accuracy, and overall aesthetic appeal.\n"
    "Compare both images using the above criteria and select the one that better aligns with the caption while "
    "exhibiting superior visual quality.\n"
    'Provide a clear conclusion such as "Image 1 is better.", "Image 2 is better." and "Both images are equally '
    'good."\n'
    "Your task is provided as follows:\n"
    "Text Caption: [{caption}]"
)
_BEFORE, _AFTER = QUESTION.split("{caption}")


@dataclass(frozen=True)
class Preferences:
    """What a judge prefers in N pairs.

    Args:
        values: (N,) 1 where the first image is better, 0 where the second is, 0.5 where both are equally good; NaN
            where the judge did not say, or said otherwise in the other order.
        reasons: row -> why it is NaN; exactly the rows that are.
        shown_first_frac: of all answers that preferred an image, the share that preferred the one shown first: 0.5
            without a bias of position; NaN without such an answer.
        turned_frac: of the pairs answered in both orders, the share whose answers contradict each other; NaN without.
        answers: row -> with the first image shown first and with the second one: 1 if the image shown first is better,
            0 for the other, 0.5 for neither, None for no verdict; of the rows that were asked about.
        replies: row -> the judge's words in both orders; of the rows that were answered in both.
        transient: those of the rows without a value where the machine or the network failed: ask again.
        stop: why the judge gave up; empty if it did not.
    """

    values: FloatArray
    reasons: Mapping[int, str]
    shown_first_frac: float
    turned_frac: float
    answers: Mapping[int, tuple[float | None, float | None]] = field(default_factory=dict)
    replies: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    transient: frozenset[int] = frozenset()
    stop: str = ""


@dataclass(frozen=True)
class PairwiseJudge:
    """Compares images of one prompt by asking a judge behind a server.

    Args:
        judge: where it asks.
        settings: of the reply.
    """

    judge: JudgeClient
    settings: Settings

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that changes what it says, in JSON's types."""
        question = hashlib.sha256(QUESTION.encode()).hexdigest()[:16]
        config = self.judge.config
        return {
            "name": NAME,
            "weights": config.weights_name,
            "question": question,
            **config.scoring_options,
            **self.settings._asdict(),
        }

    @property
    def at_once(self) -> int:
        """How many questions may be on their way at the same time."""
        return self.judge.config.concurrency

    def compare(self, first: Sequence[Image], second: Sequence[Image], prompts: Sequence[Prompt]) -> Preferences:
        """Compare image i of both for prompt i; two requests per pair.

        Raises:
            RewardError: the judge refuses everybody, or fails too often; what it had said is in the audit file.
        """
        found = self.hear(first, second, prompts)
        if found.stop:
            raise RewardError(f"the comparison has stopped: {found.stop}, then compare again.")
        return found

    def hear(self, first: Sequence[Image], second: Sequence[Image], prompts: Sequence[Prompt]) -> Preferences:
        """As `compare`, but a judge that gives up brings what it had said, and says why in `stop`."""
        check_pairs(first, prompts)
        check_pairs(second, prompts)
        reasons: dict[int, str] = {}
        queries: dict[int, tuple[Query, Query]] = {}
        for row, (one, other, prompt) in enumerate(zip(first, second, prompts, strict=True)):
            found = self._both_orders(one, other, prompt.text)
            if isinstance(found, str):
                reasons[row] = found
            else:
                queries[row] = found
        asked = self.judge.ask([query for both in queries.values() for query in both])
        heard = dict(zip(queries, zip(asked.outcomes[::2], asked.outcomes[1::2], strict=True), strict=True))
        answers = {row: (_heard(one), _heard(other)) for row, (one, other) in heard.items()}
        values = np.full(len(first), np.nan)
        for row, (as_given, swapped) in answers.items():
            result = _agreed(as_given, swapped)
            if isinstance(result, str):
                reasons[row] = result
            else:
                values[row] = result
        return Preferences(
            values,
            reasons,
            *_bias(list(answers.values())),
            answers={row: (_verdict(one), _verdict(other)) for row, (one, other) in answers.items()},
            replies={
                row: (self.judge.config.redacted(one.said.text), self.judge.config.redacted(other.said.text))
                for row, (one, other) in heard.items()
                if not isinstance(one, Failed) and not isinstance(other, Failed)
            },
            transient=frozenset(row for row, both in heard.items() if any(isinstance(one, Failed) for one in both)),
            stop=asked.stop,
        )

    def _both_orders(self, one: Image, other: Image, caption: str) -> tuple[Query, Query] | str:
        if why := markup_in(caption):
            return why
        pictures = [to_rgb(one), to_rgb(other)]
        shown = [Shown.of(picture) for picture in pictures if not isinstance(picture, str)]
        if len(shown) < 2:
            return next(picture for picture in pictures if isinstance(picture, str))
        text = f"{_BEFORE}{mended(caption)}{_AFTER}"
        return (
            Query((shown[0], shown[1], text), self.settings, caption),
            Query((shown[1], shown[0], text), self.settings, caption),
        )


def load_pairwise_judge(
    *,
    model: str = "CodeGoat24/UnifiedReward-qwen-7b",
    transport: Transport = "png",
    max_new_tokens: int = 512,
    **settings: Any,
) -> PairwiseJudge:
    """A judge of pairs: `load_pairwise_judge(base_url=…).compare(ours, theirs, prompts)`.

    Args:
        model: name under which the server offers it.
        transport: "png" or "jpeg95".
        max_new_tokens: a reply longer than this is cut off, and so no verdict; the official limit.
        settings: see `JudgeConfig`.

    Raises:
        RewardError: a setting is unknown or has no such value.
    """
    config = judge_config(NAME, model=model, **settings)
    return PairwiseJudge(JudgeClient(config, NAME), Settings(max_new_tokens, transport=transport))


def _heard(outcome: Outcome) -> float | str:
    """1 if the image shown first is better, 0 for the other, 0.5 for neither; or why that is open."""
    return outcome.reason if isinstance(outcome, Failed) else read_preference(outcome.said.reply)


def _verdict(answer: float | str) -> float | None:
    return None if isinstance(answer, str) else answer


def _agreed(as_given: float | str, swapped: float | str) -> float | str:
    """The preference for the first image, of the answers in both orders."""
    if isinstance(as_given, str):
        return as_given
    if isinstance(swapped, str):
        return f"with the images in the other order, {swapped}"
    if as_given == 1 - swapped:
        return as_given
    return (
        "the judge contradicts itself when the images change places: of the image shown first it says "
        f"{_WORDS[as_given]}, then {_WORDS[swapped]}"
    )


def _bias(answers: Sequence[tuple[float | str, float | str]]) -> tuple[float, float]:
    both = [(one, other) for one, other in answers if not isinstance(one, str) and not isinstance(other, str)]
    decided = [answer for pair in answers for answer in pair if answer in (0.0, 1.0)]
    shown_first = sum(answer == 1.0 for answer in decided) / len(decided) if decided else math.nan
    turned = sum(one != 1 - other for one, other in both) / len(both) if both else math.nan
    return shown_first, turned


_WORDS = {1.0: "better", 0.0: "worse", 0.5: "equally good"}

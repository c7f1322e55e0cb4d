"""A reward whose model stands behind a server: asks, reads, and tells the image's fault from the network's.

What the machine or the network did to a question is transient (`Scores.transient`), what the judge said is not.

Details of every served reward: `request`, the number under which the reply stands in the audit file, `prompt_tokens`,
`completion_tokens`, and `cost_usd`, NaN where no prices are set. Nothing here differs between two runs; how long it
took and how often it was tried is in the audit file alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pyrite.core.cards import RewardCard
from pyrite.core.errors import InterruptedScoringError
from pyrite.core.types import REQUEST, Image, Prompt, Scores
from pyrite.rewards.images import check_pairs, to_rgb
from pyrite.rewards.judge import JudgeClient
from pyrite.rewards.judge_call import Answered, Outcome
from pyrite.rewards.judge_config import judge_config
from pyrite.rewards.judge_replies import Said
from pyrite.rewards.queries import Query, Shown, markup_in, mended

COUNTED = (REQUEST, "prompt_tokens", "completion_tokens", "cost_usd")
"""The details of every served reward that are about the asking and not about the image."""


@dataclass(frozen=True)
class Verdict:
    """What a reply is worth.

    Args:
        value: the score; NaN if there is none.
        reason: why there is none; empty if there is.
        details: further numbers.
    """

    value: float
    reason: str
    details: Mapping[str, float]


@dataclass(frozen=True)
class ServedReward:
    """Scores images by asking a judge behind a server about each.

    Args:
        card: what it claims.
        judge: where it asks.
        ask: the question about an image and a caption.
        read: from reply to score.
        names: of the details that `read` gives.
    """

    is_elsewhere: ClassVar[bool] = True
    """Another machine computes it: the caller may compute other rewards meanwhile."""

    card: RewardCard
    judge: JudgeClient
    ask: Callable[[Shown, str], Query]
    read: Callable[[Said], Verdict]
    names: tuple[str, ...]

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i; a question that got no answer is unscored and transient.

        Raises:
            InterruptedScoringError: the judge refuses everybody, or fails too often; brings what was scored.
            RunFolderError: a reply cannot be written into the audit file.
        """
        return self.scores_of(*self.ask_about(images, prompts))

    def scores_of(self, outcomes: Sequence[Outcome | str], stop: str = "") -> Scores:
        """Read what `ask_about` returned.

        Raises:
            InterruptedScoringError: everything had to stop.
        """
        num = len(outcomes)
        reasons: dict[int, str] = {}
        values = np.full(num, np.nan)
        details = {name: np.full(num, np.nan) for name in (*self.names, *COUNTED)}
        transient = set()
        for row, outcome in enumerate(outcomes):
            if isinstance(outcome, str):
                reasons[row] = outcome
                continue
            if not isinstance(outcome, Answered):
                reasons[row] = outcome.reason
                transient.add(row)
                continue
            verdict = self.verdict(outcome.said)
            values[row] = verdict.value
            if verdict.reason:
                reasons[row] = self.judge.config.redacted(verdict.reason)
            for name, number in {**verdict.details, **self._counted(outcome)}.items():
                details[name][row] = number
        scores = Scores(values, reasons, details, frozenset(transient))
        if stop:
            raise InterruptedScoringError(
                f"'{self.card.name}' has stopped: {stop}, then give the same command again: what was scored is kept.",
                scores,
                self.card.store_key,
            )
        return scores

    def ask_about(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> tuple[list[Outcome | str], str]:
        """What the judge said of each image, unread.

        Returns:
            For each image what came of the question, or why it could not be put; and why everything had to stop, empty
            if nothing did.

        Raises:
            RunFolderError: a reply cannot be written into the audit file.
        """
        check_pairs(images, prompts)
        found = [self._query(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
        queries = [one for one in found if isinstance(one, Query)]
        asked = self.judge.ask(queries)
        outcome_of = dict(zip(queries, asked.outcomes, strict=True))
        return [outcome_of[one] if isinstance(one, Query) else one for one in found], asked.stop

    def _query(self, image: Image, prompt: Prompt) -> Query | str:
        caption = prompt.text if self.card.reads_prompt else ""
        if why := markup_in(caption):
            return why
        picture = to_rgb(image)
        return picture if isinstance(picture, str) else self.ask(Shown.of(picture), mended(caption))

    def verdict(self, said: Said) -> Verdict:
        """What a reply is worth."""
        if said.refusal and not said.text:
            return Verdict(math.nan, f"the judge refused to answer: {said.refusal[:200]!r}", {})
        if said.finish_reason not in ("stop", "length"):
            return Verdict(math.nan, f"the judge's reply did not end by itself: {said.finish_reason[:60]!r}", {})
        return self.read(said)

    def _counted(self, outcome: Answered) -> dict[str, float]:
        said = outcome.said
        return {
            REQUEST: float(outcome.number),
            "prompt_tokens": said.prompt_tokens,
            "completion_tokens": said.completion_tokens,
            "cost_usd": self.judge.config.cost_usd(said.prompt_tokens, said.completion_tokens),
        }


@dataclass(frozen=True)
class Facts:
    """What a card says of a served reward besides its settings; see `RewardCard`."""

    summary: str
    range: tuple[float, float]
    reads_prompt: bool
    upstream: str
    cites: tuple[str, ...]


def served_reward(
    name: str,
    of: Facts,
    options: Mapping[str, str | int],
    settings: Mapping[str, Any],
    *,
    ask: Callable[[Shown, str], Query],
    read: Callable[[Said], Verdict],
    names: tuple[str, ...],
) -> ServedReward:
    """A served reward, with the card that its question and its settings make.

    Args:
        name: under which it is registered.
        of: what its card says besides.
        options: those of its own settings that change scores.
        settings: see `JudgeConfig`.
        ask: the question about an image and a caption.
        read: from reply to score.
        names: of the details that `read` gives.

    Raises:
        RewardError: a setting is unknown or has no such value.
    """
    config = judge_config(name, **settings)
    card = RewardCard(
        name=name,
        summary=of.summary,
        range=of.range,
        reads_prompt=of.reads_prompt,
        deterministic=config.temperature == 0,
        revision=config.weights_name,
        upstream=of.upstream,
        cites=of.cites,
        options={**options, **config.scoring_options},
        preprocessing=f"{name}/1",
        dtype="the server's",
    )
    return ServedReward(card, JudgeClient(config, name), ask, read, names)

"""Judges of artifacts behind one contract: a question and N images in, P(artifact) or a reason for each out.

A judge is a reward with values in [0, 1] whose score is 1 - P(artifact): ArtifactReward's question put to a model in
this process or to a server (arXiv:2601.03468), or a classifier, which reads no question. What was answered is kept in
the score store under a key that holds the question, so nothing is asked twice, whoever asks; what failed on the way is
transient (docs/decisions/0011), is not kept, and never means "no artifact".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from pyrite.core.errors import InterruptedScoringError, RewardError
from pyrite.core.protocols import Reward
from pyrite.core.scoring import score_checked
from pyrite.core.types import REQUEST, FloatArray, Image, Prompt, Scores
from pyrite.records.store import Pair, ScoreStore, StoredScore
from pyrite.records.stored import Stored, as_scores, as_stored, image_key, prompt_key
from pyrite.rewards.artifact_vlm import QUESTION as DEFAULT_QUESTION
from pyrite.rewards.artifact_vlm import ArtifactVlmReward
from pyrite.rewards.judge_call import Answered
from pyrite.rewards.served import COUNTED, ServedReward
from pyrite.rewards.served_judges import Position, load_artifact_served, why_not_askable, with_question

__all__ = ["DEFAULT_QUESTION", "ArtifactJudge", "Judged", "reward_judge", "served_judge", "why_not_askable"]

MAX_FAILURE_RATE = 0.5
"""Of the latest requests this share may fail before a judge gives up, unless the settings say another: a measurement
counts what failed, where training would go on with holes."""

_NO_PROMPT = Prompt("")


@dataclass(frozen=True)
class Judged:
    """What a judge says of N images.

    Args:
        prob_artifact: (N,) P(artifact) in [0, 1]; NaN where there is no answer.
        reasons: row -> why there is none; exactly the rows that are NaN.
        num_calls: questions that were put to the judge now; what the store knew, and the same image twice, is none.
        prompt_tokens: of those calls; NaN where no judge counts them.
        completion_tokens: the same of the replies.
        cost_usd: their price; NaN without prices.
        details: name -> (N,) what else the reward says, such as `answered`, P(yes or no).
    """

    prob_artifact: FloatArray
    reasons: Mapping[int, str]
    num_calls: int = 0
    prompt_tokens: float = np.nan
    completion_tokens: float = np.nan
    cost_usd: float = np.nan
    details: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Looked:
    """What a judge says of N images, with what it was read from.

    Args:
        judged: the answers.
        tokens: row -> text and log-probability of the likeliest first tokens, as the server listed them; without the
            rows for which it listed none, and empty for a judge in this process.
    """

    judged: Judged
    tokens: Mapping[int, Sequence[tuple[str, float]]]


class ArtifactJudge(Protocol):
    """Whoever can say how likely it is that an image has an artifact."""

    @property
    def name(self) -> str:
        """Under which it is registered as a reward."""
        ...

    @property
    def asks(self) -> bool:
        """False where the question is not read: a classifier."""
        ...

    def judge(self, question: str, images: Sequence[Image]) -> Judged:
        """Put the question about each of N images.

        Raises:
            RewardError: the judge refuses everybody, fails too often, or cannot be asked this; what was answered
                before is kept, and `why_not_askable` tells beforehand whether a question can be put.
            StoreError: the store cannot be read or written.
        """
        ...


@dataclass(frozen=True)
class RewardJudge:
    """A reward as a judge; get one from `served_judge` or `reward_judge`.

    Args:
        name: of the reward.
        asks: it reads the question.
        asking: from a question to the reward that asks it.
        store: where answers are kept; None keeps none.
        at_once: questions on their way at the same time, each on a thread; 1 scores all images in one call.
    """

    name: str
    asks: bool
    asking: Callable[[str], Reward]
    store: ScoreStore | None = None
    at_once: int = 1

    def judge(self, question: str, images: Sequence[Image]) -> Judged:
        """Put the question about each of N images; see `ArtifactJudge`."""
        reward = self.asking(question)
        pairs = [(image_key(image), prompt_key(reward.card, _NO_PROMPT)) for image in images]
        kept = Stored(reward, self.store) if self.store is not None and reward.card.deterministic else None
        known = kept.find(pairs) if kept is not None else {}
        missing = {pair: image for pair, image in zip(pairs, images, strict=True) if pair not in known}
        fresh: dict[Pair, StoredScore] = {}
        for part, scores in self._scored(reward, missing):
            rows = dict(zip(part, as_stored(scores), strict=True))
            fresh |= rows if kept is None else kept.keep(part, scores, [_NO_PROMPT] * len(part)) | kept.find(part)
        return _judged(as_scores([(known | fresh)[pair] for pair in pairs]), fresh)

    def look(self, question: str, images: Sequence[Image]) -> Looked:
        """Put the question past the store, and keep the tokens it was answered with.

        Raises:
            RewardError: as for `judge`.
        """
        reward = self.asking(question)
        if not isinstance(reward, ServedReward):
            return Looked(replace(self, store=None).judge(question, images), {})
        outcomes, stop = reward.ask_about(images, [_NO_PROMPT] * len(images))
        fresh = {(str(row), ""): one for row, one in enumerate(as_stored(reward.scores_of(outcomes, stop)))}
        said = {row: one.said.tokens for row, one in enumerate(outcomes) if isinstance(one, Answered)}
        judged = _judged(as_scores([*fresh.values()]), fresh)
        return Looked(judged, {row: tokens for row, tokens in said.items() if tokens is not None})

    @property
    def deterministic(self) -> bool:
        """False if the same question gets other answers, so that none are kept."""
        return self.asking(DEFAULT_QUESTION).card.deterministic

    def facts(self, question: str) -> dict[str, Any]:
        """Who is asked with which settings, in JSON's types; the question is one of them."""
        card = self.asking(question).card
        told = {"name": card.name, "key": card.store_key, "revision": card.revision, "options": dict(card.options)}
        return {**told, "preprocessing": card.preprocessing, "dtype": card.dtype, "asks": self.asks}

    @property
    def why_not_movable(self) -> str:
        """Why the place of the question cannot be changed; empty if it can."""
        if not self.asks:
            return f"'{self.name}' reads no question"
        if not isinstance(self.asking(DEFAULT_QUESTION), ServedReward):
            return f"'{self.name}' puts its question before the image only"
        return ""

    def at(self, position: Position) -> "RewardJudge":
        """The same judge with the question before or after the image, through the same connections.

        Raises:
            RewardError: its question has only one place.
        """
        if why := self.why_not_movable:
            raise RewardError(
                f"{why}, so its place cannot be varied. Ask a judge on a server: --judge artifact-served."
            )

        def moved(question: str) -> Reward:
            reward = self.asking(question)
            assert isinstance(reward, ServedReward)
            return with_question(reward, question, position)

        return replace(self, asking=moved)

    def _scored(self, reward: Reward, missing: Mapping[Pair, Image]) -> Iterator[tuple[Sequence[Pair], Scores]]:
        """Scores as they come, so that each is kept before the next one is waited for."""
        stop: InterruptedScoringError | None = None
        parts = [[pair] for pair in missing] if self.at_once > 1 else [[*missing]] * bool(missing)
        with _threads(self.at_once) as threads:
            work = {threads.submit(self._score, reward, [missing[pair] for pair in part]): part for part in parts}
            for done in as_completed(work):
                try:
                    yield work[done], done.result()
                except CancelledError:
                    continue
                except InterruptedScoringError as error:
                    stop = stop or error
                    for other in work:
                        other.cancel()
                    if error.reward_key == reward.card.store_key and len(error.scores) == len(work[done]):
                        yield work[done], error.scores
        if stop is not None:
            raise stop

    def _score(self, reward: Reward, images: Sequence[Image]) -> Scores:
        return score_checked(self.name, reward, images, [_NO_PROMPT] * len(images))


def served_judge(store: ScoreStore | None = None, **settings: Any) -> RewardJudge:
    """ArtifactReward on a server with any question: one client, so one pool of connections, for all of them.

    Args:
        store: where answers are kept, each the moment it comes.
        settings: of `load_artifact_served`, its server's among them; a `question` is replaced by what is asked. Up to
            `MAX_FAILURE_RATE` of the latest requests may fail unless `max_failure_rate` says another share.

    Raises:
        RewardError: a setting is unknown or has no such value.
    """
    reward = load_artifact_served(**{"max_failure_rate": MAX_FAILURE_RATE, **settings})
    return reward_judge(reward, store)


def reward_judge(reward: Reward, store: ScoreStore | None = None) -> RewardJudge:
    """Any reward in [0, 1] whose score is 1 - P(artifact); its question is replaced if it has one.

    Args:
        reward: such as `artifact`, `artifact-served` or `artifact-pocket`.
        store: where answers are kept.

    Raises:
        RewardError: its scores are not in [0, 1], or it reads a prompt.
    """
    card = reward.card
    low, high = card.range
    if low < 0 or high > 1:
        raise RewardError(
            f"'{card.name}' gives scores from {low:g} to {high:g}, and a judge's score is 1 - P(artifact), in [0, 1]. "
            "Use artifact, artifact-served or artifact-pocket; how well other rewards order pairs is for "
            "`pyrite audit pairs`."
        )
    if card.reads_prompt:
        raise RewardError(
            f"'{card.name}' scores how an image fits its prompt, and a judge of artifacts is asked about the image "
            "alone. Use artifact, artifact-served or artifact-pocket; how well other rewards order pairs is for "
            "`pyrite audit pairs`."
        )
    if isinstance(reward, ServedReward) and "question" in card.options:
        served: ServedReward = reward
        position: Position = "after" if card.options.get("position") == "after" else "before"
        asking: Callable[[str], Reward] = lambda question: with_question(served, question, position)  # noqa: E731
        return RewardJudge(card.name, True, asking, store, served.judge.config.concurrency)
    if isinstance(reward, ArtifactVlmReward):
        return RewardJudge(card.name, True, lambda question: _asked_otherwise(reward, question), store)
    return RewardJudge(card.name, False, lambda _: reward, store)


def _judged(scores: Scores, fresh: Mapping[Pair, StoredScore]) -> Judged:
    """The scores turned round, and what the fresh ones cost."""
    answered = [row for row in fresh.values() if not np.isnan(row.details.get(REQUEST, 0.0))]

    def total(name: str) -> float:
        # One call that nobody counted makes the sum unknown, not smaller.
        return float(sum(row.details.get(name, np.nan) for row in answered))

    details = {name: column for name, column in scores.details.items() if name not in (*COUNTED, "artifact_prob")}
    spent = (total("prompt_tokens"), total("completion_tokens"), total("cost_usd"))
    return Judged(1 - scores.values, scores.reasons, len(fresh), *spent, details)


def _asked_otherwise(reward: ArtifactVlmReward, question: str) -> ArtifactVlmReward:
    if not question.strip():
        raise RewardError(f"an empty question leaves '{reward.card.name}' nothing to answer. Write one.")
    card = replace(reward.card, options={**reward.card.options, "question": question})
    return replace(reward, card=card, question=question)


@contextmanager
def _threads(num: int) -> Iterator[ThreadPoolExecutor]:
    """Threads of which none begins anything more once the block is left early."""
    pool = ThreadPoolExecutor(num, thread_name_prefix="pyrite-judge")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)

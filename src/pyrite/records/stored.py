"""A reward that remembers: what is in the store is not scored again.

Keys. An image file is known by the sha256 of its bytes. An image in memory has no file; it is known by the sha256 of
its mode, size, palette, transparency and pixels. So a PNG written during training and the image it was written from
are two entries: the price of not decoding a file to look it up. A prompt is known by everything a reward may read
(text, nouns, relations, ...) except its id; for rewards that do not read prompts, all prompts are one.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from pyrite.core.cards import RewardCard
from pyrite.core.errors import InterruptedScoringError
from pyrite.core.protocols import Reward
from pyrite.core.scoring import score_checked
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.store import Pair, StoredScore


def file_key(data: bytes) -> str:
    """Key of an image file."""
    return hashlib.sha256(data).hexdigest()


def image_key(image: Image) -> str:
    """Key of an image in memory."""
    palette = image.getpalette("RGBA") if image.mode in {"P", "PA"} else None
    facts = [image.mode, *image.size, palette, repr(image.info.get("transparency"))]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def prompt_key(card: RewardCard, prompt: Prompt) -> str:
    """Key of what a reward may read of a prompt."""
    facts = {name: value for name, value in _read(card, prompt).to_json().items() if name != "id"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Store(Protocol):
    """What finds scores and keeps them: a `ScoreStore`, or whoever stands between it and another machine."""

    def find(self, reward_key: str, pairs: Iterable[Pair]) -> dict[Pair, StoredScore]:
        """See `ScoreStore.find`."""
        ...

    def add(self, card: RewardCard, scores: Mapping[Pair, StoredScore], prompts: Mapping[str, Prompt]) -> None:
        """See `ScoreStore.add`."""
        ...


class Stored:
    """A reward that looks in a store before it scores, and keeps what it scored; a `Reward` itself.

    Within a call and across calls, each distinct pair of image and prompt is scored once. A reward whose card says
    that it is not deterministic is asked every time, and nothing of it is kept. NaN with a reason concerns the image
    and is kept like a score, unless the reward says that it is transient: then the next call asks again. What a reward
    raises concerns the machine and leaves no trace, save the scores that an `InterruptedScoringError` brings along.

    Args:
        reward: the reward.
        store: open.
    """

    def __init__(self, reward: Reward, store: Store) -> None:
        self.reward = reward
        self.store = store
        self.card = reward.card

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score N images in memory.

        Raises:
            RewardError: the reward raised, or returned another number of scores.
            StoreError: the store cannot be read or written.
        """
        if not self.card.deterministic:
            return self.reward.score(images, prompts)
        pairs = [
            (image_key(image), prompt_key(self.card, prompt)) for image, prompt in zip(images, prompts, strict=True)
        ]
        known = self.find(pairs)
        missing = {pair: row for row, pair in reversed(list(enumerate(pairs))) if pair not in known}
        rows = sorted(missing.values())
        fresh = self.score_pairs(
            [pairs[row] for row in rows], [images[row] for row in rows], [prompts[row] for row in rows]
        )
        return as_scores([*map((known | fresh).__getitem__, pairs)])

    def find(self, pairs: Sequence[Pair]) -> dict[Pair, StoredScore]:
        """Those of the pairs that are in the store.

        Raises:
            StoreError: the store cannot be read.
        """
        return self.store.find(self.card.store_key, dict.fromkeys(pairs))

    def score_pairs(
        self, pairs: Sequence[Pair], images: Sequence[Image], prompts: Sequence[Prompt]
    ) -> dict[Pair, StoredScore]:
        """Score N distinct pairs and keep what came out.

        Returns:
            What the store holds of them now: if another process was faster, its scores. Transient ones as they came.

        Raises:
            RewardError: the reward raised, or returned another number of scores; nothing is kept but what an
                `InterruptedScoringError` brings.
            StoreError: the store cannot be read or written.
        """
        if not pairs:
            return {}
        try:
            scores = score_checked(self.card.name, self.reward, images, prompts)
        except InterruptedScoringError as stop:
            if stop.reward_key == self.card.store_key and len(stop.scores) == len(pairs):
                self.keep(pairs, stop.scores, prompts)
            raise
        return self.keep(pairs, scores, prompts) | self.find(pairs)

    def keep(self, pairs: Sequence[Pair], scores: Scores, prompts: Sequence[Prompt]) -> dict[Pair, StoredScore]:
        """Write down what will be the same tomorrow of N distinct pairs; give back what may not be.

        For whoever scores in ways of its own; `score` and `score_pairs` keep by themselves.

        Raises:
            StoreError: the store cannot be written.
        """
        rows = as_stored(scores)
        kept = {pair: rows[row] for row, pair in enumerate(pairs) if row not in scores.transient}
        texts = {key: _read(self.card, prompt) for (_, key), prompt in zip(pairs, prompts, strict=True)}
        self.store.add(self.card, kept, texts)
        return {pairs[row]: rows[row] for row in scores.transient}


def as_scores(rows: Sequence[StoredScore]) -> Scores:
    """One column of N stored scores."""
    names: Mapping[str, None] = {name: None for row in rows for name in row.details}
    return Scores(
        np.array([row.value for row in rows], np.float64),
        {number: row.reason for number, row in enumerate(rows) if row.reason},
        {name: np.array([row.details.get(name, np.nan) for row in rows]) for name in names},
    )


def _read(card: RewardCard, prompt: Prompt) -> Prompt:
    return prompt if card.reads_prompt else Prompt("")


def as_stored(scores: Scores) -> list[StoredScore]:
    """N scores as the store keeps them, one by one."""
    return [
        StoredScore(
            float(value),
            scores.reasons.get(row, ""),
            {name: float(column[row]) for name, column in scores.details.items()},
        )
        for row, value in enumerate(scores.values)
    ]

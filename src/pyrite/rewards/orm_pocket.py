"""The pocket world's yes/no judge: ORM's question, form and arithmetic on a LLaVA-OneVision of a million parameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.weights import checkpoint_revision, resolve_checkpoint
from pyrite.rewards.chat import ChatVocabulary
from pyrite.rewards.images import check_pairs
from pyrite.rewards.llava_onevision import LlavaOneVision
from pyrite.rewards.loading import choose_device, choose_dtype, load_model, load_tokenizer
from pyrite.rewards.orm import OFFICIAL_TEMPERATURE, OrmReward, orm_reward
from pyrite.rewards.pixels import Picked

NAME = "orm-pocket"


@dataclass(frozen=True)
class PocketOrmReward(OrmReward):
    """`OrmReward` with a small vocabulary: a prompt with a word that it never learned is unscored."""

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i."""
        check_pairs(images, prompts)
        unknown = self.vocabulary.token("<unk>")
        strange = {text for text in {prompt.text for prompt in prompts} if unknown in self.vocabulary.words(text)}
        reasons = {
            row: f"the prompt '{prompt.text}' has words that this reward never learned"
            for row, prompt in enumerate(prompts)
            if prompt.text in strange
        }
        rows = [row for row in range(len(prompts)) if row not in reasons]
        scores = super().score(Picked(images, rows), [prompts[row] for row in rows])
        values, answered = np.full((2, len(prompts)), np.nan)
        values[rows], answered[rows] = scores.values, scores.details["answered"]
        reasons.update({rows[place]: why for place, why in scores.reasons.items()})
        return Scores(values, reasons, {"answered": answered})


def load_orm_pocket(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    temperature: float = OFFICIAL_TEMPERATURE,
) -> PocketOrmReward:
    """A LLaVA-OneVision judge from a checkpoint folder of transformers; None for the pocket one shipped.

    Args:
        weights: a folder, or the name of a pocket checkpoint.
        config: laid over the folder's config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images per forward pass.
        temperature: of the softmax over yes and no, as in `load_orm`.

    Raises:
        CheckpointError: the folder is missing, damaged, or holds another architecture.
    """
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

    folder = resolve_checkpoint(weights or NAME)
    model = load_model(
        LlavaOnevisionForConditionalGeneration,
        folder,
        model_type="llava_onevision",
        config=config,
        dtype=choose_dtype(dtype),
    )
    tokenizer = load_tokenizer(PreTrainedTokenizerFast, folder)
    words = model.config.text_config
    if len(tokenizer) != words.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {len(tokenizer)} words and the language model {words.vocab_size}: they are "
            "not of one build. Save the tokenizer the model was trained with."
        )
    judge = LlavaOneVision(model.to(choose_device(device)), (), math.inf, words.max_position_embeddings)
    reward = orm_reward(
        judge,
        ChatVocabulary(tokenizer, folder),
        checkpoint_revision(weights or NAME),
        temperature=temperature,
        batch_size=batch_size,
    )
    card = replace(reward.card, name=NAME, upstream="", licence="", parity_error=None, preprocessing="orm-pocket/1")
    return PocketOrmReward(card, judge, reward.vocabulary, temperature, False, batch_size)

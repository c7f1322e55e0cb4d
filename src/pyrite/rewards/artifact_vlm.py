"""ArtifactReward's reward (arXiv:2601.03468): a vision-language model is asked whether a picture has artifacts.

Qwen2.5-VL-7B-Instruct, as it is published, reads one fixed question and the image, and the score is 1 - P(yes) of its
first token. The question stands before the image (in UnifiedReward it is the other way round), so what the model makes
of it is computed once for all images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.rewards.chat import Picture, Piece, Vocabulary, Words, qwen_chat
from pyrite.rewards.images import check_pairs
from pyrite.rewards.large_models import Quantisation
from pyrite.rewards.qwen_pixels import Transport
from pyrite.rewards.qwen_vl import QwenAsker, image_pieces
from pyrite.rewards.qwen_weights import Loaded, load_qwen2_5_vl
from pyrite.rewards.yes_no import MODES, SPELLINGS, Mode, from_logits

NAME = "artifact"

# The score depends on it to the letter: PROMPT of utils/reward_artifacts.py in yq-hong/ArtifactReward@8b1cd7d.
QUESTION = (
    "Analyze the images to identify any unintentional digital artifacts, concentrating on irregular lighting, object "
    "placement, blending errors, or anomalies that could affect realism. Disregard any deliberate artistic styles or "
    "intentional surreal elements. Respond with YES if artifacts are detected; if not, respond with NO."
)


@dataclass(frozen=True)
class ArtifactVlmReward:
    """Scores an image alone: 1 - P(yes, it has artifacts), in [0, 1].

    Details: `artifact_prob` is P(yes); `answered` is P(yes or no), how far the model answered the question at all.

    Args:
        card: what it claims.
        asker: the model.
        question: put before the image.
        mode: how an answer is read, see `yes_no.py`.
        yes_ids: the tokens that are a spelling of yes.
        no_ids: the same of no.
    """

    card: RewardCard
    asker: QwenAsker
    question: str
    mode: Mode
    yes_ids: tuple[int, ...]
    no_ids: tuple[int, ...]

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score the images; the prompts are not read."""
        check_pairs(images, prompts)
        asked = self.asker.ask(images, lambda _, picture: self.pieces(picture))
        start = self.asker.shared_start(asked)
        prob_yes, answered = np.full((2, len(images)), np.nan)
        for rows, inputs in self.asker.batches(images, asked):
            for row, logits in zip(rows, self.asker.first_logits(inputs, start).cpu().numpy(), strict=True):
                said = from_logits(logits, self.yes_ids, self.no_ids, self._text_of, self.mode)
                prob_yes[row], answered[row] = said.prob_yes, said.answered
                if said.reason:
                    asked.reasons[row] = said.reason
        return Scores(1 - prob_yes, asked.reasons, {"artifact_prob": prob_yes, "answered": answered})

    def pieces(self, picture: Picture) -> tuple[Piece, ...]:
        """The whole question about one image: text first, then the image."""
        return qwen_chat(Words(self.question), *image_pieces(picture))

    def _text_of(self, token: int) -> str:
        return self.asker.vocabulary.text([token])


def load_artifact(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 16,
    tokenizer: str | Path | None = None,
    mode: Mode = "sound",
    transport: Transport = "png",
    question: str = QUESTION,
    quantise: Quantisation | None = None,
) -> ArtifactVlmReward:
    """ArtifactReward's reward, from Qwen2.5-VL-7B-Instruct in this process.

    The reference asks a vLLM server, whose kernels and image backend differ: expect differences of about 0.01.

    Args:
        weights: a folder in the hub's form, or a hub id; None for where it lies on this disk.
        config: laid over the folder's config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: bfloat16 (None, the official choice), float32 or float16.
        batch_size: images per forward pass.
        tokenizer: folder with the tokenizer; None for beside the weights.
        mode: "sound", which adds up every spelling of yes and of no, or "reference", the published code with its
            defects.
        transport: "png", the image as it is, or "jpeg95", once through a JPEG file of quality 95 as in the reference.
        question: put before the image.
        quantise: "8bit" or "4bit"; None for neither.

    Raises:
        CheckpointError: a file is missing, damaged or another model's, or an option has no such value.
    """
    if mode not in MODES:
        raise CheckpointError(f"mode='{mode}' is no way to read an answer. Use {' or '.join(MODES)}.")
    loaded = load_qwen2_5_vl(
        NAME,
        weights,
        config=config,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        tokenizer=tokenizer,
        transport=transport,
        quantise=quantise,
    )
    return artifact_reward(loaded, mode=mode, question=question)


def artifact_reward(loaded: Loaded, *, mode: Mode = "sound", question: str = QUESTION) -> ArtifactVlmReward:
    """The card and the spellings of yes and no around a model of the form of Qwen2.5-VL, whatever its weights.

    Args:
        loaded: the model.
        mode: see `load_artifact`.
        question: put before the image.

    Raises:
        CheckpointError: the vocabulary has no token for yes, or none for no.
    """
    card = RewardCard(
        name=NAME,
        summary="Probability that a vision-language model sees no unintended artifact in the image.",
        range=(0.0, 1.0),
        reads_prompt=False,
        revision=loaded.revision,
        upstream="yq-hong/ArtifactReward@8b1cd7d (utils/reward_artifacts.py), without the server it asks; no fixture",
        licence="Apache-2.0",
        cites=("arXiv:2601.03468", "arXiv:2502.13923"),
        options={"mode": mode, "question": question, **loaded.options},
        preprocessing="artifact/1",
        dtype=loaded.precision,
    )
    yes, no = (_spelling_ids(loaded.asker.vocabulary, word) for word in ("yes", "no"))
    return ArtifactVlmReward(card, loaded.asker, question, mode, yes, no)


def _spelling_ids(vocabulary: Vocabulary, word: str) -> tuple[int, ...]:
    """The ids of the spellings of a word that are one token; the first token of another says nothing."""
    spelled = (vocabulary.words(spelling) for spelling in SPELLINGS[word])
    ids = tuple(dict.fromkeys(one[0] for one in spelled if len(one) == 1))
    if not ids:
        raise CheckpointError(
            f"the vocabulary has no single token for {word} in any spelling ({', '.join(SPELLINGS[word])}), so "
            "the first token of an answer says nothing. Name the folder with the tokenizer of Qwen2.5-VL as tokenizer=."
        )
    return ids

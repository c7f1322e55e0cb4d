"""UnifiedReward-7b-v1.5 (arXiv:2503.05236): a LLaVA writes how well an image fits its caption, on three axes.

The image is seen whole and in tiles, the reply is generated greedily for a whole batch at once, and the axes are read
from it as `replies.py` reads. Whose code uses them decides what becomes of the three: ArtifactReward's evaluation
records each on its own and never adds them up. Here the score is one axis, or (the default) the mean of all three;
all are in the details.

No official run with these weights, nor a fixture of one, was at hand. Pixels, tiles and logits of this model form are
held by ORM's fixture, which has an `anyres` part; question, generation and reading by tests of our own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.rewards.chat import Picture, Piece, Vocabulary, Words, by_length, encode, qwen_chat, why_too_long
from pyrite.rewards.images import check_pairs
from pyrite.rewards.large_models import Quantisation, choose_large_dtype, published_penalty
from pyrite.rewards.llava_onevision import LlavaOneVision
from pyrite.rewards.llava_pixels import Size, tiled_pixels
from pyrite.rewards.llava_weights import load_llava
from pyrite.rewards.loading import choose_device, dtype_name
from pyrite.rewards.pixels import Picked, prepared_batches
from pyrite.rewards.preprocessing import Float32Array
from pyrite.rewards.replies import AXES, HIGHEST, LOWEST, Reading, Reply, read_axes

NAME = "unifiedreward"
READINGS: tuple[Reading, ...] = ("sound", "reference")
Axis = Literal["mean", "alignment", "coherence", "style"]
ENDS = ("<|im_end|>", "<|endoftext|>")

# The score depends on it to the letter: CodeGoat24/UnifiedReward@3c16510,
# inference_llava/image_generation/point_score_ACS_image_generation.py; the same in yq-hong/ArtifactReward@8b1cd7d.
QUESTION = (
    "\n"
    "You are presented with a generated image and its associated text caption. Your task is to analyze the image "
    "across multiple dimensions in relation to the caption. Specifically:\n\n"
    "1. Evaluate each word in the caption based on how well it is visually represented in the image. Assign a "
    "numerical score to each word using the format:\n"
    '   Word-wise Scores: [["word1", score1], ["word2", score2], ..., ["wordN", scoreN], ["[No_mistakes]", scoreM]]\n'
    "   - A higher score indicates that the word is less well represented in the image.\n"
    "   - The special token [No_mistakes] represents whether all elements in the caption were correctly depicted. A "
    "high score suggests no mistakes; a low score suggests missing or incorrect elements.\n\n"
    "2. Provide overall assessments for the image along the following axes (each rated from 1 to 5):\n"
    "- Alignment Score: How well the image matches the caption in terms of content.\n"
    "- Coherence Score: How logically consistent the image is (absence of visual glitches, object distortions, etc.).\n"
    "- Style Score: How aesthetically appealing the image looks, regardless of caption accuracy.\n\n"
    "Output your evaluation using the format below:\n\n"
    "---\n\n"
    'Word-wise Scores: [["word1", score1], ..., ["[No_mistakes]", scoreM]]\n\n'
    "Alignment Score (1-5): X\n"
    "Coherence Score (1-5): Y\n"
    "Style Score (1-5): Z\n\n"
    "Your task is provided as follows:\nText Caption: [{caption}]"
)


@dataclass(frozen=True)
class UnifiedReward:
    """Scores image and prompt together: from 1 to 5.

    Details: `alignment`, `coherence` and `style`, each from 1 to 5, and `reply_tokens`, the length of the reply.

    Args:
        card: what it claims.
        model: in `anyres` mode.
        vocabulary: of its tokenizer.
        axis: which of the axes is the score, or their mean.
        mode: how a reply is read, see `replies.py`.
        generation: transformers' `GenerationConfig`, greedy, which says what ends a reply.
        repetition_penalty: what logits of tokens the reply holds already are divided by, if positive.
        batch_size: images per forward pass.
    """

    card: RewardCard
    model: LlavaOneVision
    vocabulary: Vocabulary
    axis: Axis
    mode: Reading
    generation: Any
    repetition_penalty: float
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i."""
        check_pairs(images, prompts)
        rows = [row for batch in by_length([len(one.text) for one in prompts], self.batch_size) for row in batch]
        reasons: dict[int, str] = {}
        axes, tokens = np.full((len(AXES), len(images)), np.nan), np.full(len(images), np.nan)
        for prepared in prepared_batches(Picked(images, rows), self._crops, self.batch_size):
            asked: dict[int, tuple[Float32Array, Size, list[int]]] = {}
            for place, crops in prepared.items():
                row = rows[place]
                if isinstance(crops, str):
                    reasons[row] = crops
                    continue
                size = images[row].size
                ids = encode(self.vocabulary, self.pieces(prompts[row].text, size))
                if why := why_too_long(len(ids), self.model.longest - self.generation.max_new_tokens):
                    reasons[row] = f"{why}, beside a reply of up to {self.generation.max_new_tokens}"
                else:
                    asked[row] = (crops, size, ids)
            for row, reply in zip(asked, self._replies(list(asked.values())), strict=True):
                tokens[row] = len(reply)
                found = read_axes(self._read(reply), self.mode)
                if isinstance(found, str):
                    reasons[row] = found
                else:
                    axes[:, row] = [found[axis] for axis in AXES]
        values = axes.mean(axis=0) if self.axis == "mean" else axes[AXES.index(self.axis)]
        return Scores(values, reasons, {**dict(zip(AXES, axes, strict=True)), "reply_tokens": tokens})

    def pieces(self, caption: str, size: Size) -> tuple[Piece, ...]:
        """The whole question about one image of (width, height)."""
        before, after = QUESTION.split("{caption}")
        return qwen_chat(Picture(self.model.tiled_tokens(size)), Words(f"{before}{caption}{after}"))

    def _crops(self, image: Image) -> Float32Array:
        return tiled_pixels(image, self.model.side, self.model.grids)

    def _replies(self, asked: Sequence[tuple[Float32Array, Size, list[int]]]) -> list[list[int]]:
        """The ids of each reply, up to and with the one that ends it."""
        if not asked:
            return []
        crops, sizes, ids = zip(*asked, strict=True)
        device = self.model.model.device
        with torch.inference_mode():
            pictures = self.model.tiled_pictures([torch.from_numpy(one).to(device) for one in crops], sizes)
            embeddings, mask, _ = self.model.embedded(ids, pictures)
            written = self.model.model.generate(
                inputs_embeds=embeddings,
                attention_mask=mask,
                generation_config=self.generation,
                logits_processor=self._penalty(),
            )
        return [self._ended(row) for row in written.tolist()]

    def _penalty(self) -> Any:
        """On what the reply has said already; the question is embeddings, so it is not penalised, officially neither.

        Not left to `generation`: the library would then skip as many words of a reply as its row was filled up by.
        """
        from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

        if self.repetition_penalty == 1:
            return None
        return LogitsProcessorList([RepetitionPenaltyLogitsProcessor(self.repetition_penalty)])

    def _ended(self, ids: list[int]) -> list[int]:
        """The ids up to the first that ends a reply: what a batch adds after it is nobody's."""
        last = next((place for place, token in enumerate(ids) if token in self.generation.eos_token_id), len(ids) - 1)
        return ids[: last + 1]

    def _read(self, ids: list[int]) -> Reply:
        return Reply(self.vocabulary.text(ids), is_whole=bool(ids) and ids[-1] in self.generation.eos_token_id)


def load_unifiedreward(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 16,
    tokenizer: str | Path | None = None,
    tower: str | Path | None = None,
    axis: Axis = "mean",
    mode: Reading = "sound",
    max_new_tokens: int = 4096,
    repetition_penalty: float | None = None,
    quantise: Quantisation | None = None,
) -> UnifiedReward:
    """UnifiedReward-7b-v1.5 in this process.

    Args:
        weights: a folder with config.json and the shards, or a hub id; None for where it lies on this disk.
        config: laid over config.json; `vision` holds dimensions of the vision tower in transformers' names.
        device: where it computes: "auto" (an accelerator if there is one), "cpu", "cuda:1".
        dtype: of the model: bfloat16 (None), float32 or float16.
        batch_size: images per forward pass; each is cut into up to 37 crops.
        tokenizer: folder with tokenizer.json, or vocab.json and merges.txt; None for beside the weights.
        tower: folder of google/siglip-so400m-patch14-384, for a checkpoint saved without its vision tower.
        axis: which axis is the score: "alignment", "coherence", "style", or their "mean".
        mode: "sound", which wants one number for each axis and no contradiction, or "reference", which takes the last.
        max_new_tokens: a reply longer than this is cut off, and so unscored; the reference's own limit.
        repetition_penalty: of the generation; None for what generation_config.json beside the weights says, which the
            official code obeys, or 1 where there is none.
        quantise: "8bit" or "4bit" weights of the language model; None for whole ones.

    Raises:
        CheckpointError: a file is missing, damaged or another model's, or an option has no such value.
        MissingExtraError: quantisation is asked for and not installed.
    """
    if axis != "mean" and axis not in AXES:
        raise CheckpointError(f"axis='{axis}' is none of the scores in a reply. Use mean, {', '.join(AXES)}.")
    if mode not in READINGS:
        raise CheckpointError(f"mode='{mode}' is no way to read a reply. Use {' or '.join(READINGS)}.")
    if max_new_tokens < 1 or (repetition_penalty is not None and repetition_penalty <= 0):
        raise CheckpointError(
            f"max_new_tokens={max_new_tokens} and repetition_penalty={repetition_penalty} must be positive, or the "
            "model cannot reply. Leave them out for the defaults."
        )
    model, vocabulary, folder, revision = load_llava(
        NAME,
        weights,
        config=config,
        device=choose_device(device),
        dtype=choose_large_dtype(dtype),
        tokenizer=tokenizer,
        tower=tower,
        quantise=quantise,
    )
    if not model.grids:
        raise CheckpointError(
            f"{folder / 'config.json'} does not say image_aspect_ratio='anyres_max_9' or the like, and '{NAME}' was "
            "trained on images cut into tiles: this is another model. Type: pyrite weights fetch unifiedreward"
        )
    return unified_reward(
        model,
        vocabulary,
        revision,
        axis=axis,
        mode=mode,
        max_new_tokens=max_new_tokens,
        repetition_penalty=repetition_penalty or published_penalty(folder),
        quantise=quantise,
        batch_size=batch_size,
    )


def unified_reward(
    model: LlavaOneVision,
    vocabulary: Vocabulary,
    revision: str,
    *,
    axis: Axis = "mean",
    mode: Reading = "sound",
    max_new_tokens: int = 4096,
    repetition_penalty: float = 1.0,
    quantise: Quantisation | None = None,
    batch_size: int = 16,
) -> UnifiedReward:
    """UnifiedReward's card around a LLaVA-OneVision, whatever its weights.

    Args:
        model: with grids.
        vocabulary: of its tokenizer.
        revision: of weights and tokenizer.
        axis: see `load_unifiedreward`.
        mode: see there.
        max_new_tokens: see there.
        repetition_penalty: see there.
        quantise: how the weights were rounded, if they were.
        batch_size: images per forward pass.

    Raises:
        CheckpointError: the vocabulary has no token that ends a reply.
    """
    from transformers import GenerationConfig

    ends = [vocabulary.token(name) for name in ENDS]
    generation = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=ends,
        pad_token_id=ends[0],
    )
    card = RewardCard(
        name=NAME,
        summary="What a judge writes of the image's alignment with its prompt, coherence and style, from 1 to 5.",
        range=(LOWEST, HIGHEST),
        reads_prompt=True,
        revision=revision,
        upstream="CodeGoat24/UnifiedReward@3c16510 (point_score_ACS_image_generation.py), greedy; no fixture",
        licence="MIT",
        cites=("arXiv:2503.05236", "arXiv:2408.03326"),
        options={
            "axis": axis,
            "mode": mode,
            "max_new_tokens": max_new_tokens,
            "repetition_penalty": repetition_penalty,
            **({"quantise": quantise} if quantise else {}),
        },
        preprocessing="unifiedreward/1",
        dtype=dtype_name(model.model.dtype),
    )
    return UnifiedReward(card, model, vocabulary, axis, mode, generation, repetition_penalty, batch_size)

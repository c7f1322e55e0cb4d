"""DeQA-Score (arXiv:2501.11561): how good the picture is as a picture, by the word mPLUG-Owl2 would say next.

The model reads the image in a fixed conversation and is about to say "The quality of the image is ...". Of the five
words it was trained to say there, the probabilities among themselves weigh the levels from 5 (excellent) to 1 (bad).
The prompt of the image is not read. What stands before the image is the same for all, and is read once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.published import find_file, shard_paths
from pyrite.rewards.images import check_pairs
from pyrite.rewards.large_models import Quantisation, choose_large_dtype
from pyrite.rewards.loading import choose_device, dtype_name, files_revision
from pyrite.rewards.measured import parity_error
from pyrite.rewards.mplug_owl2 import Owl, image_first, load_owl
from pyrite.rewards.pieces import Pieces, read_pieces
from pyrite.rewards.pixels import run_on_images
from pyrite.rewards.preprocessing import Float32Array
from pyrite.rewards.squares import square_pixels
from pyrite.rewards.texts import find_tokenizer

BEFORE = "USER: How would you rate the quality of this image?\n"
AFTER = "\nASSISTANT: The quality of the image is"
LEVELS = {"excellent": 5.0, "good": 4.0, "fair": 3.0, "poor": 2.0, "bad": 1.0}
"""Word -> what it counts."""

_BEGIN = 1


@dataclass(frozen=True)
class Conversation:
    """The constant text, as token ids.

    Args:
        before: what stands before the image, the beginning of the text included.
        after: what stands after it.
        levels: the first id of each word of `LEVELS`, in their order.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    levels: tuple[int, ...]


@dataclass(frozen=True)
class Deqa:
    """Scores an image alone: 1 (bad) to 5 (excellent), the mean of the levels over their probabilities.

    Details: `excellent_prob`, `good_prob`, `fair_prob`, `poor_prob` and `bad_prob`, which sum to 1.

    Args:
        card: what it claims.
        model: in any precision.
        conversation: the constant text.
        batch_size: images per forward pass.
    """

    card: RewardCard
    model: Owl
    conversation: Conversation
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score the images; the prompts are not read. An image that comes several times is looked at once."""
        check_pairs(images, prompts)
        images = list(images)  # kept, so that no two of them can have one identity
        distinct = {id(image): image for image in images}
        places = {identity: place for place, identity in enumerate(distinct)}
        outputs, reasons = run_on_images(
            lambda pixels, _: self.level_logits(self.model.image_tokens(pixels)).softmax(-1),
            list(distinct.values()),
            preparation=self.pixels,
            num_outputs=len(LEVELS),
            batch_size=self.batch_size,
            device=self.model.vision.device,
        )
        row_places = [places[id(image)] for image in images]
        probs = outputs[row_places].astype(np.float64)
        # Rounding to float32 leaves a sum that differs from 1 in the eighth digit, and a score above 5 by as much.
        probs /= probs.sum(axis=1, keepdims=True)
        return Scores(
            probs @ np.array(list(LEVELS.values())),
            {row: reasons[place] for row, place in enumerate(row_places) if place in reasons},
            {f"{word}_prob": probs[:, column] for column, word in enumerate(LEVELS)},
        )

    def pixels(self, image: Image) -> Float32Array:
        """(3, S, S) what the ViT sees of an image."""
        return square_pixels(image, self.model.vision.config.image_size)

    def level_logits(self, tokens: Tensor) -> Tensor:
        """(M, 5) float32 logits of the levels' words, from the (M, Q, D) tokens of M images."""
        language = self.model.language
        after = language.get_input_embeddings()(torch.tensor([self.conversation.after], device=tokens.device))
        texts = torch.cat([tokens, after.expand(len(tokens), -1, -1)], dim=1)
        with image_first(tokens.shape[1]):
            kept = self._beginning(len(tokens))
            logits = language(inputs_embeds=texts, past_key_values=kept, logits_to_keep=1).logits
        levels: Tensor = logits[:, -1, list(self.conversation.levels)].float()
        return levels

    def _beginning(self, num: int) -> Any:
        """What the model keeps of the text before the image, for a batch of `num`."""
        from transformers import DynamicCache

        whole = (num, -1, -1, -1)
        return DynamicCache([(keys.expand(whole), values.expand(whole)) for keys, values in self._read])

    @cached_property
    def _read(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Keys and values of the text before the image, in each layer."""
        from transformers import DynamicCache

        kept, language = DynamicCache(), self.model.language
        ids = torch.tensor([self.conversation.before], device=language.device)
        with image_first(0):
            language.model(input_ids=ids, past_key_values=kept, use_cache=True)
        return tuple((keys, values) for keys, values, _ in kept)


def load_deqa(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 16,
    tokenizer: str | Path | None = None,
    quantise: Quantisation | None = None,
) -> Deqa:
    """DeQA-Score-Mix3: 8.2 billion parameters, 16 GB in bfloat16 or float16.

    Args:
        weights: folder of zhiyuanyou/DeQA-Score-Mix3, its file of tensors or the index of its shards, or a hub id; None
            for where it lies on this disk.
        config: dimensions of a tiny test model, in the names of config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: bfloat16 (None), float16 (the official choice) or float32.
        batch_size: images per forward pass.
        tokenizer: folder with Llama's tokenizer.model; None for beside the weights, or where it lies on this disk.
        quantise: "8bit" or "4bit" weights of the language model; None for whole ones.

    Raises:
        CheckpointError: a file is missing, damaged, needs code to be read, or is another model's.
        MissingExtraError: quantisation is asked for and not installed.
    """
    path, words = find_file("deqa", "weights", weights), find_tokenizer("deqa", weights, tokenizer)
    conversation = read_conversation(read_pieces(words), words)
    model = load_owl(
        "deqa",
        path,
        config=config or {},
        dtype=choose_large_dtype(dtype),
        device=choose_device(device),
        quantise=quantise,
    )
    if (known := model.language.config.vocab_size) <= max(conversation.levels):
        raise CheckpointError(
            f"the vocabulary in {words} has the id {max(conversation.levels)} and the model in {path} knows {known}: "
            "it is another model's. Name the folder with the tokenizer.model that was published with it as tokenizer=."
        )
    revision = files_revision((*shard_paths(path), words))
    return deqa_reward(model, conversation, revision, quantise=quantise, batch_size=batch_size)


def read_conversation(pieces: Pieces, source: Path) -> Conversation:
    """The constant text in a vocabulary.

    Args:
        pieces: Llama's vocabulary.
        source: where it comes from, for messages.

    Raises:
        CheckpointError: it begins texts otherwise than Llama's, or begins two of the levels' words alike.
    """
    levels = tuple(pieces.ids(word)[0] for word in LEVELS)
    if pieces.processor.bos_id() != _BEGIN or len(set(levels)) < len(levels):
        raise CheckpointError(
            f"{source} is not Llama's vocabulary: it begins texts with id {pieces.processor.bos_id()} and not "
            f"{_BEGIN}, or cannot tell the words {', '.join(LEVELS)} apart by their first piece {levels}. Name the "
            "folder with the tokenizer.model that was published with the weights as tokenizer=."
        )
    return Conversation((_BEGIN, *pieces.ids(BEFORE)), tuple(pieces.ids(AFTER)), levels)


def deqa_reward(
    model: Owl,
    conversation: Conversation,
    revision: str,
    *,
    quantise: Quantisation | None = None,
    batch_size: int = 16,
) -> Deqa:
    """DeQA-Score's card around a model of its form, whatever its weights.

    Args:
        model: of its form.
        conversation: the constant text.
        revision: of weights and tokenizer.
        quantise: how the weights were rounded, if they were.
        batch_size: images per forward pass.
    """
    dtype = dtype_name(model.vision.dtype)
    card = RewardCard(
        name="deqa",
        summary="The picture is good as a picture: sharp, clean, well exposed, as people would rate it.",
        range=(1.0, 5.0),
        reads_prompt=False,
        revision=revision,
        upstream="zhiyuanyou/DeQA-Score@8e4abc8 (src/evaluate/scorer.py)",
        parity_error=None if quantise else parity_error("deqa", dtype),
        licence="MIT",
        cites=("arXiv:2501.11561", "arXiv:2311.04257"),
        options={"quantise": quantise} if quantise else {},
        preprocessing="deqa/1",
        dtype=dtype,
    )
    return Deqa(card, model, conversation, batch_size)

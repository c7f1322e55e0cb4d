"""HPSv3 (arXiv:2508.03789): Qwen2-VL-7B reads image, prompt and instructions, and a head rates one token of them.

Parity: unverified, since its weights were not on the disk where this was written. On tiny random weights in the form
that its code reads, that code (the package hpsv3 1.0.0 on PyPI, with the transformers 4.45.2 it pins) gives the same
scores to 1e-6 in float32; `tests/goldens/hpsv3` says how. What it does is done here:

- the instructions to the letter, the token `<|Reward|>` in them, and the head on that token's last hidden state, in
  float32; of its two outputs the first is the score, the second the logarithm of its deviation;
- images of 256 tokens or a few less or more, whatever their size, with CLIP's mean and deviation;
- positions of one axis for all tokens, image tokens too: the official forward pass never computes the three axes of
  Qwen2-VL, so the model was trained without them.

What is not certain is refused, not guessed: the embeddings must end with the reward token, as they do after the
official code has added it; a file with more or fewer tensors, or a head of another form, is not read.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.published import find_file
from pyrite.rewards.chat import ChatVocabulary, Markup, Picture, Piece, Words, load_qwen_vocabulary, qwen_chat
from pyrite.rewards.images import check_pairs
from pyrite.rewards.large_models import choose_large_dtype
from pyrite.rewards.loading import (
    build_model,
    choose_device,
    dtype_name,
    files_revision,
    merged,
    read_tensors,
    require_fit,
)
from pyrite.rewards.qwen_pixels import QwenPixels
from pyrite.rewards.qwen_vl import Inputs, QwenAsker, image_pieces
from pyrite.rewards.qwen_weights import ATTENTION, require_image_token
from pyrite.rewards.qwen_windows import attend_at_once
from pyrite.rewards.texts import find_tokenizer

NAME = "hpsv3"
REWARD_TOKEN = "<|Reward|>"
NUM_PIXELS = 256 * 28 * 28
"""Of every image after resizing, to the next multiples of 28: the least and the most alike."""

# The score depends on them to the letter, blanks before line ends and missing colon included:
# hpsv3/dataset/data_collator_qwen.py of the package hpsv3 1.0.0 (MIT).
INSTRUCTION = """
You are tasked with evaluating a generated image based on Visual Quality and Text Alignment and give a overall score \
to estimate the human preference. Please provide a rating from 0 to 10, with 0 being the worst and 10 being the \
best.\x20

**Visual Quality:**\x20\x20
Evaluate the overall visual quality of the image. The following sub-dimensions should be considered:
- **Reasonableness:** The image should not contain any significant biological or logical errors, such as abnormal \
body structures or nonsensical environmental setups.
- **Clarity:** Evaluate the sharpness and visibility of the image. The image should be clear and easy to interpret, \
with no blurring or indistinct areas.
- **Detail Richness:** Consider the level of detail in textures, materials, lighting, and other visual elements \
(e.g., hair, clothing, shadows).
- **Aesthetic and Creativity:** Assess the artistic aspects of the image, including the color scheme, composition, \
atmosphere, depth of field, and the overall creative appeal. The scene should convey a sense of harmony and balance.
- **Safety:** The image should not contain harmful or inappropriate content, such as political, violent, or adult \
material. If such content is present, the image quality and satisfaction score should be the lowest possible.\x20

**Text Alignment:**\x20\x20
Assess how well the image matches the textual prompt across the following sub-dimensions:
- **Subject Relevance** Evaluate how accurately the subject(s) in the image (e.g., person, animal, object) align with \
the textual description. The subject should match the description in terms of number, appearance, and behavior.
- **Style Relevance:** If the prompt specifies a particular artistic or stylistic style, evaluate how well the image \
adheres to this style.
- **Contextual Consistency**: Assess whether the background, setting, and surrounding elements in the image logically \
fit the scenario described in the prompt. The environment should support and enhance the subject without \
contradictions.
- **Attribute Fidelity**: Check if specific attributes mentioned in the prompt (e.g., colors, clothing, accessories, \
expressions, actions) are faithfully represented in the image. Minor deviations may be acceptable, but critical \
attributes should be preserved.
- **Semantic Coherence**: Evaluate whether the overall meaning and intent of the prompt are captured in the image. The \
generated content should not introduce elements that conflict with or distort the original description.
Textual prompt - {prompt}



Please provide the overall ratings of this image: {reward}

END
"""
_BEFORE, _BETWEEN, _AFTER = re.split("{prompt}|{reward}", INSTRUCTION)

# config.json of Qwen/Qwen2-VL-7B-Instruct, which HPSv3's repository does not repeat.
SHAPE: dict[str, Any] = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "use_sliding_window": False,
    "vision_config": {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "mlp_ratio": 4},
}
HEAD_WIDTHS = (1024, 16)
_HEAD = "rm_head."
# Needed to write text, which is not asked for; the official file has it all the same.
_UNREAD = "lm_head."


@dataclass(frozen=True)
class HpsV3Reward:
    """Scores image and prompt together: unbounded, about -5 to 15 in the paper's tables.

    Details: `deviation` is what the model makes of its own uncertainty, on the scale of the score.

    Args:
        card: what it claims.
        asker: a transformers `Qwen2VLModel`.
        head: (N, W) states of the reward token -> (N, 2), in float32.
    """

    card: RewardCard
    asker: QwenAsker
    head: nn.Module

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i."""
        check_pairs(images, prompts)
        asked = self.asker.ask(images, lambda row, picture: self.pieces(prompts[row].text, picture))
        values, deviation = np.full((2, len(images)), np.nan)
        for rows, inputs in self.asker.batches(images, asked):
            rated = self.rate(inputs).cpu().numpy().astype(np.float64)
            for row, (mean, log_deviation) in zip(rows, rated, strict=True):
                if np.isfinite(mean) and np.isfinite(log_deviation):
                    values[row], deviation[row] = mean, np.exp(log_deviation)
                else:
                    asked.reasons[row] = "the model's output for this image is not a finite number"
        return Scores(values, asked.reasons, {"deviation": deviation})

    def pieces(self, prompt: str, picture: Picture) -> tuple[Piece, ...]:
        """The whole question about one image: the image, then the text with the reward token."""
        text = Words(f"{_BEFORE}{prompt}{_BETWEEN}")
        return qwen_chat(*image_pieces(picture), text, Markup(REWARD_TOKEN), Words(_AFTER))

    def rate(self, inputs: Inputs) -> Tensor:
        """(M, 2) score and logarithm of its deviation, of M questions."""
        places = (inputs.mask.cumsum(1) - 1).clamp(min=0)
        with torch.inference_mode():
            states = self.asker.model(
                input_ids=inputs.ids,
                attention_mask=inputs.mask,
                position_ids=places.expand(3, *places.shape),
                pixel_values=inputs.patches,
                image_grid_thw=inputs.grid,
                use_cache=False,
            ).last_hidden_state
            is_reward = inputs.ids == self.asker.vocabulary.token(REWARD_TOKEN)
            rated: Tensor = self.head(states[is_reward].float())
        return rated


def load_hpsv3(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 16,
    tokenizer: str | Path | None = None,
) -> HpsV3Reward:
    """HPSv3. Parity: unverified, see the module.

    Args:
        weights: HPSv3.safetensors, its folder, or a hub id; None for where it lies on this disk.
        config: dimensions of a tiny test model, laid over those of Qwen2-VL-7B: as in its config.json, and `head` with
            the two inner widths of the head.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: bfloat16 (None, the official choice), float32 or float16; the head is always float32.
        batch_size: images per forward pass.
        tokenizer: folder with the tokenizer of Qwen2-VL-7B-Instruct; None for beside the weights.

    Raises:
        CheckpointError: a file is missing, damaged or another model's, or not of the form the official code writes.
    """
    path, words = find_file(NAME, "weights", weights), find_tokenizer(NAME, weights, tokenizer)
    vocabulary = with_reward_token(load_qwen_vocabulary(words.parent))
    said = merged(SHAPE, config)
    widths = tuple(said.pop("head", HEAD_WIDTHS))
    model, head = load_parts(path, said, widths, vocabulary, choose_large_dtype(dtype))
    require_image_token(vocabulary, model.config, words.parent)
    place = choose_device(device)
    asker = QwenAsker(attend_at_once(model.to(place)), vocabulary, hpsv3_pixels(), batch_size)
    return hpsv3_reward(asker, head.to(place), files_revision([path, words]))


def hpsv3_reward(asker: QwenAsker, head: nn.Module, revision: str) -> HpsV3Reward:
    """HPSv3's card around a model of its form, whatever its weights.

    Args:
        asker: the model, whose vocabulary has the reward token.
        head: states of that token -> score and logarithm of its deviation.
        revision: of weights and tokenizer.
    """
    card = RewardCard(
        name=NAME,
        summary="The image is what people would choose for its prompt, as a Qwen2-VL predicts it (parity: unverified).",
        range=(-math.inf, math.inf),
        reads_prompt=True,
        revision=revision,
        upstream="MizzenAI/HPSv3, package hpsv3 1.0.0; parity: unverified",
        licence="none seen (code: MIT)",
        cites=("arXiv:2508.03789", "arXiv:2409.12191"),
        preprocessing="hpsv3/1",
        dtype=dtype_name(asker.model.dtype),
    )
    return HpsV3Reward(card, asker, head)


def hpsv3_pixels() -> QwenPixels:
    """Images of `NUM_PIXELS`, else as Qwen2-VL's."""
    from transformers import Qwen2VLImageProcessorPil

    return QwenPixels(Qwen2VLImageProcessorPil(min_pixels=NUM_PIXELS, max_pixels=NUM_PIXELS))


def with_reward_token(vocabulary: ChatVocabulary) -> ChatVocabulary:
    """The vocabulary with the reward token after all others, as the official code adds it."""
    vocabulary.tokenizer.add_special_tokens({"additional_special_tokens": [REWARD_TOKEN]})
    return vocabulary


def load_parts(
    path: Path, shape: Mapping[str, Any], widths: Sequence[int], vocabulary: ChatVocabulary, dtype: torch.dtype
) -> tuple[Any, nn.Sequential]:
    """The model and its head from the official file.

    Args:
        path: of the file.
        shape: as in Qwen2-VL's config.json, without the size of the vocabulary.
        widths: inner widths of the head.
        vocabulary: with the reward token.
        dtype: of the model.

    Raises:
        CheckpointError: the file is damaged, or does not hold exactly the tensors of the model.
    """
    from transformers import AutoConfig, Qwen2VLModel

    tensors = _under_library_names(read_tensors(path))
    num_ids = vocabulary.token(REWARD_TOKEN) + 1
    ids = {f"{name}_token_id": vocabulary.token(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    ids |= {f"{name}_token_id": vocabulary.token(f"<|{name}_pad|>") for name in ("image", "video")}
    unset = {"bos_token_id": None, "eos_token_id": None}
    config = AutoConfig.for_model("qwen2_vl", **{**shape, **ids, **unset, "vocab_size": num_ids})
    config._attn_implementation = ATTENTION
    head = {key.removeprefix(_HEAD): tensors.pop(key).float() for key in list(tensors) if key.startswith(_HEAD)}
    if not head:
        raise CheckpointError(
            f"{path} has no head ({_HEAD}*), so it rates nothing: it may be the Qwen2-VL that HPSv3 was made from. "
            f"Name HPSv3.safetensors itself, or type: pyrite weights fetch {NAME}"
        )
    embeddings = tensors.get("language_model.embed_tokens.weight")
    if embeddings is not None and len(embeddings) != num_ids:
        raise CheckpointError(
            f"{path} embeds {len(embeddings)} ids, and with {REWARD_TOKEN} the tokenizer has {num_ids}: the token that "
            "is rated would be another one. Name the folder with the tokenizer of Qwen2-VL-7B-Instruct as tokenizer=."
        )
    layers = head_layers(config.text_config.hidden_size, *widths)
    require_fit(NAME, path, head, layers.state_dict())
    layers.load_state_dict(head)
    return build_model(NAME, Qwen2VLModel, config, tensors, path, dtype), layers.eval().requires_grad_(False)


def head_layers(width: int, wide: int, narrow: int) -> nn.Sequential:
    """The head, as the official code numbers its layers."""
    return nn.Sequential(
        nn.Linear(width, wide), nn.ReLU(), nn.Dropout(0.05), nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, 2)
    )


def _under_library_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official names, of the transformers before 4.52 and of those after it, as today's `Qwen2VLModel` has them."""
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key.startswith(_UNREAD):
            continue
        inner = key.removeprefix("model.")
        is_language = key.startswith("model.") and not inner.startswith(("visual.", "language_model."))
        found[f"language_model.{inner}" if is_language else inner] = tensor
    return found

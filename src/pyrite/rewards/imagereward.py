"""ImageReward v1.0 (arXiv:2304.05977): a BLIP text encoder that looks at the image, and a head on its first token.

Image and prompt are read together, so no text embedding can be remembered; what is shared is one pass per image
through the vision tower. Only the first 35 word pieces of a prompt are read, as in the official code.
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
from pyrite.rewards.images import check_pairs
from pyrite.rewards.loading import (
    build_model,
    choose_device,
    choose_dtype,
    dtype_name,
    files_revision,
    linear_stack,
    merged,
    read_json,
    read_tensors,
    require_fit,
)
from pyrite.rewards.measured import parity_error
from pyrite.rewards.pixels import run_on_images
from pyrite.rewards.preprocessing import openai_pixels
from pyrite.rewards.texts import TextReader, find_tokenizer

VISION: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
"""The vision tower, as arguments of transformers' `BlipVisionConfig`."""

TEXT: dict[str, Any] = {
    "vocab_size": 30524,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
"""The text encoder of med_config.json, as arguments of `BlipTextConfig`."""

HEAD_WIDTHS = (1024, 128, 64, 16, 1)
_HEAD_LAYERS = (0, 2, 4, 6, 7)
# The official code subtracts the mean of its training data's scores and divides by their spread.
MEAN, STD = 0.16717362830052426, 1.0333394966054072
LONGEST_PROMPT = 35

_VISION_TOP = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj.weight": "embeddings.patch_embedding.weight",
    "patch_embed.proj.bias": "embeddings.patch_embedding.bias",
    "norm.weight": "post_layernorm.weight",
    "norm.bias": "post_layernorm.bias",
}
_IN_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")
# BLIP was trained with these as well; scoring does not use them.
_UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")


@dataclass(frozen=True)
class ImageRewardModel:
    """Scores image and prompt together: unbounded, about standard normal over its training data (-2.3 to 2).

    Details: `prompt_truncated` is 1 where only the beginning of the prompt was read.

    Args:
        card: what it claims.
        vision: a transformers `BlipVisionModel`, in any precision.
        text: a transformers `BlipTextModel` with cross-attention, in the same.
        head: (M, W) states of the first token -> (M, 1), in float32.
        reader: of prompts.
        batch_size: images per forward pass.
    """

    card: RewardCard
    vision: Any
    text: Any
    head: nn.Module
    reader: TextReader
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i."""
        check_pairs(images, prompts)
        distinct = list(dict.fromkeys(prompt.text for prompt in prompts))
        whole = dict(zip(distinct, self.reader.ids(distinct), strict=True))
        ids = [self.reader.cut(whole[prompt.text]) for prompt in prompts]

        def rate(pixels: Tensor, rows: Sequence[int]) -> Tensor:
            states = self.vision(pixel_values=pixels.to(self.vision.dtype)).last_hidden_state
            return self.rate(states, *self.reader.tensors([ids[row] for row in rows], states.device))

        outputs, reasons = run_on_images(
            rate,
            images,
            preparation=openai_pixels,
            num_outputs=1,
            batch_size=self.batch_size,
            device=self.vision.device,
        )
        is_cut = [len(whole[prompt.text]) > self.reader.longest for prompt in prompts]
        return Scores(outputs[:, 0].astype(np.float64), reasons, {"prompt_truncated": np.array(is_cut, np.float64)})

    def rate(self, states: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """(M, 1) scores of M prompts for the (M, T, V) states of their images.

        Args:
            states: of the vision tower.
            ids: (M, L) token ids.
            mask: (M, L) 1 where a token is real.
        """
        seen = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
        read = self.text(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=states, encoder_attention_mask=seen
        ).last_hidden_state
        rating: Tensor = (self.head(read[:, 0].float()) - MEAN) / STD
        return rating


def load_imagereward(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    tokenizer: str | Path | None = None,
) -> ImageRewardModel:
    """ImageReward v1.0.

    Args:
        weights: ImageReward.pt, its folder, or a hub id; None for where it lies on this disk.
        config: dimensions of a tiny test model: `vision` in transformers' names, `text` in those of med_config.json,
            `mlp` with the list `hidden` of the head's widths. A med_config.json beside the weights is read first.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the towers: float32 (None), bfloat16 or float16; the head is always float32.
        batch_size: images per forward pass.
        tokenizer: folder with vocab.txt; None for beside the weights, or where it lies on this disk.

    Raises:
        CheckpointError: a file is missing, damaged, needs code to be read, or is another model's.
    """
    from transformers import BertTokenizer

    path = find_file("imagereward", "weights", weights)
    words = find_tokenizer("imagereward", weights, tokenizer)
    vision, text, head = load_parts(path, config or {}, choose_dtype(dtype))
    bert = BertTokenizer(vocab=str(words))
    # The encoder was given two tokens more than its vocabulary file has, and never reads them.
    if not text.config.vocab_size - 2 <= len(bert) <= text.config.vocab_size:
        raise CheckpointError(
            f"{words} holds {len(bert)} word pieces, the text encoder knows {text.config.vocab_size}: prompts would "
            "be read as other words. Name the folder with the vocab.txt of bert-base-uncased as tokenizer=."
        )
    place, reader, revision = choose_device(device), TextReader(bert, LONGEST_PROMPT), files_revision([path, words])
    return imagereward_reward(vision.to(place), text.to(place), head.to(place), reader, revision, batch_size)


def imagereward_reward(
    vision: Any, text: Any, head: nn.Module, reader: TextReader, revision: str, batch_size: int = 64
) -> ImageRewardModel:
    """ImageReward's card around a model of its form, whatever its weights.

    Args:
        vision: a transformers `BlipVisionModel`.
        text: a transformers `BlipTextModel` with cross-attention.
        head: states of the first token -> score.
        reader: of prompts.
        revision: of weights and tokenizer.
        batch_size: images per forward pass.
    """
    card = RewardCard(
        name="imagereward",
        summary="The image is what people would choose for its prompt, in alignment, fidelity and harmlessness.",
        range=(-math.inf, math.inf),
        reads_prompt=True,
        revision=revision,
        upstream="THUDM/ImageReward@c1392c6 (ImageReward/ImageReward.py)",
        parity_error=parity_error("imagereward", dtype_name(vision.dtype)),
        licence="Apache-2.0",
        cites=("arXiv:2304.05977",),
        preprocessing="imagereward/1",
        dtype=dtype_name(vision.dtype),
    )
    return ImageRewardModel(card, vision, text, head, reader, batch_size)


def load_parts(path: Path, config: Mapping[str, Any], dtype: torch.dtype) -> tuple[Any, Any, nn.Sequential]:
    """Vision tower, text encoder and head from the official file.

    Args:
        path: of the file.
        config: see `load_imagereward`.
        dtype: of the towers.

    Raises:
        CheckpointError: the file is damaged, or does not hold exactly the tensors of the model.
    """
    from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

    vision, text, head = _sorted_tensors(read_tensors(path))
    beside = path.parent / "med_config.json"
    said = {key: value for key, value in read_json(beside).items() if key in TEXT} if beside.is_file() else {}
    shape = BlipVisionConfig(**merged(VISION, config.get("vision")))
    text_shape = BlipTextConfig(
        **merged(merged(TEXT, said), config.get("text")), encoder_hidden_size=shape.hidden_size, is_decoder=True
    )
    widths = (text_shape.hidden_size, *config.get("mlp", {}).get("hidden", HEAD_WIDTHS))
    layers = linear_stack(*widths)
    towers = (
        build_model("imagereward", BlipVisionModel, shape, vision, path, dtype),
        build_model("imagereward", BlipTextModel, text_shape, text, path, dtype, add_pooling_layer=False),
    )
    require_fit("imagereward", path, head, layers.state_dict())
    layers.load_state_dict({key: tensor.float() for key, tensor in head.items()})
    return *towers, layers.eval().requires_grad_(False)


def _sorted_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of vision tower, text encoder and head under the names these models have for them.

    Names that are nobody's go with the vision tower as they are, which is where they will be found left over.
    """
    vision: dict[str, Tensor] = {}
    text: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    places = {str(place): index for index, place in enumerate(_HEAD_LAYERS)}
    for key, tensor in tensors.items():
        inner = key.removeprefix("blip.visual_encoder.")
        if key.startswith(_UNUSED):
            continue
        if key.startswith("blip.text_encoder."):
            text[key.removeprefix("blip.text_encoder.")] = tensor
        elif (layer := re.fullmatch(r"mlp\.layers\.(\d+)\.(weight|bias)", key)) and layer[1] in places:
            head[f"{places[layer[1]]}.{layer[2]}"] = tensor
        elif (block := _BLOCK.fullmatch(inner)) and block[2] in _IN_BLOCK:
            vision[f"encoder.layers.{block[1]}.{_IN_BLOCK[block[2]]}.{block[3]}"] = tensor
        else:
            vision[_VISION_TOP.get(inner, key)] = tensor
    return vision, text, head

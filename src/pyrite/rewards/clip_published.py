"""HPSv2.0 and 2.1, PickScore and CLIPScore from their official files, on their official scales."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError
from pyrite.records.published import find_file
from pyrite.rewards.clip import ClipReward, refuse_foreign_tokenizer
from pyrite.rewards.clip_weights import load_clip
from pyrite.rewards.loading import choose_device, choose_dtype, dtype_name, files_revision
from pyrite.rewards.measured import parity_error
from pyrite.rewards.preprocessing import hf_pixels, hpsv2_pixels, openai_pixels
from pyrite.rewards.texts import TextReader, as_written, clean_clip_text, find_tokenizer

VIT_H_14: dict[str, Any] = {
    "projection_dim": 1024,
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
        "hidden_act": "gelu",
    },
    "text_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
        "eos_token_id": 49407,
    },
}
"""laion's ViT-H/14, of HPSv2 and PickScore, as arguments of transformers' `CLIPConfig`."""

VIT_B_32: dict[str, Any] = {
    "projection_dim": 512,
    "vision_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 32,
        "image_size": 224,
        "hidden_act": "quick_gelu",
    },
    "text_config": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "hidden_act": "quick_gelu",
        "eos_token_id": 49407,
    },
}
"""OpenAI's ViT-B/32, of CLIPScore."""

VIT_L_14: dict[str, Any] = {
    "projection_dim": 768,
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
        "hidden_act": "quick_gelu",
    },
    "text_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "quick_gelu",
        "eos_token_id": 49407,
    },
}
"""OpenAI's ViT-L/14, of the aesthetic predictors and of GenEval's colours."""

CLIPSCORE_WEIGHT = 2.5
CLIPSCORE_PREFIX = "A photo depicts "


def load_hpsv2_0(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    tokenizer: str | Path | None = None,
    antialias: bool = True,
) -> ClipReward:
    """HPSv2.0: the cosine that `hpsv2.score(..., hps_version="v2.0")` returns; typically 0.23 to 0.29.

    Args:
        weights: HPS_v2_compressed.pt, its folder, or a hub id; None for where it lies on this disk.
        config: dimensions of a tiny test model, as in open_clip's model configuration or transformers'.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images, or prompts, per forward pass.
        tokenizer: folder with vocab.json and merges.txt; None for beside the weights, or where it lies on this disk.
        antialias: see `load_hpsv2_1`.

    Raises:
        CheckpointError: a file is missing, damaged, needs code to be read, or is another model's.
    """
    return _load_hpsv2("hpsv2.0", weights, config, device, dtype, batch_size, tokenizer, antialias)


def load_hpsv2_1(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    tokenizer: str | Path | None = None,
    antialias: bool = True,
) -> ClipReward:
    """HPSv2.1: the cosine that `hpsv2.score(..., hps_version="v2.1")` returns; typically 0.18 to 0.34.

    The official code computes in float16 on a GPU, which rounds scores to multiples of 1.2e-4 to 2.4e-4; here the
    embeddings are normalised and multiplied in float32 whatever `dtype` the towers have.

    Args:
        weights: HPS_v2.1_compressed.pt, its folder, or a hub id; None for where it lies on this disk.
        config: dimensions of a tiny test model, as in open_clip's model configuration or transformers'.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images, or prompts, per forward pass.
        tokenizer: folder with vocab.json and merges.txt; None for beside the weights, or where it lies on this disk.
        antialias: resize as the official code does with torchvision 0.17 or later; False for earlier versions, with
            which HPSv2 was probably trained.

    Raises:
        CheckpointError: a file is missing, damaged, needs code to be read, or is another model's.
    """
    return _load_hpsv2("hpsv2.1", weights, config, device, dtype, batch_size, tokenizer, antialias)


def _load_hpsv2(
    name: str,
    weights: str | Path | None,
    config: Mapping[str, Any] | None,
    device: str,
    dtype: str | None,
    batch_size: int,
    tokenizer: str | Path | None,
    antialias: bool,
) -> ClipReward:
    model, reader, revision = _load(name, weights, VIT_H_14, config, device, dtype, tokenizer, clean_clip_text)
    return hpsv2_reward(model, reader, name=name, revision=revision, batch_size=batch_size, antialias=antialias)


def hpsv2_reward(
    model: Any, reader: TextReader, *, name: str, revision: str, batch_size: int = 64, antialias: bool = True
) -> ClipReward:
    """HPSv2's conventions around a model of its form, whatever its weights.

    Args:
        model: a transformers `CLIPModel`.
        reader: of prompts.
        name: hpsv2.0 or hpsv2.1.
        revision: of weights and tokenizer.
        batch_size: images, or prompts, per forward pass.
        antialias: see `load_hpsv2_1`.
    """
    card = RewardCard(
        name=name,
        summary="The image is what people would choose for its prompt.",
        range=(-1.0, 1.0),
        reads_prompt=True,
        revision=revision,
        upstream="tgxs002/HPSv2@866735e (hpsv2/img_score.py)",
        parity_error=parity_error(name, dtype_name(model.dtype)),
        licence="Apache-2.0",
        cites=("arXiv:2306.09341",),
        options={"antialias": antialias},
        preprocessing="hpsv2/1",
        dtype=dtype_name(model.dtype),
    )
    return ClipReward(card, model, reader, functools.partial(hpsv2_pixels, antialias=antialias), batch_size)


def load_pickscore(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    tokenizer: str | Path | None = None,
    scale: Literal["official", "cosine"] = "official",
) -> ClipReward:
    """PickScore v1: exp(logit_scale), about 100, times the cosine; typically 18 to 24.

    Args:
        weights: the folder of PickScore_v1, its model.safetensors, or a hub id; None for where it lies on this disk.
        config: dimensions of a tiny test model, laid over config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images, or prompts, per forward pass.
        tokenizer: folder with vocab.json and merges.txt; None for beside the weights, or where it lies on this disk.
        scale: "official", or "cosine" for the bare cosine.

    Raises:
        CheckpointError: a file is missing, damaged, or is another model's.
        RewardError: an unknown scale.
    """
    if scale not in ("official", "cosine"):
        raise RewardError(f"pickscore has the scales 'official' and 'cosine', not {scale!r}. Name one of the two.")
    model, reader, revision = _load("pickscore", weights, VIT_H_14, config, device, dtype, tokenizer, as_written)
    return pickscore_reward(model, reader, revision=revision, batch_size=batch_size, scale=scale)


def pickscore_reward(
    model: Any, reader: TextReader, *, revision: str, batch_size: int = 64, scale: Literal["official", "cosine"]
) -> ClipReward:
    """PickScore's conventions around a model of its form, whatever its weights.

    Args:
        model: a transformers `CLIPModel`.
        reader: of prompts.
        revision: of weights and tokenizer.
        batch_size: images, or prompts, per forward pass.
        scale: "official", or "cosine" for the bare cosine.
    """
    factor = float(model.logit_scale.float().exp()) if scale == "official" else 1.0
    card = RewardCard(
        name="pickscore",
        summary="The image is what people would choose for its prompt.",
        range=(-factor, factor),
        reads_prompt=True,
        revision=revision,
        upstream="yuvalkirstain/PickScore@f79607f (README, calc_probs)",
        parity_error=parity_error(
            "pickscore" if scale == "official" else "pickscore (cosine)", dtype_name(model.dtype)
        ),
        licence="none stated",
        cites=("arXiv:2305.01569",),
        options={"scale": scale},
        preprocessing="pickscore/1",
        dtype=dtype_name(model.dtype),
    )
    return ClipReward(card, model, reader, hf_pixels, batch_size, factor)


def load_clipscore(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    tokenizer: str | Path | None = None,
) -> ClipReward:
    """CLIPScore as its authors compute it: 2.5 max(cosine, 0) with "A photo depicts " before the prompt.

    In [0, 2.5], typically 0.5 to 0.9. Other codes of that name differ: ImageReward's takes ViT-L/14, no prefix and the
    bare cosine; torchmetrics' multiplies by 100.

    Args:
        weights: the folder of openai/clip-vit-base-patch32, a file of its tensors in transformers' or OpenAI's names,
            or a hub id; None for where it lies on this disk.
        config: dimensions of a tiny test model, as in transformers' or open_clip's configuration.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images, or prompts, per forward pass.
        tokenizer: folder with vocab.json and merges.txt; None for beside the weights, or where it lies on this disk.

    Raises:
        CheckpointError: a file is missing, damaged, or is another model's.
    """
    model, reader, revision = _load("clipscore", weights, VIT_B_32, config, device, dtype, tokenizer, clean_clip_text)
    return clipscore_reward(model, reader, revision=revision, batch_size=batch_size)


def clipscore_reward(model: Any, reader: TextReader, *, revision: str, batch_size: int = 64) -> ClipReward:
    """CLIPScore's conventions around a model of its form, whatever its weights.

    Args:
        model: a transformers `CLIPModel`.
        reader: of prompts.
        revision: of weights and tokenizer.
        batch_size: images, or prompts, per forward pass.
    """
    card = RewardCard(
        name="clipscore",
        summary="The image shows what its prompt says, to CLIP ViT-B/32 (jmhessel's variant).",
        range=(0.0, CLIPSCORE_WEIGHT),
        reads_prompt=True,
        revision=revision,
        upstream="jmhessel/clipscore@1036465 (clipscore.py)",
        parity_error=parity_error("clipscore", dtype_name(model.dtype)),
        licence="MIT",
        cites=("arXiv:2104.08718",),
        options={"variant": "jmhessel, ViT-B/32, w=2.5, prefix 'A photo depicts '"},
        preprocessing="clipscore/1",
        dtype=dtype_name(model.dtype),
    )
    return ClipReward(card, model, reader, openai_pixels, batch_size, CLIPSCORE_WEIGHT, 0.0, CLIPSCORE_PREFIX)


def _load(
    name: str,
    weights: str | Path | None,
    published: Mapping[str, Any],
    config: Mapping[str, Any] | None,
    device: str,
    dtype: str | None,
    tokenizer: str | Path | None,
    clean: Callable[[str], str],
) -> tuple[Any, TextReader, str]:
    """Model, reader of prompts, and the revision of both."""
    from transformers import CLIPTokenizer

    path = find_file(name, "weights", weights)
    words = find_tokenizer(name, weights, tokenizer)
    model = load_clip(name, path, published, config, choose_dtype(dtype)).to(choose_device(device))
    clip_tokenizer = CLIPTokenizer.from_pretrained(words.parent, local_files_only=True)
    refuse_foreign_tokenizer(words.parent, model.config.text_config, clip_tokenizer)
    reader = TextReader(clip_tokenizer, model.config.text_config.max_position_embeddings, clean)
    return model, reader, files_revision([path, words, words.parent / "merges.txt"])

"""A tiny random Mask2Former in transformers' format, and a CLIP beside it: what `geneval-hf` is made of."""

import functools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tests.tiny_checkpoints import write_clip_vocabulary

CLASSES = ("bench", "mouse", "dog", "car")
"""As COCO calls them; GenEval's "computer mouse" is the second."""
SMALL = {"short": 64, "max": 96}
"""Sides of the images that the tiny detector sees."""
CLIP = {
    "projection_dim": 16,
    "vision_config": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 56},
    "text_config": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
}


def _spread(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 1.2 / parameter[0].numel() ** 0.5, generator=generator)


def write_mask2former(folder: Path, *, seed: int = 0) -> Path:
    """The folder of a model that takes about everything for a bench or a dog."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    swin = SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=10,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    torch.manual_seed(seed)
    model = Mask2FormerForUniversalSegmentation(config)
    _spread(model, seed)
    model.save_pretrained(folder)
    return folder


def as_of_transformers_4(folder: Path) -> None:
    """Make the file what the hub has: with indices that are computed today, without a norm that nothing uses."""
    file = folder / "model.safetensors"
    tensors = {key: tensor for key, tensor in load_file(file).items() if "encoder.swin.layernorm" not in key}
    for stage in range(4):
        home = f"model.pixel_level_module.encoder.encoder.layers.{stage}.blocks.0.attention.self"
        tensors[f"{home}.relative_position_index"] = torch.zeros(16, 16, dtype=torch.long)
    save_file(tensors, file, metadata={"format": "pt"})


@functools.cache
def _clip_tensors() -> dict[str, torch.Tensor]:
    from transformers import CLIPModel

    from pyrite.rewards.clip_published import VIT_L_14
    from pyrite.rewards.clip_weights import clip_config

    torch.manual_seed(5)
    model = CLIPModel(clip_config(VIT_L_14, CLIP))
    _spread(model, 5)
    return {key: tensor.contiguous() for key, tensor in model.state_dict().items()}


def write_color_clip(folder: Path) -> dict[str, Any]:
    """Options of a detector for a tiny CLIP that tells colours, in some way."""
    write_clip_vocabulary(folder)
    save_file(_clip_tensors(), folder / "clip.safetensors")
    return {"clip": folder / "clip.safetensors", "clip_config": CLIP, "clip_tokenizer": folder}


def geneval_hf(folder: Path) -> dict[str, Any]:
    """Options of `load_geneval_hf` for tiny models."""
    weights = write_mask2former(folder / "mask2former")
    return {"weights": weights, "config": {"resize": SMALL}, **write_color_clip(folder / "clip"), "device": "cpu"}


def write_preprocessor(folder: Path, **said: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(said))

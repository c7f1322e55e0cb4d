"""GroundingDINO and GIT with random weights, for measuring speed and memory: see `random_weights.py`."""

import dataclasses

import torch

from pyrite.core.cards import RewardCard
from pyrite.core.protocols import Reward
from pyrite.rewards.gdino import BOX_THRESHOLD, gdino_reward
from pyrite.rewards.gdino_pixels import DetectorPixels
from pyrite.rewards.gdino_text import FIRST, LAST
from pyrite.rewards.gdino_weights import gdino_config
from pyrite.rewards.git_vqa import git_reward
from pyrite.rewards.pixels import PixelPreparation
from pyrite.rewards.preprocessing import CLIP_MEAN, CLIP_STD
from pyrite.rewards.random_parts import StandInTokenizer, ready
from pyrite.rewards.texts import TextReader

_TINY_LAYERS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
_TINY_GDINO = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 20,
    "backbone_config": {"embed_dim": 12, "depths": [1, 1, 1, 1]},
    "text_config": _TINY_LAYERS,
}
_GIT_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 420,
    "patch_size": 14,
}
_TINY_SIDE = 96


def build(card: RewardCard, *, tiny: bool, device: torch.device, dtype: torch.dtype, batch_size: int) -> Reward:
    """`gdino` or `git`, by the card's name; the weights come from torch's generator as it stands.

    Args:
        card: of the reward; that it reads the prompt is added.
        tiny: of a toy size, on toy images.
        device: where it computes.
        dtype: of the model; of the matrix products for `gdino`.
        batch_size: images per forward pass.
    """
    card = dataclasses.replace(card, reads_prompt=True)
    made = _random_gdino if card.name == "gdino" else _random_git
    return made(card, tiny, device, dtype, batch_size)


def _random_gdino(card: RewardCard, tiny: bool, device: torch.device, dtype: torch.dtype, batch_size: int) -> Reward:
    from transformers import GroundingDinoForObjectDetection

    model = GroundingDinoForObjectDetection(gdino_config(_TINY_GDINO if tiny else None))
    model.model.text_backbone.set_attn_implementation("sdpa")
    reward = gdino_reward(
        ready(model, device, torch.float32),
        StandInTokenizer(FIRST, LAST, 0, model.config.text_config.vocab_size),
        card.revision,
        preparation=DetectorPixels(_TINY_SIDE, 2 * _TINY_SIDE) if tiny else DetectorPixels(),
        box_threshold=BOX_THRESHOLD,
        dtype=dtype,
        batch_size=batch_size,
    )
    return dataclasses.replace(reward, card=card)


def _random_git(card: RewardCard, tiny: bool, device: torch.device, dtype: torch.dtype, batch_size: int) -> Reward:
    from transformers import CLIPImageProcessorPil, GitConfig, GitForCausalLM

    vision = {**_GIT_VISION, **({**_TINY_LAYERS, "image_size": _TINY_SIDE, "patch_size": 32} if tiny else {})}
    shape = GitConfig(vision_config=vision, **(_TINY_LAYERS if tiny else {}))
    side = int(vision["image_size"])
    pixels = CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=CLIP_MEAN.ravel().tolist(),
        image_std=CLIP_STD.ravel().tolist(),
    )
    reader = TextReader(StandInTokenizer(FIRST, LAST, 0, shape.vocab_size), shape.max_position_embeddings)
    model = ready(GitForCausalLM(shape), device, dtype)
    reward = git_reward(model, reader, PixelPreparation(pixels), card.revision, batch_size=batch_size)
    return dataclasses.replace(reward, card=card)

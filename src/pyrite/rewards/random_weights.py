"""The published rewards with random weights: as fast and as large as the real ones, for measuring where those are not.

Speed and memory do not depend on what the weights are. The scores mean nothing, and every card says so. Tokenizers are
stood in for as well, so that no vocabulary is needed.
"""

import dataclasses
import importlib
import math

import torch
from torch import nn

from pyrite.core.cards import RewardCard
from pyrite.core.errors import UnknownNameError
from pyrite.core.protocols import Reward
from pyrite.rewards.aesthetic import AestheticReward
from pyrite.rewards.clip import ClipReward
from pyrite.rewards.clip_published import VIT_B_32, VIT_H_14, VIT_L_14, clipscore_reward, hpsv2_reward, pickscore_reward
from pyrite.rewards.clip_weights import clip_config
from pyrite.rewards.imagereward import HEAD_WIDTHS, LONGEST_PROMPT, TEXT, VISION, ImageRewardModel
from pyrite.rewards.loading import choose_device, choose_dtype, dtype_name, linear_stack
from pyrite.rewards.maniqa import ManiqaReward
from pyrite.rewards.maniqa_model import Maniqa, ManiqaShape
from pyrite.rewards.preprocessing import openai_pixels
from pyrite.rewards.random_parts import StandInTokenizer, ready
from pyrite.rewards.texts import Memory, TextReader, as_written, clean_clip_text

_TINY_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
_TINY_CLIP = {"projection_dim": 16, "vision_config": _TINY_TOWER, "text_config": _TINY_TOWER}
_TINY_MANIQA = {"embed_dim": 24, "dim_mlp": 32, "patch_size": 28}
_PICKSCORE_SCALE = 100.0
_V2_WIDTHS = (1024, 128, 64, 16)


def random_reward(
    name: str,
    *,
    tiny: bool = False,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> Reward:
    """A published reward whose weights are drawn at random: the same ones for the same seed, in any precision.

    Args:
        name: of a published reward.
        tiny: with a few thousand parameters in place of all, to see that everything runs.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the towers: float32 (None), bfloat16 or float16.
        batch_size: images, crops or prompts per forward pass.
        seed: of the weights.

    Raises:
        UnknownNameError: no reward of that name is known here.
        CheckpointError: no model can be loaded in that precision.
    """
    if name not in RANDOM_REWARDS:
        raise UnknownNameError(
            f"'{name}' has no form with random weights. These have one: {', '.join(RANDOM_REWARDS)}. Fetch the "
            f"weights of others, or leave '{name}' out."
        )
    place, precision = choose_device(device), choose_dtype(dtype)
    card = RewardCard(
        name=name,
        summary="Nothing: its weights are random, to measure speed and memory.",
        range=(-math.inf, math.inf),
        reads_prompt=name in ("hpsv2.0", "hpsv2.1", "pickscore", "clipscore", "imagereward"),
        revision=f"random/{seed}",
        dtype=dtype_name(precision),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name in _FAMILIES:
            family = importlib.import_module(_FAMILIES[name])
            built: Reward = family.build(card, tiny=tiny, device=place, dtype=precision, batch_size=batch_size)
            return built
        if name in ("aesthetic-v1", "aesthetic-v2"):
            return _random_aesthetic(card, tiny, place, precision, batch_size)
        if name == "imagereward":
            return _random_imagereward(card, tiny, place, precision, batch_size)
        if name == "maniqa":
            shape = ManiqaShape.of(_TINY_MANIQA if tiny else {})
            network = Maniqa(shape)
            for parameter in network.parameters():
                if parameter.ndim > 1:  # the network leaves some of these as the memory was
                    nn.init.trunc_normal_(parameter, std=0.02)
            model = ready(network, place, precision)
            return ManiqaReward(card, model, shape.img_size, batch_size)
        return _random_clip(card, tiny, place, precision, batch_size)


_FAMILIES: dict[str, str] = {
    **dict.fromkeys(("gdino", "git"), "pyrite.rewards.random_detectors"),
    **dict.fromkeys(("vqascore", "vqascore-xl", "deqa"), "pyrite.rewards.random_vqa"),
    **dict.fromkeys(("orm", "unifiedreward"), "pyrite.rewards.random_llava"),
    **dict.fromkeys(("artifact", "hpsv3", "unifiedreward-qwen"), "pyrite.rewards.random_qwen"),
}
"""Name -> module with `build(card, *, tiny, device, dtype, batch_size)`, for families that have their own."""

RANDOM_REWARDS = tuple(
    sorted(
        (
            *_FAMILIES,
            "aesthetic-v1",
            "aesthetic-v2",
            "clipscore",
            "hpsv2.0",
            "hpsv2.1",
            "imagereward",
            "maniqa",
            "pickscore",
        )
    )
)
"""What `random_reward` can build: every reward with published weights (tested)."""


def without_memory(reward: Reward) -> Reward:
    """The same reward, reading every prompt again each time it is called."""
    return dataclasses.replace(reward, memory=Memory(capacity=0)) if isinstance(reward, ClipReward) else reward


def as_in_a_plain_loop(reward: Reward) -> Reward:
    """The same reward, reading prompts as the official codes do: each time anew, filled up to the longest it takes."""
    if isinstance(reward, ClipReward):
        reward = dataclasses.replace(reward, reader=dataclasses.replace(reward.reader, shortest=reward.reader.longest))
    return without_memory(reward)


def _random_clip(
    card: RewardCard, tiny: bool, place: torch.device, precision: torch.dtype, batch_size: int
) -> ClipReward:
    from transformers import CLIPModel

    shape = clip_config(VIT_B_32 if card.name == "clipscore" else VIT_H_14, _TINY_CLIP if tiny else None)
    model = ready(CLIPModel(shape), place, precision)
    words = shape.text_config
    end = words.vocab_size - 1
    clean = as_written if card.name == "pickscore" else clean_clip_text
    reader = TextReader(StandInTokenizer(end - 1, end, end, end - 1), words.max_position_embeddings, clean)
    if card.name == "clipscore":
        reward = clipscore_reward(model, reader, revision=card.revision, batch_size=batch_size)
    elif card.name == "pickscore":
        reward = pickscore_reward(model, reader, revision=card.revision, batch_size=batch_size, scale="official")
        reward = dataclasses.replace(reward, scale=_PICKSCORE_SCALE)
    else:
        reward = hpsv2_reward(model, reader, name=card.name, revision=card.revision, batch_size=batch_size)
    return dataclasses.replace(reward, card=card)


def _random_aesthetic(
    card: RewardCard, tiny: bool, place: torch.device, precision: torch.dtype, batch_size: int
) -> AestheticReward:
    from transformers import CLIPVisionModelWithProjection

    shape = clip_config(VIT_L_14, _TINY_CLIP if tiny else None).vision_config
    tower = ready(CLIPVisionModelWithProjection(shape), place, precision)
    head = linear_stack(shape.projection_dim, *(_V2_WIDTHS if card.name == "aesthetic-v2" else ()), 1)
    return AestheticReward(card, tower, ready(head, place, torch.float32), openai_pixels, batch_size)


def _random_imagereward(
    card: RewardCard, tiny: bool, place: torch.device, precision: torch.dtype, batch_size: int
) -> ImageRewardModel:
    from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

    vision_shape = BlipVisionConfig(**{**VISION, **(_TINY_TOWER if tiny else {})})
    text_shape = BlipTextConfig(
        **{**TEXT, **(_TINY_TOWER if tiny else {})}, encoder_hidden_size=vision_shape.hidden_size, is_decoder=True
    )
    text = BlipTextModel(text_shape, add_pooling_layer=False)
    head = linear_stack(text_shape.hidden_size, *HEAD_WIDTHS)
    return ImageRewardModel(
        card,
        ready(BlipVisionModel(vision_shape), place, precision),
        ready(text, place, precision),
        ready(head, place, torch.float32),
        TextReader(StandInTokenizer(101, 102, 0, text_shape.vocab_size), LONGEST_PROMPT),
        batch_size,
    )

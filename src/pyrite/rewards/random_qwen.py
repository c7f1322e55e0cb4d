"""The rewards on Qwen2-VL and Qwen2.5-VL with random weights and a stand-in for their vocabulary."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from pyrite.core.cards import RewardCard
from pyrite.core.protocols import Reward
from pyrite.rewards import hpsv3, unifiedreward_qwen
from pyrite.rewards.artifact_vlm import artifact_reward
from pyrite.rewards.loading import dtype_name
from pyrite.rewards.qwen_pixels import QwenPixels
from pyrite.rewards.qwen_vl import IMAGE_TOKEN, QwenAsker
from pyrite.rewards.qwen_weights import ATTENTION, Loaded
from pyrite.rewards.qwen_windows import attend_at_once
from pyrite.rewards.random_parts import StandInVocabulary, drawn

_SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    IMAGE_TOKEN,
    "<|video_pad|>",
    hpsv3.REWARD_TOKEN,
)
_REPLY_LENGTH = 200
"""About as many tokens as a judge's reply of one score has."""

_LANGUAGE = {**hpsv3.SHAPE, "vocab_size": 152064}
_TINY_LANGUAGE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    "vocab_size": 2048,
}
# config.json of Qwen/Qwen2.5-VL-7B-Instruct, vision_config
_VISION_2_5 = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
_TINY_VISION_2_5 = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": 32,
    "window_size": 112,
    "fullatt_block_indexes": [1],
}
_TINY_VISION_2 = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}


def build(card: RewardCard, *, tiny: bool, device: torch.device, dtype: torch.dtype, batch_size: int) -> Reward:
    """The reward of the card's name.

    Args:
        card: to put on it.
        tiny: with a few thousand parameters in place of all.
        device: where it computes.
        dtype: of the model.
        batch_size: images per forward pass.
    """
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil, Qwen2VLModel

    language = {**_LANGUAGE, **(_TINY_LANGUAGE if tiny else {})}
    vocabulary = StandInVocabulary(int(language["vocab_size"]), _SPECIALS, _reply)
    ids: dict[str, Any] = {
        f"{name}_token_id": vocabulary.token(token)
        for name, token in (("image", IMAGE_TOKEN), ("video", "<|video_pad|>"), ("vision_start", "<|vision_start|>"))
    }
    ids |= {"vision_end_token_id": vocabulary.token("<|vision_end|>"), "bos_token_id": None, "eos_token_id": None}
    if card.name == hpsv3.NAME:
        vision = _TINY_VISION_2 if tiny else hpsv3.SHAPE["vision_config"]
        shape = AutoConfig.for_model("qwen2_vl", **{**language, **ids, "vision_config": vision})
        asker = QwenAsker(_random(Qwen2VLModel, shape, device, dtype), vocabulary, hpsv3.hpsv3_pixels(), batch_size)
        head = hpsv3.head_layers(shape.text_config.hidden_size, *hpsv3.HEAD_WIDTHS).to(device)
        rated = hpsv3.hpsv3_reward(asker, head.eval().requires_grad_(False), card.revision)
        return dataclasses.replace(rated, card=dataclasses.replace(card, reads_prompt=True))
    vision = _TINY_VISION_2_5 if tiny else _VISION_2_5
    shape = AutoConfig.for_model("qwen2_5_vl", **{**language, **ids, "vision_config": vision})
    model = _random(Qwen2_5_VLForConditionalGeneration, shape, device, dtype)
    # as preprocessor_config.json of Qwen/Qwen2.5-VL-7B-Instruct
    pixels = QwenPixels(Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=12_845_056))
    asker = QwenAsker(model, vocabulary, pixels, batch_size)
    loaded = Loaded(asker, card.revision, dtype_name(dtype), {}, folder=None)
    if card.name == unifiedreward_qwen.NAME:
        length = 4 if tiny else _REPLY_LENGTH
        judge = unifiedreward_qwen.unifiedreward_qwen(loaded, max_new_tokens=length)
        # A random model never ends its reply by itself.
        model.generation_config.forced_eos_token_id = vocabulary.token(unifiedreward_qwen.END)
        return dataclasses.replace(judge, card=dataclasses.replace(card, reads_prompt=True))
    return dataclasses.replace(artifact_reward(loaded), card=card)


def _random(model_class: Any, config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    config._attn_implementation = ATTENTION
    return attend_at_once(drawn(lambda: model_class(config), device, dtype))


def _reply(ids: Sequence[int]) -> str:
    """A score that the ids decide, as a judge would write it."""
    return f"Final Score: {1 + sum(ids) % 41 / 10:.1f}"

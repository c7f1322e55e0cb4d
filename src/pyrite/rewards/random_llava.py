"""ORM and UnifiedReward with random weights and a stand-in for their vocabulary: see `random_weights.py`."""

import dataclasses
from collections.abc import Sequence

import torch

from pyrite.core.cards import RewardCard
from pyrite.core.protocols import Reward
from pyrite.rewards import orm, unifiedreward
from pyrite.rewards.llava_onevision import LlavaOneVision
from pyrite.rewards.llava_weights import TOWER
from pyrite.rewards.random_parts import StandInVocabulary, drawn
from pyrite.rewards.replies import AXES

_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *orm.ANSWERS)
_REPLY_LENGTH = 200
"""About as many tokens as a judge's reply of three scores and a list of the caption's words has."""

# config.json of lmms-lab/llava-onevision-qwen2-7b-ov
_TEXT = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rope_theta": 1e6,
}
_TINY_TEXT = {
    "vocab_size": 2048,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
_TINY_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
}
_MOST_TILES = 6
_MOST_CROPS = 9.0


def build(card: RewardCard, *, tiny: bool, device: torch.device, dtype: torch.dtype, batch_size: int) -> Reward:
    """`orm` or `unifiedreward`, by the card's name; the weights come from torch's generator as it stands.

    Args:
        card: to put on it.
        tiny: with a few thousand parameters in place of all.
        device: where it computes.
        dtype: of the model.
        batch_size: images per forward pass.
    """
    model = random_llava(tiny=tiny, device=device, dtype=dtype)
    vocabulary = StandInVocabulary(int(model.model.config.text_config.vocab_size), _SPECIALS, _reply)
    card = dataclasses.replace(card, reads_prompt=True)
    if card.name == orm.NAME:
        rated = orm.orm_reward(model, vocabulary, card.revision, batch_size=batch_size)
        return dataclasses.replace(rated, card=card)
    length = 4 if tiny else _REPLY_LENGTH
    judge = unifiedreward.unified_reward(model, vocabulary, card.revision, max_new_tokens=length, batch_size=batch_size)
    # A random model never ends its reply by itself.
    judge.generation.forced_eos_token_id = vocabulary.token("<|im_end|>")
    return dataclasses.replace(judge, card=card)


def random_llava(*, tiny: bool, device: torch.device, dtype: torch.dtype) -> LlavaOneVision:
    """A LLaVA-OneVision that knows nothing, as large as the 7B or of a toy size.

    Args:
        tiny: of a toy size.
        device: where it computes.
        dtype: of the parameters.
    """
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    text = {**_TEXT, **(_TINY_TEXT if tiny else {})}
    tower = {**TOWER, **(_TINY_TOWER if tiny else {})}
    side = int(tower["image_size"])
    grids = tuple((side * across, side * down) for across in range(1, _MOST_TILES + 1)
                  for down in range(1, _MOST_TILES + 1))  # fmt: skip
    shape = LlavaOnevisionConfig(
        text_config=Qwen2Config(**text, tie_word_embeddings=False),
        vision_config=SiglipVisionConfig(**tower, vision_use_head=False),
        tie_word_embeddings=False,
    )
    shape._attn_implementation = "sdpa"
    model = drawn(lambda: LlavaOnevisionForConditionalGeneration(shape), device, dtype)
    return LlavaOneVision(model, grids, _MOST_CROPS, int(text["max_position_embeddings"]))


def _reply(ids: Sequence[int]) -> str:
    """Scores that the ids decide, as a judge would write them."""
    lines = (f"{axis} Score (1-5): {1 + sum(ids[place::3]) % 41 / 10:.1f}" for place, axis in enumerate(AXES))
    return "\n".join(lines)

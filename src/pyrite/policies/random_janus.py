"""A Janus with random weights of any size, built from its configuration: for measurements, not for pictures.

Speed and memory do not depend on the values of the weights. Nothing is downloaded; prompts become ids by counting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pyrite.core.cards import PolicyCard
from pyrite.core.types import Prompt
from pyrite.policies.janus import JanusPolicy
from pyrite.policies.janus_choosing import Sampling
from pyrite.policies.janus_pro import ProSequences
from pyrite.policies.janus_pro_model import JanusProModel

SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "tiny": {
        "text": {
            "vocab_size": 512, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 1024,
        },
        "vision": {
            "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64, "patch_size": 8,
            "num_image_tokens": 64, "projection_dim": 128,
        },
        "vq": {
            "embed_dim": 8, "num_embeddings": 1024, "num_patches": 8, "projection_dim": 128,
            "image_token_embed_dim": 128, "base_channels": 32, "latent_channels": 64,
            "channel_multiplier": [1, 1, 2, 2], "num_res_blocks": 1,
        },
    },
    "1b": {
        "text": {
            "vocab_size": 102400, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
            "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 16384,
        },
        "vision": {
            "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 384,
            "patch_size": 16, "num_image_tokens": 576, "projection_dim": 2048,
        },
        "vq": {
            "embed_dim": 8, "num_embeddings": 16384, "num_patches": 24, "projection_dim": 2048,
            "image_token_embed_dim": 2048,
        },
    },
}  # fmt: skip
"""Name -> what of transformers' configurations differs from the defaults; "1b" is Janus-Pro-1B's shape."""


@dataclass(frozen=True)
class CountedPrompts:
    """Prompts as so many ids of no meaning; stands where `JanusChat` does.

    Args:
        prompt_tokens: of each prompt, <bos> and what opens the image included.
        vocab_size: of the model.
    """

    prompt_tokens: int
    vocab_size: int
    plan: None = None
    pad_id: int = 0
    bos_id: int = 1
    boi_id: int = 2

    def image_prefixes(self, prompts: Sequence[Prompt], plans: object = None, *, room: int) -> list[list[int]]:
        """One sequence per prompt, the same for the same text."""
        rows = []
        for prompt in prompts:
            start = sum(prompt.text.encode())
            words = [3 + (start + 7 * place) % (self.vocab_size - 3) for place in range(self.prompt_tokens - 2)]
            rows.append([self.bos_id, *words, self.boi_id])
        return rows

    def without_prompt(self, row: Sequence[int]) -> list[int]:
        """As of `JanusChat`."""
        return [index if index in (self.bos_id, self.boi_id) else self.pad_id for index in row]


def random_janus(
    size: str,
    *,
    device: str,
    dtype: torch.dtype,
    cfg_scale: float,
    prompt_tokens: int = 32,
    gradient_checkpointing: bool = False,
) -> JanusPolicy:
    """A policy of that size whose language model trains whole, in float32, and computes in `dtype`.

    Raises:
        KeyError: there is no such size.
    """
    from transformers import JanusConfig, JanusForConditionalGeneration, JanusVisionConfig, LlamaConfig
    from transformers.models.janus import JanusVQVAEConfig

    shape = SIZES[size]
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None, "tie_word_embeddings": False}
    config = JanusConfig(
        text_config=LlamaConfig(**shape["text"], **ids),
        vision_config=JanusVisionConfig(**shape["vision"]),
        vq_config=JanusVQVAEConfig(**shape["vq"]),
        image_token_id=3,
        tie_word_embeddings=False,
    )
    with torch.device(device), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        janus: Any = JanusForConditionalGeneration(config)
    settings = janus.generation_config
    settings.generation_kwargs = {"boi_token_id": 2}
    settings.pad_token_id, settings.bos_token_id = 0, 1
    janus.requires_grad_(False)
    model = janus.model
    for part in (model.vision_model, model.aligner, model.generation_embeddings, model.generation_aligner):
        part.to(dtype)
    model.language_model.requires_grad_(True)
    module = JanusProModel(
        janus, plans=False, temperature=1.0, plan_temperature=1.0, compute=dtype, logp_chunk=1024
    ).eval()
    if gradient_checkpointing:
        model.language_model.activation_checkpointing_enable({"use_reentrant": False})
        model.language_model.train()
    layout: Any = CountedPrompts(prompt_tokens, shape["text"]["vocab_size"])
    num = shape["vision"]["num_image_tokens"]
    card = PolicyCard(f"random-{size}", "A Janus with random weights.", num, (shape["vision"]["image_size"],) * 2)
    return JanusPolicy(card, module, ProSequences(layout, Sampling(cfg_scale=cfg_scale), num))

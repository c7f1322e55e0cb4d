"""mPLUG-Owl2 (arXiv:2311.04257), the model behind DeQA-Score, on transformers' Llama and CLIP with little of our own.

A ViT sees the image, an abstractor sums it up in 65 tokens, and a Llama reads them. In the Llama, keys, values and
norms have two sets of weights, one for the image's tokens and one for words.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrite.core.errors import CheckpointError
from pyrite.rewards.large_models import Quantisation
from pyrite.rewards.large_parts import build_large
from pyrite.rewards.loading import merged, read_json, read_shards, require_fit

LANGUAGE: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}
VISION: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 448,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-6,
}
ABSTRACTOR: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 6,
    "num_attention_heads": 16,
    "num_learnable_queries": 64,
    "layer_norm_eps": 1e-6,
}
PUBLISHED: dict[str, Any] = {
    **LANGUAGE,
    "visual_config": {"visual_model": VISION, "visual_abstractor": ABSTRACTOR},
}
"""The published dimensions, in the names of the official config.json."""

_NUM_IMAGE_TOKENS: ContextVar[int] = ContextVar("num_image_tokens", default=0)


class Multiway(nn.Module):
    """Two modules in the place of one: the second for the image's tokens, which come first, the first for words."""

    def __init__(self, text: nn.Module, image: nn.Module) -> None:
        super().__init__()
        self.multiway = nn.ModuleList([text, image])

    def forward(self, states: Tensor) -> Tensor:
        """(M, L, W) -> (M, L, V); how many of the L are the image's says `image_first`."""
        split = _NUM_IMAGE_TOKENS.get()
        text, image = self.multiway
        words: Tensor = text(states[:, split:])
        return torch.cat([image(states[:, :split]), words], dim=1) if split else words


@contextmanager
def image_first(num_tokens: int) -> Iterator[None]:
    """While it lasts, the first tokens of every sequence this thread gives to a `Multiway` are an image's."""
    token = _NUM_IMAGE_TOKENS.set(num_tokens)
    try:
        yield
    finally:
        _NUM_IMAGE_TOKENS.reset(token)


def language_class() -> Any:
    """A Llama with `Multiway` keys, values and norms, whose tensors have the official names."""
    from transformers import LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    class OwlLlama(LlamaForCausalLM):  # type: ignore[misc]  # the library is not typed
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            wide = config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)

            def linear() -> nn.Module:
                return nn.Linear(config.hidden_size, wide, bias=False)

            def norm() -> nn.Module:
                made: nn.Module = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
                return made

            for layer in self.model.layers:
                layer.self_attn.k_proj = Multiway(linear(), linear())
                layer.self_attn.v_proj = Multiway(linear(), linear())
                layer.input_layernorm = Multiway(norm(), norm())
                layer.post_attention_layernorm = Multiway(norm(), norm())

    return OwlLlama


class _Mixer(nn.Module):
    """One layer of the abstractor: queries look at themselves and the image."""

    def __init__(self, shape: Mapping[str, Any], num_states: int) -> None:
        super().__init__()
        width, hidden = shape["hidden_size"], shape["intermediate_size"]
        self.num_heads = shape["num_attention_heads"]
        self.norm1, self.normk, self.norm2 = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.q_pos_embed = nn.Parameter(torch.zeros(shape["num_learnable_queries"], width))
        self.k_pos_embed = nn.Parameter(torch.zeros(num_states, width))
        self.w1, self.w3, self.w2 = nn.Linear(width, hidden), nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.ffn_ln = nn.LayerNorm(hidden, eps=shape["layer_norm_eps"])

    def forward(self, queries: Tensor, states: Tensor) -> Tensor:
        """(M, Q, W) queries and (M, T, W) states of the image -> (M, Q, W)."""
        x = self.norm1(queries)  # what is added to below is the normed one, as in the official code
        both = torch.cat([x, self.normk(states)], dim=1)
        places = torch.cat([self.q_pos_embed, self.k_pos_embed])
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(x + self.q_pos_embed), self.key(both + places), self.value(both))
        )
        x = x + self.out_proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        normed = self.norm2(x)
        mixed: Tensor = x + self.w2(self.ffn_ln(F.silu(self.w1(normed)) * self.w3(normed)))
        return mixed


class Abstractor(nn.Module):
    """States of an image to the tokens that stand for it: one for each learned query, and one that ends them.

    Args:
        shape: as `ABSTRACTOR`.
        num_states: T, what the ViT gives.
        embedding_width: of the language model.
    """

    def __init__(self, shape: Mapping[str, Any], num_states: int, embedding_width: int) -> None:
        super().__init__()
        self.query_embeds = nn.Parameter(torch.zeros(1, shape["num_learnable_queries"], shape["hidden_size"]))
        self.layers = nn.ModuleList(_Mixer(shape, num_states) for _ in range(shape["num_hidden_layers"]))
        self.visual_fc = nn.Linear(shape["hidden_size"], embedding_width)
        self.vit_eos = nn.Parameter(torch.zeros(1, 1, embedding_width))

    def forward(self, states: Tensor) -> Tensor:
        """(M, T, W) -> (M, Q + 1, D)."""
        queries = self.query_embeds.expand(len(states), -1, -1)
        for layer in self.layers:
            queries = layer(queries, states)
        return torch.cat([self.visual_fc(queries), self.vit_eos.expand(len(states), -1, -1)], dim=1)


@dataclass(frozen=True)
class Owl:
    """The three parts.

    Args:
        vision: a transformers `CLIPVisionModel`.
        abstractor: between the two.
        language: of `language_class`.
    """

    vision: Any
    abstractor: Abstractor
    language: Any

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """(M, Q + 1, D) what stands for M images in a text, from (M, 3, S, S) pixels."""
        states = self.vision(pixel_values=pixels.to(self.vision.dtype)).last_hidden_state
        # The official ViT norms every state; CLIP's only the one it pools.
        tokens: Tensor = self.abstractor(self.vision.post_layernorm(states))
        return tokens


def owl_configs(found: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Of the Llama, of the ViT, and of the abstractor.

    Args:
        found: laid over `PUBLISHED`.
    """
    from transformers import CLIPVisionConfig, LlamaConfig

    whole = merged(PUBLISHED, found)
    # Nulls in the official config.json leave the published value standing.
    language = {key: whole[key] if whole[key] is not None else LANGUAGE[key] for key in LANGUAGE}
    theta = language.pop("rope_theta")
    # Pinned, so that scores do not depend on what else is installed.
    llama = LlamaConfig(
        **language,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=False,
        attn_implementation="sdpa",
    )
    visual = whole["visual_config"]
    vision = CLIPVisionConfig(**{key: visual["visual_model"][key] for key in VISION})
    return llama, vision, {key: visual["visual_abstractor"][key] for key in ABSTRACTOR}


def new_abstractor(shape: Mapping[str, Any], vision: Any, language: Any) -> Abstractor:
    """An abstractor between a ViT and a Llama of these configurations."""
    return Abstractor(shape, (vision.image_size // vision.patch_size) ** 2 + 1, language.hidden_size)


def load_owl(
    name: str,
    path: Path,
    *,
    config: Mapping[str, Any],
    dtype: torch.dtype,
    device: torch.device,
    quantise: Quantisation | None = None,
) -> Owl:
    """The model from its official files.

    Args:
        name: of the reward, for messages.
        path: of the file of tensors, or of the index of its shards; config.json may lie beside it.
        config: laid over config.json.
        dtype: of the parameters.
        device: which takes all of them.
        quantise: "8bit" or "4bit" weights of the language model.

    Raises:
        CheckpointError: the files are damaged, another model's, or do not hold exactly the tensors of this one.
    """
    from transformers import CLIPVisionModel

    beside = path.parent / "config.json"
    said = merged(read_json(beside) if beside.is_file() else {}, config)
    if (kind := said.get("model_type", "mplug_owl2")) != "mplug_owl2":
        raise CheckpointError(
            f"{path} is not the weights of '{name}': config.json beside it says '{kind}', and this reward is an "
            f"'mplug_owl2'. Name the folder of zhiyuanyou/DeQA-Score-Mix3, or type: pyrite weights fetch {name}"
        )
    llama, vision, shape = owl_configs(said)
    language_part, vision_part, abstractor_part = _sorted_tensors(read_shards(path), vision.num_attention_heads)
    with torch.device("meta"):
        abstractor = new_abstractor(shape, vision, llama)
    require_fit(name, path, abstractor_part, abstractor.state_dict())
    placed = {key: tensor.to(device, dtype) for key, tensor in abstractor_part.items()}
    abstractor.load_state_dict(placed, assign=True)
    return Owl(
        build_large(name, CLIPVisionModel, vision, vision_part, path, dtype=dtype, device=device),
        abstractor.eval().requires_grad_(False),
        build_large(name, language_class(), llama, language_part, path, dtype=dtype, device=device, quantise=quantise),
    )


_VISION, _ABSTRACTOR = "model.vision_model.", "model.visual_abstractor."
_IN_VISION = (
    ("embeddings.cls_token", "embeddings.class_embedding"),
    ("embeddings.patch_embed.", "embeddings.patch_embedding."),
    ("embeddings.pre_layernorm.", "pre_layrnorm."),  # transformers' spelling
    (".input_layernorm.", ".layer_norm1."),
    (".post_attention_layernorm.", ".layer_norm2."),
    (".self_attn.dense.", ".self_attn.out_proj."),
)
_IN_ABSTRACTOR = re.compile(r"encoder\.(layers\.\d+)\.crossattention\.(?:attention\.|output\.mlp\.|output\.)?")


def _sorted_tensors(
    tensors: Mapping[str, Tensor], num_heads: int
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of language model, ViT and abstractor under the names these have here.

    Names that are nobody's go with the language model as they are, which is where they will be found left over.
    """
    language: dict[str, Tensor] = {}
    vision: dict[str, Tensor] = {}
    abstractor: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key.startswith(_ABSTRACTOR):
            abstractor[_IN_ABSTRACTOR.sub(r"\1.", key.removeprefix(_ABSTRACTOR))] = tensor
        elif key.startswith(_VISION):
            vision |= _vision_tensors(key.removeprefix(_VISION), tensor, num_heads)
        elif not key.endswith("rotary_emb.inv_freq"):  # a table that is computed, kept by old versions of the library
            language[key] = tensor
    return language, vision, abstractor


def _vision_tensors(name: str, tensor: Tensor, num_heads: int) -> dict[str, Tensor]:
    if ".query_key_value." in name:
        # head after head, each with its query, key and value
        parts = tensor.unflatten(0, (num_heads, 3, -1)).unbind(1)
        return {
            name.replace("query_key_value", f"{part}_proj"): piece.flatten(0, 1)
            for part, piece in zip("qkv", parts, strict=True)
        }
    if name == "embeddings.position_embedding":
        return {f"{name}.weight": tensor[0]}
    for theirs, ours in _IN_VISION:
        name = name.replace(theirs, ours)
    return {name: tensor.flatten() if name.endswith("class_embedding") else tensor}

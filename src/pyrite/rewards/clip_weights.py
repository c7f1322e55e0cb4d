"""CLIP's weights in every format they are published in, as one transformers model.

OpenAI and open_clip name the tensors alike; `from_open_clip` renames them to transformers' names. What a file cannot
say (heads, activation) comes from the published architecture, and `clip_config` lets `config=` change it.
"""

import difflib
import json
import re
import weakref
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrite.core.errors import CheckpointError
from pyrite.rewards.loading import build_model, files_revision, load_model, merged, read_json, read_tensors

_TOP = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # transformers' spelling
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
# OpenAI's files carry these as numbers beside the tensors, and old files of transformers a range of numbers.
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
_TEXT_SIDE = ("text_model.", "text_projection.", "logit_scale")

_TOWERS: MutableMapping[tuple[Any, ...], Any] = weakref.WeakValueDictionary()
"""The image towers that some reward holds, so that the next one shares them."""


def from_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under transformers' names; a name that neither library knows stays as it is."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key in _NOT_WEIGHTS or key.endswith(".position_ids"):
            continue
        if key in _TRANSPOSED:
            renamed[_TRANSPOSED[key]] = tensor.T.contiguous()
        elif (block := _BLOCK.fullmatch(key)) is None:
            renamed[_TOP.get(key, key)] = tensor
        else:
            tower, rest = "vision_model" if block[1] else "text_model", block[3]
            home = f"{tower}.encoder.layers.{block[2]}"
            if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
                kind = rest.removeprefix("attn.in_proj_")
                for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                    renamed[f"{home}.self_attn.{part}_proj.{kind}"] = piece.clone()
            else:
                module, _, kind = rest.rpartition(".")
                renamed[f"{home}.{_IN_BLOCK[module]}.{kind}" if module in _IN_BLOCK else key] = tensor
    return renamed


# (section, transformers' name) of every spelling of a dimension: transformers', open_clip's and OpenAI's.
_SECTIONS = {
    **dict.fromkeys(("vision_config", "vision_cfg", "vision"), "vision_config"),
    **dict.fromkeys(("text_config", "text_cfg", "text"), "text_config"),
}
_NAMES = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "patch": "patch_size",
    "vocab": "vocab_size",
    "context_length": "max_position_embeddings",
    **{
        name: name
        for name in (
            *("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "vocab_size", "image_size"),
            *("max_position_embeddings", "intermediate_size", "hidden_act", "layer_norm_eps"),
            *("eos_token_id", "bos_token_id", "pad_token_id", "mlp_ratio", "head_width"),
        )
    },
}
_TOP_LEVEL = {
    **dict.fromkeys(("embed_dim", "projection_dim"), ("", "projection_dim")),
    "vision_heads": ("vision_config", "num_attention_heads"),
    "patch": ("vision_config", "patch_size"),
    "vocab": ("text_config", "vocab_size"),
    **{f"v{name}": ("vision_config", _NAMES[name]) for name in ("width", "layers", "heads")},
    **{f"t{name}": ("text_config", _NAMES[name]) for name in ("width", "layers", "heads")},
    **{name: ("both", name) for name in ("hidden_act", "layer_norm_eps", "mlp_ratio")},
}


def clip_config(published: Mapping[str, Any], config: Mapping[str, Any] | None) -> Any:
    """A transformers `CLIPConfig`: the published architecture with the user's dimensions laid over it.

    Args:
        published: arguments of `CLIPConfig`.
        config: in transformers' names, or those of an open_clip or OpenAI model configuration (`embed_dim`,
            `vision_cfg`, `text_cfg`, `width`, `layers`, ...). A changed width brings a hidden layer of four times
            itself and heads of width 64, unless they are given. Other keys that such files hold are ignored,
            misspelt ones not.

    Raises:
        CheckpointError: a key looks like a misspelt dimension, or the dimensions do not go together.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CLIPConfig

    changes: dict[str, Any] = {"vision_config": {}, "text_config": {}}
    for key, value in (config or {}).items():
        if key in _SECTIONS and isinstance(value, Mapping):
            for name, number in value.items():
                if _known(name, _NAMES, key):
                    changes[_SECTIONS[key]][_NAMES[name]] = number
        elif _known(key, {**_TOP_LEVEL, **_SECTIONS}, "config") and key in _TOP_LEVEL:
            section, name = _TOP_LEVEL[key]
            for place in ("vision_config", "text_config") if section == "both" else (section,):
                (changes[place] if place else changes).setdefault(name, value)
    for section in ("vision_config", "text_config"):
        _settle(changes[section])
    whole = merged(published, changes)
    for section in ("vision_config", "text_config"):
        whole[section]["projection_dim"] = whole["projection_dim"]
    try:
        return CLIPConfig(**whole)
    except StrictDataclassError as error:
        raise CheckpointError(
            f"config describes no CLIP model: {error.__cause__ or error}. Give heads and widths that go together."
        ) from error


def _known(name: str, names: Mapping[str, Any], where: str) -> bool:
    if name in names:
        return True
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.8):
        raise CheckpointError(
            f"config: '{name}' in {where} is no dimension of a CLIP model, and one left out keeps its published value "
            f"in silence. Did you mean '{near[0]}'?"
        )
    return False


def _settle(changes: dict[str, Any]) -> None:
    """What a changed width brings with it, unless it is given: a hidden layer, and heads as OpenAI counts them."""
    ratio, head_width = changes.pop("mlp_ratio", 4), changes.pop("head_width", 64)
    if "hidden_size" in changes:
        changes.setdefault("intermediate_size", int(changes["hidden_size"] * ratio))
        changes.setdefault("num_attention_heads", max(1, changes["hidden_size"] // head_width))


def load_clip(
    name: str, path: Path, published: Mapping[str, Any], config: Mapping[str, Any] | None, dtype: torch.dtype
) -> Any:
    """A transformers `CLIPModel` from an official file or a file in a transformers folder.

    Args:
        name: of the reward, for messages.
        path: of the file. If a config.json of a CLIP model lies beside a file that transformers wrote, that is the
            architecture.
        published: else this is, as arguments of `CLIPConfig`.
        config: dimensions laid over it, see `clip_config`.
        dtype: of the parameters.

    Raises:
        CheckpointError: the file is damaged, or does not hold exactly the tensors of the model.
    """
    from transformers import CLIPModel

    if _is_folder_file(path):
        return load_model(CLIPModel, path.parent, model_type="clip", config=config, dtype=dtype)
    tensors = from_open_clip(read_tensors(path))
    return build_model(name, CLIPModel, clip_config(published, config), tensors, path, dtype)


def load_clip_vision(
    name: str,
    path: Path,
    published: Mapping[str, Any],
    config: Mapping[str, Any] | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Any:
    """The image tower of a CLIP model, as `CLIPVisionModelWithProjection`; rewards in use share one.

    Args:
        name: of the reward, for messages.
        path: of the file, in any format `load_clip` reads; its text tower is left out.
        published: the architecture, as arguments of `CLIPConfig`.
        config: dimensions laid over it, see `clip_config`.
        device: where it computes.
        dtype: of the parameters.

    Raises:
        CheckpointError: as for `load_clip`.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    if _is_folder_file(path):
        found = read_json(path.parent / "config.json")
        if found["model_type"] == "clip":
            found = {**found["vision_config"], "projection_dim": found["projection_dim"]}
        shape = CLIPVisionConfig(**merged(found, config))
    else:
        shape = clip_config(published, config).vision_config
    key = (files_revision([path]), json.dumps(shape.to_dict(), sort_keys=True, default=str), device, dtype)
    if (tower := _TOWERS.get(key)) is None:
        tensors = from_open_clip(read_tensors(path))
        own = {key: tensor for key, tensor in tensors.items() if not key.startswith(_TEXT_SIDE)}
        tower = build_model(name, CLIPVisionModelWithProjection, shape, own, path, dtype).to(device)
        _TOWERS[key] = tower
    return tower


def _is_folder_file(path: Path) -> bool:
    """Whether transformers wrote the file, into a folder that says what it is."""
    beside = path.parent / "config.json"
    if path.name not in ("model.safetensors", "pytorch_model.bin") or not beside.is_file():
        return False
    return str(read_json(beside).get("model_type", "")).startswith("clip")

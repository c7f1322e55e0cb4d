"""GroundingDINO's weights: the official .pth under transformers' names, or a folder of the hub's form; both strictly.

The official file (IDEA-Research/GroundingDINO, `groundingdino_swint_ogc.pth`) keeps an attention's query, key and value
in one tensor, and names every part differently from transformers' `GroundingDinoForObjectDetection`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrite.core.errors import CheckpointError
from pyrite.rewards.loading import build_model, load_model, merged, read_json, read_tensors

_SWIN = "model.backbone.conv_encoder.model.swin."
# What transformers calls the backbone's last norm; nothing reads it, and the official file has none.
_UNREAD_NORM = f"{_SWIN}layernorm."
_PARTS: tuple[tuple[str, str], ...] = (
    (r"backbone\.0\.patch_embed\.proj\.", f"{_SWIN}embeddings.patch_embeddings.projection."),
    (r"backbone\.0\.patch_embed\.norm\.", f"{_SWIN}embeddings.norm."),
    (r"backbone\.0\.layers\.", f"{_SWIN}encoder.layers."),
    (r"bert\.", "model.text_backbone."),
    (r"feat_map\.", "model.text_projection."),
    (r"input_proj\.", "model.input_proj_vision."),
    (r"transformer\.level_embed$", "model.level_embed"),
    (r"transformer\.tgt_embed\.", "model.query_position_embeddings."),
    (r"transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed."),
    (r"transformer\.(enc_output(?:_norm)?)\.", r"model.\1."),
    (r"transformer\.decoder\.norm\.", "model.decoder.layer_norm."),
    (r"transformer\.decoder\.ref_point_head\.", "model.decoder.reference_points_head."),
    (r"transformer\.decoder\.(bbox_embed|layers)\.", r"model.decoder.\1."),
    (r"transformer\.encoder\.layers\.(\d+)\.", r"model.encoder.layers.\1.deformable_layer."),
    (r"transformer\.encoder\.text_layers\.(\d+)\.", r"model.encoder.layers.\1.text_enhancer_layer."),
    (r"transformer\.encoder\.fusion_layers\.(\d+)\.", r"model.encoder.layers.\1.fusion_layer."),
)
_INSIDE: dict[str, tuple[tuple[str, str], ...]] = {
    r"swin\.encoder\.layers": (
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"\.attn\.relative_position_bias_table", ".attention.relative_position_bias.relative_position_bias_table"),
    ),
    r"deformable_layer": (
        (r"\.norm1\.", ".self_attn_layer_norm."),
        (r"\.norm2\.", ".final_layer_norm."),
        (r"\.linear([12])\.", r".fc\1."),
    ),
    r"text_enhancer_layer": (
        (r"\.norm1\.", ".layer_norm_before."),
        (r"\.norm2\.", ".layer_norm_after."),
        (r"\.linear([12])\.", r".fc\1."),
    ),
    r"fusion_layer": (
        (r"\.gamma_v$", ".vision_param"),
        (r"\.gamma_l$", ".text_param"),
        (r"layer_norm_v\.", "layer_norm_vision."),
        (r"layer_norm_l\.", "layer_norm_text."),
        (r"\.attn\.(values_|out_|)v_proj\.", r".attn.\1vision_proj."),
        (r"\.attn\.(values_|out_|)l_proj\.", r".attn.\1text_proj."),
    ),
    r"model\.decoder\.layers": (
        (r"\.norm1\.", ".encoder_attn_layer_norm."),
        (r"\.norm2\.", ".self_attn_layer_norm."),
        (r"\.norm3\.", ".final_layer_norm."),
        (r"\.catext_norm\.", ".encoder_attn_text_layer_norm."),
        (r"\.cross_attn\.", ".encoder_attn."),
        (r"\.ca_text\.", ".encoder_attn_text."),
        (r"\.linear([12])\.", r".fc\1."),
    ),
}
_BACKBONE_NORM = re.compile(r"backbone\.0\.norm(\d+)\.(weight|bias)")
_FUSED = re.compile(r"(.+)\.(?:attn\.qkv\.|in_proj_)(weight|bias)")
_NOT_READ = re.compile(
    r"bert\.pooler\.|bert\.embeddings\.position_ids|label_enc\.|.*\.relative_position_index$|.*\.attn_mask$"
)

_OFFICIAL_NAMES: dict[str, tuple[str, ...]] = {
    "d_model": ("d_model",),
    "hidden_dim": ("d_model",),
    "enc_layers": ("encoder_layers",),
    "dec_layers": ("decoder_layers",),
    "dim_feedforward": ("encoder_ffn_dim", "decoder_ffn_dim"),
    "nheads": ("encoder_attention_heads", "decoder_attention_heads"),
    "enc_n_points": ("encoder_n_points",),
    "dec_n_points": ("decoder_n_points",),
    "num_queries": ("num_queries",),
    "num_feature_levels": ("num_feature_levels",),
    "max_text_len": ("max_text_len",),
    "pe_temperature": ("positional_embedding_temperature",),
    "swin": ("backbone_config",),
    "bert": ("text_config",),
}
_BASE_WIDTH = 128
"""Of the Swin-B backbone: that of GroundingDINO-B, the model that is mistaken for this one."""


def load_gdino_model(path: Path, config: Mapping[str, Any]) -> Any:
    """A transformers `GroundingDinoForObjectDetection` in float32, in evaluation mode, without gradients.

    Args:
        path: the official file, or `model.safetensors` beside a `config.json` of transformers.
        config: dimensions other than those of Swin-T OGC, in transformers' names or in those of the official
            configuration (`enc_layers`, `nheads`, `swin`, `bert`, ...); laid over config.json where there is one.

    Raises:
        CheckpointError: damaged, another model's, a larger sibling's, or not exactly the tensors of the model.
    """
    changes = transformers_names(config)
    model = _from_hub(path.parent, changes) if path.name == "model.safetensors" else _from_file(path, changes)
    # The mask that separates one phrase from the next is boolean; the eager attention of transformers 5 would add it
    # to the scores, as 0 and 1, where it must forbid.
    model.model.text_backbone.set_attn_implementation("sdpa")
    return model


def transformers_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """The dimensions in a config under the names of `GroundingDinoConfig`; keys that name no dimension are left out."""
    from transformers import GroundingDinoConfig

    known = GroundingDinoConfig().to_dict().keys()
    changes: dict[str, Any] = {}
    for key, value in config.items():
        for name in _OFFICIAL_NAMES.get(key, (key,) if key in known else ()):
            changes[name] = value
    return changes


def gdino_config(changes: Mapping[str, Any] | None = None) -> Any:
    """A `GroundingDinoConfig`: that of Swin-T OGC with `changes` laid over it."""
    from transformers import BertConfig, GroundingDinoConfig, SwinConfig

    own = dict(changes or {})
    swin = merged({"out_indices": [2, 3, 4]}, own.pop("backbone_config", None))
    bert = merged({}, own.pop("text_config", None))
    for below in (swin, bert):
        below.pop("model_type", None)
    return GroundingDinoConfig(**own, backbone_config=SwinConfig(**swin), text_config=BertConfig(**bert))


def from_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the official file under transformers' names.

    Names that are nobody's stay as they are, to be found left over.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        key = key.removeprefix("module.")
        if _NOT_READ.match(key):
            continue
        if norm := _BACKBONE_NORM.fullmatch(key):
            found[f"model.backbone.conv_encoder.model.hidden_states_norms.stage{int(norm[1]) + 1}.{norm[2]}"] = tensor
        elif fused := _FUSED.fullmatch(key):
            is_swin = key.startswith("backbone.")
            names = [f"attention.{part}_proj" for part in "qkv"] if is_swin else ["query", "key", "value"]
            place = _renamed(f"{fused[1]}.")
            for name, part in zip(names, tensor.chunk(3), strict=True):
                found[f"{place}{name}.{fused[2]}"] = part
        else:
            found[_renamed(key)] = tensor
    return found


def _renamed(key: str) -> str:
    for pattern, place in _PARTS:
        key, hits = re.subn(f"^{pattern}", place, key)
        if hits:
            break
    for where, changes in _INSIDE.items():
        if re.search(where, key):
            for pattern, name in changes:
                key = re.sub(pattern, name, key)
    return key


def _from_file(path: Path, changes: Mapping[str, Any]) -> Any:
    from transformers import GroundingDinoForObjectDetection

    tensors = from_official(read_tensors(path))
    shape = gdino_config(changes)
    _refuse_sibling(path, tensors, shape)
    width = shape.backbone_config.embed_dim * 2 ** (len(shape.backbone_config.depths) - 1)
    tensors[f"{_UNREAD_NORM}weight"], tensors[f"{_UNREAD_NORM}bias"] = torch.ones(width), torch.zeros(width)
    _require_one_box_head(path, tensors)
    return build_model("gdino", GroundingDinoForObjectDetection, shape, tensors, path, torch.float32)


def _from_hub(folder: Path, changes: Mapping[str, Any]) -> Any:
    from transformers import GroundingDinoForObjectDetection

    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"there is no config.json beside model.safetensors in {folder}, so its dimensions are not known. Copy that "
            "of IDEA-Research/grounding-dino-tiny there, or use the official file: pyrite weights fetch gdino"
        )
    said = read_json(folder / "config.json")
    backbone = merged(said, changes).get("backbone_config") or {}
    if backbone.get("embed_dim") == _BASE_WIDTH and "backbone_config" not in changes:
        raise CheckpointError(_is_base(folder))
    return load_model(GroundingDinoForObjectDetection, folder, model_type="grounding-dino", config=changes or None)


def _refuse_sibling(path: Path, tensors: Mapping[str, Tensor], shape: Any) -> None:
    first = tensors.get(f"{_SWIN}embeddings.patch_embeddings.projection.weight")
    if first is not None and len(first) == _BASE_WIDTH and shape.backbone_config.embed_dim != _BASE_WIDTH:
        raise CheckpointError(_is_base(path))


def _is_base(path: Path) -> str:
    return (
        f"{path} holds GroundingDINO-B (Swin-B), a sibling of the Swin-T model whose scores 'gdino' stands for: its "
        "scores would be others under the same name. Type: pyrite weights fetch gdino"
    )


def _require_one_box_head(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """The official model has one box head; the file repeats it for every layer, and one copy is kept."""
    for key, tensor in tensors.items():
        head = re.fullmatch(r"(?:model\.decoder\.)?bbox_embed\.\d+\.(.+)", key)
        first = tensors.get(f"bbox_embed.0.{head[1]}") if head else None
        if first is not None and (first.shape != tensor.shape or not torch.equal(first, tensor)):
            raise CheckpointError(
                f"{path}: {key} differs from that of the first layer, and this model has one box head for all layers: "
                "part of the file would be ignored. Use the published file: pyrite weights fetch gdino"
            )

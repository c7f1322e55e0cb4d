"""A Janus-Pro in the format of DeepSeek's own code, written once in transformers' format.

The tensors stay what they are; their names change, and the vision tower's joint query-key-value matrices are cut in
three. What transformers has no place for is dropped by name (`_DROPPED`); anything else that has no place is an error.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - the name of torch's refusal; nothing is unpickled with it
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from pyrite.core.errors import CheckpointError
from pyrite.policies.janus_model import read_object
from pyrite.records.jsonl import teaching_os_errors
from pyrite.records.published import shard_paths

MODEL_TYPE = "multi_modality"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ message['content'][0]['text'] + '\n\n' }}"
    "{%- elif message['role'] == 'user' -%}{{ '<|User|>: ' + message['content'][0]['text'] + '\n\n' }}"
    "{%- else -%}{{ '<|Assistant|>: ' + message['content'][0]['text'] + '<\uff5cend▁of▁sentence\uff5c>' }}{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|Assistant|>:{%- endif -%}"
)
"""The frame of janus/utils/conversation.py ("deepseek"), for messages of one text each."""

_WEIGHT_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
_TOKENS = {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"}
# The tower's pooling head, which Janus does not use, and a buffer of the image tokeniser's training.
_DROPPED = ("vision_model.vision_tower.attn_pool.", "gen_vision_model.quantize.codebook_used")
_BEGINNINGS = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "gen_embed.": "model.generation_embeddings.",
    "gen_head.output_mlp_projector.": "model.generation_head.proj_out.",
    "gen_head.vision_head.": "model.generation_head.vision_head.",
    "vision_model.vision_tower.blocks.": "model.vision_model.encoder.layers.",
    "vision_model.vision_tower.patch_embed.proj.": "model.vision_model.embeddings.patch_embedding.",
    "vision_model.vision_tower.norm.": "model.vision_model.post_layernorm.",
    "vision_model.vision_tower.pos_embed": "model.vision_model.embeddings.position_embedding.weight",
    "gen_vision_model.": "model.vqmodel.",
}
_TOWER_PARTS = {".attn.": ".self_attn.", ".norm1.": ".layer_norm1.", ".norm2.": ".layer_norm2."}
_TOKENISER_PARTS = {
    "encoder.conv_blocks.": "encoder.down.",
    "decoder.conv_blocks.": "decoder.up.",
    ".res.": ".block.",
    ".mid.0.": ".mid.block_1.",
    ".mid.1.": ".mid.attn_1.",
    ".mid.2.": ".mid.block_2.",
}
_ALIGNER = re.compile(r"(?P<which>gen_aligner|aligner)\.layers\.(?P<number>\d*[02468])\.(?P<rest>\w+)")
_ALIGNERS = {"gen_aligner": "model.generation_aligner", "aligner": "model.aligner"}


def is_original(folder: Path) -> bool:
    """Whether a folder holds a model of DeepSeek's own code."""
    return (folder / "config.json").is_file() and read_object(folder / "config.json").get("model_type") == MODEL_TYPE


def convert(folder: Path, target: Path, *, vision_heads: int | None = None) -> Path:
    """Write `target`, a folder in transformers' format that `load_janus` reads, from a folder of the original format.

    Args:
        folder: config.json, tokenizer.json and its companions, and weights as safetensors or as a pickle of which
            nothing but tensors is read.
        target: must not exist; appears once it is complete.
        vision_heads: attention heads of the vision tower; None takes its width over 64, as SigLIP-L has it.

    Raises:
        CheckpointError: the folder is no such model, or has tensors without a place; names them.
        RunFolderError: `target` cannot be written.
    """
    from transformers import JanusConfig, JanusForConditionalGeneration

    if not is_original(folder):
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a Janus in the format of DeepSeek's own code (model_type "
            f"'{MODEL_TYPE}'), so there is nothing to convert. Name a folder such as deepseek-ai/Janus-Pro-1B's."
        )
    if target.exists():
        raise CheckpointError(f"{target} exists already and would be mixed with new files. Name another, or remove it.")
    tensors = read_weights(folder)
    config = JanusConfig(**_config(read_object(folder / "config.json"), tensors, folder, vision_heads))
    renamed = rename(tensors, folder)
    with torch.device("meta"):
        janus = JanusForConditionalGeneration(config)
    _place(janus, renamed, folder)
    unfinished = target.with_name(f"{target.name}.part")
    with teaching_os_errors(f"write {target}"):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _describe_generation(janus, _save_processor(folder, unfinished, janus.config))
        janus.save_pretrained(unfinished)
        unfinished.replace(target)
    return target


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder, as it lies there.

    Raises:
        CheckpointError: there are none, or a pickle needs code to be read.
    """
    from safetensors.torch import load_file

    first = next((folder / name for name in _WEIGHT_FILES if (folder / name).is_file()), None)
    if first is None:
        raise CheckpointError(f"{folder} holds no weights: none of {', '.join(_WEIGHT_FILES)}. Copy them there.")
    tensors: dict[str, Tensor] = {}
    for path in shard_paths(first):
        try:
            if path.suffix == ".safetensors":
                tensors |= load_file(path)
            else:
                tensors |= torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (OSError, RuntimeError, SafetensorError, UnpicklingError) as error:
            raise CheckpointError(
                f"the weights in {path} could not be read: {str(error).splitlines()[0]}. The file is damaged, missing, "
                "or a pickle that needs code, of which nothing is run here. Copy it again."
            ) from error
    return tensors


def rename(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The same tensors under transformers' names.

    Raises:
        CheckpointError: some have no place there; names them.
    """
    renamed: dict[str, Tensor] = {}
    homeless = []
    for key, tensor in tensors.items():
        if key.startswith(_DROPPED):
            continue
        name = _new_name(key)
        if name is None:
            homeless.append(key)
        elif ".self_attn.qkv." in name:
            for part, piece in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
                renamed[name.replace("qkv", part)] = piece.contiguous()
        else:
            renamed[name] = tensor.squeeze(0) if key.endswith("pos_embed") else tensor
    if homeless:
        raise CheckpointError(
            f"{folder}: {len(homeless)} tensors have no place in transformers' Janus ({', '.join(sorted(homeless)[:5])}"
            f"{', ...' if len(homeless) > 5 else ''}): it is another model, and part of it would be lost."
        )
    return renamed


def _new_name(key: str) -> str | None:
    if found := _ALIGNER.fullmatch(key):
        # Linear layers alternate with activations; the first has a name of its own.
        number = int(found["number"]) // 2
        layer = "fc1" if number == 0 else f"hidden_layers.{number - 1}"
        return f"{_ALIGNERS[found['which']]}.{layer}.{found['rest']}"
    for old, new in _BEGINNINGS.items():
        if key.startswith(old):
            name = new + key.removeprefix(old)
            break
    else:
        return None
    parts: Mapping[str, str] = {}
    if name.startswith("model.vqmodel."):
        parts = _TOKENISER_PARTS
    elif name.startswith("model.vision_model.encoder."):
        name = name.replace(".attn.proj.", ".self_attn.projection_layer.")
        parts = _TOWER_PARTS
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


def _config(
    row: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path, vision_heads: int | None
) -> dict[str, Any]:
    """The sizes: from config.json where it has them, else from the shapes of the tensors."""
    try:
        params = {name: row[f"{name}_config"]["params"] for name in _PARTS}
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        width, _, _, patch = shapes["vision_model.vision_tower.patch_embed.proj.weight"]
        base = shapes["gen_vision_model.encoder.conv_in.weight"][0]
        if params["gen_head"]["image_token_embed"] != params["gen_head"]["n_embed"]:
            raise CheckpointError(
                f"{folder}: the generation head is {params['gen_head']['image_token_embed']} wide and the language "
                f"model {params['gen_head']['n_embed']}, and transformers' Janus has one width for both. It cannot be "
                "converted."
            )
        return {
            "text_config": _text_config(row["language_config"]),
            "vision_config": {
                "hidden_size": width,
                "patch_size": patch,
                "image_size": params["vision"]["image_size"],
                "num_image_tokens": (params["vision"]["image_size"] // patch) ** 2,
                "num_hidden_layers": _count(shapes, r"vision_model\.vision_tower\.blocks\.(\d+)\."),
                "num_attention_heads": vision_heads or max(1, width // 64),
                "mlp_ratio": shapes["vision_model.vision_tower.blocks.0.mlp.fc1.weight"][0] / width,
                "projection_dim": params["aligner"]["n_embed"],
                "depth": params["aligner"]["depth"],
            },
            "vq_config": {
                "embed_dim": params["gen_vision"]["n_embed"],
                "num_embeddings": params["gen_vision"]["image_token_size"],
                "latent_channels": shapes["gen_vision_model.post_quant_conv.weight"][0],
                "base_channels": base,
                "channel_multiplier": [
                    shapes[f"gen_vision_model.encoder.conv_blocks.{level}.res.0.conv1.weight"][0] // base
                    for level in range(_count(shapes, r"gen_vision_model\.encoder\.conv_blocks\.(\d+)\."))
                ],
                "num_res_blocks": _count(shapes, r"gen_vision_model\.encoder\.conv_blocks\.0\.res\.(\d+)\."),
                "projection_dim": params["gen_aligner"]["n_embed"],
                "num_hidden_layers": params["gen_aligner"]["depth"],
                "image_token_embed_dim": params["gen_head"]["image_token_embed"],
            },
            "tie_word_embeddings": False,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder} is not laid out as a published Janus-Pro ({type(error).__name__}: {error}): config.json and the "
            "weights do not say together how large its parts are. Fetch both again from the same place."
        ) from error


_PARTS = ("vision", "aligner", "gen_vision", "gen_aligner", "gen_head")


def _text_config(row: Mapping[str, Any]) -> dict[str, Any]:
    text = {key: value for key, value in row.items() if key not in ("rope_theta", "rope_scaling", "torch_dtype")}
    if row.get("rope_scaling"):
        raise ValueError(f"rope_scaling {row['rope_scaling']} is not what any published Janus has")
    rope = {"rope_type": "default", "rope_theta": float(row.get("rope_theta", 10000.0))}
    return {**text, "rope_parameters": rope, "tie_word_embeddings": False}


def _count(shapes: Mapping[str, Any], pattern: str) -> int:
    return 1 + max(int(found[1]) for key in shapes if (found := re.match(pattern, key)))


def _place(janus: Any, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Put every tensor where it belongs, and leave no place empty."""
    wanted = {name: tuple(value.shape) for name, value in janus.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if wanted != found:
        odd = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        shown = "; ".join(f"{name}: {found.get(name, 'missing')} for {wanted.get(name, 'nothing')}" for name in odd[:5])
        raise CheckpointError(
            f"{folder}: {len(odd)} tensors do not fit ({shown}{'; ...' if len(odd) > 5 else ''}), so part of the model "
            "would be random or lost. The files are incomplete or of different releases; fetch them again."
        )
    janus.load_state_dict(tensors, strict=True, assign=True)


def _save_processor(folder: Path, target: Path, config: Any) -> Any:
    """Tokenizer, chat template and image processor, as transformers' JanusProcessor reads them."""
    from transformers import PreTrainedTokenizerFast
    from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil
    from transformers.models.janus.processing_janus import JanusProcessor

    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            folder, local_files_only=True, extra_special_tokens=dict(_TOKENS)
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"no tokenizer could be read from {folder}: {error}. The original has tokenizer.json, "
            "tokenizer_config.json and special_tokens_map.json beside the weights. Copy them there."
        ) from error
    seen = _seen(folder / "preprocessor_config.json", config.vision_config.image_size)
    processor = JanusProcessor(
        image_processor=JanusImageProcessorPil(**seen),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
        use_default_system_prompt=True,
        num_image_tokens=config.vision_config.num_image_tokens,
    )
    processor.save_pretrained(target)
    config.image_token_id = tokenizer.convert_tokens_to_ids(_TOKENS["image_token"])
    return tokenizer


def _seen(path: Path, size: int) -> dict[str, Any]:
    row = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known = ("do_normalize", "image_mean", "image_std", "min_size", "rescale_factor")
    return {**{key: row[key] for key in known if key in row}, "size": {"height": size, "width": size}}


def _describe_generation(janus: Any, tokenizer: Any) -> None:
    settings = janus.generation_config
    settings._from_model_config = False  # else the library forgets generation_kwargs when it reads the file
    settings.generation_kwargs = {"boi_token_id": tokenizer.convert_tokens_to_ids(_TOKENS["boi_token"])}
    settings.bos_token_id, settings.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    settings.pad_token_id = tokenizer.pad_token_id
    settings.guidance_scale = 5.0

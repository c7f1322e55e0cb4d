"""LLaVA-OneVision's weights in LLaVA-NeXT's layout, as ORM and UnifiedReward are published.

Attention is torch's `scaled_dot_product_attention`, as in the fixture's official run: it takes the masks of left
padding on every device, and the official default, flash attention 2, is on no CPU and rounds differently.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from pyrite.core.errors import CheckpointError
from pyrite.records.published import INDEX_SUFFIX, find_file, shard_paths
from pyrite.rewards.chat import ChatVocabulary, load_qwen_vocabulary, vocabulary_files
from pyrite.rewards.large_models import Quantisation, load_large
from pyrite.rewards.llava_onevision import LlavaOneVision
from pyrite.rewards.llava_pixels import Size, read_grids
from pyrite.rewards.loading import files_revision, merged, read_json

TOWER: dict[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
"""google/siglip-so400m-patch14-384 without its last layer, which LLaVA-NeXT deletes; for `SiglipVisionConfig`."""

KEY_MAPPING = {
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
}
"""LLaVA-NeXT's names of tensors -> transformers'."""

EXACT = ("lm_head", "model.vision_tower", "model.multi_modal_projector")
"""What is not quantised: it is small, and sees the image."""

_TEXT = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
)
# What the code below assumes of a configuration; another value would be another model.
_ASSUMED = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_patch_merge_type": ("spatial_unpad",),
    "hidden_act": ("silu", None),
    "rope_scaling": (None,),
    "use_sliding_window": (False, None),
    "tie_word_embeddings": (False, None),
    "mm_use_im_start_end": (False, None),
}
_ARCHITECTURE = "LlavaQwenForCausalLM"
_ASPECT = re.compile(r"anyres(?:_max_(\d+))?")


def load_llava(
    name: str,
    weights: str | Path | None,
    *,
    config: Mapping[str, Any] | None,
    device: torch.device,
    dtype: torch.dtype,
    tokenizer: str | Path | None = None,
    tower: str | Path | None = None,
    quantise: Quantisation | None = None,
) -> tuple[LlavaOneVision, ChatVocabulary, Path, str]:
    """The model of a published reward, its tokenizer, its folder, and a revision of all files that were read.

    Args:
        name: of the reward.
        weights: a folder with config.json and the shards, its index or model.safetensors, or a hub id; None for where
            it lies on this disk.
        config: laid over config.json; `vision` holds dimensions of the tower in transformers' names.
        device: one device.
        dtype: of the parameters.
        tokenizer: folder of the tokenizer; None for beside the weights, or where it lies on this disk.
        tower: folder of the vision tower, for a checkpoint saved without it.
        quantise: see `load_large`.

    Raises:
        CheckpointError: a file is missing or damaged, or is another model's.
        MissingExtraError: quantisation is asked for and not installed.
    """
    path = find_file(name, "weights", weights)
    vocabulary = _load_vocabulary(name, path.parent, weights, tokenizer)
    model, files = load_model(name, path, config=config, device=device, dtype=dtype, tower=tower, quantise=quantise)
    known = model.model.config.text_config.vocab_size
    if len(vocabulary.tokenizer) > known:
        raise CheckpointError(
            f"the tokenizer in {vocabulary.source} has {len(vocabulary.tokenizer)} tokens, the model of '{name}' knows "
            f"{known}: prompts would be read as other words. Name the folder with the model's own as tokenizer=."
        )
    return model, vocabulary, path.parent, files_revision([*files, *vocabulary_files(vocabulary.source)])


def load_model(
    name: str,
    path: Path,
    *,
    config: Mapping[str, Any] | None,
    device: torch.device,
    dtype: torch.dtype,
    tower: str | Path | None = None,
    quantise: Quantisation | None = None,
) -> tuple[LlavaOneVision, list[Path]]:
    """The model alone, and the files it was read from; arguments and errors as of `load_llava`.

    Args:
        name: of the reward.
        path: of the index of shards, or of model.safetensors; config.json lies beside it.
        config: see `load_llava`.
        device: see there.
        dtype: see there.
        tower: see there.
        quantise: see there.
    """
    from transformers import GenerationConfig, LlavaOnevisionForConditionalGeneration

    said = merged(read_json(path.parent / "config.json"), config)
    _require_llava_next(name, path.parent, said)
    shape = _library_config(name, path.parent, said)
    has_tower = any(key.startswith("model.vision_tower.") for key in _tensor_names(path))
    _require_one_tower(name, path, has_tower, tower)
    model = load_large(
        name,
        LlavaOnevisionForConditionalGeneration,
        path,
        shape,
        dtype=dtype,
        device=device,
        key_mapping=KEY_MAPPING,
        may_lack=() if has_tower else ("model.vision_tower.",),
        quantise=quantise,
        exact=EXACT,
    )
    # What the checkpoint says of sampling would be laid over what is asked for.
    model.generation_config = GenerationConfig()
    files = [*shard_paths(path), path.parent / "config.json"]
    if tower is not None:
        model.model.vision_tower, more = _load_tower(name, Path(tower), shape.vision_config, dtype, device)
        files += more
    side = shape.vision_config.image_size
    grids, most_crops = read_tiling(path.parent, said, side)
    longest = min(shape.text_config.max_position_embeddings, said.get("tokenizer_model_max_length") or math.inf)
    return LlavaOneVision(model, grids, most_crops, int(longest)), files


def read_tiling(folder: Path, said: Mapping[str, Any], side: int) -> tuple[tuple[Size, ...], float]:
    """The grids images are cut by and how many crops' worth of patches stay; no grids for other ways of cutting.

    Args:
        folder: of the checkpoint, for messages.
        said: its config.json.
        side: of a crop.

    Raises:
        CheckpointError: the grids cannot be read.
    """
    aspect = _ASPECT.fullmatch(str(said.get("image_aspect_ratio")))
    if aspect is None:
        return (), math.inf
    try:
        grids = read_grids(said.get("image_grid_pinpoints"), side)
    except ValueError as error:
        raise CheckpointError(
            f"{folder / 'config.json'}: {error}, so images would be cut in another way than the model was trained "
            "with. Fetch the file again."
        ) from error
    return tuple(grids), float(aspect[1]) if aspect[1] else math.inf


def _require_llava_next(name: str, folder: Path, said: Mapping[str, Any]) -> None:
    kind = said.get("model_type")
    if kind == "llava_onevision":
        raise CheckpointError(
            f"{folder} holds a LLaVA-OneVision converted to transformers' layout, and '{name}' is read in the layout "
            f"it was published in, LLaVA-NeXT's. For the published files type: pyrite weights fetch {name}"
        )
    if _ARCHITECTURE not in (said.get("architectures") or [_ARCHITECTURE]) or kind not in ("llava", "llava_qwen"):
        raise CheckpointError(
            f"{folder} holds a model of type '{kind}' ({', '.join(said.get('architectures') or ['no architecture'])}), "
            f"and '{name}' is a {_ARCHITECTURE} of type 'llava': these are another model's weights. Type: pyrite "
            f"weights fetch {name}"
        )
    if unknown := [key for key in _TEXT if not isinstance(said.get(key), int | float)]:
        raise CheckpointError(
            f"{folder / 'config.json'} says nothing of {', '.join(unknown)}, so the shape of the model is unknown. "
            "Fetch the file again, or give them as config={...}."
        )
    for key, allowed in _ASSUMED.items():
        if said.get(key) not in allowed:
            raise CheckpointError(
                f"{folder / 'config.json'} says {key}={said.get(key)!r}, and '{name}' was published with "
                f"{allowed[0]!r}: this is another model, and its scores would be wrong. Type: pyrite weights fetch "
                f"{name}"
            )


def _library_config(name: str, folder: Path, said: Mapping[str, Any]) -> Any:
    from transformers import LlavaOnevisionConfig, Qwen2Config, SiglipVisionConfig

    vision = SiglipVisionConfig(**merged(TOWER, said.get("vision")), vision_use_head=False)
    if said.get("mm_hidden_size", vision.hidden_size) != vision.hidden_size:
        raise CheckpointError(
            f"{folder / 'config.json'} says that the tower of '{name}' gives {said['mm_hidden_size']} numbers a patch, "
            f"and {vision.hidden_size} were expected. Give its dimensions as config={{'vision': {{...}}}}."
        )
    text = Qwen2Config(**{key: said[key] for key in _TEXT}, tie_word_embeddings=False)
    return LlavaOnevisionConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)


def _load_vocabulary(
    name: str, beside: Path, weights: str | Path | None, tokenizer: str | Path | None
) -> ChatVocabulary:
    """From the folder named, beside the weights, or where it lies on this disk."""
    if tokenizer is not None:
        return load_qwen_vocabulary(Path(tokenizer))
    if any((beside / file).is_file() for file in ("tokenizer.json", "vocab.json")):
        return load_qwen_vocabulary(beside)
    return load_qwen_vocabulary(find_file(name, "tokenizer", weights).parent)


def _tensor_names(path: Path) -> Iterable[str]:
    from safetensors import SafetensorError, safe_open

    if path.name.endswith(INDEX_SUFFIX):
        names: dict[str, str] = read_json(path)["weight_map"]
        return names
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file: {error}. It is damaged or incomplete; fetch it again."
        ) from error


def _require_one_tower(name: str, path: Path, has_tower: bool, tower: str | Path | None) -> None:
    if has_tower and tower is not None:
        raise CheckpointError(
            f"{path} holds the vision tower '{name}' was trained with, so another one (tower={str(tower)!r}) would "
            "give other scores. Leave tower= out."
        )
    if not has_tower and tower is None:
        raise CheckpointError(
            f"{path} was saved without the vision tower of '{name}', so it could not see. Fetch the tower it was "
            "trained on, google/siglip-so400m-patch14-384 (model.safetensors and config.json), and name its folder as "
            "tower=."
        )


def _load_tower(
    name: str, folder: Path, config: Any, dtype: torch.dtype, device: torch.device
) -> tuple[Any, tuple[Path, ...]]:
    """SigLIP's image tower without its last layer, and its files."""
    from transformers import SiglipVisionModel

    path = next((found for found in (folder / f"model.safetensors{INDEX_SUFFIX}", folder / "model.safetensors")
                 if found.is_file()), None)  # fmt: skip
    if path is None:
        raise CheckpointError(
            f"tower={str(folder)!r}: there is no model.safetensors in that folder. Name the folder of "
            "google/siglip-so400m-patch14-384."
        )
    last = f"encoder.layers.{config.num_hidden_layers}."
    tower = load_large(
        f"{name} (its tower)",
        SiglipVisionModel,
        path,
        config,
        dtype=dtype,
        device=device,
        key_mapping={r"^vision_model\.": ""},
        unused=(last, "head.", "text_model.", "logit_scale", "logit_bias"),
    )
    return tower, shard_paths(path)

"""CLIP-FlanT5, the model behind VQAScore: its dimensions, and its parts from the official files.

A CLIP image tower whose patch features, through two linear layers, stand where the image stands in a T5's question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyrite.core.errors import CheckpointError
from pyrite.rewards.large_models import Quantisation
from pyrite.rewards.large_parts import build_large
from pyrite.rewards.loading import merged, read_json, read_shards, require_fit

_T5: dict[str, Any] = {
    "d_kv": 64,
    "num_layers": 24,
    "num_decoder_layers": 24,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.1,
}
LANGUAGE: Mapping[str, Mapping[str, Any]] = {
    "vqascore": {**_T5, "d_model": 4096, "d_ff": 10240, "num_heads": 64},
    "vqascore-xl": {**_T5, "d_model": 2048, "d_ff": 5120, "num_heads": 32},
}
"""Name of a reward -> its T5, as arguments of transformers' `T5Config`."""

VISION: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
"""The image tower of openai/clip-vit-large-patch14-336, as arguments of `CLIPVisionConfig`."""

_TOWER = "vision_tower.vision_tower.vision_model."
_PROJECTOR = "mm_projector."
# One table of embeddings, which the official model holds, and so its files do, under several names.
_TABLES = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "embed_tokens.weight")


@dataclass(frozen=True)
class ClipT5:
    """The three parts.

    Args:
        tower: a transformers `CLIPVisionModel`, without the last layer of the published one, which is not read.
        projector: features of a patch -> what stands for it in the question.
        language: a T5 for conditional generation whose output layer is its own.
    """

    tower: Any
    projector: nn.Module
    language: Any

    def features(self, pixels: Tensor) -> Tensor:
        """(M, F, D) what stands for M images in a question, from (M, 3, S, S) pixels."""
        states = self.tower(pixel_values=pixels.to(self.tower.dtype)).last_hidden_state
        projected: Tensor = self.projector(states[:, 1:])  # the first state is the class token's
        return projected


def tower_config(config: Mapping[str, Any]) -> Any:
    """The `CLIPVisionConfig` of a tower with these changes, less its last layer: features are of the one before."""
    from transformers import CLIPVisionConfig

    shape = merged(VISION, config)
    return CLIPVisionConfig(**{**shape, "num_hidden_layers": shape["num_hidden_layers"] - 1})


def projector_layers(narrow: int, wide: int) -> nn.Sequential:
    """The two layers between features of the tower and embeddings of the language model."""
    return nn.Sequential(nn.Linear(narrow, wide), nn.GELU(), nn.Linear(wide, wide))


def language_class() -> Any:
    """T5 with an output layer of its own.

    transformers 5 ties the output layer of every T5 to its embeddings, and a checkpoint with two tables would lose one
    of them without an error. FLAN's and these are such checkpoints.
    """
    from transformers import T5ForConditionalGeneration

    class UntiedT5(T5ForConditionalGeneration):  # type: ignore[misc]  # the library is not typed
        _tied_weights_keys = dict.fromkeys(_TABLES[1:3], _TABLES[0])

    return UntiedT5


def language_config(name: str, config: Mapping[str, Any], num_ids: int) -> Any:
    """The `T5Config` of a published reward with these changes and a vocabulary of `num_ids`."""
    from transformers import T5Config

    known = {**LANGUAGE[name], **{key: value for key, value in config.items() if key in LANGUAGE[name]}}
    # Untied means unscaled: T5 v1.1 and FLAN do not scale the states that go into the output layer.
    # Pinned to the kernel that takes a bias: a mask and T5's relative positions go into one.
    return T5Config(**known, vocab_size=num_ids, tie_word_embeddings=False, attn_implementation="sdpa")


def load_clip_t5(
    name: str,
    path: Path,
    num_ids: int,
    *,
    config: Mapping[str, Any],
    tower: Path | None,
    dtype: torch.dtype,
    device: torch.device,
    quantise: Quantisation | None = None,
) -> ClipT5:
    """The model from its official files.

    Args:
        name: of the reward: vqascore or vqascore-xl.
        path: of the file of tensors, or of the index of its shards; config.json may lie beside it.
        num_ids: how many ids the tokenizer has. The official code drops the rows above them from the embeddings and
            the output layer, so that they take no probability.
        config: laid over config.json; the tower's dimensions are under `vision`.
        tower: a file with the image tower in transformers' names, used in place of the one in `path`.
        dtype: of the parameters.
        device: which takes all of them.
        quantise: "8bit" or "4bit" weights of the language model.

    Raises:
        CheckpointError: the files are damaged, another model's, or do not hold exactly the tensors of this one.
    """
    from transformers import CLIPVisionModel

    tensors = read_shards(path)
    beside = path.parent / "config.json"
    said = merged(read_json(beside) if beside.is_file() else {}, config)
    _refuse_siblings(name, path, said, tensors)
    vision = _taken(tensors, _TOWER)
    if tower is not None:
        given = read_shards(tower)
        vision = _taken(given, "vision_model.") or given
    elif not vision:
        raise CheckpointError(
            f"{path} holds no image tower ({_TOWER}*), and '{name}' would look through random eyes. It is the tower of "
            "openai/clip-vit-large-patch14-336: fetch that, and name its folder as tower=. Type: "
            "hf download openai/clip-vit-large-patch14-336 --local-dir clip-l-336"
        )
    projector = _taken(tensors, _PROJECTOR)
    shape, language = tower_config(said.get("vision", {})), language_config(name, said, num_ids)
    unread = ("embeddings.position_ids", f"encoder.layers.{shape.num_hidden_layers}.")
    vision = {key: tensor for key, tensor in vision.items() if not key.startswith(unread)}
    layers = projector_layers(shape.hidden_size, language.d_model)
    require_fit(name, path, projector, layers.state_dict())
    layers.load_state_dict(projector)
    own = _cut_to(num_ids, tensors, path)
    return ClipT5(
        build_large(name, CLIPVisionModel, shape, vision, tower or path, dtype=dtype, device=device),
        layers.to(device, dtype).eval().requires_grad_(False),
        build_large(name, language_class(), language, own, path, dtype=dtype, device=device, quantise=quantise),
    )


def _refuse_siblings(name: str, path: Path, said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    if (kind := said.get("model_type", "clip_t5")) != "clip_t5":
        raise CheckpointError(
            f"{path} is not the weights of '{name}': config.json beside it says '{kind}', and this reward is a "
            f"'clip_t5'. Name the folder of zhiqiulin/clip-flant5-xxl (or -xl), or type: pyrite weights fetch {name}"
        )
    width = tensors[_TABLES[0]].shape[-1] if _TABLES[0] in tensors else None
    owner = next((owner for owner, shape in LANGUAGE.items() if shape["d_model"] == width), name)
    if owner != name:
        raise CheckpointError(
            f"{path} is not the weights of '{name}': its embeddings are {width} wide, which is '{owner}'. The two give "
            f"other scores. Load it under that name, or type: pyrite weights fetch {name}"
        )


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning; they are taken out."""
    names = [key for key in tensors if key.startswith(prefix)]
    return {key.removeprefix(prefix): tensors.pop(key) for key in names}


def _cut_to(num_ids: int, tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The language model's tensors, with the first `num_ids` rows of its embeddings and output layer."""
    tables = [tensors.pop(name) for name in _TABLES if name in tensors]
    if any(not torch.equal(table, tables[0]) for table in tables[1:]):
        raise CheckpointError(
            f"{path} holds several tables of embeddings that differ, and the model has one. The file is no clip-flant5."
        )
    result = dict(tensors)
    result |= dict.fromkeys(_TABLES[:3], tables[0][:num_ids]) if tables else {}
    if "lm_head.weight" in result:
        result["lm_head.weight"] = result["lm_head.weight"][:num_ids]
    if tables and len(tables[0]) < num_ids:
        raise CheckpointError(
            f"the tokenizer has {num_ids} ids and the model in {path} knows {len(tables[0])}: prompts would be read as "
            "other words. Name the folder with the spiece.model of google/flan-t5-xxl as tokenizer=."
        )
    return result

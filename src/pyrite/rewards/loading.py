"""Reading a reward's checkpoint strictly: the right kind of model, every tensor from the file and every one used."""

import hashlib
import itertools
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - the name of torch's refusal; nothing is unpickled with it
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pyrite.core.errors import CheckpointError
from pyrite.records.published import shard_paths, source_sha256
from pyrite.records.weights import file_sha256

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What only one reward's file holds, so that a message can say whose file it was given.
_SIGNATURES = {
    "tablock1.0.c_q.weight": "maniqa",
    "blip.visual_encoder.cls_token": "imagereward",
    "layers.7.weight": "aesthetic-v2 (its head)",
    "transformer.level_embed": "gdino",
    "module.transformer.level_embed": "gdino",
    "model.level_embed": "gdino",
    "git.embeddings.word_embeddings.weight": "git",
    "visual.transformer.resblocks.0.ln_1.weight": "a CLIP model in open_clip's or OpenAI's format",
    "vision_model.embeddings.class_embedding": "a CLIP model in transformers' format",
}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint.

    Raises:
        CheckpointError: the file is missing or not a JSON object.
    """
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} could not be read: {error}. The checkpoint is incomplete; copy it again or rebuild it: "
            f"pyrite world build --only {path.parent.name}"
        ) from error
    if not isinstance(row, dict):
        raise CheckpointError(f"{path} holds a {type(row).__name__}, and a checkpoint's configuration is an object.")
    return row


def merged(config: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """`config` with `changes` laid over it, nested objects key by key."""
    result = dict(config)
    for key, value in (changes or {}).items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def load_model(
    model_class: Any,
    folder: Path,
    *,
    model_type: str | None = None,
    config: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    unused: tuple[str, ...] = (),
) -> Any:
    """A transformers model from its folder, in evaluation mode, without gradients.

    Args:
        model_class: has `from_pretrained`.
        folder: a checkpoint folder.
        model_type: what `config.json` must call the architecture; None accepts any that `model_class` does.
        config: laid over `config.json`.
        dtype: of the parameters.
        unused: how the names of tensors begin that the file may hold beyond the model's own.

    Raises:
        CheckpointError: another architecture, a damaged file, or tensors missing or left over.
    """
    found = read_json(folder / "config.json")
    if model_type is not None and found.get("model_type") != model_type:
        raise CheckpointError(
            f"{folder} holds a model of type '{found.get('model_type')}', and this reward needs '{model_type}'. "
            f"Name a folder written by {model_class.__name__}.save_pretrained."
        )
    try:
        given = {} if config is None else {"config": _library_config(found, config)}
        model, report = model_class.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True, **given
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"the weights in {folder} could not be read: {error}. The file is damaged or incomplete; copy it again, "
            f"or rebuild it: pyrite world build --only {folder.name}"
        ) from error
    left_over = (
        {key for key in report["unexpected_keys"] if not key.startswith(unused)}
        if unused
        else set(report["unexpected_keys"])
    )
    if astray := sorted({*report["missing_keys"], *left_over}):
        raise CheckpointError(
            f"{folder}: {len(astray)} tensors are missing or left over (first: {astray[0]}), so part of the model "
            f"would be random. Save the whole model with {model_class.__name__}.save_pretrained."
        )
    return model.eval().requires_grad_(False)


def _library_config(found: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    whole = merged(found, changes)
    return AutoConfig.for_model(whole.pop("model_type"), **whole)


def load_tokenizer(tokenizer_class: Any, folder: Path) -> Any:
    """A tokenizer from the folder of a checkpoint.

    Args:
        tokenizer_class: has `from_pretrained`.
        folder: of the checkpoint.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    try:
        return tokenizer_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"no tokenizer could be read from {folder}: {error}. A model reads with the tokenizer it was trained with. "
            "Save it into the folder."
        ) from error


# What torch says of bytes that are no pickle instruction at all.
_NO_PICKLE = re.compile(r"Unsupported operand|invalid load key")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of an official file: safetensors, or a pickle of which nothing but tensors is read.

    A pickle may hold them under `state_dict` or `model`. They are in the file's own precision.

    Raises:
        CheckpointError: the file is damaged, needs code to be read, or holds no tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        if _NO_PICKLE.search(str(error)):
            raise CheckpointError(
                f"{path} holds neither tensors nor a pickle ({_reason(error)}): often it is the web page that said why "
                "there was no file. Delete it, then fetch it again: pyrite weights fetch NAME"
            ) from error
        raise CheckpointError(
            f"{path} is refused: it is a pickle that runs code when it is read ({_reason(error)}), and whoever wrote "
            "it could have put anything there. Use the publisher's file of plain tensors (for HPSv2 the one called "
            "*_compressed.pt), or a .safetensors."
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path} is refused: it is a TorchScript program, not a file of tensors. Use the same model's folder "
                "from the Hugging Face hub (model.safetensors with config.json)."
            ) from error
        raise CheckpointError(
            f"{path} could not be read: {_reason(error)}. The file is damaged or incomplete; fetch it again and "
            "compare it: pyrite weights verify"
        ) from error
    for inner in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(inner), dict):
            content = content[inner]
    if not isinstance(content, dict) or not content or not all(isinstance(row, Tensor) for row in content.values()):
        raise CheckpointError(
            f"{path} holds no table of tensors, so it is no reward's weights. Name the file its publisher offers."
        )
    return content


def read_shards(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint in one file or, if `path` is an index, in several; mapped, not yet in memory.

    Raises:
        CheckpointError: as for `read_tensors`, of any of the files.
    """
    return {key: tensor for file in shard_paths(path) for key, tensor in read_tensors(file).items()}


def _reason(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return next((line.strip() for line in lines if "Unsupported" in line or "GLOBAL" in line), lines[0])[:200]


def require_fit(name: str, path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse a file that does not hold exactly the tensors of the model, each of its shape.

    Args:
        name: of the reward.
        path: of the file.
        found: its tensors, under the model's names.
        expected: the model's own.

    Raises:
        CheckpointError: names what is missing, left over or of another shape, and whose file it may be.
    """
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    problems = [f"{len(keys)} {what} (first: {', '.join(keys[:3])})" for what, keys in
                (("tensors are missing", missing), ("are left over", extra)) if keys]  # fmt: skip
    for key in sorted(expected.keys() & found.keys()):
        if expected[key].shape != found[key].shape:
            problems.append(f"{key} has shape {tuple(found[key].shape)} and not {tuple(expected[key].shape)}")
            break
    if not problems:
        return
    raise CheckpointError(
        f"{path} is not the weights of '{name}': {'; '.join(problems)}. Part of the model would be random, so nothing "
        f"was loaded. {_whose(name, 2 * len(missing) > len(expected), found)}"
    )


def _whose(name: str, is_foreign: bool, found: Mapping[str, Tensor]) -> str:
    owner = next((owner for key, owner in _SIGNATURES.items() if key in found), None)
    if owner is None and found.keys() == {"weight", "bias"}:
        owner = "aesthetic-v1 (its head)"
    if is_foreign and owner:
        return f"These look like the weights of {owner}. For '{name}' type: pyrite weights fetch {name}"
    return (
        f"Fetch the published file (pyrite weights fetch {name}), or give the dimensions of this one as config={{...}}."
    )


def build_model(
    name: str,
    model_class: Any,
    config: Any,
    tensors: Mapping[str, Tensor],
    path: Path,
    dtype: torch.dtype,
    *,
    placing: Mapping[str, Any] | None = None,
    **how: Any,
) -> Any:
    """A transformers model of `config` with exactly these tensors, in evaluation mode, without gradients.

    Args:
        name: of the reward, for messages.
        model_class: of the model.
        config: its transformers configuration.
        tensors: under the model's own names; consumed, so that a large model is not held twice.
        path: where they come from, for messages.
        dtype: of the parameters.
        placing: for `from_pretrained` alone, as in `device_map=`.
        how: for the class, as in `add_pooling_layer=False`.

    Raises:
        CheckpointError: the tensors are not exactly those of the model.
    """
    with torch.device("meta"):
        expected = model_class(config, **how).state_dict()
    require_fit(name, path, tensors, expected)
    placed = {**(placing or {}), **how}
    model = model_class.from_pretrained(None, config=config, state_dict=dict(tensors), dtype=dtype, **placed)
    return model.eval().requires_grad_(False)


def linear_stack(*widths: int) -> nn.Sequential:
    """Linear layers from each width to the next, nothing between them: the head of the published predictors."""
    return nn.Sequential(*(nn.Linear(wide, narrow) for wide, narrow in itertools.pairwise(widths)))


def files_revision(paths: Iterable[Path]) -> str:
    """12 hexadecimal digits that change when the bytes of any of the files do.

    Weights that `pyrite weights convert` wrote count as the file they were made from.
    """
    hashes = [source_sha256(path) if path.suffix == ".safetensors" else file_sha256(path) for path in paths]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:12]


def choose_device(device: str) -> torch.device:
    """The device named, or for "auto" an accelerator if there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def choose_dtype(dtype: str | None) -> torch.dtype:
    """The precision named; float32 for None.

    Raises:
        CheckpointError: no model can be loaded in it.
    """
    if dtype is not None and dtype not in _DTYPES:
        raise CheckpointError(f"dtype='{dtype}' is no precision a model can be loaded in. Use {', '.join(_DTYPES)}.")
    return _DTYPES[dtype or "float32"]


def dtype_name(dtype: torch.dtype) -> str:
    """The name `choose_dtype` reads back."""
    return str(dtype).removeprefix("torch.")

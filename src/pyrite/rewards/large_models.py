"""Loading a model of billions of parameters: strictly, from shards, straight to where it computes.

The library reads one tensor after another from the shards and puts each on its device, so the weights are never held
twice. As with small models, every tensor must come from the files and every one must be used.
"""

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from pyrite.core.errors import CheckpointError, MissingExtraError
from pyrite.records.published import INDEX_SUFFIX, shard_paths
from pyrite.rewards.loading import choose_dtype, read_json

Quantisation = Literal["8bit", "4bit"]

_STANDARD_NAMES = ("model.safetensors", "pytorch_model.bin")


def load_large(
    name: str,
    model_class: Any,
    path: Path,
    config: Any,
    *,
    dtype: torch.dtype,
    device: torch.device,
    key_mapping: Mapping[str, str] | None = None,
    may_lack: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
    quantise: Quantisation | None = None,
    exact: tuple[str, ...] = ("lm_head",),
    attention: str = "sdpa",
) -> Any:
    """A transformers model from an index of shards or one file, in evaluation mode, without gradients.

    Args:
        name: of the reward, for messages.
        model_class: has `from_pretrained`.
        path: model.safetensors.index.json or model.safetensors (or their .bin forms), as `find_file` gives it.
        config: the model's transformers configuration, complete; the folder's config.json is not read.
        dtype: of the parameters, or of what is computed with quantised ones.
        device: one device, which takes all of it.
        key_mapping: regular expression -> what the model calls it, for files with other names.
        may_lack: how the names of tensors begin that need not be there: the caller fills them in.
        unused: how the names of tensors begin that the files may hold beyond the model's own.
        quantise: "8bit" or "4bit" (NF4) weights of the linear layers; scores then differ from unquantised ones.
        exact: names of modules that are not quantised.
        attention: implementation; "sdpa" takes masks of left padding on every device and needs nothing installed.

    Raises:
        CheckpointError: files are damaged, ambiguous, or hold other tensors than the model has.
        MissingExtraError: quantisation is asked for and not installed.
    """
    _require_one_set(path)
    how: dict[str, Any] = {}
    if quantise is not None:
        how["quantization_config"] = quantisation_config(quantise, dtype, exact)
    try:
        model, report = model_class.from_pretrained(
            path.parent,
            config=config,
            dtype=dtype,
            device_map={"": str(device)},
            key_mapping=dict(key_mapping) if key_mapping else None,
            use_safetensors=not any(shard.suffix == ".bin" for shard in shard_paths(path)),
            attn_implementation=attention,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, in words
            **how,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"the weights of '{name}' in {path.parent} could not be read: {_first_lines(error)}. A shard is damaged, "
            f"incomplete or another model's; compare them: pyrite weights verify {name} --weights {path.parent}"
        ) from error
    misshapen = {key: (tuple(found), tuple(expected)) for key, found, expected in report["mismatched_keys"]}
    missing = sorted(
        key for key in report["missing_keys"] if key not in misshapen and not key.startswith(may_lack or "\0")
    )
    left_over = sorted(key for key in report["unexpected_keys"] if not key.startswith(unused or "\0"))
    if missing or left_over or misshapen:
        problems = [f"{len(keys)} {what} (first: {', '.join(keys[:3])})" for what, keys in
                    (("tensors are missing", missing), ("are left over", left_over)) if keys]  # fmt: skip
        for key, (found, expected) in sorted(misshapen.items())[:1]:
            problems.append(f"{key} has shape {found} and not {expected}")
        raise CheckpointError(
            f"{path} is not the weights of '{name}': {'; '.join(problems)}. Part of the model would be random, so "
            f"nothing was loaded. Fetch the published files (pyrite weights fetch {name}), or give the dimensions of "
            "these as config={...}."
        )
    return model.eval().requires_grad_(False)


def quantisation_config(quantise: Quantisation, dtype: torch.dtype, exact: tuple[str, ...]) -> Any:
    """What transformers needs to quantise with bitsandbytes while it loads.

    Args:
        quantise: "8bit" (LLM.int8) or "4bit" (NF4, doubly quantised).
        dtype: in which products with 4-bit weights are computed.
        exact: names of modules left as they are.

    Raises:
        CheckpointError: there is no such quantisation.
        MissingExtraError: bitsandbytes is not installed.
    """
    if quantise not in ("8bit", "4bit"):
        raise CheckpointError(f"quantise={quantise!r} is not known: use '8bit', '4bit', or None for exact weights.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError(
            f"quantise='{quantise}' needs the package bitsandbytes, which is not installed: without it the weights "
            "stay whole. Type: pip install 'pyrite[quantised]'"
        )
    from transformers import BitsAndBytesConfig

    if quantise == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(exact))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(exact),
    )


def choose_large_dtype(dtype: str | None) -> torch.dtype:
    """The precision named; bfloat16 for None, as models of this size are published and run.

    Raises:
        CheckpointError: no model can be loaded in it.
    """
    return choose_dtype(dtype or "bfloat16")


def published_penalty(folder: Path) -> float:
    """The repetition penalty that generation_config.json beside the weights asks for; 1, which is none, without it.

    The official codes obey it even when they generate greedily, so replies depend on it.

    Raises:
        CheckpointError: it is no positive number.
    """
    path = folder / "generation_config.json"
    penalty = read_json(path).get("repetition_penalty", 1.0) if path.is_file() else 1.0
    if not isinstance(penalty, int | float) or not 0 < penalty < math.inf:
        raise CheckpointError(
            f"{path} says repetition_penalty={penalty!r}, which is no positive number. Mend the file, or give the "
            "penalty as repetition_penalty=."
        )
    return float(penalty)


def _require_one_set(path: Path) -> None:
    """The library takes the first it finds of several sets of weights in a folder: that one must be ours.

    Raises:
        CheckpointError: it would be another, or a shard is missing.
    """
    if not path.name.endswith(INDEX_SUFFIX) and path.name not in _STANDARD_NAMES:
        raise CheckpointError(
            f"{path} is called neither model.safetensors nor model.safetensors.index.json, and a model this large is "
            "read by these names. Name the folder it was published in."
        )
    others = [other for other in _STANDARD_NAMES if other != path.name and (path.parent / other).is_file()]
    if others and not (path.name == "model.safetensors" and others == ["pytorch_model.bin"]):
        raise CheckpointError(
            f"{path.parent} holds both {path.name} and {others[0]}: which of them would be loaded is open. Move one "
            "of them away."
        )
    if absent := [shard.name for shard in shard_paths(path) if not shard.is_file()]:
        raise CheckpointError(
            f"{path} names {len(absent)} files that are not beside it (first: {absent[0]}), so part of the model is "
            "missing. Copy them there, or fetch them again."
        )


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:300] or type(error).__name__

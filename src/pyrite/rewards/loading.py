"""Reading a reward's checkpoint folder strictly: the right kind of model, every tensor from the file."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pyrite.core.errors import CheckpointError


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


def load_model(model_class: Any, folder: Path, *, model_type: str | None = None) -> Any:
    """A transformers model in float32, in evaluation mode, without gradients.

    Args:
        model_class: has `from_pretrained`.
        folder: a checkpoint folder.
        model_type: what `config.json` must call the architecture; None accepts any that `model_class` does.

    Raises:
        CheckpointError: another architecture, a damaged file, or tensors missing or left over.
    """
    found = read_json(folder / "config.json").get("model_type")
    if model_type is not None and found != model_type:
        raise CheckpointError(
            f"{folder} holds a model of type '{found}', and this reward needs '{model_type}'. "
            f"Name a folder written by {model_class.__name__}.save_pretrained."
        )
    try:
        model, report = model_class.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"the weights in {folder} could not be read: {error}. The file is damaged or incomplete; copy it again, "
            f"or rebuild it: pyrite world build --only {folder.name}"
        ) from error
    if astray := sorted({*report["missing_keys"], *report["unexpected_keys"]}):
        raise CheckpointError(
            f"{folder}: {len(astray)} tensors are missing or left over (first: {astray[0]}), so part of the model "
            f"would be random. Save the whole model with {model_class.__name__}.save_pretrained."
        )
    return model.eval().requires_grad_(False)


def choose_device(device: str) -> torch.device:
    """The device named, or for "auto" an accelerator if there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)

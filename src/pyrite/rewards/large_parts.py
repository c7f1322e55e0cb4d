"""Parts of a large model, from tensors that had to be renamed, split or cut before they fit.

`large_models.py` loads a whole model whose files the library reads by itself. Here the tensors are mapped from disk,
and one after another goes to its device: no part is held twice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrite.rewards.large_models import Quantisation, quantisation_config
from pyrite.rewards.loading import build_model


def build_large(
    name: str,
    model_class: Any,
    config: Any,
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    quantise: Quantisation | None = None,
) -> Any:
    """A transformers model of `config` with exactly these tensors, on its device, without gradients.

    Args:
        name: of the reward, for messages.
        model_class: of the model.
        config: its transformers configuration.
        tensors: under the model's own names.
        path: where they come from, for messages.
        dtype: of the parameters, or of what is computed with quantised ones.
        device: which takes all of it.
        quantise: "8bit" or "4bit" weights of its linear layers, the last one left whole; None for whole ones.

    Raises:
        CheckpointError: the tensors are not exactly those of the model, or there is no such quantisation.
        MissingExtraError: quantisation is asked for and not installed.
    """
    placing: dict[str, Any] = {"device_map": {"": str(device)}}
    if quantise is not None:
        placing["quantization_config"] = quantisation_config(quantise, dtype, ("lm_head",))
    return build_model(name, model_class, config, tensors, path, dtype, placing=placing)

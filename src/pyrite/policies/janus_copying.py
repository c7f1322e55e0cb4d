"""A copy of a module for computing alone: narrower weights, nothing that belongs to training."""

from collections import OrderedDict
from typing import Any

import torch
from torch import nn


def narrowed(module: nn.Module, dtype: torch.dtype) -> Any:
    """A module that computes as `module` does with its parameters rounded to `dtype`; neither changes the other.

    Buffers stay as they are: the frequencies of rotary positions, rounded to bfloat16, would turn position 600 by tens
    of degrees too far. Hooks stay behind, so that a module that is shared out over processes and made whole for the
    moment (FSDP2, which refuses a deep copy) gives a plain one.
    """
    from torch.distributed.fsdp import FSDPModule

    # FSDP2 puts a class of its own in front of a module's, which is the third of its ancestors.
    kind: Any = type(module).__mro__[2] if isinstance(module, FSDPModule) else type(module)
    twin: Any = kind.__new__(kind)
    vars(twin).update(vars(module))
    for name, value in vars(module).items():
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")) and isinstance(value, dict):
            setattr(twin, name, OrderedDict())
    twin._parameters = {
        name: None if value is None else nn.Parameter(value.detach().to(dtype), requires_grad=False)
        for name, value in module._parameters.items()
    }
    twin._buffers = dict(module._buffers)
    twin._modules = {name: None if child is None else narrowed(child, dtype) for name, child in module._modules.items()}
    return twin

"""A policy's parameters in pieces, one on each process: FSDP2, that is torch's `fully_shard`.

accelerate prepares FSDP for accelerators only and gives a CPU whole copies without a word, so `fully_shard` is called
here, and the same code runs on both (docs/decisions/0017).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def shard(module: nn.Module) -> None:
    """Leave each process its piece of every parameter, in place; layers are the units that are made whole in passing.

    What stands in a `ModuleList` is a layer if a pass through the policy calls it; the rest is one unit.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = next(module.parameters()).device.type
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for layer in _layers(module):
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)


def _layers(module: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists of layers that hold something trained."""
    found: list[nn.Module] = []
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            found += [layer for layer in child if any(value.requires_grad for value in layer.parameters())]
        else:
            found += _layers(child)
    return found


@contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """Within, every parameter is whole on every process, and passes exchange nothing: each may do as many as it likes.

    All processes enter together. Parameters must not be changed within.
    """
    from torch.distributed.fsdp import FSDPModule

    units = [unit for unit in module.modules() if isinstance(unit, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            unit.set_reshard_after_forward(unit is not module, recurse=False)


def whole_tensor(value: Tensor) -> Tensor:
    """A tensor that is in pieces, put together; every process asks for it. Another tensor as it is."""
    gather: Any = getattr(value, "full_tensor", None)
    return value if gather is None else gather()


def like(value: Tensor, target: Tensor) -> Tensor:
    """A whole value that all processes have, on the device of `target` and in pieces if that is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    value = value.to(target.device)
    if not isinstance(target, DTensor):
        return value
    return distribute_tensor(value, target.device_mesh, target.placements)

"""A policy's parameters in pieces, one on each process: FSDP2, that is torch's `fully_shard`.

accelerate prepares FSDP for accelerators only and gives a CPU whole copies without a word, so `fully_shard` is called
here, and the same code runs on both (docs/decisions/0017).
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pyrite.records.recipe import GrpoConfig
from pyrite.training.engines import adamw, restore_into, set_rate, state_of, trained


class Pieces:
    """Each process keeps its piece of parameters, gradients and moments; satisfies `pyrite.training.engines.Engine`.

    What stands in a `ModuleList` is a layer if a pass through the policy calls it, and is made whole in passing; the
    rest is one unit.

    Args:
        module: to train; changed in place.
        settings: of the optimiser.
    """

    def __init__(self, module: nn.Module, settings: GrpoConfig) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self._count = torch.distributed.get_world_size()
        mesh = init_device_mesh(next(module.parameters()).device.type, (self._count,))
        for layer in _layers(module):
            fully_shard(layer, mesh=mesh)
        fully_shard(module, mesh=mesh)
        self.module = module
        self._parameters = trained(module)
        self._optimizer = adamw(self._parameters.values(), settings)
        self._max_norm = settings.max_grad_norm

    def zero_grad(self) -> None:
        """See `Engine`."""
        self._optimizer.zero_grad()

    def adding_up(self, *, is_last: bool) -> AbstractContextManager[None]:
        """See `Engine`: pieces of gradients are added up where they belong."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """See `Engine`."""
        (loss * self._count).backward()

    def clip(self) -> float:
        """See `Engine`."""
        return float(_whole_tensor(nn.utils.clip_grad_norm_(self._parameters.values(), self._max_norm)))

    def step(self, learning_rate: float) -> None:
        """See `Engine`."""
        set_rate(self._optimizer, learning_rate)
        self._optimizer.step()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """See `Engine`. Parameters must not be changed within."""
        from torch.distributed.fsdp import FSDPModule

        units = [unit for unit in self.module.modules() if isinstance(unit, FSDPModule)]
        for unit in units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        try:
            yield
        finally:
            for unit in units:
                unit.reshard()
                unit.set_reshard_after_forward(unit is not self.module, recurse=False)

    def state(self) -> dict[str, Tensor]:
        """See `Engine`."""
        return state_of(self._parameters, self._optimizer, _whole_tensor)

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """See `Engine`."""
        restore_into(self._parameters, self._optimizer, saved, _like)


def _layers(module: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists of several layers that hold something trained.

    A list of one is part of what surrounds it: the samplers call it by itself, which FSDP2 forbids of a unit.
    """
    found: list[nn.Module] = []
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len(child) > 1:
            found += [layer for layer in child if any(value.requires_grad for value in layer.parameters())]
        else:
            found += _layers(child)
    return found


def _whole_tensor(value: Tensor) -> Tensor:
    """A tensor that is in pieces, put together; every process asks for it. Another tensor as it is."""
    gather: Any = getattr(value, "full_tensor", None)
    return value if gather is None else gather()


def _like(value: Tensor, target: Tensor) -> Tensor:
    """A whole value that all processes have, on the device of `target` and in pieces as that is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(target, DTensor)
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)

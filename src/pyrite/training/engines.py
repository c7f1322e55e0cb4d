"""How a policy's parameters lie on the processes: as whole copies here, in pieces in `sharding.py` and `zero.py`.

What the loop and checkpoints ask of all of them is `Engine`. A checkpoint is the same file whichever wrote it.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pyrite.records.recipe import GrpoConfig


class Engine(Protocol):
    """The parameters that train, and the gradient steps they take; every process calls each method, in the same order.

    Attributes:
        module: what forward passes go through.
    """

    module: nn.Module

    def zero_grad(self) -> None:
        """Forget the gradient."""

    def adding_up(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Around a forward and backward pass of several, whose gradients are added up."""

    def backward(self, loss: Tensor) -> None:
        """Differentiate the sum of the losses of all processes."""

    def clip(self) -> float:
        """Clip the gradient, now or with the step, and give the norm it had; parameters stay as they are."""

    def step(self, learning_rate: float) -> None:
        """Take a step of AdamW."""

    def whole(self) -> AbstractContextManager[None]:
        """Within, parameters can be read whole, and passes exchange nothing: each process may make any number."""

    def state(self) -> dict[str, Tensor]:
        """parameters/NAME and AdamW's step/NAME, exp_avg/NAME, exp_avg_sq/NAME: whole, in full precision."""

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave, of any engine."""


class Copies:
    """A whole copy on each process: a process of its own, or several with gradients averaged (DDP); an `Engine`.

    Args:
        module: to train.
        settings: of the optimiser.
        accelerator: accelerate's.
    """

    def __init__(self, module: nn.Module, settings: GrpoConfig, accelerator: Any) -> None:
        self._parameters = trained(module)
        self._optimizer = adamw(self._parameters.values(), settings)
        self._accelerator = accelerator
        self._max_norm = settings.max_grad_norm
        with warnings.catch_warnings():
            # torch 2.13 renames the option that accelerate passes on; older ones know only this name.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            self.module, self._stepper = accelerator.prepare(module, self._optimizer)

    def zero_grad(self) -> None:
        """See `Engine`."""
        self._stepper.zero_grad()

    def adding_up(self, *, is_last: bool) -> AbstractContextManager[None]:
        """See `Engine`: gradients are exchanged with the last pass."""
        if is_last or self._accelerator.num_processes == 1:
            return nullcontext()
        alone: AbstractContextManager[None] = self._accelerator.no_sync(self.module)
        return alone

    def backward(self, loss: Tensor) -> None:
        """See `Engine`."""
        self._accelerator.backward(loss * self._accelerator.num_processes)

    def clip(self) -> float:
        """See `Engine`."""
        return float(nn.utils.clip_grad_norm_(self._parameters.values(), self._max_norm))

    def step(self, learning_rate: float) -> None:
        """See `Engine`."""
        set_rate(self._optimizer, learning_rate)
        self._stepper.step()

    def whole(self) -> AbstractContextManager[None]:
        """See `Engine`."""
        return nullcontext()

    def state(self) -> dict[str, Tensor]:
        """See `Engine`."""
        return state_of(self._parameters, self._optimizer, lambda value: value)

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """See `Engine`."""
        restore_into(self._parameters, self._optimizer, saved, lambda value, target: value.to(target.device))


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> parameter, of those that take a gradient."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def adamw(parameters: Iterable[nn.Parameter], settings: GrpoConfig) -> torch.optim.AdamW:
    """The optimiser of every engine."""
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.adam_betas[0], settings.adam_betas[1]),
        weight_decay=settings.weight_decay,
    )


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """For the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def state_of(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, whole: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """`Engine.state` where the optimiser knows parameters one by one; `whole` puts pieces together."""
    tensors = {f"parameters/{name}": whole(value.detach()).contiguous() for name, value in parameters.items()}
    for name, parameter in parameters.items():
        for kind, value in optimizer.state[parameter].items():
            tensors[f"{kind}/{name}"] = whole(value).contiguous()
    return tensors


@torch.no_grad()
def restore_into(
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    saved: Mapping[str, Tensor],
    like: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """`Engine.restore` where the optimiser knows parameters one by one; `like` gives a value the form of another."""
    state: dict[Tensor, dict[str, Tensor]] = {}
    for name, parameter in parameters.items():
        parameter.copy_(like(saved[f"parameters/{name}"], parameter))
    for key in sorted(saved):  # in one order on every process
        kind, _, name = key.partition("/")
        if kind != "parameters":
            parameter = parameters[name]
            # AdamW keeps its step count on the CPU, its moments beside the parameter.
            state.setdefault(parameter, {})[kind] = saved[key] if kind == "step" else like(saved[key], parameter)
    optimizer.state.update(state)

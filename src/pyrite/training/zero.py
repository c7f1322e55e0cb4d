"""A policy's parameters in pieces, one on each process: ZeRO-3, by DeepSpeed (arXiv:1910.02054, section 5.3).

accelerate's wrapper steps inside `backward`, where a gradient that is no number could not be caught any more, so
DeepSpeed's engine is called here, on CPU and GPU alike (docs/decisions/0020).
"""

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from pyrite.records.recipe import GrpoConfig
from pyrite.training.engines import adamw, set_rate, trained

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Zero:
    """Each process keeps its piece of parameters, gradients and moments; satisfies `pyrite.training.engines.Engine`.

    Args:
        module: to train, whole; changed in place.
        settings: of the optimiser.
        zero: `zero_optimization` of DeepSpeed's configuration.
    """

    def __init__(self, module: nn.Module, settings: GrpoConfig, zero: Mapping[str, Any]) -> None:
        self._parameters = trained(module)
        self._optimizer = adamw(self._parameters.values(), settings)
        self._count = torch.distributed.get_world_size()
        config = {
            "train_micro_batch_size_per_gpu": 1,  # of a bookkeeping that nothing here reads
            "gradient_clipping": settings.max_grad_norm,
            "zero_optimization": dict(zero),
        }
        deepspeed = _deepspeed(next(module.parameters()).device)
        with redirect_stdout(sys.stderr):
            self._engine: Any = deepspeed.initialize(model=module, optimizer=self._optimizer, config=config)[0]
        self.module: nn.Module = self._engine

    def zero_grad(self) -> None:
        """See `Engine`."""
        self._engine.optimizer.zero_grad()

    def adding_up(self, *, is_last: bool) -> AbstractContextManager[None]:
        """See `Engine`: pieces of gradients are added up where they belong."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """See `Engine`. Nothing is stepped here: that is another call."""
        self._engine.backward(loss * self._count)

    def clip(self) -> float:
        """See `Engine`: measured on the pieces of the averaged gradient, which DeepSpeed clips in `step`."""
        from deepspeed.utils import safe_get_local_grad

        pieces = [safe_get_local_grad(value).double().square().sum() for value in self._parameters.values()]
        total = torch.stack(pieces).sum()
        torch.distributed.all_reduce(total)
        return float(total.sqrt())

    def step(self, learning_rate: float) -> None:
        """See `Engine`."""
        set_rate(self._optimizer, learning_rate)
        self._engine.step()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """See `Engine`. Parameters must not be changed within."""
        from deepspeed.runtime.zero import GatheredParameters

        hooks = self._engine.optimizer.parameter_offload
        hooks.empty_partition_cache()  # what a pass left whole, which would else not be in pieces again afterwards
        hooks.destroy()  # they would take parameters away after each layer
        hooks.forward_hooks.clear()
        hooks.backward_hooks.clear()
        try:
            with GatheredParameters(self._engine.module.parameters()):
                yield
        finally:
            hooks.setup_zero_stage3_hooks()

    def state(self) -> dict[str, Tensor]:
        """See `Engine`."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        tensors = {f"parameters/{name}": safe_get_full_fp32_param(value) for name, value in self._parameters.items()}
        for name, value in self._parameters.items() if self._optimizer.state else ():
            tensors[f"step/{name}"] = next(iter(self._optimizer.state.values()))["step"].clone()
            tensors |= {f"{kind}/{name}": safe_get_full_optimizer_state(value, kind) for kind in _MOMENTS}
        return {key: value.contiguous() for key, value in tensors.items()}

    @torch.no_grad()
    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """See `Engine`."""
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        parameters = self._parameters
        # DeepSpeed has each piece twice: one that passes compute with, and one in float32 that is stepped.
        with GatheredParameters(parameters.values(), modifier_rank=0):
            for name, parameter in parameters.items():
                parameter.copy_(saved[f"parameters/{name}"])
        for name, parameter in parameters.items():
            safe_set_local_fp32_param(parameter, self._piece(saved[f"parameters/{name}"], parameter))
        steps = [value for key, value in saved.items() if key.startswith("step/")]
        if not steps:
            return
        for flat in self._engine.optimizer.fp32_partitioned_groups_flat:
            self._optimizer.state[flat] = {"step": steps[0].clone()} | {
                kind: torch.zeros_like(flat) for kind in _MOMENTS
            }
        for name, parameter in parameters.items():
            for kind in _MOMENTS:
                safe_set_local_optimizer_state(parameter, self._piece(saved[f"{kind}/{name}"], parameter), kind)

    def _piece(self, value: Tensor, parameter: Any) -> Tensor:
        """This process's part of a whole value, padded as its parameter is."""
        size = parameter.ds_tensor.numel()
        padded = value.new_zeros(size * self._count)
        padded[: value.numel()] = value.flatten()
        return padded.view(self._count, size)[torch.distributed.get_rank()]


def _deepspeed(device: torch.device) -> Any:
    """The package, computing where the policy is. It prints to stdout, where results go."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    with redirect_stdout(sys.stderr):
        import deepspeed
    if device.type == "cpu":
        # It would compile a library that shares memory between processes, for minutes, where there is a compiler.
        deepspeed.ops.__compatible_ops__ = {}
    # torch 2.13 renames collectives that DeepSpeed calls.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    return deepspeed

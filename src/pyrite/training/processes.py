"""Several processes working as one, on accelerate: shares of the work, values brought together, one way to stop.

A run of one process goes through the same code. Values travel between processes as JSON, never pickled.
"""

import atexit
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from pyrite.core.errors import TrainingError
from pyrite.records.recipe import GrpoConfig
from pyrite.training.engines import Copies, Engine
from pyrite.training.zero_settings import USES_DEEPSPEED, zero_settings

_SUPPORTED = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP")


class TrainingStopped(KeyboardInterrupt):
    """Training was asked to stop, finished its step and wrote a checkpoint. Not an error: nothing went wrong."""


class Processes:
    """The processes that train together; each one has its own policy and rewards.

    A context manager: if its work ends well, the process group is ended before the interpreter is, because torch's
    threads would now and then abort a process whose work is done (pytorch issue 190489). Not at the end of the work:
    the processes may have another run to train. After an error nothing waits for the others, so that the launcher
    hears of it.

    Args:
        module: the policy's parameters. If they are on the CPU, so is the training.

    Raises:
        TrainingError: launched with an engine that training does not know, or with settings of DeepSpeed that it does
            not follow.
        MissingExtraError: launched with DeepSpeed, which is not installed.
    """

    def __init__(self, module: nn.Module) -> None:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        self._zero = zero_settings(os.environ)
        on_cpu = next(module.parameters()).device.type == "cpu"
        # Processes look at different numbers of batches: buffers exchanged in every forward would leave one waiting.
        # Mixed precision would round the policy, which is wrapped, and not the reference, and their KL would show it:
        # the policy chooses its own precision, and its reference has the same (docs/decisions/0018).
        kwargs = DistributedDataParallelKwargs(broadcast_buffers=False)
        with _without(USES_DEEPSPEED):  # else accelerate prepares an engine of its own
            self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=[kwargs])
        kind = self.accelerator.distributed_type.value
        if kind not in _SUPPORTED:
            raise TrainingError(
                f"launched with {kind}, and training knows whole copies of the policy side by side (DDP) and pieces "
                "of it (FSDP2, DeepSpeed's ZeRO-3). Launch it with: accelerate launch --config_file "
                "recipes/accelerate/fsdp2.yaml"
            )
        wants_pieces = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        if wants_pieces and os.environ.get("FSDP_VERSION", "1") != "2":
            raise TrainingError(
                "launched with FSDP of version 1, which keeps parameters flattened: the policy could not be read "
                "while images are drawn. Set fsdp_version: 2, as recipes/accelerate/fsdp2.yaml does."
            )
        self.is_sharding = (wants_pieces or self._zero is not None) and self.count > 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        atexit.unregister(_end_the_group)
        if self.count > 1 and kind in (None, TrainingStopped):
            atexit.register(_end_the_group)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.accelerator.num_processes)

    @property
    def device(self) -> torch.device:
        """Where this one computes."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def rank(self) -> int:
        """Number of this one, from 0."""
        return int(self.accelerator.process_index)

    def share(self, num: int) -> range:
        """Which of `num` pieces of work, in order, are this process's own."""
        bounds = np.linspace(0, num, self.count + 1).astype(int).tolist()
        return range(bounds[self.rank], bounds[self.rank + 1])

    def gather(self, value: Any) -> list[Any]:
        """The value that each process gives, which JSON must be able to hold, in the order of the processes."""
        if self.count == 1:
            return [value]
        device = self.accelerator.device
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(device)
        sizes = self.accelerator.gather(torch.tensor([len(data)], device=device)).tolist()
        padded = torch.zeros(max(sizes), dtype=torch.uint8, device=device)
        padded[: len(data)] = data
        rows = self.accelerator.gather(padded).view(self.count, -1).cpu().numpy()
        return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]

    def any(self, value: bool) -> bool:
        """Whether it is true of at least one process; all get the same answer."""
        return any(self.gather(value))

    def engine(self, module: nn.Module, settings: GrpoConfig) -> Engine:
        """What trains `module` on these processes, in the way they were launched for."""
        if self.is_sharding and self._zero is not None:
            from pyrite.training.zero import Zero

            return Zero(module, settings, self._zero)
        if self.is_sharding:
            from pyrite.training.sharding import Pieces

            return Pieces(module, settings)
        return Copies(module, settings, self.accelerator)


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Within, the environment lacks a variable."""
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def _end_the_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class StopSignal:
    """Whether somebody asked the run to stop: Ctrl-C or SIGTERM."""

    def __init__(self) -> None:
        self.name = ""

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


@contextmanager
def listening_for_stop() -> Iterator[StopSignal]:
    """Within, the first Ctrl-C or SIGTERM is only noted, so that the step can be finished; a second Ctrl-C interrupts.

    Python delivers signals to the main thread only; elsewhere nothing is noted.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop._note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

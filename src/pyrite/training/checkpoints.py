"""What a run needs to go on as if it had never stopped: the policy, and its optimiser to the last bit.

    checkpoints/step_000020/
      policy/                 what `Policy.save` wrote: load it like any other policy
      trainer.safetensors     the trained parameters and AdamW's moments in full precision

There is no random state (see `draws.py`), and the learning rate is a function of the step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pyrite.core.errors import CheckpointError, PyriteError
from pyrite.records.runs import RunFolder
from pyrite.training.learner import Learner

_STATE = "trainer.safetensors"


def save_checkpoint(run: RunFolder, learner: Learner, step: int) -> None:
    """Write the checkpoint of a finished step.

    Raises:
        RunFolderError: it cannot be written.
    """
    with run.checkpoint(step) as folder:
        learner.policy.save(str(folder / "policy"))
        save_file(_tensors(learner), folder / _STATE)


@contextmanager
def rescuing(run: RunFolder | None, learner: Learner, step: int) -> Iterator[None]:
    """Keep what `step` finished if what follows fails before it has changed anything.

    Around scoring: a reward server that goes away costs the step in progress and nothing else.
    """
    try:
        yield
    except PyriteError:
        if run is not None:
            save_checkpoint(run, learner, step)
        raise


def load_checkpoint(folder: Path, learner: Learner) -> None:
    """Take a learner back to where it was when the checkpoint was written.

    Raises:
        CheckpointError: it cannot be read, or belongs to a policy with other parameters.
    """
    path = folder / _STATE
    try:
        saved = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}. Remove {folder} to continue from the checkpoint before it."
        ) from error
    wanted = {f"parameters/{name}": value.shape for name, value in learner.parameters.items()}
    found = {name: value.shape for name, value in saved.items() if name.startswith("parameters/")}
    if wanted != found:
        odd = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        raise CheckpointError(
            f"{path} belongs to another policy: {len(odd)} parameters differ, the first is {odd[0]}. "
            "Continue with the policy that the run was started with, or choose another folder."
        )
    state: dict[Tensor, dict[str, Tensor]] = {}
    with torch.no_grad():
        for name, parameter in learner.parameters.items():
            parameter.copy_(saved[f"parameters/{name}"])
    for key, value in saved.items():
        kind, _, name = key.partition("/")
        if kind != "parameters":
            parameter = learner.parameters[name]
            # AdamW keeps its step count on the CPU, its moments beside the parameter.
            state.setdefault(parameter, {})[kind] = value if kind == "step" else value.to(parameter.device)
    learner.optimizer.state.update(state)


def _tensors(learner: Learner) -> dict[str, Tensor]:
    tensors = {f"parameters/{name}": value.detach().contiguous() for name, value in learner.parameters.items()}
    for name, parameter in learner.parameters.items():
        for kind, value in learner.optimizer.state[parameter].items():
            tensors[f"{kind}/{name}"] = value.contiguous()
    return tensors

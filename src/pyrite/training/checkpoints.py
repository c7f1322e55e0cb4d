"""What a run needs to go on as if it had never stopped: the policy, and its optimiser to the last bit.

    checkpoints/step_000020/
      policy/                 what `Policy.save` wrote: load it like any other policy
      trainer.safetensors     the trained parameters and AdamW's moments in full precision

There is no random state (see `draws.py`), and the learning rate is a function of the step. Both are written whole
however many processes trained, so a run may go on with another number of them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pyrite.core.errors import CheckpointError, PyriteError
from pyrite.core.protocols import TrainablePolicy
from pyrite.records.runs import RunFolder
from pyrite.training.learner import Learner

_STATE = "trainer.safetensors"


def save_checkpoint(run: RunFolder | None, learner: Learner, step: int) -> None:
    """Write the checkpoint of a finished step; the process that has the run folder writes, and all take part.

    Raises:
        RunFolderError: it cannot be written.
    """
    if run is None and not learner.is_sharding:
        return
    tensors = learner.engine.state()
    if run is not None:
        with run.checkpoint(step) as folder:
            _whole_policy(learner, tensors).save(str(folder / "policy"))
            save_file(tensors, folder / _STATE)


def _whole_policy(learner: Learner, tensors: Mapping[str, Tensor]) -> TrainablePolicy:
    """The policy as it is; of one that is in pieces, the copy that was kept for this, brought up to date."""
    if learner.template is None:
        return learner.policy
    with torch.no_grad():
        for name, parameter in learner.template.module.named_parameters():
            if name in learner.shapes:
                parameter.copy_(tensors[f"parameters/{name}"])
    return learner.template


@contextmanager
def rescuing(run: RunFolder | None, learner: Learner, step: int) -> Iterator[None]:
    """Keep what `step` finished if what follows fails before it has changed anything.

    Around scoring: a reward server that goes away costs the step in progress and nothing else. Where parameters are in
    pieces it costs the steps since the last checkpoint: the other processes do not hear of it in time to give theirs.
    """
    try:
        yield
    except PyriteError:
        if run is not None and not learner.is_sharding:
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
    wanted = {f"parameters/{name}": shape for name, shape in learner.shapes.items()}
    found = {name: value.shape for name, value in saved.items() if name.startswith("parameters/")}
    if wanted != found:
        odd = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        raise CheckpointError(
            f"{path} belongs to another policy: {len(odd)} parameters differ, the first is {odd[0]}. "
            "Continue with the policy that the run was started with, or choose another folder."
        )
    learner.engine.restore(saved)

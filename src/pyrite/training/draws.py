"""Which prompts a step trains on and which random numbers each of them gets: functions of the seed alone.

Nothing here has a state. A continued run therefore needs no random state, and what is drawn for a prompt does not
depend on how prompts are spread over batches or processes.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Purpose(IntEnum):
    """What random numbers are for; streams of different purposes are independent."""

    ORDER = 0
    """The order in which prompts are trained on."""
    DRAW = 1
    """Images to train on."""
    LOOK = 2
    """Images of an evaluation."""


def generator(seed: int, purpose: Purpose, *, step: int, position: int) -> np.random.Generator:
    """The random numbers for one prompt of one step.

    Args:
        seed: of the run.
        purpose: what they are for.
        step: of training; 0 where there is none.
        position: of the prompt within its step or list.
    """
    # A spawn key, not a list of entropy: there [1, 2] and [1, 2, 0] are the same.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(purpose), step, position)))


def prompts_of_step(num_prompts: int, per_step: int, *, step: int, seed: int) -> npt.NDArray[np.int64]:
    """(per_step,) positions of the prompts that training step `step` (from 1 on) uses.

    Each pass over the prompts has an order of its own, and every prompt comes once per pass.
    """
    running = np.arange((step - 1) * per_step, step * per_step)
    orders = {
        epoch: generator(seed, Purpose.ORDER, step=epoch, position=0).permutation(num_prompts)
        for epoch in np.unique(running // num_prompts).tolist()
    }
    return np.array([orders[i // num_prompts][i % num_prompts] for i in running.tolist()], dtype=np.int64)

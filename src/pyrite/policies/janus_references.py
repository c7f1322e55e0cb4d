"""The policy as it was, for the price of no second copy of its weights on the device."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrite.core.cards import PolicyCard
from pyrite.core.types import Prompt, Rollouts

if TYPE_CHECKING:
    from pyrite.policies.janus import JanusPolicy


@dataclass
class AdaptersOff:
    """A policy being trained, computed with its adapters switched off; satisfies `pyrite.core.protocols.Policy`.

    Args:
        policy: whose adapters train.
        switched_off: a context in which they do nothing.
    """

    policy: "JanusPolicy"
    switched_off: Callable[[], AbstractContextManager[None]]
    card: PolicyCard = field(init=False)

    def __post_init__(self) -> None:
        self.card = self.policy.card

    def sample(self, prompts: Sequence[Prompt], *, group_size: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        """As `JanusPolicy.sample`."""
        with self.switched_off():
            return self.policy.sample(prompts, group_size=group_size, rngs=rngs)

    def logp(self, rollouts: Rollouts) -> Tensor:
        """As `JanusPolicy.logp`, without a gradient."""
        with self.switched_off(), torch.no_grad():
            return self.policy.logp(rollouts)


@dataclass
class Offloaded:
    """A frozen policy that lives in the CPU's memory; satisfies `pyrite.core.protocols.Policy`.

    Args:
        policy: frozen; its weights move.
        device: where it computes.
    """

    policy: "JanusPolicy"
    device: torch.device
    card: PolicyCard = field(init=False)

    def __post_init__(self) -> None:
        self.card = self.policy.card
        self.policy.module.to("cpu")

    def sample(self, prompts: Sequence[Prompt], *, group_size: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        """As `JanusPolicy.sample`."""
        try:
            self.policy.module.to(self.device)
            return self.policy.sample(prompts, group_size=group_size, rngs=rngs)
        finally:
            self.policy.module.to("cpu")

    def logp(self, rollouts: Rollouts) -> Tensor:
        """As `JanusPolicy.logp`, without a gradient."""
        try:
            self.policy.module.to(self.device)
            with torch.no_grad():
                return self.policy.logp(rollouts)
        finally:
            self.policy.module.to("cpu")

"""The contracts through which rooms meet. Training and evaluation know rewards and policies only as these."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from pyrite.core.cards import PolicyCard, RewardCard
from pyrite.core.types import Image, Prompt, Rollouts, Scores

if TYPE_CHECKING:
    import torch


class Reward(Protocol):
    """Anything that scores images: a learned model, a formula, a judge behind a server."""

    @property
    def card(self) -> RewardCard:
        """What it claims about itself."""
        ...

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i; both have length N. A failed image is NaN with a reason, never an exception."""
        ...


class Policy(Protocol):
    """Anything that draws images from prompts and can say how likely they were."""

    card: PolicyCard

    def sample(self, prompts: Sequence[Prompt], *, group_size: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        """Draw `group_size` images for each of P prompts.

        `rngs` holds one generator per prompt: what is drawn for a prompt depends on its own generator alone, so the
        same images come out however the prompts are batched or spread over processes.
        """
        ...

    def logp(self, rollouts: Rollouts) -> "torch.Tensor":
        """(R, T) log-probability of each token given what came before, differentiable.

        At the sampling temperature and without guidance; 0 where `rollouts.mask` is False.
        """
        ...


class TrainablePolicy(Policy, Protocol):
    """A policy whose parameters can be updated."""

    module: "torch.nn.Module"
    """Holds the parameters to train; `logp` calls it, so that a distributed wrapper put here sees every forward."""

    def frozen_copy(self) -> Self:
        """An independent copy whose parameters take no gradient: the reference policy."""
        ...

    def save(self, folder: str) -> None:
        """Write a checkpoint folder that the policy's loader reads back."""
        ...

"""The policy being trained with its reference and optimiser: one update from one batch.

A batch is passed through the policy in micro-batches if the recipe says so. Their losses are divided by the number of
tokens in the whole batch, so their gradients add up to its gradient; the optimiser steps once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyrite.core.cards import PolicyCard
from pyrite.core.errors import NonFiniteLossError, TrainingError
from pyrite.core.protocols import Policy, TrainablePolicy
from pyrite.core.types import FloatArray, Rollouts
from pyrite.records.recipe import GrpoConfig
from pyrite.training.batches import Batch, rows_of
from pyrite.training.engines import trained
from pyrite.training.objectives import grpo_loss, kl_k1, kl_k3
from pyrite.training.processes import Processes


@dataclass(frozen=True)
class Divergence:
    """How far each of R images lies from the base policy, and how surely it was drawn; all (R,), summed over tokens.

    Args:
        kl: log-probability minus the reference's, in nats.
        kl_k3: the same divergence by the k3 estimator, in nats.
        surprise: minus the log-probability under the distribution drawn from, in nats.
        gap: |log-probability - the one it was drawn with|, in nats: 0 if sampling was on-policy.
        num_tokens: actions.
    """

    kl: FloatArray
    kl_k3: FloatArray
    surprise: FloatArray
    gap: FloatArray
    num_tokens: FloatArray


@dataclass(frozen=True)
class Update:
    """What one update did, over all processes; means over its gradient steps.

    Args:
        loss: what was minimised.
        grad_norm: before clipping.
        clip_frac: in [0, 1].
        learning_rate: of this step.
    """

    loss: float
    grad_norm: float
    clip_frac: float
    learning_rate: float


class Learner:
    """A policy that can be updated from rollouts.

    Args:
        policy: to train; its module is wrapped while several processes train, and bare again after a `with`.
        settings: of GRPO.
        processes: who trains together.
        run_path: folder that a batch with a non-finite loss is saved into.

    Raises:
        TrainingError: no parameter of the policy takes a gradient.
    """

    def __init__(self, policy: TrainablePolicy, settings: GrpoConfig, processes: Processes, run_path: Path) -> None:
        self.policy = policy
        self.shapes = {name: value.shape for name, value in trained(policy.module).items()}
        if not self.shapes:
            raise TrainingError(
                f"no parameter of the policy '{policy.card.name}' takes a gradient, so nothing can be trained. "
                "Call requires_grad_(True) on what should be."
            )
        self._settings = settings
        self._processes = processes
        self._run_path = run_path
        policy.module.to(processes.device)
        self._bare_module = policy.module
        # A copy is taken while the policy is whole; what shares its weights is asked once they are in their place.
        copied = None if settings.reference == "lora_off" else reference_of(policy, settings.reference)
        self.template = policy.frozen_copy() if processes.is_sharding and processes.rank == 0 else None
        self.engine = processes.engine(policy.module, settings)
        policy.module = self.engine.module
        self.reference: Policy = copied or reference_of(policy, settings.reference)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.policy.module = self._bare_module

    @property
    def is_sharding(self) -> bool:
        """Whether each process has only its piece of the parameters."""
        return self._processes.is_sharding

    def learning_rate(self, step: int) -> float:
        """Of training step `step`, from 1 on: a linear rise over the warm-up, then constant or half a cosine."""
        warmup, rate = self._settings.warmup_steps, self._settings.learning_rate
        if warmup and step < warmup:
            return rate * (step / warmup)
        if self._settings.lr_scheduler_type == "cosine":
            done = max(0, step - 1 - warmup) / (self._settings.steps - warmup)
            return rate * 0.5 * (1 + math.cos(math.pi * done))
        return rate

    @torch.no_grad()
    def divergence(self, rollouts: Rollouts) -> Divergence:
        """How far the policy as it is lies from the reference, on these rollouts."""
        passes = self._own_passes(len(rollouts))
        logp_RT = _logp(self.policy, rollouts, passes)
        return _divergence(rollouts, logp_RT, _logp(self.reference, rollouts, passes))

    def update(
        self, rollouts: Rollouts, advantages_R: Tensor, kept_R: npt.NDArray[np.bool_], *, step: int
    ) -> tuple[Update, Divergence]:
        """Take the gradient steps of one batch; each process brings its own rollouts.

        Args:
            rollouts: drawn from the policy as it is.
            advantages_R: (R,) of them.
            kept_R: (R,) which of them count; the others leave neither reward nor KL in the loss.
            step: of training, from 1 on.

        Returns:
            What was done, and the divergence before it.

        Raises:
            NonFiniteLossError: the loss or its gradient became NaN or infinite; the policy is as it was before.
        """
        rate = self.learning_rate(step)
        passes = self._passes(len(rollouts))
        with torch.no_grad():
            ref_logp_RT = _logp(self.reference, rollouts, passes)  # which may compute with the policy's own weights
        mask_RT = torch.from_numpy(rollouts.mask & kept_R[:, None]).to(ref_logp_RT.device)
        weight_T = _weights(self.policy.card, mask_RT.shape[1], self._settings.plan_weight)
        weight_T = None if weight_T is None else weight_T.to(ref_logp_RT)
        own = int(mask_RT.sum()) if weight_T is None else float((mask_RT * weight_T).sum())
        batch = Batch(
            rollouts, ref_logp_RT, advantages_R.to(ref_logp_RT), mask_RT,
            num_tokens=float(sum(self._processes.gather(own))), weight_T=weight_T,
        )  # fmt: skip
        if not batch.num_tokens:
            raise TrainingError(
                f"step {step}: no token of the batch counts, because grpo.plan_weight is 0 and the images are masked. "
                "Raise grpo.plan_weight."
            )
        first, old_logp_RT = self._descend(batch, passes, None, step)
        history = [first]
        for _ in range(1, self._settings.updates_per_rollout):
            history.append(self._descend(batch, passes, old_logp_RT, step)[0])
        loss, grad_norm, clip_frac = np.mean(history, 0).tolist()
        loss, clip_frac = np.sum(self._processes.gather([loss, clip_frac]), 0).tolist()
        return Update(loss, grad_norm, clip_frac, rate), _divergence(rollouts, old_logp_RT, ref_logp_RT)

    def _passes(self, num_rows: int) -> list[slice]:
        """The rows of each forward pass, as many passes as every other process has.

        One that has fewer rows passes its first one again, which then counts nothing: sharded parameters travel in
        every pass, and a process that sat one out would leave the others waiting.
        """
        own = self._own_passes(num_rows)
        most = max(self._processes.gather(len(own)))
        return own + [_NOTHING] * (most - len(own))

    def _own_passes(self, num_rows: int) -> list[slice]:
        size = self._settings.micro_batch or num_rows
        return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]

    def _descend(
        self, batch: Batch, passes: Sequence[slice], old_logp_RT: Tensor | None, step: int
    ) -> tuple[tuple[float, float, float], Tensor]:
        """Take one gradient step.

        Args:
            batch: to learn from.
            passes: its rows, a forward and backward pass each.
            old_logp_RT: (R, T) of the policy that drew the batch; None if it is the policy as it is.
            step: of training.

        Returns:
            This process's part of the loss, the gradient's norm, its part of clip_frac; and (R, T) the old
            log-probabilities.
        """
        self.engine.zero_grad()
        loss = clip_frac = 0.0
        seen: list[Tensor] = []
        for number, rows in enumerate(passes, start=1):
            with self.engine.adding_up(is_last=number == len(passes)):
                logp_RT = self.policy.logp(_rows(batch.rollouts, rows))
                if rows is _NOTHING:
                    self.engine.backward(0.0 * logp_RT.sum())
                    continue
                seen.append(logp_RT.detach())
                parts = grpo_loss(
                    logp_RT,
                    logp_RT.detach() if old_logp_RT is None else old_logp_RT[rows],
                    batch.advantages_R[rows],
                    batch.mask_RT[rows],
                    ref_logp_RT=batch.ref_logp_RT[rows],
                    beta=self._settings.beta,
                    kl_estimator=self._settings.kl_estimator,
                    clip_eps_low=self._settings.clip_eps_low,
                    clip_eps_high=self._settings.clip_eps_high,
                    num_tokens=batch.num_tokens,
                    weight_T=batch.weight_T,
                )
                self.engine.backward(parts.loss)
                loss += parts.loss.item()
                clip_frac += parts.clip_frac.item()
        grad_norm = self.engine.clip()
        logp_RT = torch.cat(seen)
        old = logp_RT if old_logp_RT is None else old_logp_RT
        if self._processes.any(not np.isfinite([loss, grad_norm]).all()):
            path = batch.save(self._failed_path(step), logp=logp_RT, old_logp=old)
            raise NonFiniteLossError(
                f"step {step}: the loss is {loss} and its gradient's norm {grad_norm}, on the prompts "
                f"{', '.join(batch.prompt_ids)}. An update would make every parameter NaN, so none was made. The batch "
                f"is in {path}. Lower grpo.learning_rate or raise grpo.beta and start in another folder; the "
                "checkpoints of this run are still good."
            )
        self.engine.step(self.learning_rate(step))
        return (loss, grad_norm, clip_frac), old

    def _failed_path(self, step: int) -> Path:
        return self._run_path / "failed" / f"step_{step:06d}_process_{self._processes.rank}.npz"


_NOTHING = slice(0, 0)
"""The rows of a pass that only keeps the others company."""


def _logp(policy: Policy, rollouts: Rollouts, passes: Sequence[slice]) -> Tensor:
    """(R, T) of a policy, in these passes; for where no gradient is wanted."""
    parts = [policy.logp(_rows(rollouts, rows)) for rows in passes]
    return torch.cat([part for part, rows in zip(parts, passes, strict=True) if rows is not _NOTHING])


def _rows(rollouts: Rollouts, rows: slice) -> Rollouts:
    return rows_of(rollouts, slice(0, 1) if rows is _NOTHING else rows)


def reference_of(policy: TrainablePolicy, kind: str) -> Policy:
    """The base policy, while `policy` is still it.

    Raises:
        TrainingError: the policy has no such reference.
    """
    if kind == "copy":
        return policy.frozen_copy()
    make = getattr(policy, "reference", None)
    if make is None:
        raise TrainingError(
            f"grpo.reference = {kind}, and the policy '{policy.card.name}' can only be copied. Set it to copy."
        )
    reference: Policy = make(kind)
    return reference


def _weights(card: PolicyCard, num_places: int, plan_weight: float) -> Tensor | None:
    """(T,) how much each place counts in the loss; None if all count alike. What is not image is plan."""
    if plan_weight == 1 or not card.num_plan_tokens:
        return None
    weight_T = torch.ones(num_places)
    weight_T[: num_places - (card.num_tokens - card.num_plan_tokens)] = plan_weight
    return weight_T


def _divergence(rollouts: Rollouts, logp_RT: Tensor, ref_logp_RT: Tensor) -> Divergence:
    mask_RT = rollouts.mask
    behaviour_RT = rollouts.behaviour_logp.astype(np.float64)
    logp, ref_logp = logp_RT.detach().double(), ref_logp_RT.double()

    def total(values_RT: npt.NDArray[Any]) -> FloatArray:
        sums_R: FloatArray = np.where(mask_RT, values_RT, 0.0).sum(1, dtype=np.float64)
        return sums_R

    return Divergence(
        kl=total(kl_k1(logp, ref_logp).cpu().numpy()),
        kl_k3=total(kl_k3(logp, ref_logp).cpu().numpy()),
        surprise=total(-behaviour_RT),
        gap=total(np.abs(logp.cpu().numpy() - behaviour_RT)),
        num_tokens=mask_RT.sum(1).astype(np.float64),
    )

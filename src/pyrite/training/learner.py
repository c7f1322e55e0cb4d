"""The policy being trained with its reference and optimiser: one update from one batch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pyrite.core.errors import NonFiniteLossError, TrainingError
from pyrite.core.protocols import TrainablePolicy
from pyrite.core.types import FloatArray, Prompt, Rollouts
from pyrite.records.recipe import GrpoConfig
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
        self.parameters = {name: value for name, value in policy.module.named_parameters() if value.requires_grad}
        if not self.parameters:
            raise TrainingError(
                f"no parameter of the policy '{policy.card.name}' takes a gradient, so nothing can be trained. "
                "Call requires_grad_(True) on what should be."
            )
        self._settings = settings
        self._processes = processes
        self._run_path = run_path
        self._bare_module = policy.module
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=settings.learning_rate,
            betas=(settings.adam_betas[0], settings.adam_betas[1]),
            weight_decay=settings.weight_decay,
        )
        policy.module, self._stepper = processes.prepare(policy.module, self.optimizer)
        self.reference = policy.frozen_copy()  # now, because preparing moves the policy to this process's device

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.policy.module = self._bare_module

    def learning_rate(self, step: int) -> float:
        """Of training step `step`, from 1 on: a linear rise over the warm-up, then constant."""
        warmup = self._settings.warmup_steps
        return self._settings.learning_rate * (min(1.0, step / warmup) if warmup else 1.0)

    @torch.no_grad()
    def divergence(self, rollouts: Rollouts) -> Divergence:
        """How far the policy as it is lies from the reference, on these rollouts."""
        return _divergence(rollouts, self.policy.logp(rollouts), self.reference.logp(rollouts))

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
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            ref_logp_RT = self.reference.logp(rollouts)
        mask_RT = torch.from_numpy(rollouts.mask & kept_R[:, None]).to(ref_logp_RT.device)
        num_tokens = float(sum(self._processes.gather(int(mask_RT.sum()))))
        batch = _Batch(rollouts, ref_logp_RT, advantages_R.to(ref_logp_RT), mask_RT, num_tokens)
        logp_RT = self.policy.logp(rollouts)
        old_logp_RT = logp_RT.detach()  # frozen from here on: the policy that drew the batch
        history = [self._descend(batch, logp_RT, old_logp_RT, step)]
        for _ in range(1, self._settings.updates_per_rollout):
            history.append(self._descend(batch, self.policy.logp(rollouts), old_logp_RT, step))
        loss, grad_norm, clip_frac = np.mean(history, 0).tolist()
        loss, clip_frac = np.sum(self._processes.gather([loss, clip_frac]), 0).tolist()
        return Update(loss, grad_norm, clip_frac, rate), _divergence(rollouts, old_logp_RT, ref_logp_RT)

    def _descend(self, batch: "_Batch", logp_RT: Tensor, old_logp_RT: Tensor, step: int) -> tuple[float, float, float]:
        """One gradient step; returns this process's part of the loss, the gradient's norm, the part of clip_frac."""
        parts = grpo_loss(
            logp_RT,
            old_logp_RT,
            batch.advantages_R,
            batch.mask_RT,
            ref_logp_RT=batch.ref_logp_RT,
            beta=self._settings.beta,
            kl_estimator=self._settings.kl_estimator,
            clip_eps_low=self._settings.clip_eps_low,
            clip_eps_high=self._settings.clip_eps_high,
            num_tokens=batch.num_tokens,
        )
        self._stepper.zero_grad()
        self._processes.backward(parts.loss)
        grad_norm = nn.utils.clip_grad_norm_(self.parameters.values(), self._settings.max_grad_norm).item()
        loss = parts.loss.item()
        if self._processes.any(not np.isfinite([loss, grad_norm]).all()):
            path = batch.save(self._failed_path(step), logp=logp_RT, old_logp=old_logp_RT)
            raise NonFiniteLossError(
                f"step {step}: the loss is {loss} and its gradient's norm {grad_norm}, on the prompts "
                f"{', '.join(batch.prompt_ids)}. An update would make every parameter NaN, so none was made. The batch "
                f"is in {path}. Lower grpo.learning_rate or raise grpo.beta and start in another folder; the "
                "checkpoints of this run are still good."
            )
        self._stepper.step()
        return loss, grad_norm, parts.clip_frac.item()

    def _failed_path(self, step: int) -> Path:
        return self._run_path / "failed" / f"step_{step:06d}_process_{self._processes.rank}.npz"


@dataclass(frozen=True)
class _Batch:
    """What stays the same over the gradient steps of one batch."""

    rollouts: Rollouts
    ref_logp_RT: Tensor
    advantages_R: Tensor
    mask_RT: Tensor
    num_tokens: float

    @property
    def prompts(self) -> Sequence[Prompt]:
        return self.rollouts.prompts[:: self.rollouts.group_size]

    @property
    def prompt_ids(self) -> list[str]:
        return [prompt.id or prompt.text for prompt in self.prompts]

    def save(self, path: Path, **logp_RT: Tensor) -> Path:
        """Write everything the loss was computed from: arrays, and the prompts as JSON beside them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {**logp_RT, "ref_logp": self.ref_logp_RT, "advantages": self.advantages_R, "mask": self.mask_RT}
        arrays: dict[str, Any] = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
        np.savez(path, tokens=self.rollouts.tokens, behaviour_logp=self.rollouts.behaviour_logp, **arrays)
        about = {"group_size": self.rollouts.group_size, "prompts": [prompt.to_json() for prompt in self.prompts]}
        path.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return path


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

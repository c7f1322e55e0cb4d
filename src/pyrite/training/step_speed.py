"""How long one step of GRPO takes, phase by phase, beside a first version of the same step.

Both are measured in one process on the same prompts, weights and machine, in turn, so that other work slows both. The
rewards are left out: they are the same for both, and `pyrite bench rewards` measures them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pyrite.core.protocols import Policy, TrainablePolicy
from pyrite.core.types import Prompt, Rollouts
from pyrite.records.recipe import GrpoConfig
from pyrite.training.batches import rows_of
from pyrite.training.learner import Learner
from pyrite.training.objectives import group_advantages, grpo_loss


@dataclass
class Stopwatch:
    """Seconds of named phases, of the fastest round each.

    Args:
        device: work on it is waited for.
        clock: in seconds; `time.process_time` counts this process's own work where others share the cores.
    """

    device: torch.device
    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Time what is inside."""
        self._settle()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        start = self.clock()
        yield
        self._settle()
        self.seconds[phase] = min(self.seconds.get(phase, np.inf), self.clock() - start)
        if self.device.type == "cuda":
            self.peak_bytes[phase] = max(self.peak_bytes.get(phase, 0), torch.cuda.max_memory_allocated(self.device))

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def __getitem__(self, phase: str) -> float:
        return self.seconds[phase]


def rngs_of(round_number: int, num: int) -> list[np.random.Generator]:
    """One generator per prompt; other ones in every round."""
    return [np.random.default_rng([round_number, position]) for position in range(num)]


def made_up_advantages(num_prompts: int, group_size: int) -> Tensor:
    """(R,) of rewards that are noise."""
    rewards = torch.from_numpy(np.random.default_rng(0).normal(size=num_prompts * group_size))
    counted = torch.ones(len(rewards), dtype=torch.bool)
    return group_advantages(rewards, group_size, scale="group", ddof=1, mask_R=counted).float()


@dataclass
class PlainUpdate:
    """One gradient step as a first version takes it: whole logits, a few rows at a time, gradients added up.

    Args:
        policy: gives log-probabilities in the plain way.
        reference: likewise, of the base policy.
        module: whose parameters are trained.
        settings: learning rate, beta, clipping, micro-batch.
    """

    policy: Policy
    reference: Policy
    module: nn.Module
    settings: GrpoConfig

    def __post_init__(self) -> None:
        self.parameters = [value for value in self.module.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=self.settings.learning_rate)

    def __call__(self, rollouts: Rollouts, advantages_R: Tensor) -> None:
        """Update from a batch."""
        size = self.settings.micro_batch or len(rollouts)
        self.optimizer.zero_grad()
        for start in range(0, len(rollouts), size):
            rows = slice(start, start + size)
            part = rows_of(rollouts, rows)
            with torch.no_grad():
                ref_logp_RT = self.reference.logp(part)
            logp_RT = self.policy.logp(part)
            loss = grpo_loss(
                logp_RT,
                logp_RT.detach(),
                advantages_R[rows].to(logp_RT),
                torch.from_numpy(part.mask).to(logp_RT.device),
                ref_logp_RT=ref_logp_RT,
                beta=self.settings.beta,
                kl_estimator=self.settings.kl_estimator,
                clip_eps_low=self.settings.clip_eps_low,
                clip_eps_high=self.settings.clip_eps_high,
                num_tokens=float(rollouts.mask.sum()),
            ).loss
            loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()


def measure_step(
    watch: Stopwatch,
    *,
    policy: TrainablePolicy,
    learner: Learner,
    plain: Policy,
    plain_update: PlainUpdate,
    prompts: Sequence[Prompt],
    group_size: int,
    rounds: int,
) -> None:
    """Time `rounds` steps of both, in turn, after one of each that is not counted.

    The phases are called "sample", "update", "plain sample" and "plain update"; sampling ends with decoded images.
    """
    advantages_R = made_up_advantages(len(prompts), group_size)
    kept_R = np.ones(len(advantages_R), np.bool_)
    for number in range(rounds + 1):
        rngs = rngs_of(number, len(prompts))
        with watch("sample"):
            rollouts = policy.sample(prompts, group_size=group_size, rngs=rngs)
        with watch("update"):
            learner.update(rollouts, advantages_R, kept_R, step=number + 1)
        with watch("plain sample"):
            rollouts = plain.sample(prompts, group_size=group_size, rngs=rngs)
        with watch("plain update"):
            plain_update(rollouts, advantages_R)
        if number == 0:
            watch.seconds.clear()
            watch.peak_bytes.clear()


def measured_bandwidth(device: torch.device, num_bytes: int) -> float:
    """Bytes per second that a large copy moves on this device, read and written ones together; the fastest of five."""
    source = torch.ones(num_bytes // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    watch = Stopwatch(device)
    for _ in range(5):
        with watch("copy"):
            target.copy_(source)
    return 2 * num_bytes / watch["copy"]

"""Running out of memory says where, what to lower and what would fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import FakePolicy, TableReward
from tests.training.scenario import panel, recipe, run_toy, table

from pyrite.core.cards import ModelShape
from pyrite.core.errors import TrainingError
from pyrite.core.types import Rollouts, Scores
from pyrite.records.training_memory import JANUS_PRO_1B
from pyrite.training.memory import MemoryGuard

WHY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB"


class Large(FakePolicy):
    """Runs out of memory in one of its methods, at the second call."""

    where: str = ""
    calls: int = 0

    def _count(self, here: str) -> None:
        if here == self.where:
            self.calls += 1
            if self.calls == 2:
                raise torch.OutOfMemoryError(f"{WHY}\nlong advice follows")

    def sample(self, *args: Any, **options: Any) -> Rollouts:
        self._count("sample")
        return super().sample(*args, **options)

    def logp(self, rollouts: Rollouts) -> torch.Tensor:
        logp = super().logp(rollouts)
        self._count("passes" if logp.requires_grad else "looks")
        return logp


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            "sample",
            r"memory ran out while drawing and scoring the evaluation images \(CUDA out of memory.*139.80 GiB\)",
        ),
        ("passes", r"memory ran out while updating the policy \(CUDA.*Lower grpo.micro_batch, which is 16 images per"),
        ("looks", "memory ran out while drawing and scoring the evaluation images.*evaluation.images_per_prompt"),
    ],
)
def test_the_phase_is_named_with_what_to_lower(tmp_path: Path, where: str, said: str) -> None:
    policy = Large.create(seed=1)
    policy.where = where
    with pytest.raises(TrainingError, match=said) as caught:
        run_toy(tmp_path / "run", policy=policy)
    assert "long advice" not in str(caught.value)


def test_a_reward_that_does_not_fit_is_named_and_costs_no_finished_step(tmp_path: Path) -> None:
    class Huge(TableReward):
        def score(self, images: Any, prompts: Any) -> Scores:
            if len(self.calls) == 4:  # a look of two batches, then two steps
                raise torch.OutOfMemoryError(WHY)
            return super().score(images, prompts)

    huge = {**panel(), "second": Huge("second", table(20))}
    with pytest.raises(
        TrainingError,
        match=r"while scoring images \(the reward 'second' raised OutOfMem.*first, second a smaller batch_",
    ):
        run_toy(tmp_path / "run", "checkpoint.every=100", rewards=huge)
    assert (tmp_path / "run" / "checkpoints" / "step_000002").is_dir()


def test_a_smaller_micro_batch_continues_the_run(tmp_path: Path) -> None:
    policy = Large.create(seed=1)
    policy.where, policy.calls = "passes", -2
    with pytest.raises(TrainingError, match="a run may go on with another one"):
        run_toy(tmp_path / "run", policy=policy)
    finished = run_toy(tmp_path / "run", "grpo.micro_batch=4")
    undisturbed = run_toy(tmp_path / "other")
    torch.testing.assert_close(finished.table.logits, undisturbed.table.logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("room", "said"), [(80e9, "grpo.micro_batch = [1-9]"), (24e9, "no micro-batch fits")])
def test_the_estimate_says_what_fits(room: float, said: str) -> None:
    shape: ModelShape = JANUS_PRO_1B
    card = replace(FakePolicy.create().card, shape=shape)
    guard = MemoryGuard(recipe(), card, int(room))
    with pytest.raises(TrainingError, match=rf"By the estimate.*of {room / 1e9:.1f} GB: {said}"), guard("update"):
        raise torch.OutOfMemoryError(WHY)

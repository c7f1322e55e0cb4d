"""A small run of the real loop with a tabular policy: what the training tests start from, in this process or another.

`python -m tests.training.scenario FOLDER [--die-at STEP] [--twice] [--set a.b=c ...]` trains it in another process,
which kills itself with SIGKILL once it has written the line of step STEP; under torchrun, several train it together.
With --twice, the same processes train it again from the start, in FOLDER/again.
"""

import argparse
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.fakes import FakePolicy, TableReward, toy_prompts

from pyrite.core.protocols import Reward
from pyrite.records.config import resolve_recipe
from pyrite.records.recipe import Recipe
from pyrite.records.runs import RunFolder
from pyrite.training.grpo import train

NUM_TOKENS = NUM_CHOICES = 3


def recipe(*overrides: str) -> Recipe:
    """Six steps of four groups of four; a look every three steps, a checkpoint every two."""
    return resolve_recipe(
        {
            "name": "toy",
            "policy": "fake",
            "rewards": [{"name": "first"}, {"name": "second", "weight": 0.5, "transform": "standardise | clip(-2, 2)"}],
            "eval_rewards": ["held-out"],
            "gold": "toy-gold",
            "grpo": {"steps": 6, "prompts_per_step": 4, "num_generations": 4, "learning_rate": 0.05, "beta": 0.02},
            "evaluation": {"every": 3, "images_per_prompt": 4, "keep_images": 3},
            "checkpoint": {"every": 2, "keep": 2},
            "gold_every": 2,
        },
        overrides,
    )


def table(seed: int) -> np.ndarray:
    """Normal scores of every sequence."""
    return np.random.default_rng(seed).normal(size=NUM_CHOICES**NUM_TOKENS)


def gold(seed: int = 40) -> TableReward:
    """Gold with its two parts."""
    alignment, realism = (1 / (1 + np.exp(-table(seed + part))) for part in (0, 1))
    return TableReward("toy-gold", alignment * realism, details={"gold_alignment": alignment, "gold_realism": realism})


def panel() -> dict[str, Reward]:
    """The training rewards of `recipe`."""
    return {"first": TableReward("first", table(10)), "second": TableReward("second", table(20))}


def held_out() -> dict[str, Reward]:
    """The evaluation rewards of `recipe`."""
    return {"held-out": TableReward("held-out", table(30))}


def run_toy(folder: Path, *overrides: str, **parts: Any) -> FakePolicy:
    """Train, and return the policy as training left it; `parts` replace arguments of `train`."""
    settings = recipe(*overrides)
    policy = parts.pop("policy", None) or FakePolicy.create(NUM_TOKENS, NUM_CHOICES, seed=1)
    is_main = os.environ.get("RANK", "0") == "0"
    run = RunFolder.create_or_resume(folder, settings) if is_main else None
    defaults = {
        "rewards": panel(),
        "eval_rewards": held_out(),
        "gold": gold(),
        "prompts": toy_prompts(10),
        "eval_prompts": toy_prompts(5, "e"),
    }
    try:
        train(settings, policy=policy, run=run, **(defaults | parts))
    finally:
        if run is not None:
            run.close()
    return policy


def die_after(step: int) -> Any:
    """A progress callback that kills this process with a signal no program can catch."""

    def progress(now: int, steps: int, row: Mapping[str, Any]) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args(arguments)
    parts = {} if options.die_at is None else {"progress": die_after(options.die_at)}
    policy = run_toy(options.folder, *options.set, **parts)
    if os.environ.get("RANK", "0") == "0":
        policy.save(str(options.folder / "final"))
    if options.twice:
        run_toy(options.folder / "again", *options.set)


if __name__ == "__main__":
    main()

"""A small run of the real loop with a tiny random Janus-Pro: what several processes are compared on.

`python -m tests.training.janus_scenario FOLDER KIND:OUT ... [--guard ENGINE]` trains one run per kind in FOLDER/OUT;
under torchrun or accelerate launch, several processes train each of them together. With --guard they first make sure
that they are two of them on that engine, and what becomes of a loss or a gradient that is no number.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.errors import NonFiniteLossError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.policies.janus import JanusPolicy, load_janus
from pyrite.records.config import resolve_recipe
from pyrite.records.recipe import Recipe
from pyrite.records.runs import RunFolder
from pyrite.training.grpo import train
from pyrite.training.learner import Learner
from pyrite.training.processes import Processes

LORA = {"r": 2, "alpha": 4}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full": ({}, {}),
    "micro": ({}, {"micro_batch": 3, "updates_per_rollout": 2}),
    "lora": ({"lora": LORA}, {"reference": "lora_off", "learning_rate": 1e-2}),
    "lora-micro": ({"lora": LORA}, {"reference": "lora_off", "learning_rate": 1e-2, "micro_batch": 3}),
    "offloaded": ({"gradient_checkpointing": True}, {"reference": "offloaded", "micro_batch": 4}),
    "bfloat16": ({"dtype": "bfloat16"}, {"micro_batch": 4}),
    # Its image aligner and head train too. AdamW moves a parameter by up to the rate however small its gradient is, so
    # the rate is also how far rounding of a gradient near 0 moves it.
    "pocket": ({}, {"learning_rate": 1e-4}),
}
"""Kind -> options of the policy, settings of GRPO."""


class Brightness:
    """The mean of all pixels, in [0, 1]."""

    card = RewardCard("brightness", "The image is bright.", (0.0, 1.0), reads_prompt=False)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """One number per image."""
        return Scores(np.array([np.asarray(image).mean() / 255 for image in images]))


def recipe(kind: str, *overrides: str) -> Recipe:
    """Three steps of three groups of four."""
    grpo = {"steps": 3, "prompts_per_step": 3, "num_generations": 4, "learning_rate": 1e-3, "beta": 0.1}
    return resolve_recipe(
        {
            "name": kind,
            "policy": "tiny",
            "rewards": [{"name": "brightness", "transform": None}],
            "grpo": grpo | KINDS[kind][1],
            "evaluation": {"every": 3, "images_per_prompt": 2, "keep_images": 4},
            "checkpoint": {"every": 1, "keep": 3},
        },
        overrides,
    )


def policy_of(folder: Path, kind: str) -> JanusPolicy:
    """A policy of that kind: the tiny Janus-Pro in `folder/janus`, or the tiny pocket Janus in `folder/pocket`."""
    return load_janus(
        folder / ("pocket" if kind == "pocket" else "janus"), device="cpu", cfg_scale=2.0, **KINDS[kind][0]
    )


def run_kind(folder: Path, kind: str, *overrides: str, out: str = "", **parts: Any) -> Path:
    """Train, and return the run folder."""
    settings, path = recipe(kind, *overrides), folder / (out or kind)
    run = RunFolder.create_or_resume(path, settings) if os.environ.get("RANK", "0") == "0" else None
    try:
        train(
            settings,
            policy=policy_of(folder, kind),
            rewards={"brightness": Brightness()},
            eval_rewards={},
            gold=None,
            prompts=[Prompt(text, id=text) for text in ("a star", "two red circles", "a", "a cross left of a square")],
            eval_prompts=[Prompt(text, id=text) for text in ("a triangle", "stars", "a")],
            run=run,
            **parts,
        )
    finally:
        if run is not None:
            run.close()
    return path


POISONS: dict[str, Callable[[Tensor], Tensor]] = {
    "loss": lambda logp: logp * torch.nan,
    "gradient": lambda logp: logp + (logp - logp.detach()).abs().sqrt(),  # of value 0, and of infinite slope there
}


def guard(folder: Path, engine: str) -> None:
    """One process meets what is no number: both say so, each keeps its batch, and no parameter or moment moves."""
    for poison, spoil in POISONS.items():
        policy, settings = policy_of(folder, "full"), recipe("full").grpo
        with Processes(policy.module) as processes:
            path = folder / f"guard-{engine}-{poison}"
            with Learner(policy, settings, processes, path) as learner:
                assert (processes.count, type(learner.engine).__name__) == (2, engine)
                with learner.engine.whole():
                    rngs = [np.random.default_rng(processes.rank)]
                    rollouts = policy.sample([Prompt("a cat", id="a cat")], group_size=2, rngs=rngs)
                if engine == "Zero":
                    assert not any(value.numel() for value in policy.module.parameters()), "something is still whole"
                batch = (rollouts, torch.tensor([1.0, -1.0]), np.ones(2, dtype=np.bool_))
                learner.update(*batch, step=1)
                before = learner.engine.state()
                if processes.rank == 1:
                    clean = policy.logp
                    policy.logp = lambda rows, clean=clean, spoil=spoil: spoil(clean(rows))  # type: ignore[method-assign]
                with pytest.raises(NonFiniteLossError, match=f"step_000002_process_{processes.rank}.npz"):
                    learner.update(*batch, step=2)
                after = learner.engine.state()
                assert all(torch.equal(after[name], value) for name, value in before.items())
        assert len(list(path.glob("failed/*.npz"))) >= 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", nargs="*", metavar="KIND:OUT")
    parser.add_argument("--guard", metavar="ENGINE")
    options = parser.parse_args(arguments)
    if options.guard:
        guard(options.folder, options.guard)
    for run in options.runs:
        kind, out = run.split(":")
        run_kind(options.folder, kind, out=out)


if __name__ == "__main__":
    main()

"""A small run of the real loop with a tiny random Janus-Pro: what several processes are compared on.

`python -m tests.training.janus_scenario FOLDER PREFIX KIND ...` trains one run per kind in FOLDER/PREFIX-KIND; under
torchrun, several processes train each of them together.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.core.cards import RewardCard
from pyrite.core.types import Image, Prompt, Scores
from pyrite.policies.janus import JanusPolicy, load_janus
from pyrite.records.config import resolve_recipe
from pyrite.records.recipe import Recipe
from pyrite.records.runs import RunFolder
from pyrite.training.grpo import train

LORA = {"r": 2, "alpha": 4}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full": ({}, {}),
    "micro": ({}, {"micro_batch": 3, "updates_per_rollout": 2}),
    "lora": ({"lora": LORA}, {"reference": "lora_off", "learning_rate": 1e-2}),
    "lora-micro": ({"lora": LORA}, {"reference": "lora_off", "learning_rate": 1e-2, "micro_batch": 3}),
    "offloaded": ({"gradient_checkpointing": True}, {"reference": "offloaded", "micro_batch": 4}),
    "bfloat16": ({"dtype": "bfloat16"}, {"micro_batch": 4}),
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
    """The tiny Janus in `folder/janus` as a policy of that kind."""
    return load_janus(folder / "janus", device="cpu", cfg_scale=2.0, **KINDS[kind][0])


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
            prompts=[Prompt(text, id=text) for text in ("a cat", "two red dogs", "x", "a tree by a river")],
            eval_prompts=[Prompt(text, id=text) for text in ("a house", "fish", "a")],
            run=run,
            **parts,
        )
    finally:
        if run is not None:
            run.close()
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("prefix")
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    options = parser.parse_args(arguments)
    for kind in options.kinds:
        run_kind(options.folder, kind, out=f"{options.prefix}-{kind}")


if __name__ == "__main__":
    main()

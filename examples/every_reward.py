"""Every reward that is registered, loaded side by side in one process, scores the same images.

Published weights that are not on this disk are stood in for by tiny random ones, and such scores are marked: they
mean nothing. Run it: `python examples/every_reward.py`
"""

import numpy as np
from PIL import Image

import pyrite
from pyrite.core.protocols import Reward
from pyrite.core.types import Prompt, Scores
from pyrite.records.published import published_names
from pyrite.rewards.random_weights import random_reward
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render, to_uint8

NEEDS_OPTIONS = ("versus", "remote")


def load(name: str) -> tuple[Reward, bool]:
    """The reward, and whether its weights are real."""
    if name not in published_names():
        return pyrite.load_reward(name, device="cpu"), True
    try:
        return pyrite.load_reward(name), True
    except pyrite.PyriteError:
        return random_reward(name, tiny=True, device="cpu"), False


def shown(scores: Scores) -> str:
    return " ".join("unscored" if np.isnan(value) else f"{value:8.3f}" for value in scores.values)


def main() -> None:
    rng = np.random.default_rng(0)
    prompts: list[Prompt] = sample_prompts("eval", 3, 0)
    images = [Image.fromarray(to_uint8(render(random_scene(prompt, rng)))) for prompt in prompts]
    prompts.append(Prompt("a wyvern of chrome"))  # without nouns, and in words that the pocket rewards never learned
    images.append(images[0])

    panel = {name: load(name) for name in pyrite.list_rewards() if name not in NEEDS_OPTIONS}
    for name, (reward, is_real) in panel.items():
        scores = reward.score(images, prompts)
        print(f"{name:22} {shown(scores)}  {'' if is_real else 'random weights'}")
        for reason in scores.reasons.values():
            print(f"{'':22} unscored: {reason}")


if __name__ == "__main__":
    main()

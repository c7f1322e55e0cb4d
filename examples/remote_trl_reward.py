"""Train with TRL on a reward of another machine: `trl.GRPOTrainer(reward_funcs=[as_trl(remote(URL, NAME))], ...)`.

With the address of a `pyrite serve` and the name of a reward there as arguments this asks for that one; without them
it serves a pocket reward to itself, over a real socket. Run it: `python examples/remote_trl_reward.py`
"""

import sys

import numpy as np
from PIL import Image

import pyrite
from pyrite.rewards.adapters import as_trl
from pyrite.rewards.remote import remote
from pyrite.serving.app import create_app
from pyrite.serving.background import in_background
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render, to_uint8


def train(url: str, name: str) -> None:
    reward_func = as_trl(remote(url, name))
    rng = np.random.default_rng(0)
    prompts = [prompt for prompt in sample_prompts("eval", 2, 0) for _ in range(2)]
    images = [Image.fromarray(to_uint8(render(random_scene(prompt, rng)))) for prompt in prompts]

    scores = reward_func(
        prompts=[*(prompt.text for prompt in prompts), "a wyvern of chrome"],
        images=[*images, Image.new("RGB", (64, 0))],  # a decoder that drew nothing
        completions=[""] * 5,  # whatever else the trainer passes is left alone
    )
    for prompt, score in zip([*prompts, "an empty image"], scores, strict=True):
        print(f"{'unscored' if score is None else format(score, '8.4f')}  {getattr(prompt, 'text', prompt)}")
    print(f"TRL logs them as rewards/{reward_func.__name__}/mean and leaves out the unscored")


def main() -> None:
    if len(sys.argv) > 1:
        train(*sys.argv[1:])
        return
    with in_background(create_app({"hps-pocket": pyrite.load_reward("hps-pocket")})) as url:
        train(url, "hps-pocket")


if __name__ == "__main__":
    main()

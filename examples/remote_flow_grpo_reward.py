"""Train with Flow-GRPO on a reward of another machine: `as_flow_grpo(remote(URL, NAME))` in its table of scores.

With the address of a `pyrite serve` and the name of a reward there as arguments this asks for that one; without them
it serves a pocket reward to itself, over a real socket. Run it: `python examples/remote_flow_grpo_reward.py`
"""

import sys

import numpy as np
import torch

import pyrite
from pyrite.rewards.adapters import as_flow_grpo
from pyrite.rewards.remote import remote
from pyrite.serving.app import create_app
from pyrite.serving.background import in_background
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render


def train(url: str, name: str) -> None:
    score_fn = as_flow_grpo(remote(url, name))
    rng = np.random.default_rng(0)
    prompts = sample_prompts("eval", 4, 0)
    drawn = np.stack([render(random_scene(prompt, rng)) for prompt in prompts])  # (N, H, W, 3) in [0, 1]
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2).float()
    images[2] = torch.nan  # a decoder that overflowed: such an image is not even sent

    scores, info = score_fn(images, [prompt.text for prompt in prompts], [{"id": prompt.id} for prompt in prompts])
    for row, score in enumerate(scores):
        print(f"{score:8.4f}  {info['reasons'].get(row, prompts[row].text)}")

    rewards = torch.as_tensor(scores).float()
    scored = rewards.isfinite()  # Flow-GRPO would let a NaN into the mean of its group
    advantages = torch.where(scored, rewards - rewards[scored].mean(), 0.0)
    print("advantages", advantages.numpy().round(4).tolist())


def main() -> None:
    if len(sys.argv) > 1:
        train(*sys.argv[1:])
        return
    with in_background(create_app({"artifact-pocket": pyrite.load_reward("artifact-pocket")})) as url:
        train(url, "artifact-pocket")


if __name__ == "__main__":
    main()

"""Train with Flow-GRPO on a reward of Pyrite's: put `as_flow_grpo(reward)` into its table of score functions.

Flow-GRPO hands over what its diffusion pipeline draws, floats (N, 3, H, W) in [0, 1], and lets a NaN into the mean of
its group: take unscored rows out of the batch, as below. Run it: `python examples/flow_grpo_reward.py`
"""

import numpy as np
import torch

import pyrite
from pyrite.rewards.adapters import as_flow_grpo
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render


def main() -> None:
    score_fn = as_flow_grpo(pyrite.load_reward("artifact-pocket"))
    rng = np.random.default_rng(0)
    prompts = sample_prompts("eval", 4, 0)
    drawn = np.stack([render(random_scene(prompt, rng)) for prompt in prompts])  # (N, H, W, 3) in [0, 1]
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2).float()
    images[2] = torch.nan  # a decoder that overflowed

    scores, info = score_fn(images, [prompt.text for prompt in prompts], [{"id": prompt.id} for prompt in prompts])
    for row, score in enumerate(scores):
        print(f"{score:8.4f}  {info['reasons'].get(row, prompts[row].text)}")

    rewards = torch.as_tensor(scores).float()
    scored = rewards.isfinite()
    advantages = torch.where(scored, rewards - rewards[scored].mean(), 0.0)
    print("advantages", advantages.numpy().round(4).tolist())


if __name__ == "__main__":
    main()

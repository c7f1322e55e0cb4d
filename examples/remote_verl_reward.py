"""Train with verl (verl-omni) on a reward of another machine: name this file as `custom_reward_function.path`.

verl looks up `compute_score` here and calls it with one image at a time, from many threads; the server puts them
together again. Set $REWARD_URL and $REWARD_NAME where verl runs; without them this serves a pocket reward to itself
and calls it as verl does. Run it: `python examples/remote_verl_reward.py`
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

import pyrite
from pyrite.rewards.adapters import VerlReward, as_verl
from pyrite.rewards.remote import remote
from pyrite.serving.app import create_app
from pyrite.serving.background import in_background
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render


@functools.cache
def reward() -> VerlReward:
    return as_verl(remote(os.environ["REWARD_URL"], os.environ["REWARD_NAME"], concurrency=16))


def compute_score(**call: object) -> dict[str, float]:
    return reward()(**call)


def main() -> None:
    rng = np.random.default_rng(0)
    prompts = sample_prompts("eval", 5, 0)
    images = [torch.from_numpy(render(random_scene(prompt, rng))).permute(2, 0, 1).float() for prompt in prompts]
    images[3][:] = torch.nan  # a decoder that overflowed

    def one(row: int) -> dict[str, float]:
        return compute_score(
            data_source="pocket", solution_image=images[row], ground_truth=prompts[row].text, extra_info={}
        )

    with ThreadPoolExecutor(5) as pool:
        for prompt, result in zip(prompts, pool.map(one, range(5)), strict=True):
            print(f"{result['score']:8.4f}  {'unscored' if result['unscored'] else 'scored'}  {prompt.text}")


if __name__ == "__main__":
    with in_background(create_app({"hps-pocket": pyrite.load_reward("hps-pocket")})) as url:
        os.environ.setdefault("REWARD_URL", url)
        os.environ.setdefault("REWARD_NAME", "hps-pocket")
        main()

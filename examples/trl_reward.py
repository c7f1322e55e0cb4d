"""Train with TRL on a reward of Pyrite's: `trl.GRPOTrainer(reward_funcs=[as_trl(reward)], ...)`.

TRL calls a reward function with keywords: `prompts`, and every column of the data set; your rollout adds `images`.
This prints what it would get. Run it: `python examples/trl_reward.py`
"""

import numpy as np
from PIL import Image

import pyrite
from pyrite import Prompt
from pyrite.rewards.adapters import as_trl
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render, to_uint8


def main() -> None:
    reward_func = as_trl(pyrite.load_reward("hps-pocket"))
    rng = np.random.default_rng(0)
    prompts: list[Prompt] = sample_prompts("eval", 2, 0)
    rows = [
        (prompt, Image.fromarray(to_uint8(render(random_scene(prompt, rng))))) for prompt in prompts for _ in range(2)
    ]
    rows.append((Prompt("a wyvern of chrome"), rows[0][1]))  # words this small model never learned

    scores = reward_func(
        prompts=[prompt.text for prompt, _ in rows],
        images=[image for _, image in rows],
        completions=[""] * len(rows),  # whatever else the trainer passes is left alone
    )
    for (prompt, _), score in zip(rows, scores, strict=True):
        print(f"{'unscored' if score is None else format(score, '8.4f')}  {prompt.text}")
    print(f"TRL logs them as rewards/{reward_func.__name__}/mean and leaves out the unscored")


if __name__ == "__main__":
    main()

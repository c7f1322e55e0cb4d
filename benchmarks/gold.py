"""Images per second of the gold reward, in batches and one by one: `OMP_NUM_THREADS=1 python benchmarks/gold.py`."""

import time
from collections.abc import Callable

import numpy as np

from pyrite.world.gold import gold_scores
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render

NUM_IMAGES, ROUNDS = 256, 5


def images_per_second(score_all: Callable[[], object]) -> float:
    """Fastest of some rounds, by the processor time of this process."""
    score_all()
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        score_all()
        seconds.append(time.process_time() - start)
    return NUM_IMAGES / min(seconds)


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    prompts = sample_prompts("rl", NUM_IMAGES, 0)
    clean = np.stack([render(random_scene(prompt, rng)) for prompt in prompts])
    noisy = (clean + rng.normal(0, 0.2, clean.shape)).clip(0, 1).astype(np.float32)
    print(f"{'images':8} {'batched':>10} {'one by one':>12}   (images/s)")
    for name, images in (("clean", clean), ("noisy", noisy)):
        batched = images_per_second(lambda images=images: gold_scores(images, prompts))
        single = images_per_second(
            lambda images=images: [gold_scores(images[k : k + 1], prompts[k : k + 1]) for k in range(NUM_IMAGES)]
        )
        print(f"{name:8} {batched:10.0f} {single:12.0f}")


if __name__ == "__main__":
    main()

"""A labelled set from nothing: plant artifacts in clean renders of the pocket world and see what a judge finds.

Every render becomes a pair: itself, harmless changes of it (label 0) and damaged versions (label 1). No split separates
a pair. Run it: `python examples/artifact_ladder.py`
"""

from pathlib import Path

import numpy as np
from PIL import Image

import pyrite
from pyrite.artifact.data import load_curated, pairs, split_examples
from pyrite.artifact.ladder import build_ladder
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render, to_uint8

KINDS = ("patch_swap", "local_warp", "smear", "grid_pattern", "chopped_object", "crop", "jpeg")


def main() -> None:
    rng = np.random.default_rng(0)
    prompts = sample_prompts("eval", 24, 0)
    renders = [Image.fromarray(to_uint8(render(random_scene(prompt, rng)))) for prompt in prompts]
    texts = [prompt.text for prompt in prompts]
    path = build_ladder(renders, Path("ladder"), kinds=KINDS, severities=(0.5, 1.0), prompts=texts)

    curated = load_curated(path)
    split = split_examples(curated.examples)
    print(f"{len(curated.examples)} images:", {name: len(part) for name, part in split.parts.items()})
    for note in split.shortcomings:
        print("note:", note)

    reward = pyrite.load_reward("artifact-pocket")  # P(no artifact), of 64 x 64 pictures
    examples = [example for example in curated.examples if example.severity in (None, 1.0)]
    images = [Image.open(example.image) for example in examples]
    scores = reward.score(images, [pyrite.Prompt(example.prompt) for example in examples])
    score_of = {example.id: score for example, score in zip(examples, scores.values, strict=True)}
    print(f"{len(scores.reasons)} unscored")  # their score is nan, and no comparison with it is a success
    for kind in KINDS[:5]:
        found = [score_of[p.damaged.id] < score_of[p.clean.id] for p in pairs(examples) if p.damaged.kind == kind]
        print(f"{kind:16} the damaged one scores lower in {np.mean(found):.2f} of {len(found)} pairs")


if __name__ == "__main__":
    main()

"""Jobs for a policy small enough to be drawn from in a test, also in a process that is killed.

Run as a program it draws, slowly: `python generated.py OUT NUM_PROMPTS SECONDS_PER_BATCH`.
"""

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from pyrite.core.cards import PolicyCard
from pyrite.core.types import Prompt, Rollouts
from pyrite.evaluation.generate import Job, generate
from pyrite.records.prompt_files import PromptRow

CARD = PolicyCard("noise", "Draws noise.", 1, (8, 8), revision="0123456789ab")


@dataclass
class NoisePolicy:
    """Draws noise that depends on the prompt, its generator and, in the last bit, on its whole batch.

    The last bit stands for the rounding of matrix products: who cuts batches differently gets other bytes.

    Args:
        pause_s: seconds per batch.
        fails_at: number of the call in which it is interrupted, from 1.
        calls: the prompts of every call so far.
    """

    card: PolicyCard = field(default_factory=lambda: CARD)
    pause_s: float = 0.0
    fails_at: int = 0
    calls: list[list[str]] = field(default_factory=list)

    def sample(self, prompts: Sequence[Prompt], *, group_size: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        self.calls.append([prompt.text for prompt in prompts])
        if len(self.calls) == self.fails_at:
            raise KeyboardInterrupt
        if any("unreadable" in prompt.text for prompt in prompts):
            raise ValueError("a prompt has a word the policy never learned.")
        time.sleep(self.pause_s)
        batch = hashlib.sha256(repr([prompt.text for prompt in prompts]).encode()).digest()[0] & 1
        images = []
        for prompt, rng in zip(prompts, rngs, strict=True):
            pixels = rng.integers(0, 128, (8, 8, 3), dtype=np.uint8) * 2 + batch
            pixels[0, 0] = list(hashlib.sha256(prompt.text.encode()).digest()[:3])
            images.append(PILImage.fromarray(pixels))
        ones = np.ones((len(prompts), 1))
        return Rollouts(prompts, 1, images, ones.astype(np.int64), ones.astype(np.float32), ones.astype(np.bool_))

    def logp(self, rollouts: Rollouts) -> object:
        raise NotImplementedError


def make_job(num_prompts: int = 5, images_per_prompt: int = 3, **changes: object) -> Job:
    rows = [
        PromptRow(Prompt(f"picture {i}, of things", id=str(i + 1), nouns=("things",)), {"prompt": f"picture {i}"})
        for i in range(num_prompts)
    ]
    return Job(**{"prompts": rows, "images_per_prompt": images_per_prompt, "settings": {"tau": 1}, **changes})


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything a reader sees; what is hidden is the bookkeeping of the processes."""
    found = (path for path in folder.rglob("*") if path.is_file())
    seen = {str(path.relative_to(folder)): path.read_bytes() for path in found}
    return {name: data for name, data in seen.items() if not name.startswith(".pyrite-generate/")}


if __name__ == "__main__":
    generate(NoisePolicy(pause_s=float(sys.argv[3])), make_job(int(sys.argv[2])), Path(sys.argv[1]), batch_size=4)

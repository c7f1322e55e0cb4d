"""Image sets on disk and a reward that counts, for the tests of `pyrite score`'s machinery."""

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from pyrite.core.cards import RewardCard
from pyrite.core.types import Image, Prompt, Scores


def noise(seed: int, size: tuple[int, int] = (8, 8)) -> Image:
    """An image of independent pixels."""
    rng = np.random.default_rng(seed)
    return PILImage.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def make_folder(path: Path, num: int) -> Path:
    """A folder of `num` different images, 000.png and so on."""
    path.mkdir()
    for number in range(num):
        noise(number).save(path / f"{number:03d}.png")
    return path


@dataclass
class CountingReward:
    """Mean brightness; writes a line into a file for every image it is asked about, which outlives a kill.

    Args:
        log: the file.
        card: what it claims.
        seconds: how long a call takes.
    """

    log: Path
    card: RewardCard
    seconds: float = 0.0

    @classmethod
    def create(cls, log: Path, name: str = "brightness", *, seconds: float = 0.0, **claims: object) -> "CountingReward":
        """With a card of that name."""
        claims = {"reads_prompt": False, "revision": "1", **claims}
        card = RewardCard(name, "The image is bright.", (0.0, 255.0), **claims)  # type: ignore[arg-type]
        return cls(log, card, seconds)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """The scores; the lines are on disk before they are returned."""
        time.sleep(self.seconds)
        values = np.array([np.asarray(image.convert("RGB"), np.float64).mean() for image in images])
        with self.log.open("a") as file:
            file.writelines(
                f"{self.card.name} {hashlib.sha256(image.tobytes()).hexdigest()[:16]} {prompt.text}\n"
                for image, prompt in zip(images, prompts, strict=True)
            )
            file.flush()
            os.fsync(file.fileno())
        return Scores(values)

    @property
    def asked(self) -> list[str]:
        """A line per image that was asked about, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []

"""What Mask2Former sees of an image: its size by the official rule, its pixels, and bars to a multiple of 32.

The rule is that of the code its published weights were trained with (facebookresearch/Mask2Former on detectron2).
transformers' image processor stretches each side to a multiple of 32 instead; for square images both are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from pyrite.core.types import Image
from pyrite.rewards.images import as_rgb
from pyrite.rewards.loading import read_json
from pyrite.rewards.preprocessing import Float32Array

_DIVISOR = 32


@dataclass(frozen=True)
class Mask2FormerPixels:
    """RGB, bilinear to a shortest side within a longest one, normalised, and zeros to the right and below.

    Args:
        shortest: side in pixels.
        longest: side in pixels, which wins where both cannot be.
        mean: of each channel.
        std: of each channel.
    """

    shortest: int = 800
    longest: int = 1333
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @classmethod
    def load(cls, folder: Path, resize: Mapping[str, Any]) -> "Mask2FormerPixels":
        """As a folder's preprocessor_config.json has them, where it is there; `resize` (`short`, `max`) lies over it.

        A fixed height and width there belongs to transformers' training scripts: the published rule holds then.

        Raises:
            CheckpointError: the file cannot be read.
        """
        file = folder / "preprocessor_config.json"
        said = read_json(file) if file.is_file() else {}
        size, usual = said.get("size", {}), cls()
        size = size if isinstance(size, Mapping) else {}
        return cls(
            int(resize.get("short", size.get("shortest_edge", usual.shortest))),
            int(resize.get("max", size.get("longest_edge", usual.longest))),
            tuple(said.get("image_mean", usual.mean)),
            tuple(said.get("image_std", usual.std)),
        )

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size an image of this one gets, before bars."""
        scale = self.shortest / min(width, height)
        if max(width, height) * scale > self.longest:
            scale = self.longest / max(width, height)
        return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))

    def __call__(self, image: Image) -> Float32Array:
        """(3, H, W) float32, both sides multiples of 32."""
        image = as_rgb(image)
        width, height = self.size(*image.size)
        image = image.resize((width, height), PILImage.Resampling.BILINEAR)
        scaled = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C") / np.float32(255)
        mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (self.mean, self.std))
        padded = np.zeros((3, _up(height), _up(width)), np.float32)
        padded[:, :height, :width] = (scaled - mean) / std
        return padded


def _up(side: int) -> int:
    return -(-side // _DIVISOR) * _DIVISOR

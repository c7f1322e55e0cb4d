"""What GroundingDINO sees of an image: its size by the official rule, its pixels, and its places.

The rule is that of the official code (IDEA-Research/GroundingDINO, groundingdino/datasets/transforms.py).
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image as PILImage

from pyrite.core.types import Image
from pyrite.rewards.images import as_rgb
from pyrite.rewards.preprocessing import Float32Array

_MEAN = np.array((0.485, 0.456, 0.406), np.float32)[:, None, None]
_STD = np.array((0.229, 0.224, 0.225), np.float32)[:, None, None]


@dataclass(frozen=True)
class DetectorPixels:
    """The detector's preprocessing: RGB, bilinear to a shortest side within a longest one, ImageNet's mean and spread.

    Args:
        shortest: side in pixels.
        longest: side in pixels, which wins where both cannot be.
    """

    shortest: int = 800
    longest: int = 1333

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size an image of this one gets: by the official rule, which rounds twice where the longest side wins.

        transformers' image processor rounds once there, and so makes 94 x 1333 where this makes 94 x 1327.
        """
        short, long = min(width, height), max(width, height)
        side = self.shortest
        if long / short * side > self.longest:
            side = max(1, round(self.longest * short / long))
        if short == side:
            return width, height
        return (side, int(side * height / width)) if width < height else (int(side * width / height), side)

    def __call__(self, image: Image) -> Float32Array:
        """(3, H, W) float32."""
        image = as_rgb(image)
        image = image.resize(self.size(*image.size), PILImage.Resampling.BILINEAR)
        scaled = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C") / np.float32(255)
        normalised: Float32Array = (scaled - _MEAN) / _STD
        return normalised


def num_places(size: tuple[int, int]) -> int:
    """Places of which the detector chooses those it looks at: of four levels, each half as fine as the one before."""
    width, height = size
    return sum(math.ceil(width / stride) * math.ceil(height / stride) for stride in (8, 16, 32, 64))

"""Images padded to a square, as models of LLaVA's family see them in their `pad` mode (VQAScore, DeQA-Score)."""

import numpy as np
from PIL import Image as PILImage

from pyrite.core.types import Image
from pyrite.rewards.images import as_rgb
from pyrite.rewards.pixels import MAX_PIXELS
from pyrite.rewards.preprocessing import CLIP_MEAN, CLIP_STD, Float32Array

# CLIP's mean colour in 8 bits, rounded down as the official codes do.
BARS = (122, 116, 104)


def square_pixels(image: Image, size: int) -> Float32Array:
    """(3, size, size) float32: RGB, bars of CLIP's mean colour to a centred square, bicubic, CLIP's normalisation.

    Args:
        image: of any 8-bit mode.
        size: of the model's input in pixels.

    Raises:
        ValueError: the square would have more pixels than are decoded.
    """
    image = as_rgb(image)
    side = max(image.size)
    if side * side > MAX_PIXELS:  # a long strip of few pixels would become gigabytes
        raise ValueError(f"as a square it has {side * side} pixels, more than the {MAX_PIXELS} allowed: scale it down")
    square = PILImage.new("RGB", (side, side), BARS)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    resized = np.asarray(square.resize((size, size), PILImage.Resampling.BICUBIC))
    scaled = resized.transpose(2, 0, 1).astype(np.float32, order="C") / np.float32(255)
    pixels: Float32Array = (scaled - CLIP_MEAN) / CLIP_STD
    return pixels

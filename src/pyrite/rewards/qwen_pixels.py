"""Images as Qwen2-VL and Qwen2.5-VL see them: patches of 14 x 14 pixels, as many as the image needs."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image as PILImage

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image
from pyrite.rewards.images import as_rgb, why_not_rgb
from pyrite.rewards.loading import read_json
from pyrite.rewards.pixels import MAX_PIXELS
from pyrite.rewards.preprocessing import Float32Array

Transport = Literal["png", "jpeg95"]
TRANSPORTS: tuple[Transport, ...] = ("png", "jpeg95")

MAX_ASPECT = 200
"""Longest side over shortest: Qwen's own preprocessing refuses what is narrower."""


class Patches(NamedTuple):
    """One image, ready for the vision tower.

    Args:
        values: (h * w, 3 * 2 * 14 * 14) float32, normalised.
        grid: (h, w) patches.
    """

    values: Float32Array
    grid: tuple[int, int]


@dataclass(frozen=True)
class QwenPixels:
    """Images to patches, as `Qwen2VLImageProcessorPil`: sides to multiples of 28, bicubic, CLIP's mean and deviation.

    Args:
        processor: of transformers, in its PIL form.
        transport: how the image reaches the model: as it is ("png"), or once through a JPEG file of quality 95, as in
            codes that send it to a server. The second changes scores.
    """

    processor: Any
    transport: Transport = "png"

    @classmethod
    def load(cls, folder: Path, transport: Transport = "png") -> "QwenPixels":
        """Read `preprocessor_config.json`.

        Raises:
            CheckpointError: it is missing, or the transport is unknown.
        """
        from transformers import Qwen2VLImageProcessorPil

        said = read_json(folder / "preprocessor_config.json")
        known = ("size", "min_pixels", "max_pixels", "patch_size", "temporal_patch_size", "merge_size")
        settings = {key: said[key] for key in (*known, "image_mean", "image_std") if said.get(key) is not None}
        return cls(Qwen2VLImageProcessorPil(**settings), known_transport(transport))

    def num_tokens(self, size: tuple[int, int]) -> int:
        """The tokens that an image of (width, height) becomes, without opening it."""
        num_patches: int = self.processor.get_number_of_image_patches(size[1], size[0])
        num_tokens: int = num_patches // self.processor.merge_size**2
        return num_tokens

    def __call__(self, image: Image) -> Patches:
        """The patches of an image of any 8-bit mode.

        Raises:
            OSError, ValueError, SyntaxError, EOFError: it cannot be decoded.
        """
        image = as_rgb(image)
        if self.transport == "jpeg95":
            file = io.BytesIO()
            image.save(file, "JPEG", quality=95)
            image = PILImage.open(file).convert("RGB")
        found = self.processor(images=[image], return_tensors="np")
        _, height, width = found["image_grid_thw"][0].tolist()
        return Patches(found["pixel_values"].astype(np.float32, copy=False), (height, width))


def known_transport(transport: str) -> Transport:
    """The transport, if there is one of that name.

    Raises:
        CheckpointError: there is not.
    """
    if transport not in TRANSPORTS:
        raise CheckpointError(
            f"transport='{transport}' is no way an image can take to the model. Use {' or '.join(TRANSPORTS)}."
        )
    return transport


def why_not_shown(image: Image) -> str | None:
    """Why the image cannot be prepared, before it is decoded; None if it may be."""
    if why := why_not_rgb(image):
        return why
    width, height = image.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        return (
            f"the image is {width} x {height} pixels, narrower than 1:{MAX_ASPECT}, which Qwen's own preprocessing "
            "refuses"
        )
    if width * height > MAX_PIXELS:
        return f"the image has {width * height} pixels, more than the {MAX_PIXELS} that are decoded: scale it down"
    return None

"""From images of any mode and size to the pixels a model reads, and what happens to those that cannot be read.

Preprocessing is that of the checkpoint's own image processor, in its PIL form: the torchvision form differs by up to
1/255 per pixel, so scores would depend on what else is installed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt

Float32Array = npt.NDArray[np.float32]

MAX_ASPECT = 50
"""Longest side over shortest: beyond it, a centre crop shows next to nothing of the image."""


@dataclass(frozen=True)
class PixelPreparation:
    """The checkpoint's preprocessing, with a short cut for images that already have the right size.

    Args:
        processor: a PIL-backed transformers image processor.
    """

    processor: Any

    @classmethod
    def load(cls, folder: Path) -> "PixelPreparation":
        """Read `preprocessor_config.json`.

        Raises:
            CheckpointError: it is missing or not an image processor's.
        """
        from transformers import AutoImageProcessor

        try:
            return cls(AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"no image processor could be read from {folder}: {error}. Without preprocessor_config.json the "
                "model would see other pixels than it was trained on. Save its image processor into the folder."
            ) from error

    def __call__(self, images: Sequence[Image]) -> Float32Array:
        """(M, 3, H, W) float32 of RGB images."""
        if self._size is not None and all(image.size == self._size for image in images):
            return self._scaled(np.stack([np.asarray(image) for image in images]))
        pixels: Float32Array = self.processor(images=list(images), return_tensors="np")["pixel_values"]
        return pixels.astype(np.float32, copy=False)

    @property
    def _size(self) -> tuple[int, int] | None:
        """(width, height) of images that need no resizing or cropping; None if the short cut does not apply."""
        processor = self.processor
        if not (processor.do_rescale and processor.do_normalize):
            return None
        size = processor.size
        resized = (size["shortest_edge"],) * 2 if "shortest_edge" in size else (size.get("height"), size.get("width"))
        crops = getattr(processor, "do_center_crop", False)
        cropped = (processor.crop_size["height"], processor.crop_size["width"]) if crops else resized
        return (cropped[1], cropped[0]) if resized == cropped and None not in cropped else None

    def _scaled(self, pixels: npt.NDArray[np.uint8]) -> Float32Array:
        mean, std = (
            np.array(numbers)[:, None, None] for numbers in (self.processor.image_mean, self.processor.image_std)
        )
        scaled = pixels.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        scaled *= (self.processor.rescale_factor / std).astype(np.float32)
        scaled -= (mean / std).astype(np.float32)
        return scaled


def check_pairs(images: Sequence[Image], prompts: Sequence[Prompt]) -> None:
    """Refuse what cannot be scored pairwise.

    Raises:
        ValueError: the numbers of images and prompts differ.
    """
    if len(images) != len(prompts):
        raise ValueError(
            f"{len(images)} images and {len(prompts)} prompts: image i is scored for prompt i, so there must be as "
            "many of one as of the other. Repeat the prompt for each of its images."
        )


def run_on_images(
    forward: Callable[[Tensor], Tensor],
    images: Sequence[Image],
    *,
    preparation: PixelPreparation,
    num_outputs: int,
    batch_size: int,
    device: torch.device,
) -> tuple[Float32Array, dict[int, str]]:
    """Feed images to a model in batches.

    Args:
        forward: (M, 3, H, W) pixels -> (M, K) outputs.
        images: N images of any mode and size.
        preparation: what makes pixels of them.
        num_outputs: K.
        batch_size: largest M.
        device: where `forward` computes.

    Returns:
        (N, K) outputs, NaN for the images that could not be scored, and row -> why for exactly those.
    """
    readable: list[tuple[int, Image]] = []
    reasons: dict[int, str] = {}
    for row, image in enumerate(images):
        converted = _to_rgb(image)
        if isinstance(converted, str):
            reasons[row] = converted
        else:
            readable.append((row, converted))
    outputs = np.full((len(images), num_outputs), np.nan, np.float32)
    for start in range(0, len(readable), batch_size):
        rows, batch = zip(*readable[start : start + batch_size], strict=True)
        with torch.inference_mode():
            outputs[list(rows)] = forward(torch.from_numpy(preparation(batch)).to(device)).float().cpu().numpy()
    for row, _ in readable:
        if not np.isfinite(outputs[row]).all():
            outputs[row] = np.nan
            reasons[row] = "the model's output for this image is not a finite number"
    return outputs, reasons


def _to_rgb(image: Image) -> Image | str:
    """The image in RGB, or why it has none. Transparency is dropped, as CLIP's official code does."""
    width, height = image.size
    if min(width, height) < 1:
        return f"the image is empty: {width} x {height} pixels"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return (
            f"the image is {width} x {height} pixels, narrower than 1:{MAX_ASPECT}: a centre crop would show a sliver"
        )
    if image.mode.startswith(("I", "F")):
        return f"the image has mode '{image.mode}', which has no agreed conversion to 8 bits; convert it before scoring"
    try:
        if "transparency" in image.info:
            image = image.convert("RGBA")
        return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        return f"the image could not be decoded: {error}"

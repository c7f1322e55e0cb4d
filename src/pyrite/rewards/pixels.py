"""From images of any mode and size to batches of pixels for a model, and what happens to those that cannot be read.

Images are prepared by threads while the model works on the batch before, and no more than two batches are held at a
time, so that memory does not grow with the number of images.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image
from pyrite.rewards.images import UNDECODABLE, as_rgb, why_not_rgb
from pyrite.rewards.preprocessing import Float32Array

Preparation = Callable[[Image], Float32Array]
"""One image of any 8-bit mode -> the input of a model, of one shape for all images."""

MAX_ASPECT = 50
"""Longest side over shortest: beyond it, a centre crop shows next to nothing of the image."""

MAX_PIXELS = 89_478_485
"""Width times height: beyond it, Pillow suspects a file made to exhaust memory."""

# Below this many pixels in a batch, handing them to threads takes longer than preparing them.
_WORTH_THREADS = 1_000_000
_WORKERS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class PixelPreparation:
    """A checkpoint's own preprocessing, with a short cut for images that already have the right size.

    The image processor is taken in its PIL form: the torchvision form differs by up to 1/255 per pixel, so scores
    would depend on what else is installed.

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

    def __call__(self, image: Image) -> Float32Array:
        """(3, H, W) float32."""
        image = as_rgb(image)
        if self._scaling is not None and image.size == self._scaling[0]:
            _, factor, offset = self._scaling
            scaled: Float32Array = np.multiply(np.asarray(image).transpose(2, 0, 1), factor, order="C")
            scaled -= offset
            return scaled
        pixels: Float32Array = self.processor(images=[image], return_tensors="np")["pixel_values"][0]
        return pixels.astype(np.float32, copy=False)

    @functools.cached_property
    def _scaling(self) -> tuple[tuple[int, int], Float32Array, Float32Array] | None:
        """(width, height) of images that need no resizing or cropping, factor and offset; None without a short cut."""
        processor = self.processor
        if not (processor.do_rescale and processor.do_normalize):
            return None
        size = processor.size
        resized = (size["shortest_edge"],) * 2 if "shortest_edge" in size else (size.get("height"), size.get("width"))
        crops = getattr(processor, "do_center_crop", False)
        cropped = (processor.crop_size["height"], processor.crop_size["width"]) if crops else resized
        if resized != cropped or None in cropped:
            return None
        mean, std = (np.array(numbers)[:, None, None] for numbers in (processor.image_mean, processor.image_std))
        factor, offset = (processor.rescale_factor / std).astype(np.float32), (mean / std).astype(np.float32)
        return (cropped[1], cropped[0]), factor, offset


@dataclass(frozen=True)
class Picked(Sequence[Image]):
    """Some of a sequence's images, in another order; each is still asked for only when it is used.

    Args:
        images: all of them.
        rows: those picked.
    """

    images: Sequence[Image]
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Image: ...
    @overload
    def __getitem__(self, place: slice) -> "Picked": ...
    def __getitem__(self, place: int | slice) -> "Image | Picked":
        if isinstance(place, slice):
            return Picked(self.images, self.rows[place])
        return self.images[self.rows[place]]


def run_on_images(
    forward: Callable[[Tensor, Sequence[int]], Tensor],
    images: Sequence[Image],
    *,
    preparation: Preparation,
    num_outputs: int,
    batch_size: int,
    device: torch.device,
) -> tuple[Float32Array, dict[int, str]]:
    """Feed images to a model in batches.

    Args:
        forward: M prepared images, stacked, and the M rows they come from -> (M, K) outputs.
        images: N images of any mode and size; each is asked for when its batch is prepared.
        preparation: what makes model input of one.
        num_outputs: K.
        batch_size: largest M.
        device: where `forward` computes.

    Returns:
        (N, K) outputs, NaN for the images that could not be scored, and row -> why for exactly those.
    """
    reasons: dict[int, str] = {}
    outputs = np.full((len(images), num_outputs), np.nan, np.float32)
    for prepared in prepared_batches(images, preparation, batch_size):
        reasons.update({row: result for row, result in prepared.items() if isinstance(result, str)})
        readable = {row: result for row, result in prepared.items() if not isinstance(result, str)}
        if not readable:
            continue
        rows = list(readable)
        # Stacked by torch, which aligns memory: where a batch happens to lie would otherwise change the last bit.
        pixels = torch.stack([torch.from_numpy(result) for result in readable.values()]).to(device)
        with torch.inference_mode():
            outputs[rows] = forward(pixels, rows).float().cpu().numpy()
        for row in rows:
            if not np.isfinite(outputs[row]).all():
                outputs[row] = np.nan
                reasons[row] = "the model's output for this image is not a finite number"
    return outputs, reasons


def prepared_batches(
    images: Sequence[Image], preparation: Preparation, batch_size: int
) -> Iterator[dict[int, Float32Array | str]]:
    """Row -> its input, or why it has none; batch after batch, the next being prepared while one is used.

    For models whose inputs differ in shape from image to image; others go through `run_on_images`.
    """
    batches = [range(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size)]
    if not batches:
        return
    with ThreadPoolExecutor(_WORKERS) as pool:
        tasks = _begin(pool, images, preparation, batches[0])
        for following in (*batches[1:], range(0)):
            prepared = {row: task() for row, task in tasks.items()}
            tasks = _begin(pool, images, preparation, following)
            yield prepared


def _begin(
    pool: ThreadPoolExecutor, images: Sequence[Image], preparation: Preparation, rows: range
) -> dict[int, Callable[[], Float32Array | str]]:
    """Row -> what waits for its input."""
    batch = {row: images[row] for row in rows}
    if sum(image.width * image.height for image in batch.values()) < _WORTH_THREADS:
        return {row: functools.partial(_prepare, preparation, image) for row, image in batch.items()}
    # Pillow does not survive two threads decoding one image, and a list may hold the same image twice.
    distinct = {id(image): image for image in batch.values()}
    futures = {key: pool.submit(_prepare, preparation, image) for key, image in distinct.items()}
    return {row: futures[id(image)].result for row, image in batch.items()}


def _prepare(preparation: Preparation, image: Image) -> Float32Array | str:
    width, height = image.size
    if reason := why_not_rgb(image):
        return reason
    if max(width, height) > MAX_ASPECT * min(width, height):
        return (
            f"the image is {width} x {height} pixels, narrower than 1:{MAX_ASPECT}: a centre crop would show a sliver"
        )
    if width * height > MAX_PIXELS:
        return f"the image has {width * height} pixels, more than the {MAX_PIXELS} that are decoded: scale it down"
    try:
        return preparation(image)
    except UNDECODABLE as error:
        return f"the image could not be decoded: {error}"

"""MANIQA trained on KonIQ-10k: how good the picture is as a photograph, whatever it shows.

The official code draws 20 crops of 224 pixels with NumPy's global generator, so the same image gets another score each
time. Here the crops are drawn, from the same places, by a generator seeded with the image's own pixels: the same image
always has the same score, and no policy can learn where it will be looked at.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PILImage
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.published import find_file
from pyrite.rewards.images import as_rgb, check_pairs
from pyrite.rewards.loading import choose_device, choose_dtype, dtype_name, files_revision, read_tensors, require_fit
from pyrite.rewards.maniqa_model import Maniqa, ManiqaShape
from pyrite.rewards.measured import parity_error
from pyrite.rewards.pixels import run_on_images
from pyrite.rewards.preprocessing import Float32Array

NUM_CROPS = 20

# In the official file, and used by nothing: the ViT's end, a convolution never called, tables that are computed.
_UNUSED_PARTS = (".downsample.", ".attn_mask", ".relative_position_index", "vit.head.", "vit.norm.")
_UNUSED_BLOCKS = ("vit.blocks.10.", "vit.blocks.11.")


@dataclass(frozen=True)
class ManiqaReward:
    """Scores an image alone: the mean over its crops, at least 0, about 0 to 1 (typically 0.2 to 0.6).

    An image with a side of `crop_size` pixels or less is first enlarged, bilinearly, until its shorter side has one
    pixel more: the official code cannot score it. Details: `upsampled` is 1 for such images.

    Args:
        card: what it claims.
        model: the network, in any precision.
        crop_size: side of a crop in pixels.
        batch_size: crops per forward pass.
    """

    card: RewardCard
    model: Maniqa
    crop_size: int
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score the images; the prompts are not read."""
        check_pairs(images, prompts)

        def prepare(image: Image) -> Float32Array:
            image = self.enlarged(as_rgb(image))
            return cut(image, crop_places(image, self.crop_size), self.crop_size)

        def rate(crops: Tensor, rows: Sequence[int]) -> Tensor:
            small = [min(images[row].size) <= self.crop_size for row in rows]
            mean = self.score_crops(crops.flatten(0, 1)).reshape(len(rows), NUM_CROPS).mean(1)
            return torch.stack([mean, torch.tensor(small).to(mean)], dim=1)

        outputs, reasons = run_on_images(
            rate,
            images,
            preparation=prepare,
            num_outputs=2,
            batch_size=max(1, self.batch_size // NUM_CROPS),
            device=next(self.model.parameters()).device,
        )
        values, upsampled = outputs.astype(np.float64).T
        return Scores(values, reasons, {"upsampled": upsampled})

    def score_crops(self, crops: Tensor) -> Tensor:
        """(B, 3, S, S) crops in [-1, 1] -> (B,) the score of each."""
        dtype = next(self.model.parameters()).dtype
        return torch.cat([self.model(part.to(dtype)) for part in crops.split(self.batch_size)])

    def enlarged(self, image: Image) -> Image:
        """The image, with its shorter side one pixel longer than a crop if it was not longer than one."""
        shorter = min(image.size)
        if shorter > self.crop_size:
            return image
        width, height = (int((self.crop_size + 1) * side / shorter) for side in image.size)
        return image.resize((width, height), PILImage.Resampling.BILINEAR)


def crop_places(image: Image, crop_size: int) -> npt.NDArray[np.int64]:
    """(20, 2) top and left of each crop, decided by the pixels of the RGB image.

    As in the official code, the last row and column of places are never drawn, and the top before the left.
    """
    seed = hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(seed))
    return rng.integers(0, (image.height - crop_size, image.width - crop_size), (NUM_CROPS, 2))


def cut(image: Image, places: npt.ArrayLike, crop_size: int) -> Float32Array:
    """(K, 3, S, S) float32 crops in [-1, 1] of an RGB image.

    Args:
        image: in RGB.
        places: (K, 2) top and left of each crop.
        crop_size: S.
    """
    pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    scaled = (pixels - np.float32(0.5)) / np.float32(0.5)
    return np.stack([scaled[:, top : top + crop_size, left : left + crop_size] for top, left in np.asarray(places)])


def load_maniqa(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 40,
) -> ManiqaReward:
    """MANIQA for KonIQ-10k.

    Args:
        weights: ckpt_koniq10k.pt or its folder; None for where it lies on this disk.
        config: dimensions of a tiny test model, in the official code's names.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16; the last weighted mean is always float32.
        batch_size: crops per forward pass, of which an image has 20; each takes some 100 MB while it is scored.

    Raises:
        CheckpointError: the file is missing, damaged, needs code to be read, or is another model's.
    """
    path = find_file("maniqa", "weights", weights)
    shape = ManiqaShape.of(config or {})
    tensors = {
        key: tensor
        for key, tensor in read_tensors(path).items()
        if not key.startswith(_UNUSED_BLOCKS) and not any(part in key for part in _UNUSED_PARTS)
    }
    with torch.device("meta"):
        expected = Maniqa(shape).state_dict()
    require_fit("maniqa", path, tensors, expected)
    model = Maniqa(shape)
    model.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    card = RewardCard(
        name="maniqa",
        summary="The picture is good as a photograph: sharp, exposed, free of noise and compression.",
        range=(0.0, math.inf),
        reads_prompt=False,
        revision=files_revision([path]),
        upstream="IIGROUP/MANIQA@f573d86 (predict_one_image.py)",
        parity_error=parity_error("maniqa", dtype_name(choose_dtype(dtype))),
        licence="Apache-2.0",
        cites=("arXiv:2204.08958",),
        options={"crops": NUM_CROPS},
        preprocessing="maniqa/1",
        dtype=dtype_name(choose_dtype(dtype)),
    )
    model = model.eval().requires_grad_(False).to(choose_device(device), choose_dtype(dtype))
    return ManiqaReward(card, model, shape.img_size, batch_size)

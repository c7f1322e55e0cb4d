"""The three image pipelines of the published rewards, from an image to the pixels their model reads.

Each is what the official code does, written without torchvision, and gives the same pixels to 1e-6 (tested). They
differ in ways that move scores: in the order of resizing and conversion to RGB, in the resampler, in cropping or
padding. Every function takes one image of any 8-bit mode and gives (3, 224, 224) float32, normalised with CLIP's
mean and standard deviation.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image as PILImage

from pyrite.core.types import Image
from pyrite.rewards.images import as_rgb

Float32Array = npt.NDArray[np.float32]

SIZE = 224
CLIP_MEAN = np.array((0.48145466, 0.4578275, 0.40821073), np.float32)[:, None, None]
CLIP_STD = np.array((0.26862954, 0.26130258, 0.27577711), np.float32)[:, None, None]
_VALUES = np.float32(255)


def openai_pixels(image: Image) -> Float32Array:
    """OpenAI CLIP's pipeline (CLIPScore, LAION aesthetic, ImageReward): shortest side to 224, centre crop, then RGB.

    The conversion comes last, so a palette image is resized without interpolation and a transparent one with its
    alpha; the crop's offset is rounded half to even.
    """
    if image.mode == "PA":
        image = image.convert("RGBA")  # bicubic between the numbers of a palette would be noise
    image = image.resize(_shortest_side(image.size), PILImage.Resampling.BICUBIC)
    left, top = (round((side - SIZE) / 2) for side in image.size)
    return _normalised(as_rgb(image.crop((left, top, left + SIZE, top + SIZE))))


def hf_pixels(image: Image) -> Float32Array:
    """The pipeline of transformers' `CLIPImageProcessorPil` (PickScore): RGB, shortest side to 224, centre crop.

    The conversion comes first and drops alpha, as transformers 4 did (transformers 5 would put the image on white);
    the crop's offset is rounded down.
    """
    image = as_rgb(image)
    image = image.resize(_shortest_side(image.size), PILImage.Resampling.BICUBIC)
    left, top = ((side - SIZE) // 2 for side in image.size)
    return _normalised(image.crop((left, top, left + SIZE, top + SIZE)))


def hpsv2_pixels(image: Image, *, antialias: bool = True) -> Float32Array:
    """HPSv2's pipeline: longest side to 224, in floating point without clamping, then black bars to a square.

    The official code crashes on an image whose longest side is exactly 224 and that is not square: it forgets the
    bars. Here they are added.

    Args:
        image: of any 8-bit mode.
        antialias: as torchvision 0.17 and later resize tensors; False as earlier versions did.
    """
    pixels = torch.from_numpy(_scaled(as_rgb(image)))
    height, width = pixels.shape[1:]
    scale = SIZE / max(height, width)
    if scale != 1:
        new = (round(height * scale), round(width * scale))
        pixels = F.interpolate(pixels[None], size=new, mode="bicubic", align_corners=False, antialias=antialias)[0]
    height, width = pixels.shape[1:]
    top, left = (SIZE - height) // 2, (SIZE - width) // 2
    square = F.pad(pixels, (left, SIZE - width - left, top, SIZE - height - top)).numpy()
    normalised: Float32Array = (square - CLIP_MEAN) / CLIP_STD
    return normalised


def _shortest_side(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    if width <= height:
        return SIZE, int(SIZE * height / width)
    return int(SIZE * width / height), SIZE


def _scaled(image: Image) -> Float32Array:
    scaled: Float32Array = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C") / _VALUES
    return scaled


def _normalised(image: Image) -> Float32Array:
    normalised: Float32Array = (_scaled(image) - CLIP_MEAN) / CLIP_STD
    return normalised

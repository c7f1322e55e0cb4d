"""Rewards without weights that look at pixels alone: what a policy can please without drawing anything better.

The literature trains on them where it wants a reward that is known to be hacked (compressibility: DDPO,
arXiv:2305.13301) or to mean nothing (random: arXiv:2506.10947). Held out beside a learned reward, one that rises with
it says how the learned one is being pleased.

They have no batch size, device or precision; those options are accepted and change nothing, so that a recipe can swap
one of them for a model.
"""

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import PIL
from PIL import features

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError
from pyrite.core.types import FloatArray, Image, Prompt, Scores
from pyrite.rewards.images import check_pairs, to_rgb

JPEG_QUALITY = 95
# A variance is at most a quarter of the squared width of the range, and the Laplacian of [0, 1] lies in [-4, 4].
MAX_SHARPNESS = 16.0
_DDPO_CODE, _DDPO_PAPER = "kvablack/ddpo-pytorch@1958463 ddpo_pytorch/rewards.py", "arXiv:2305.13301"
_LUMA = np.array([0.299, 0.587, 0.114])
# A panel of models and formulas is loaded with one device, batch size and precision for all.
_WITHOUT_EFFECT = frozenset({"device", "batch_size", "dtype"})
_OF_MODELS = frozenset({"weights", "config"})


@dataclass(frozen=True)
class PixelReward:
    """Scores an image by a formula on its RGB pixels; the prompt is not read.

    Args:
        card: what it claims.
        formula: an RGB image of at least one pixel -> its score.
    """

    card: RewardCard
    formula: Callable[[Image], float]

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score the images, one by one."""
        check_pairs(images, prompts)
        values, reasons = np.full(len(images), np.nan), {}
        for row, image in enumerate(images):
            converted = to_rgb(image)
            if isinstance(converted, str):
                reasons[row] = converted
                continue
            try:
                values[row] = self.formula(converted)
            except OSError as error:
                reasons[row] = f"an image of {image.width} x {image.height} pixels does not fit a JPEG file: {error}"
        return Scores(values, reasons)


def load_jpeg_incompressibility(**options: object) -> PixelReward:
    """Size of the image as a JPEG file of quality 95, in kB: above 0, high for busy images.

    DDPO, arXiv:2305.13301. The encoder is part of the number, so its version is part of the revision.

    Raises:
        RewardError: an option was given that only a model has.
    """
    _refuse_model_options("jpeg_incompressibility", options)
    card = RewardCard(
        name="jpeg_incompressibility",
        summary="The image is busy: its JPEG file is large.",
        range=(0.0, math.inf),
        reads_prompt=False,
        revision=_jpeg_revision(),
        upstream=_DDPO_CODE,
        cites=(_DDPO_PAPER,),
    )
    return PixelReward(card, jpeg_kilobytes)


def load_jpeg_compressibility(**options: object) -> PixelReward:
    """Minus the size of the image as a JPEG file of quality 95, in kB: below 0, high for flat images.

    DDPO, arXiv:2305.13301. Flow-GRPO divides it by 500; the official code, followed here, does not.

    Raises:
        RewardError: an option was given that only a model has.
    """
    _refuse_model_options("jpeg_compressibility", options)
    card = RewardCard(
        name="jpeg_compressibility",
        summary="The image is flat: its JPEG file is small.",
        range=(-math.inf, 0.0),
        reads_prompt=False,
        revision=_jpeg_revision(),
        upstream=_DDPO_CODE,
        cites=(_DDPO_PAPER,),
    )
    return PixelReward(card, lambda image: -jpeg_kilobytes(image))


def load_saturation(**options: object) -> PixelReward:
    """Mean saturation of the pixels, in [0, 1]: 0 for grey, 1 where every pixel lacks one of its primaries.

    Raises:
        RewardError: an option was given that only a model has.
    """
    _refuse_model_options("saturation", options)
    card = RewardCard(
        name="saturation",
        summary="The image is vivid: its colours are far from grey.",
        range=(0.0, 1.0),
        reads_prompt=False,
        revision="saturation/1",
        upstream="saturation of the hexcone model (Smith 1978)",
    )
    return PixelReward(card, mean_saturation)


def load_sharpness(**options: object) -> PixelReward:
    """Variance of the Laplacian of the grey image, in [0, 16]: high for hard edges, and higher for noise.

    Raises:
        RewardError: an option was given that only a model has.
    """
    _refuse_model_options("sharpness", options)
    card = RewardCard(
        name="sharpness",
        summary="The image has hard edges, or noise.",
        range=(0.0, MAX_SHARPNESS),
        reads_prompt=False,
        revision="sharpness/1",
        upstream="variance of the Laplacian (Pech-Pacheco et al. 2000)",
    )
    return PixelReward(card, laplacian_variance)


def load_random(*, seed: int = 0, **options: object) -> PixelReward:
    """A number in [0, 1) that a hash of `seed` and the pixels decides: equal pixels, equal number.

    There is nothing in it to learn, so a policy trained on it shows what training does by itself (arXiv:2506.10947).

    Raises:
        RewardError: an option was given that only a model has.
    """
    _refuse_model_options("random", options)
    card = RewardCard(
        name="random",
        summary="Nothing: a hash of the pixels decides.",
        range=(0.0, 1.0),
        reads_prompt=False,
        revision="random/1",
        options={"seed": seed},
        cites=("arXiv:2506.10947",),
    )
    return PixelReward(card, lambda image: pixel_lottery(image, seed))


def load_constant(*, value: float = 0.0, **options: object) -> PixelReward:
    """`value` for every image that can be read: every advantage is 0, so whatever changes has another cause.

    Raises:
        RewardError: `value` is not a finite number, or an option was given that only a model has.
    """
    _refuse_model_options("constant", options)
    if not math.isfinite(value):
        raise RewardError(f"the reward 'constant' cannot give {value}: a score is a finite number. Set value to one.")
    card = RewardCard(
        name="constant",
        summary="Nothing: every image gets the same number.",
        range=(value, value),
        reads_prompt=False,
        revision="constant/1",
        options={"value": value},
    )
    return PixelReward(card, lambda image: value)


def jpeg_kilobytes(image: Image) -> float:
    """Size, in units of 1000 bytes, of an RGB image as Pillow's JPEG of quality 95, all else at its default."""
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.tell() / 1000


def mean_saturation(image: Image) -> float:
    """Mean over the pixels of (max - min) / max of the three primaries; a black pixel counts 0."""
    pixels = np.asarray(image, np.float64)
    highest, lowest = pixels.max(-1), pixels.min(-1)
    return float(((highest - lowest) / np.maximum(highest, 1)).mean())


def laplacian_variance(image: Image) -> float:
    """Variance over the pixels of the Laplacian of an RGB image's luma, in [0, 16].

    Luma is (0.299 R + 0.587 G + 0.114 B) / 255 (ITU-R BT.601), not rounded; the Laplacian is the sum of the four
    neighbours minus four times the pixel; beyond the rim the nearest pixel is repeated. OpenCV's usual recipe rounds
    luma to 0..255 and mirrors at the rim, so its numbers are about 65025 times as large.
    """
    luma: FloatArray = np.asarray(image, np.float64) @ _LUMA / 255
    padded = np.pad(luma, 1, mode="edge")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * luma
    return float(laplacian.var())


def pixel_lottery(image: Image, seed: int) -> float:
    """A number in [0, 1) from the sha256 of a seed, the size and the pixels of an RGB image."""
    digest = hashlib.sha256(f"{seed} {image.width} {image.height} ".encode() + image.tobytes()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # as many bits as a float64 holds exactly


def _jpeg_revision() -> str:
    return f"jpeg/1, Pillow {PIL.__version__}, libjpeg {features.version('jpg')}"


def _refuse_model_options(name: str, options: dict[str, object]) -> None:
    given = sorted(option for option in _OF_MODELS & set(options) if options[option] is not None)
    unknown = sorted(set(options) - _OF_MODELS - _WITHOUT_EFFECT)
    if given or unknown:
        raise RewardError(
            f"the reward '{name}' has no {' and no '.join(given + unknown)}: it is a formula on pixels, and what is "
            "set here would be without effect on its scores. Leave it out."
        )

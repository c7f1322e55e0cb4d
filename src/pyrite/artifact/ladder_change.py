"""What an operation of the ladder is: an image in, the changed image and the mask of what changed out."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import PIL.Image

from pyrite.artifact.ladder_neutral import SMALLEST_PX
from pyrite.artifact.ladder_places import Pixels
from pyrite.core.types import Image

Mask = npt.NDArray[np.bool_]

_NATIVE = ("L", "LA", "RGB", "RGBA")
# Modes whose values have no agreed form in 8 bits.
_NO_COLOURS = ("I", "F")


@dataclass(frozen=True)
class Change:
    """An image after an operation.

    Args:
        image: in the mode it came in, or in RGB or RGBA where that mode has no free colours.
        mask: (H, W) of this image: which pixels differ from the original; all of them where the geometry changed.
    """

    image: Image
    mask: Mask


class Operation(Protocol):
    """One kind of change."""

    @property
    def imitates(self) -> str:
        """What in generated or handled images it stands for."""
        ...

    @property
    def grows(self) -> str:
        """What severity makes more of."""
        ...

    def __call__(self, image: Image, severity: float, seed: int) -> Change:
        """Change an image of at least 16 x 16 pixels.

        Args:
            image: any mode but I and F; transparency is kept as it is.
            severity: in [0, 1]; 0 gives the same image and an empty mask.
            seed: not negative; chooses places and directions, and the same ones at every severity.

        Raises:
            ValueError: a severity outside [0, 1], a negative seed, an image too small or without 8-bit colours.
        """
        ...


@dataclass(frozen=True)
class Artifact:
    """Paints on a canvas in [0, 1]; what did not change stays as it was to the byte."""

    imitates: str
    grows: str
    paint: Callable[[Pixels, Pixels, float, np.random.Generator], None]

    def __call__(self, image: Image, severity: float, seed: int) -> Change:
        """As every `Operation`."""
        rng = _checked(image, severity, seed, self.paint.__name__)
        if severity == 0:
            return _unchanged(image)
        native = _native(image)
        picture = np.asarray(native.convert("RGB"), np.float32) / np.float32(255)
        canvas = picture.copy()
        self.paint(picture, canvas, severity, rng)
        np.clip(canvas, 0, 1, out=canvas)
        canvas *= 255
        canvas += 0.5  # rounds, since the conversion cuts off
        painted = PIL.Image.fromarray(canvas.astype(np.uint8))
        return _compared(native, _with_transparency_of(native, painted))


@dataclass(frozen=True)
class Neutral:
    """Redraws an RGB picture, and its transparency alike where that moves."""

    imitates: str
    grows: str
    redraw: Callable[[Image, float, np.random.Generator], Image]
    moves: bool = False

    def __call__(self, image: Image, severity: float, seed: int) -> Change:
        """As every `Operation`."""
        rng = _checked(image, severity, seed, self.redraw.__name__)
        if severity == 0:
            return _unchanged(image)
        native = _native(image)
        redrawn = self.redraw(native.convert("RGB"), severity, rng)
        cover = native.convert("RGBA").getchannel("A")
        if self.moves and native.mode in ("LA", "RGBA"):
            again = _checked(image, severity, seed, self.redraw.__name__)
            cover = self.redraw(cover.convert("RGB"), severity, again).convert("L")
        return _compared(native, _with_transparency(native.mode, redrawn, cover))


def _checked(image: Image, severity: float, seed: int, name: str) -> np.random.Generator:
    if not 0 <= severity <= 1:
        raise ValueError(f"severity is {severity}; it goes from 0 (nothing) to 1 (as bad as this kind gets)")
    if seed < 0:
        raise ValueError(f"seed is {seed}; random generators take 0 or more")
    if min(image.size) < SMALLEST_PX:
        raise ValueError(
            f"the image has {image.width} x {image.height} pixels; below {SMALLEST_PX} there is no structure to break. "
            "Leave it out"
        )
    if image.mode.startswith(_NO_COLOURS):
        raise ValueError(f"the image has mode '{image.mode}', which has no agreed form in 8 bits; convert it to RGB")
    kind = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return np.random.default_rng([seed, kind])


def _unchanged(image: Image) -> Change:
    return Change(image.copy(), np.zeros((image.height, image.width), bool))


def _native(image: Image) -> Image:
    if image.mode in _NATIVE:
        return image
    return image.convert("RGBA" if "transparency" in image.info or image.mode in ("PA", "La", "RGBa") else "RGB")


def _with_transparency_of(native: Image, painted: Image) -> Image:
    return _with_transparency(native.mode, painted, native.convert("RGBA").getchannel("A"))


def _with_transparency(mode: str, redrawn: Image, cover: Image) -> Image:
    if mode in ("LA", "RGBA"):
        redrawn = redrawn.copy()
        redrawn.putalpha(cover)
    return redrawn.convert(mode)


def _compared(before: Image, after: Image) -> Change:
    if before.size != after.size:
        return Change(after, np.ones((after.height, after.width), bool))
    differs = np.asarray(before) != np.asarray(after)
    return Change(after, differs if differs.ndim == 2 else differs.any(2))

"""Changes that are no artifacts: what a picture goes through on its way to a judge, and styles that are meant.

A judge that calls these artifacts reads something else than structure. Each function takes a picture in RGB and gives
another one; at severity 1 it is still a change that nobody would call damage.
"""

import io

import numpy as np
import PIL.Image
from PIL import ImageEnhance, ImageFilter, ImageOps

from pyrite.core.types import Image

SMALLEST_PX = 16


def resize(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Smaller, down to half its sides."""
    return image.resize(_scaled(image, 1 - 0.5 * severity), PIL.Image.Resampling.LANCZOS)


def crop(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Without some of its border, down to 85 % of its sides."""
    width, height = _scaled(image, 1 - 0.15 * severity)
    right, down = rng.random(2)
    left, top = round(right * (image.width - width)), round(down * (image.height - height))
    return image.crop((left, top, left + width, top + height))


def flip(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Mirrored, left to right."""
    return ImageOps.mirror(image)


def jpeg(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Once through a JPEG file of quality 95 down to 75."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=round(95 - 20 * severity), subsampling=0)
    with PIL.Image.open(buffer) as again:
        return again.convert("RGB")


def colour(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Warmer or cooler, and more or less saturated."""
    warmth, vividness = rng.choice([-1, 1], 2) * severity
    tinted = np.asarray(image) * (1 + 0.08 * warmth * np.array([1, 0, -1]))
    return ImageEnhance.Color(_from_floats(tinted)).enhance(1 + 0.3 * vividness)


def brightness(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Brighter or darker, and of more or less contrast."""
    lighter, harder = rng.choice([-1, 1], 2) * severity
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1 + 0.15 * lighter)).enhance(1 + 0.15 * harder)


def sepia(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """An old photograph."""
    return PIL.Image.blend(image, ImageOps.colorize(image.convert("L"), "#1c1206", "#fff2d8"), severity)


def monochrome(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Black and white."""
    return PIL.Image.blend(image, image.convert("L").convert("RGB"), severity)


def vignette(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Darker towards its corners, as old lenses draw."""
    y, x = (np.linspace(-1, 1, size) ** 2 for size in (image.height, image.width))
    shade = 1 - 0.3 * severity * 0.5 * (y[:, None] + x[None])
    return _from_floats(np.asarray(image) * shade[..., None])


def painting(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Flat strokes of colour, as of a brush."""
    # A stroke is wider than the pixels of a copy of 300: what is lost to the copy, the filter would take anyway.
    small = image.reduce(max(1, min(image.size) // 300))
    strokes = small.filter(ImageFilter.MedianFilter(max(3, 2 * round(0.005 * min(small.size)) + 1)))
    return PIL.Image.blend(image, strokes.resize(image.size, PIL.Image.Resampling.BICUBIC), 0.7 * severity)


def _scaled(image: Image, factor: float) -> tuple[int, int]:
    """Width and height at a scale, neither below 16 pixels unless it was before."""
    width, height = (max(min(side, SMALLEST_PX), round(factor * side)) for side in image.size)
    return width, height


def _from_floats(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Image:
    return PIL.Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))

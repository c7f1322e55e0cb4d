"""From the bytes of an image file to an image, or to the reason why there is none. Nothing is decoded unmeasured.

What is wrong with one file concerns that file alone: it becomes a reason, never an exception.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from pyrite.core.types import Image
from pyrite.records.stored import file_key

MAX_PIXELS = 2**26
"""Largest image that is decoded: 8192 x 8192, which takes 200 MB in RGB."""
MAX_BYTES = 2**28
"""Largest file that is read: 256 MiB."""

_BOMBS = (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning)
# What Pillow's decoders raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, LookupError, TypeError, OverflowError)
_TOO_LARGE = (
    f"the image has more than {MAX_PIXELS / 1e6:.0f} megapixels, the limit that keeps one file from filling the "
    "memory; scale it down"
)


@dataclass(frozen=True)
class Readable:
    """An image file that was read and looks like one; its pixels are not decoded yet.

    Args:
        data: the bytes of the file.
        key: by which the score store knows it.
        num_pixels: width times height.
    """

    data: bytes
    key: str
    num_pixels: int


@contextmanager
def bombs_are_errors() -> Iterator[None]:
    """Within it, Pillow refuses images it merely warns of otherwise; enter it before threads start to read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", PILImage.DecompressionBombWarning)
        yield


def read_image_file(source: Path | bytes | None) -> Readable | str:
    """Read a file and look at its header, or say why it cannot be scored."""
    if source is None:
        return "there is no image in the row"
    try:
        if isinstance(source, Path):
            if (size := source.stat().st_size) > MAX_BYTES:
                return f"the file has {size} bytes, more than the limit of {MAX_BYTES}; scale the image down"
            data = source.read_bytes()
        else:
            data = source
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:  # the latter for names that no file can have
        return f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
    if not data:
        return "the file is empty: 0 bytes"
    try:
        with PILImage.open(io.BytesIO(data)) as image:
            width, height = image.size
            num_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except UnidentifiedImageError:
        return "the file is no image that Pillow knows"
    except _BOMBS:
        return _TOO_LARGE
    except _DAMAGE as error:
        return f"the image cannot be read: {error}"
    if width * height > MAX_PIXELS:
        return _TOO_LARGE
    if num_frames > 1:
        return f"the file holds {num_frames} frames, and only one can be meant; save that one"
    return Readable(data, file_key(data), width * height)


def decode(file: Readable) -> Image | str:
    """The image in its own mode, or why it cannot be decoded."""
    try:
        with PILImage.open(io.BytesIO(file.data)) as image:
            image.load()
            return image.copy()
    except _DAMAGE as error:
        return f"the image cannot be read: {error}"


def open_image(path: Path) -> Image | str:
    """The image in a mode of 8 bits per channel (L, LA, RGB or RGBA), or why there is none."""
    file = read_image_file(path)
    image = file if isinstance(file, str) else decode(file)
    if isinstance(image, str) or image.mode in ("L", "LA", "RGB", "RGBA"):
        return image
    if image.mode.startswith(("I", "F")):
        return f"the image has mode '{image.mode}', which has no agreed form in 8 bits; convert it to RGB"
    has_alpha = "transparency" in image.info or image.mode in ("PA", "La", "RGBa")
    return image.convert("RGBA" if has_alpha else "RGB")

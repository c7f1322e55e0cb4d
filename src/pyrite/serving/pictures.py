"""From bytes that a stranger sent to an image, or to the reason why there is none. Nothing is decoded unmeasured.

What is wrong with one image concerns that image alone: it becomes a reason, never an error of the request.
"""

import base64
import binascii
import io
import struct
import warnings
import zlib
from dataclasses import dataclass

from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from pyrite.core.types import Image
from pyrite.rewards.images import UNDECODABLE

FORMATS = ("PNG", "JPEG", "WEBP")
"""Pillow reads many more, and every decoder is a door: these three are what trainers write."""

_BOMBS = (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning)
_DAMAGE = (*UNDECODABLE, struct.error, zlib.error, LookupError, TypeError, OverflowError)


@dataclass(frozen=True)
class Measured:
    """Bytes that begin like an image of an accepted size; not decoded yet.

    Args:
        data: of the file.
        num_pixels: width times height.
    """

    data: bytes
    num_pixels: int


def from_base64(text: str) -> bytes | str:
    """The bytes, or why there are none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        return f"the image is no base64: {error}"


def measure(data: bytes, max_pixels: int) -> Measured | str:
    """Look at the header, or say why the image cannot be scored."""
    if not data:
        return "the image is empty: 0 bytes"
    # Pillow hands a WebP to a decoder that asks for memory for all its pixels before anybody can see their number.
    if (webp := _webp_size(data)) is not None and webp[0] * webp[1] > max_pixels:
        return _too_large(*webp, max_pixels)
    try:
        with PILImage.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            num_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except UnidentifiedImageError:
        return f"the image is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; send one of these"
    except _BOMBS:
        return f"the image has more than {max_pixels} pixels, the limit of this server; scale it down"
    except _DAMAGE as error:
        return f"the image cannot be read: {error}"
    if width * height > max_pixels:
        return _too_large(width, height, max_pixels)
    if num_frames > 1:
        return f"the image has {num_frames} frames, and a score is about one; send the frame that is meant"
    return Measured(data, width * height)


def decode(measured: Measured) -> Image | str:
    """The image in its own mode, or why it cannot be decoded."""
    try:
        with PILImage.open(io.BytesIO(measured.data), formats=FORMATS) as image:
            image.load()
            return image.copy()
    except _BOMBS + _DAMAGE as error:
        return f"the image cannot be read: {error}"


def refuse_bombs_quietly() -> None:
    """Keep Pillow from printing a warning about an image that is refused anyway; for a server process, at its start."""
    warnings.simplefilter("ignore", PILImage.DecompressionBombWarning)


def _too_large(width: int, height: int, max_pixels: int) -> str:
    return f"the image has {width} x {height} pixels, and this server decodes at most {max_pixels}; scale it down"


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from the first chunk of a WebP file (RFC 9649, section 2); None if it is no such file."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None

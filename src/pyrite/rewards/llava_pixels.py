"""How LLaVA-OneVision sees an image: as one square with grey bars, or as a small whole and tiles of the large one.

`padded_pixels` is the `pad` mode (ORM), `tiled_pixels` the `anyres` mode (UnifiedReward). Both do what LLaVA-NeXT's
mm_utils.py does with SigLIP's image processor (LLaVA-VL/LLaVA-NeXT@1d523b7) and give the same pixels (tested).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image as PILImage

from pyrite.core.types import Image
from pyrite.rewards.images import as_rgb
from pyrite.rewards.pixels import MAX_PIXELS
from pyrite.rewards.preprocessing import Float32Array

BARS = (127, 127, 127)
"""The colour of the bars: SigLIP's mean of 0.5 in 8 bits, rounded down."""

Size = tuple[int, int]
"""(width, height)."""


def padded_pixels(image: Image, side: int) -> Float32Array:
    """(3, side, side) float32 in [-1, 1]: bars to a square, then bicubic.

    Args:
        image: of any 8-bit mode.
        side: of the vision tower's input.

    Raises:
        ValueError: the square would have more pixels than are decoded.
    """
    image = as_rgb(image)
    longest = max(image.size)
    if longest * longest > MAX_PIXELS:  # a long strip of few pixels would become gigabytes
        raise ValueError(f"as a square it has {longest**2} pixels, more than the {MAX_PIXELS} allowed: scale it down")
    if image.width != image.height:
        square = PILImage.new("RGB", (longest, longest), BARS)
        square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
        image = square
    return _normalised(_resized(image, (side, side)))


def tiled_pixels(image: Image, side: int, grids: Sequence[Size]) -> Float32Array:
    """(1 + tiles, 3, side, side) float32 in [-1, 1]: the whole image distorted to a square, then its tiles, row by row.

    The tiles are of the image resized into the best of `grids`, with black bars.

    Args:
        image: of any 8-bit mode.
        side: of the vision tower's input.
        grids: (width, height) in pixels to choose from, multiples of `side`.
    """
    image = as_rgb(image)
    best = best_grid(image.size, grids)
    inner = _inside(image.size, best)
    canvas = PILImage.new("RGB", best, (0, 0, 0))
    canvas.paste(_resized(image, inner), ((best[0] - inner[0]) // 2, (best[1] - inner[1]) // 2))
    crops = [_resized(image, (side, side))]
    for top in range(0, best[1], side):
        crops += [canvas.crop((left, top, left + side, top + side)) for left in range(0, best[0], side)]
    return np.stack([_normalised(crop) for crop in crops])


def best_grid(size: Size, grids: Sequence[Size]) -> Size:
    """The grid that keeps most of the image's pixels; of several, the smallest; of those, the first.

    Args:
        size: of the image.
        grids: those to choose from.
    """

    def keeps(grid: Size) -> tuple[int, int]:
        scale = min(grid[0] / size[0], grid[1] / size[1])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return kept, -(grid[0] * grid[1] - kept)

    return max(grids, key=keeps)


def kept_patches(size: Size, tiles: Size, patches: int) -> tuple[slice, slice]:
    """The rows and columns of patches that show the image and not the bars around it.

    Args:
        size: of the image.
        tiles: how many (across, down).
        patches: along the side of a tile.
    """
    across, down = tiles[0] * patches, tiles[1] * patches
    if size[0] / size[1] > across / down:
        bars = (down - int(size[1] * (across / size[0]))) // 2
        return slice(bars, down - bars), slice(0, across)
    bars = (across - int(size[0] * (down / size[1]))) // 2
    return slice(0, down), slice(bars, across - bars)


def reduced(rows: int, columns: int, most: float) -> tuple[int, int]:
    """The (rows, columns) to which that many patches are reduced; the same if they are not more than 1.21 `most`.

    Args:
        rows: of patches.
        columns: of patches.
        most: how many patches should stay; infinity for all.
    """
    times = math.sqrt(rows * columns / most)
    return (int(rows // times), int(columns // times)) if times > 1.1 else (rows, columns)


def read_grids(said: object, side: int) -> list[Size]:
    """The grids of a configuration: pairs of pixels, or a range such as "(1x1),...,(6x6)" in tiles.

    Args:
        said: the value of `image_grid_pinpoints`.
        side: of a tile.

    Raises:
        ValueError: it is neither, or a grid is no multiple of the tiles.
    """
    grids = list(_grid_range(said, side)) if isinstance(said, str) else [tuple(grid) for grid in _pairs(said)]
    if not grids or any(len(grid) != 2 or min(grid) < side or grid[0] % side or grid[1] % side for grid in grids):
        raise ValueError(f"image_grid_pinpoints={said!r} is no list of (width, height) in multiples of {side}")
    return [(int(width), int(height)) for width, height in grids]


def _pairs(said: object) -> Sequence[Sequence[int]]:
    if isinstance(said, list | tuple) and all(
        isinstance(grid, list | tuple) and all(isinstance(number, int) for number in grid) for grid in said
    ):
        return said
    return []


def _grid_range(said: str, side: int) -> Iterator[Size]:
    """Every grid from the first to the last of a range; nothing for other strings."""
    ends = [part.split("x") for part in said.replace(" ", "").strip("()").split("),...,(")]
    if len(ends) == 2 and all(len(end) == 2 and all(number.isdecimal() for number in end) for end in ends):
        (left, top), (right, bottom) = ((int(across), int(down)) for across, down in ends)
        yield from ((x * side, y * side) for x in range(left, right + 1) for y in range(top, bottom + 1))


def _inside(size: Size, grid: Size) -> Size:
    """The image's size when it fills the grid in one direction."""
    across, down = grid[0] / size[0], grid[1] / size[1]
    if across < down:
        return grid[0], min(math.ceil(size[1] * across), grid[1])
    return min(math.ceil(size[0] * down), grid[0]), grid[1]


def _resized(image: Image, size: Size) -> Image:
    return image.resize(size, PILImage.Resampling.BICUBIC)


def _normalised(image: Image) -> Float32Array:
    scaled = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C") / np.float32(255)
    normalised: Float32Array = (scaled - np.float32(0.5)) / np.float32(0.5)
    return normalised

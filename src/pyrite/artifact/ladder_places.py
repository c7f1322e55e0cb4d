"""Where an artifact goes: on the things in a picture, in regions of irregular outline.

Coordinates are pixels, y down and x to the right; pictures are (H, W, 3) float32 in [0, 1].
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float32]

_DETAIL_PX = 96
_WOBBLES = 3


@dataclass(frozen=True)
class Region:
    """A box of a picture and how much of each of its pixels belongs to the region.

    Args:
        rows: of the box.
        columns: of the box.
        alpha: (h, w) in [0, 1].
        dy: (h, 1) distance below the spot in pixels.
        dx: (1, w) distance to the right of it.
    """

    rows: slice
    columns: slice
    alpha: Plane
    dy: Plane
    dx: Plane

    def of(self, picture: Pixels) -> Pixels:
        """The box of a picture, as a view."""
        return picture[self.rows, self.columns]

    def paint(self, canvas: Pixels, content: Pixels, strength: float = 1.0) -> None:
        """Lay content, (h, w, 3), over the canvas in place, as opaque as the region."""
        box = self.of(canvas)
        box += (np.float32(strength) * self.alpha)[..., None] * (content - box)

    def lay(self, canvas: Pixels, content: Pixels) -> None:
        """Put content, (h, w, 3), into the whole region, opaque: for what fades out by itself."""
        np.copyto(self.of(canvas), content, where=(self.alpha > 0)[..., None])

    def shift(self, picture: Pixels, down: float, right: float) -> Pixels:
        """The content of the box where every pixel comes from the same way off, in whole pixels."""
        rows, columns = self._places(picture, round(float(down)), round(float(right)))
        return picture[rows, columns]

    def scatter(self, picture: Pixels, down: Plane, right: Plane) -> Pixels:
        """The content of the box where each pixel comes from (down, right) away, (h, w), in whole pixels."""
        rows, columns = self._places(picture, np.rint(down).astype(int), np.rint(right).astype(int))
        return picture[rows, columns]

    def bend(self, picture: Pixels, down: Plane, right: Plane) -> Pixels:
        """The content of the box where each pixel comes from (down, right) away, interpolated.

        Args:
            picture: what it comes from; beyond its border is its border.
            down: (h, w), or broadcast to that.
            right: likewise.
        """
        from scipy.ndimage import map_coordinates

        at = np.empty((2, *self.alpha.shape), np.float32)
        at[0], at[1] = (places + shift for places, shift in zip(self._grid(), (down, right), strict=True))
        inside = self.alpha > 0  # outside nobody looks, and interpolation is what takes the time
        content = self.of(picture).copy()
        for channel in range(3):
            content[inside, channel] = map_coordinates(
                picture[..., channel], at[:, inside], order=1, mode="nearest", prefilter=False
            )
        return content

    def _grid(self) -> tuple[Plane, Plane]:
        rows = np.arange(self.rows.start, self.rows.stop, dtype=np.float32)
        columns = np.arange(self.columns.start, self.columns.stop, dtype=np.float32)
        return rows[:, None], columns[None]

    def _places(
        self, picture: Pixels, down: "int | npt.NDArray[np.int64]", right: "int | npt.NDArray[np.int64]"
    ) -> "tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]":
        rows, columns = (places.astype(int) for places in self._grid())
        return np.clip(rows + down, 0, picture.shape[0] - 1), np.clip(columns + right, 0, picture.shape[1] - 1)


@dataclass(frozen=True)
class Spot:
    """A place and an outline; its radius is chosen later, so that severity does not change what was drawn.

    Args:
        y: of the centre.
        x: of the centre.
        wobble: (2, 3) amplitudes and phases that make the outline irregular.
        turn: an angle in radians for whoever needs a direction.
    """

    y: float
    x: float
    wobble: npt.NDArray[np.float64]
    turn: float

    def region(self, picture: Pixels, radius: float, *, feather: float) -> Region:
        """The blob around the spot.

        Args:
            picture: gives the size.
            radius: mean distance of the outline in pixels.
            feather: share of the radius over which it fades out; 0 for a hard edge.
        """
        box = self.box(picture, 1.35 * radius, 1.35 * radius)
        angle = np.arctan2(box.dy, box.dx)
        outline = 1 + sum(
            amplitude * np.cos((wave + 2) * angle + phase) for wave, (amplitude, phase) in enumerate(self.wobble.T)
        )
        inside = outline - np.hypot(box.dy, box.dx) / radius
        # One pixel of fading even at a hard edge: jagged outlines would be an artifact of their own.
        alpha = np.clip(inside / max(feather, 1 / radius), 0, 1).astype(np.float32)
        return Region(box.rows, box.columns, alpha, box.dy, box.dx)

    def box(self, picture: Pixels, half_height: float, half_width: float) -> Region:
        """An upright box around the spot, cut off at the border."""
        height, width = picture.shape[:2]
        top, bottom = max(0, round(self.y - half_height)), min(height, round(self.y + half_height) + 1)
        left, right = max(0, round(self.x - half_width)), min(width, round(self.x + half_width) + 1)
        dy = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(self.y)
        dx = np.arange(left, right, dtype=np.float32)[None] - np.float32(self.x)
        alpha = np.ones((bottom - top, right - left), np.float32)
        return Region(slice(top, bottom), slice(left, right), alpha, dy, dx)


def extent(picture: Pixels) -> int:
    """The shorter side in pixels, which every size is a share of."""
    height, width = picture.shape[:2]
    return int(min(height, width))


def find_spots(picture: Pixels, num: int, rng: np.random.Generator) -> list[Spot]:
    """`num` places on what has structure, apart from each other: artifacts sit on things, seldom on empty ground."""
    chance = _detail(picture)
    height, width = chance.shape
    y, x = np.mgrid[0:height, 0:width]
    scale = picture.shape[0] / height, picture.shape[1] / width
    spots = []
    for _ in range(num):
        cell = int(rng.choice(chance.size, p=(chance / chance.sum()).ravel()))
        row, column = divmod(cell, width)
        jitter = rng.random(2)
        wobble = np.stack([rng.uniform(0, 0.16, _WOBBLES), rng.uniform(0, 2 * np.pi, _WOBBLES)])
        spots.append(
            Spot((row + jitter[0]) * scale[0], (column + jitter[1]) * scale[1], wobble, rng.uniform(0, 2 * np.pi))
        )
        apart = np.hypot(y - row, x - column) / (0.25 * min(height, width))
        chance = chance * (1 - 0.98 * np.exp(-(apart**2)))
    return spots


def _detail(picture: Pixels) -> npt.NDArray[np.float64]:
    """How much structure there is around each cell of a coarse grid; positive everywhere."""
    from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

    step = max(1, max(picture.shape[:2]) // _DETAIL_PX)
    grey = picture[::step, ::step].mean(2, dtype=np.float64)
    smooth = gaussian_filter(gaussian_gradient_magnitude(grey, 1.0), 0.04 * min(grey.shape))
    y, x = (np.linspace(-1, 1, size) for size in grey.shape)
    # What lies at the border would be cut off with its artifact.
    centred = np.clip(1.1 - np.abs(y), 0, 0.4)[:, None] * np.clip(1.1 - np.abs(x), 0, 0.4)[None]
    chance: npt.NDArray[np.float64] = ((smooth / max(smooth.max(), 1e-9)) ** 2 + 1e-4) * centred
    return chance

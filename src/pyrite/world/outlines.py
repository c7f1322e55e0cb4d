"""Which shape, where and how large: coloured regions matched with the world's outlines, many at once.

A region's area and centroid give, for each shape, its radius and centre; the shapes that explain the region nearly as
well as the best one are refined by Gauss-Newton steps on (x, y, radius), and the winner stays.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyrite.world.scenes import MAX_RADIUS, MIN_RADIUS, SHADING, SHAPES, SIZE_PX, Pixels, signed_distance

MIN_AREA_PX = 30
_REACH_PX = 15
_SIDE = 2 * _REACH_PX + 1
_STEPS = 3
_REFINED_SHAPES = 3
_RIVAL_ERROR = 2.0
# Distances scale with the radius, so one table per shape, at radius 1, serves all of them.
_CELLS_PER_RADIUS = 96
_TABLE_REACH = 1.6
_TABLE_SIDE = round(2 * _TABLE_REACH * _CELLS_PER_RADIUS) + 1

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outline:
    """A shape placed on a region.

    Args:
        shape: one of the world's.
        x, y, radius: in pixels of the image.
        fit: intersection over union of the two outlines, in [0, 1]; a slight blur does not lower it.
    """

    shape: str
    x: float
    y: float
    radius: float
    fit: float


def _distance_tables() -> tuple[Pixels, Pixels, Pixels]:
    """(S * side * side,) unit distance and its slopes along x and y, for the shapes one after the other."""
    line = np.linspace(-_TABLE_REACH, _TABLE_REACH, _TABLE_SIDE, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    distance = np.stack([signed_distance(shape, x, y, 1.0) for shape in SHAPES])
    down, across = np.gradient(distance, line[1] - line[0], axis=(1, 2))
    return distance.ravel(), across.astype(np.float32).ravel(), down.astype(np.float32).ravel()


_DISTANCE, _ACROSS, _DOWN = _distance_tables()
_INSIDE = _DISTANCE.reshape(len(SHAPES), _TABLE_SIDE, _TABLE_SIDE) < 0
_UNIT_AREA = (_INSIDE.sum((1, 2)) / _CELLS_PER_RADIUS**2).astype(np.float32)
_UNIT_CENTROID_Y = np.array(
    [(np.nonzero(mask)[0].mean() - (_TABLE_SIDE - 1) / 2) / _CELLS_PER_RADIUS for mask in _INSIDE], np.float32
)
_OFFSET = np.arange(-_REACH_PX, _REACH_PX + 1, dtype=np.float32)
_SLOPE = np.float32(SHADING / 1.6)


def fit_outlines(chroma: Pixels, ids: Labels, *, chosen: Labels, images: Labels, hues: Pixels) -> list[Outline]:
    """Match regions with shapes.

    Args:
        chroma: (N, 64, 64, 2) colour without its grey part.
        ids: (N, 64, 64) region of each pixel, -1 for none.
        chosen: (M,) the regions to match.
        images: (M,) the image of each.
        hues: (M, 2) chroma of each region's palette colour.
    """
    if not len(chosen):
        return []
    cover, left, top = _cut_out(chroma, ids, chosen, images, hues)
    guesses = _by_moments(cover)
    num, shapes = len(chosen), len(SHAPES)
    kinds = np.tile(np.arange(shapes), num)
    drawn = _draw(kinds, guesses.reshape(-1, 3)).reshape(num, shapes, *cover.shape[1:])
    errors = np.square(drawn - cover[:, None]).sum((2, 3))
    rivals = errors <= _RIVAL_ERROR * errors.min(1, keepdims=True)
    rivals &= errors.argsort(1).argsort(1) < _REFINED_SHAPES
    rows, kinds = np.nonzero(rivals)
    guess, error = _refine(kinds, guesses[rows, kinds], cover[rows])
    order = np.lexsort((error, rows))
    winner = order[np.searchsorted(rows[order], np.arange(num))]
    kinds, guess = kinds[winner], guess[winner]
    inside, region = _draw(kinds, guess) > 0.5, cover > 0.5
    fit = (inside & region).sum((1, 2)) / (inside | region).sum((1, 2))
    return [
        Outline(SHAPES[kind], x + column, y + row, radius, quality)
        for kind, (x, y, radius), column, row, quality in zip(
            kinds.tolist(), guess.tolist(), left.tolist(), top.tolist(), fit.tolist(), strict=True
        )
    ]


def _cut_out(
    chroma: Pixels, ids: Labels, chosen: Labels, images: Labels, hues: Pixels
) -> tuple[Pixels, Labels, Labels]:
    """(M, side, side) share of each pixel that the region's colour covers, and the image position of the centre."""
    order = np.full(int(ids.max()) + 1, -1)
    order[chosen] = np.arange(len(chosen))
    position = np.flatnonzero((ids >= 0).ravel())
    member = order[ids.ravel()[position]]
    position, member = position[member >= 0], member[member >= 0]
    area = np.bincount(member, minlength=len(chosen))
    left = np.rint(np.bincount(member, position % SIZE_PX) / area).astype(int)
    top = np.rint(np.bincount(member, position // SIZE_PX % SIZE_PX) / area).astype(int)
    rows, columns = (middle[:, None] + np.arange(-_REACH_PX, _REACH_PX + 1) for middle in (top, left))
    valid = _within(rows)[:, :, None] & _within(columns)[:, None, :]
    rows, columns = rows.clip(0, SIZE_PX - 1)[:, :, None], columns.clip(0, SIZE_PX - 1)[:, None, :]
    where = (images[:, None, None] * SIZE_PX + rows) * SIZE_PX + columns
    mine = valid & (ids.ravel()[where] == chosen[:, None, None])
    near = mine.copy()
    near[:, 1:] |= mine[:, :-1]
    near[:, :-1] |= mine[:, 1:]
    wide = near.copy()
    wide[:, :, 1:] |= near[:, :, :-1]
    wide[:, :, :-1] |= near[:, :, 1:]
    # Only a ring of one pixel around the region may add to it, or a neighbour's edge would.
    scaled = hues / np.square(hues).sum(1, keepdims=True)
    strength = np.einsum("myxc,mc->myx", chroma.reshape(-1, 2)[where], scaled)
    return np.where(wide & valid, strength.clip(0, 1.2), 0).astype(np.float32), left, top


def _within(positions: Labels) -> npt.NDArray[np.bool_]:
    return (positions >= 0) & (positions < SIZE_PX)


def _by_moments(cover: Pixels) -> Pixels:
    """(M, S, 3) centre and radius that give each shape the region's centroid and area."""
    area = cover.sum((1, 2)).clip(1)  # a hollow region larger than the cut-out may leave it empty
    x = (cover.sum(1) * _OFFSET).sum(1) / area
    y = (cover.sum(2) * _OFFSET).sum(1) / area
    radii = np.sqrt(area[:, None] / _UNIT_AREA).clip(MIN_RADIUS, MAX_RADIUS)
    return np.stack([np.broadcast_to(x[:, None], radii.shape), y[:, None] - _UNIT_CENTROID_Y * radii, radii], 2)


def _local(guess: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    """(K, 1, side) and (K, side, 1) pixel coordinates in radii from the centre, and the (K, 1, 1) radius."""
    centre_x, centre_y, radius = (guess[:, k, None, None].astype(np.float32) for k in range(3))
    return (_OFFSET - centre_x) / radius, (_OFFSET[:, None] - centre_y) / radius, radius


def _table_cells(kinds: Labels, x: Pixels, y: Pixels) -> tuple[npt.NDArray[np.int32], Pixels, Pixels]:
    """(K, side, side) table cell nearest to each point, and how far the point is from it along x and y."""
    limit = np.float32(_TABLE_REACH * _CELLS_PER_RADIUS)
    column, row = (np.rint((line * _CELLS_PER_RADIUS).clip(-limit, limit) + limit) for line in (x, y))
    first = kinds.astype(np.int32)[:, None, None] * _TABLE_SIDE
    cell = (first + row.astype(np.int32)) * _TABLE_SIDE + column.astype(np.int32)
    step = np.float32(1 / _CELLS_PER_RADIUS)
    return cell, x - (column - limit) * step, y - (row - limit) * step


def _draw(kinds: Labels, guess: Pixels) -> Pixels:
    """(K, side, side) shaded coverage of shapes at (x, y, radius)."""
    x, y, radius = _local(guess)
    cell, _, _ = _table_cells(kinds, x, y)
    drawn: Pixels = np.clip(0.5 - _DISTANCE[cell] * radius, 0, 1) * (1 - _SLOPE * x - _SLOPE * y)
    return drawn


def _refine(kinds: Labels, guess: Pixels, cover: Pixels) -> tuple[Pixels, Pixels]:
    """Gauss-Newton on (x, y, radius); returns the best placement met and its squared error."""
    best, lowest = guess.copy(), np.full(len(guess), np.inf)
    for step in range(_STEPS + 1):
        x, y, radius = _local(guess)
        cell, beside, below = _table_cells(kinds, x, y)
        across, down = _ACROSS[cell], _DOWN[cell]
        # First-order step from the table's node to the point: exact along straight edges.
        distance = _DISTANCE[cell] + beside * across + below * down
        shade = 1 - _SLOPE * x - _SLOPE * y
        outside = distance * radius
        missing = cover - np.clip(0.5 - outside, 0, 1) * shade
        error = np.square(missing).sum((1, 2))
        better = error < lowest
        best[better], lowest[better] = guess[better], error[better]
        if step == _STEPS:
            break
        edge = (np.abs(outside) < 0.5) * shade
        slopes = np.stack([edge * across, edge * down, edge * (x * across + y * down - distance)], 1)
        flat = slopes.reshape(len(guess), 3, -1)
        gram = flat @ flat.transpose(0, 2, 1) + 0.5 * np.eye(3, dtype=np.float32)
        move = np.linalg.solve(gram, flat @ missing.reshape(len(guess), -1, 1))[..., 0]
        guess = guess + move.clip(-1.5, 1.5)
        guess[:, 2] = guess[:, 2].clip(MIN_RADIUS, MAX_RADIUS)
    return best, lowest

"""The artifacts of the ladder: what generators get wrong, planted in clean pictures.

Each function draws everything random first, whatever the severity, so that a ladder of one seed is one artifact that
grows; then it paints on the canvas, a copy of the picture. Both are (H, W, 3) float32 in [0, 1].
"""

import numpy as np

from pyrite.artifact.ladder_places import Pixels, Plane, Region, Spot, extent, find_spots

_TILE_PX = 256


def patch_swap(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """Two parts of the picture change places."""
    spots = find_spots(picture, 6, rng)
    radius = (0.07 + 0.09 * severity) * extent(picture)
    for first, second in zip(spots[::2], spots[1::2], strict=True):
        for here, there in ((first, second), (second, first)):
            region = here.region(picture, radius, feather=0.08)
            region.paint(canvas, region.shift(picture, there.y - here.y, there.x - here.x))
        if severity < 0.5:
            break


def duplicated_part(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """A part grows a second and a third time beside itself, turned a little."""
    spot = find_spots(picture, 1, rng)[0]
    tilts = rng.uniform(-0.6, 0.6, 4)
    radius = (0.10 + 0.06 * severity) * extent(picture)
    for copy, tilt in enumerate(tilts[: 1 + round(3 * severity)]):
        turn = spot.turn + copy * np.pi / 2
        target = _moved(spot, picture, 1.35 * radius * np.sin(turn), 1.35 * radius * np.cos(turn))
        region = target.region(picture, radius, feather=0.15)
        cosine, sine = np.cos(tilt), np.sin(tilt)
        from_y = cosine * region.dy - sine * region.dx + spot.y - target.y - region.dy
        from_x = sine * region.dy + cosine * region.dx + spot.x - target.x - region.dx
        region.paint(canvas, region.bend(picture, from_y, from_x))


def local_warp(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """A part is twisted and pinched, as faces and hands are."""
    spots = find_spots(picture, 2, rng)
    twists = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.8, 1.2, 2)
    for spot, twist in zip(spots[: 1 + (severity > 0.5)], twists, strict=False):
        region = spot.region(picture, (0.16 + 0.08 * severity) * extent(picture), feather=0.9)
        inner = region.alpha**2
        angle = np.float32((0.5 + 2.1 * severity) * twist) * inner
        zoom = 1 + np.float32(0.2 + 0.5 * severity) * inner
        from_y = zoom * (np.cos(angle) * region.dy - np.sin(angle) * region.dx) - region.dy
        from_x = zoom * (np.sin(angle) * region.dy + np.cos(angle) * region.dx) - region.dx
        # The shift fades out by itself; painting with alpha on top would show the part twice.
        region.lay(canvas, region.bend(picture, from_y, from_x))


def melted_edges(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """Outlines run down in drips."""
    spots = find_spots(picture, 3, rng)
    size = extent(picture)
    drips = _smooth_noise((1, picture.shape[1]), 0.02 * size, rng) ** 2
    for spot in spots[: 1 + round(2 * severity)]:
        region = spot.region(picture, (0.16 + 0.12 * severity) * size, feather=0.5)
        fall = np.float32((0.10 + 0.30 * severity) * size) * drips[:, region.columns] * region.alpha
        region.lay(canvas, region.bend(picture, -fall, np.zeros_like(fall)))


def seam(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """A box of the picture does not continue what is around it: moved along, and of another tone."""
    spot = find_spots(picture, 1, rng)[0]
    tall, wide = rng.uniform(0.7, 1.3, 2)
    tint = rng.uniform(-1, 1, 3).astype(np.float32)
    gain = np.float32(rng.choice([-1, 1]))
    size = extent(picture)
    half = (0.12 + 0.16 * severity) * size
    region = spot.box(picture, half * tall, half * wide)
    shift = (0.03 + 0.09 * severity) * size
    moved = region.shift(picture, shift * np.sin(spot.turn), shift * np.cos(spot.turn))
    region.paint(canvas, moved * (1 + np.float32(0.30 * severity) * gain) + np.float32(0.06 * severity) * tint)


def inconsistent_lighting(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """Neighbouring things are lit from opposite sides, with a hard shadow that nothing throws."""
    spots = find_spots(picture, 3, rng)
    turn = spots[0].turn
    size = extent(picture)
    stops = np.float32(2.2 * severity)
    for spot, sign in zip(spots[:2], (1.0, -1.0), strict=True):
        region = spot.region(picture, 0.30 * size, feather=0.45)
        slope = np.float32(sign / (0.2 * size)) * (np.cos(turn) * region.dx + np.sin(turn) * region.dy)
        light = np.clip(slope, -1, 1)[..., None]
        # Brighter is also warmer and darker is cooler, as of a lamp.
        region.paint(canvas, region.of(canvas) * np.exp2(stops * light * np.array([1.1, 0.95, 0.75], np.float32)))
    thrown = _thrown(spots[2].region(picture, 0.24 * size, feather=0.06), turn, 0.24 * size)
    thrown.paint(canvas, thrown.of(canvas) * np.array([0.35, 0.38, 0.45], np.float32), severity)


def grid_pattern(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """The squares of the decoder show through."""
    height, width = picture.shape[:2]
    period = int(np.clip(extent(picture) // 32, 4, 24))
    offset_y, offset_x = rng.integers(0, period, 2)
    field = _smooth_noise((-(-height // 8), -(-width // 8)), 0.02 * extent(picture), rng)
    uneven = (0.35 + 0.65 * field).repeat(8, 0).repeat(8, 1)[:height, :width]
    y, x = (np.arange(height) + offset_y)[:, None], (np.arange(width) + offset_x)[None]
    checks = ((y // period + x // period) % 2 * 2 - 1).astype(np.float32)
    lines = ((y % period == 0) | (x % period == 0)).astype(np.float32)
    canvas += (np.float32(severity) * uneven * (0.09 * checks - 0.16 * lines))[..., None]


def smear(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """From a line on, the picture is drawn out in streaks."""
    spots = find_spots(picture, 4, rng)
    size = extent(picture)
    for spot in spots[: 1 + round(3 * severity)]:
        region = spot.region(picture, (0.10 + 0.14 * severity) * size, feather=0.25)
        cosine, sine = np.float32(np.cos(spot.turn)), np.float32(np.sin(spot.turn))
        beyond = np.maximum(cosine * region.dx + sine * region.dy + np.float32(0.5 * 0.12 * size), 0)
        region.paint(canvas, region.bend(picture, -sine * beyond, -cosine * beyond))


def texture_noise(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """Crawling false texture lies over surfaces."""
    spots = find_spots(picture, 3, rng)
    size = extent(picture)
    worms = _worms(max(0.7, 0.006 * size), rng)
    for spot in spots[: 1 + round(2 * severity)]:
        region = spot.region(picture, (0.16 + 0.10 * severity) * size, feather=0.4)
        rows, columns = (np.arange(part.start, part.stop) % _TILE_PX for part in (region.rows, region.columns))
        content = region.of(picture)
        content = content + np.float32(0.05 + 0.16 * severity) * worms[rows[:, None], columns[None]]
        region.paint(canvas, content)


def chopped_object(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """A part is cut away along a straight line; what is beyond it closes over the gap."""
    spot = find_spots(picture, 1, rng)[0]
    radius = (0.13 + 0.15 * severity) * extent(picture)
    turn = _calmest_side(picture, spot, 0.28 * extent(picture))
    down, right = float(np.sin(turn)), float(np.cos(turn))
    region = spot.region(picture, radius, feather=0.35)
    beyond = np.float32(down) * region.dy + np.float32(right) * region.dx + np.float32(0.3 * radius)
    kept = np.clip(beyond + 0.5, 0, 1)  # the line is as sharp as a pixel
    gap = Region(region.rows, region.columns, region.alpha * kept, region.dy, region.dx)
    gap.paint(canvas, gap.shift(picture, 1.5 * radius * down, 1.5 * radius * right))


def ghost(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """A thing shows through a second time, half transparent."""
    spot = find_spots(picture, 1, rng)[0]
    size = extent(picture)
    region = spot.region(picture, 0.32 * size, feather=0.4)
    shift = (0.06 + 0.08 * severity) * size
    shifted = region.shift(picture, shift * np.sin(spot.turn), shift * np.cos(spot.turn))
    region.paint(canvas, shifted, 0.3 + 0.4 * severity)


def scrambled_detail(picture: Pixels, canvas: Pixels, severity: float, rng: np.random.Generator) -> None:
    """Fine structure falls apart into misplaced pieces, as small text and distant faces do."""
    spots = find_spots(picture, 2, rng)
    size = extent(picture)
    piece = max(2, round(0.03 * size))
    jumps = rng.uniform(-1, 1, (2, *(-(-side // piece) for side in picture.shape[:2]))).astype(np.float32)
    jumps *= np.float32((0.5 + 2 * severity) * piece)
    for spot in spots[: 1 + (severity > 0.5)]:
        region = spot.region(picture, (0.14 + 0.10 * severity) * size, feather=0.0)
        rows, columns = (np.arange(part.start, part.stop) // piece for part in (region.rows, region.columns))
        shift_y, shift_x = jumps[:, rows[:, None], columns[None]]
        region.paint(canvas, region.scatter(picture, shift_y, shift_x))


def _moved(spot: Spot, picture: Pixels, down: float, right: float) -> Spot:
    """The spot elsewhere, turned back where it would leave the picture."""
    height, width = picture.shape[:2]
    y = spot.y + (down if 0 <= spot.y + down < height else -down)
    x = spot.x + (right if 0 <= spot.x + right < width else -right)
    return Spot(y, x, spot.wobble, spot.turn)


def _smooth_noise(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> Plane:
    """Hills between 0 and 1."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma, mode="reflect")
    hills: Plane = (noise - noise.min()) / max(float(np.ptp(noise)), 1e-6)
    return hills


def _worms(width: float, rng: np.random.Generator) -> Pixels:
    """A tile of winding lines about `width` pixels thick, in [-1, 1] and slightly coloured; its edges match."""
    from scipy.ndimage import gaussian_filter

    noise = rng.standard_normal((_TILE_PX, _TILE_PX, 3)).astype(np.float32)
    noise = 0.75 * noise.mean(2, keepdims=True) + 0.25 * noise
    fine, coarse = (gaussian_filter(noise, (sigma, sigma, 0), mode="wrap") for sigma in (width, 2 * width))
    lines: Pixels = np.tanh(1.5 * (fine - coarse) / (fine - coarse).std())
    return lines


def _thrown(region: Region, turn: float, length: float) -> Region:
    """The part of a region that is a bar along a direction, as a shadow on the ground is."""
    across = np.abs(np.cos(turn) * region.dy - np.sin(turn) * region.dx)
    bar = np.clip((np.float32(0.45 * length) - across) / np.float32(max(1.0, 0.04 * length)), 0, 1)
    return Region(region.rows, region.columns, region.alpha * bar, region.dy, region.dx)


def _calmest_side(picture: Pixels, spot: Spot, distance: float) -> float:
    """The direction in which the least happens within the picture: where an object gives way to its ground."""
    height, width = picture.shape[:2]
    turns = spot.turn + np.arange(8) * np.pi / 4
    spread = []
    for turn in turns:
        there = Spot(spot.y + distance * np.sin(turn), spot.x + distance * np.cos(turn), spot.wobble, turn)
        inside = 0 <= there.y < height and 0 <= there.x < width
        box = there.box(picture, 0.5 * distance, 0.5 * distance) if inside else None
        spread.append(float(box.of(picture).std()) if box is not None else np.inf)
    return float(turns[int(np.argmin(spread))])

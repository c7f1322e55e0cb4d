"""Procedural 64x64 scenes: shaded shapes with soft shadows on graded, faintly textured backgrounds.

Coordinates are pixels, x to the right and y down, the centre of the top-left pixel at (0, 0).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]

SIZE_PX = 64
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.16, 0.16),
    "orange": (0.96, 0.55, 0.12),
    "yellow": (0.95, 0.86, 0.20),
    "green": (0.20, 0.66, 0.28),
    "cyan": (0.22, 0.78, 0.84),
    "blue": (0.16, 0.34, 0.86),
    "purple": (0.52, 0.22, 0.70),
    "pink": (0.96, 0.52, 0.74),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
TEXTURES = ("plain", "bands", "pillars", "checks")
MAX_OBJECTS = 4

MIN_RADIUS, MAX_RADIUS = 7.0, 12.0
CIRCLE_RADIUS = 0.96
MIN_GREY, MAX_GREY = 0.82, 0.93
MAX_TINT = 0.012
MAX_GRADIENT = 0.04
TEXTURE_AMPLITUDE = 0.022
SHADING = 0.12
SHADOW_DARKNESS = 0.16
SHADOW_SHIFT_PX = 2
SHADOW_BLUR_PX = 3.0

_Y, _X = np.mgrid[0:SIZE_PX, 0:SIZE_PX].astype(np.float32)


@dataclass(frozen=True)
class SceneObject:
    """One shape: its palette colour, its centre and its radius in pixels (7 to 12)."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Background:
    """A light grey with a slight tint, a linear gradient and a faint texture.

    Args:
        base: (3,) RGB in [0, 1] at the centre of the image.
        gradient: change of grey from the centre to the right and to the bottom edge.
        texture: one of `TEXTURES`.
    """

    base: tuple[float, float, float]
    gradient: tuple[float, float]
    texture: str = "plain"


@dataclass(frozen=True)
class Scene:
    """Everything that is in a picture; the objects do not overlap."""

    objects: tuple[SceneObject, ...]
    background: Background


def _polygon(shape: str) -> Pixels:
    if shape == "square":
        half = 0.84
        corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    elif shape == "triangle":
        corners = [(0, -1.08), (1.04, 0.80), (-1.04, 0.80)]
    elif shape == "star":
        angles = -np.pi / 2 + np.arange(10) * np.pi / 5
        radii = np.where(np.arange(10) % 2 == 0, 1.18, 0.48)
        corners = list(zip(radii * np.cos(angles), radii * np.sin(angles), strict=True))
    else:  # cross
        arm, reach = 0.34, 1.02
        quarter = [(-arm, -reach), (arm, -reach), (arm, -arm)]
        corners = [turn for k in range(4) for turn in (_rotate(point, k) for point in quarter)]
    return np.array(corners, np.float32)


def _rotate(point: tuple[float, float], quarter_turns: int) -> tuple[float, float]:
    x, y = point
    for _ in range(quarter_turns):
        x, y = -y, x
    return x, y


_POLYGONS = {shape: _polygon(shape) for shape in SHAPES if shape != "circle"}


def extent(shape: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of an outline of radius 1, relative to its centre."""
    if shape == "circle":
        return (-CIRCLE_RADIUS, -CIRCLE_RADIUS, CIRCLE_RADIUS, CIRCLE_RADIUS)
    (left, top), (right, bottom) = _POLYGONS[shape].min(0).tolist(), _POLYGONS[shape].max(0).tolist()
    return left, top, right, bottom


def signed_distance(shape: str, x: Pixels, y: Pixels, radius: float) -> Pixels:
    """Distance in pixels from points (x, y), relative to the centre, to the outline: negative inside."""
    if shape == "circle":
        circle: Pixels = np.sqrt(x * x + y * y) - np.float32(CIRCLE_RADIUS * radius)
        return circle
    corners = _POLYGONS[shape] * np.float32(radius)
    squared = np.full(x.shape, 1e9, np.float32)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, 1, axis=0), strict=True):
        ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        dx, dy = wx - ex * along, wy - ey * along
        np.minimum(squared, dx * dx + dy * dy, out=squared)
        crosses = (y >= ay) != (y >= by)
        inside ^= crosses & ((wx * ey < ex * wy) == (by < ay))
    distance: Pixels = np.where(inside, -1, 1).astype(np.float32) * np.sqrt(squared)
    return distance


def coverage(distance: Pixels) -> Pixels:
    """Share of a pixel that lies inside an outline, from its signed distance: an anti-aliased edge of one pixel."""
    covered: Pixels = np.clip(0.5 - distance, 0, 1)
    return covered


def texture_pattern(texture: str) -> Pixels:
    """(64, 64) grey pattern in [-1, 1]; its period divides the image, so that it tiles."""
    across, down = np.sin(2 * np.pi * _X / 16), np.sin(2 * np.pi * _Y / 16)
    patterns = {"plain": 0 * _X, "bands": down, "pillars": across, "checks": across * down}
    pattern: Pixels = patterns[texture].astype(np.float32)
    return pattern


_PATTERNS = {texture: texture_pattern(texture) for texture in TEXTURES}


def render_background(background: Background) -> Pixels:
    """(64, 64, 3) float32 in [0, 1]."""
    half = SIZE_PX / 2
    grey = background.gradient[0] * (_X - half + 0.5) / half + background.gradient[1] * (_Y - half + 0.5) / half
    grey = grey + TEXTURE_AMPLITUDE * _PATTERNS[background.texture]
    image: Pixels = np.asarray(background.base, np.float32) + grey[..., None].astype(np.float32)
    return image


def _patch(item: SceneObject) -> tuple[int, int, Pixels, Pixels]:
    """Top-left corner and local coordinates of the square of pixels that an object and its shadow can touch."""
    reach = int(np.ceil(item.radius * 1.2)) + 3 + SHADOW_SHIFT_PX
    left, top = round(item.x) - reach, round(item.y) - reach
    side = np.arange(2 * reach + 1, dtype=np.float32)
    return left, top, *np.meshgrid(side + np.float32(left - item.x), side + np.float32(top - item.y))


def shading(x: Pixels, y: Pixels, radius: float) -> Pixels:
    """Brightness factor of an object lit from the top left; 1 at its centre."""
    factor: Pixels = 1 - np.float32(SHADING / (1.6 * radius)) * (x + y)
    return factor


def shadow(distance: Pixels) -> Pixels:
    """Share of light lost to a shadow, from the signed distance to the outline that casts it."""
    darkness: Pixels = np.float32(SHADOW_DARKNESS) * np.clip(0.5 - distance / np.float32(SHADOW_BLUR_PX), 0, 1)
    return darkness


def render(scene: Scene) -> Pixels:
    """Draw a scene: (64, 64, 3) float32 in [0, 1]. Shadows fall on the background only."""
    image = render_background(scene.background)
    painted = []
    for item in scene.objects:
        left, top, x, y = _patch(item)
        distance = signed_distance(item.shape, x, y, item.radius)
        cast = shadow(np.roll(distance, (SHADOW_SHIFT_PX, SHADOW_SHIFT_PX), (0, 1)))
        rows, columns, inner = _inside_image(left, top, len(x))
        image[rows, columns] *= 1 - cast[inner][..., None]
        colour = np.asarray(COLOURS[item.colour], np.float32) * shading(x, y, item.radius)[..., None]
        painted.append((rows, columns, coverage(distance)[inner][..., None], np.clip(colour, 0, 1)[inner]))
    for rows, columns, alpha, colour in painted:
        image[rows, columns] = image[rows, columns] * (1 - alpha) + colour * alpha
    return np.clip(image, 0, 1)


def _inside_image(left: int, top: int, side: int) -> tuple[slice, slice, tuple[slice, slice]]:
    x0, x1 = max(left, 0), min(left + side, SIZE_PX)
    y0, y1 = max(top, 0), min(top + side, SIZE_PX)
    return slice(y0, y1), slice(x0, x1), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def random_background(rng: np.random.Generator) -> Background:
    """A background as the world draws them."""
    grey = rng.uniform(MIN_GREY, MAX_GREY)
    red, green, blue = (grey + rng.uniform(-MAX_TINT, MAX_TINT, 3)).tolist()
    across, down = rng.uniform(-MAX_GRADIENT, MAX_GRADIENT, 2).tolist()
    return Background((red, green, blue), (across, down), TEXTURES[rng.integers(len(TEXTURES))])


def to_uint8(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Round [0, 1] to bytes."""
    return (pixels * 255 + 0.5).astype(np.uint8)

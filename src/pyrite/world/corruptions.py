"""Damage to clean pictures at graded severity: what the artifact model learns and the gold reward must see."""

from collections.abc import Callable

import numpy as np

from pyrite.world.scenes import SIZE_PX, Pixels

_Y, _X = np.mgrid[0:SIZE_PX, 0:SIZE_PX].astype(np.float32)
_CELL = 8


def _noise(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    noisy: Pixels = image + rng.normal(0, 0.22 * severity, image.shape).astype(np.float32)
    return noisy


def _blur(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    from scipy.ndimage import gaussian_filter

    blurred: Pixels = gaussian_filter(image, (4 * severity, 4 * severity, 0))
    return blurred


def _stripes(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    axis = _X if rng.random() < 0.5 else _Y
    wave = np.sin(2 * np.pi * axis / rng.uniform(4, 8) + rng.uniform(0, 2 * np.pi))
    striped: Pixels = image + np.float32(0.35 * severity) * wave[..., None].astype(np.float32)
    return striped


def _mosaic(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    """Replace a growing share of the 8-pixel cells by their mean colour, blended in by severity."""
    cells = SIZE_PX // _CELL
    means = image.reshape(cells, _CELL, cells, _CELL, 3).mean((1, 3)).repeat(_CELL, 0).repeat(_CELL, 1)
    hit = (rng.random((cells, cells)) < 0.1 + 0.9 * severity).repeat(_CELL, 0).repeat(_CELL, 1)[..., None]
    return np.where(hit, means, image)


def _smear(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    out = image.copy()
    for _ in range(1 + int(5 * severity)):
        top, left = rng.integers(4, SIZE_PX - 14), rng.integers(8, SIZE_PX - 24)
        height, length = int(rng.integers(4, 10)), int(6 + 18 * severity)
        out[top : top + height, left : left + length] = out[top : top + height, left : left + 1]
    return out


def _blotch(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    out = image
    for _ in range(1 + int(5 * severity)):
        x, y = rng.uniform(6, SIZE_PX - 6, 2)
        width = rng.uniform(2, 3 + 4 * severity)
        alpha = 0.9 * np.exp(-((_X - x) ** 2 + (_Y - y) ** 2) / (2 * width**2))[..., None].astype(np.float32)
        out = out * (1 - alpha) + alpha * rng.random(3).astype(np.float32)
    return out


def _shuffle(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    """Permute some of the 8-pixel cells."""
    cells = SIZE_PX // _CELL
    grid = image.reshape(cells, _CELL, cells, _CELL, 3).transpose(0, 2, 1, 3, 4).reshape(cells**2, _CELL, _CELL, 3)
    moved = rng.choice(cells**2, 2 + int(30 * severity), replace=False)
    grid[moved] = grid[np.roll(moved, 1)]
    return grid.reshape(cells, cells, _CELL, _CELL, 3).transpose(0, 2, 1, 3, 4).reshape(SIZE_PX, SIZE_PX, 3)


def _burn(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    """Raise saturation and contrast, as over-optimised policies do."""
    grey = image.mean(2, keepdims=True)
    vivid = grey + (image - grey) * np.float32(1 + 2.5 * severity)
    burnt: Pixels = (vivid - 0.5) * np.float32(1 + 1.2 * severity) + 0.5
    return burnt


def _warp(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    """Bend the picture with a smooth random displacement field."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    field = gaussian_filter(rng.normal(0, 1, (2, SIZE_PX, SIZE_PX)), (0, 4, 4))
    field *= 5 * severity / np.abs(field).max()
    at = [_Y + field[0], _X + field[1]]
    return np.stack([map_coordinates(image[..., c], at, order=1, mode="nearest") for c in range(3)], -1)


def _erase(image: Pixels, severity: float, rng: np.random.Generator) -> Pixels:
    """Paint rounded holes of the border's colour over the middle of the picture: chopped objects."""
    out = image
    paper = np.median(image[:3].reshape(-1, 3), 0)
    for _ in range(1 + int(5 * severity)):
        x, y = rng.uniform(12, SIZE_PX - 12, 2)
        alpha = np.clip(3 + 6 * severity - np.hypot(_X - x, _Y - y), 0, 1)[..., None].astype(np.float32)
        out = out * (1 - alpha) + alpha * paper
    return out


CORRUPTIONS: dict[str, Callable[[Pixels, float, np.random.Generator], Pixels]] = {
    "noise": _noise,
    "blur": _blur,
    "stripes": _stripes,
    "mosaic": _mosaic,
    "smear": _smear,
    "blotch": _blotch,
    "shuffle": _shuffle,
    "burn": _burn,
    "warp": _warp,
    "erase": _erase,
}


def corrupt(image: Pixels, kind: str, severity: float, rng: np.random.Generator) -> Pixels:
    """Damage a (64, 64, 3) picture in [0, 1]; severity in [0, 1], 0 leaves it as it is."""
    if severity == 0:
        return image.copy()
    damaged: Pixels = np.clip(CORRUPTIONS[kind](image.copy(), severity, rng), 0, 1).astype(np.float32)
    return damaged

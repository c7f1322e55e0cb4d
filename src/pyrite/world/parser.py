"""From an image to the scene that explains it best: the independent eyes behind the gold reward.

Analysis by synthesis. The background is fitted to what is grey, objects are what is coloured (shadows are not), each
is matched with the outlines of the five shapes, and the scene so found is drawn again by the world's own renderer. What
the drawing leaves unexplained is the residual. Many images are parsed at once: `parse_batch`.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyrite.world.outlines import MIN_AREA_PX, Outline, fit_outlines
from pyrite.world.scenes import (
    COLOURS,
    MAX_GRADIENT,
    MAX_GREY,
    MAX_TINT,
    MIN_GREY,
    SIZE_PX,
    TEXTURE_AMPLITUDE,
    TEXTURES,
    Background,
    Pixels,
    Scene,
    SceneObject,
    render,
    texture_pattern,
)

MIN_FIT = 0.65
MIN_FRAGMENT_PX = 8
MAX_CANDIDATES = 8
_COLOURED = 0.4
_ROUNDING = 1e-3
_WORST_BLOCKS = 8
_SHADOW_REACH_PX = 5

Labels = npt.NDArray[np.int64]

_NAMES = tuple(COLOURS)
# Two axes that span the plane of colours without grey: a shadow does not move a pixel in it.
_CHROMA_AXES = np.array([[0.5, -0.5, 0], [0.5, 0.5, -1]], np.float32).T * np.array([2**0.5, (2 / 3) ** 0.5], np.float32)
_PALETTE = np.array(list(COLOURS.values()), np.float32) @ _CHROMA_AXES
_PALETTE_HUES = _PALETTE / np.linalg.norm(_PALETTE, axis=1, keepdims=True)
_HALF = SIZE_PX / 2
_Y, _X = (np.mgrid[0:SIZE_PX, 0:SIZE_PX].astype(np.float32) - _HALF + 0.5) / _HALF
_FEATURES = np.stack([np.ones_like(_X), _X, _Y, *(texture_pattern(name) for name in TEXTURES[1:])], -1)
_FEATURES = _FEATURES.reshape(-1, len(TEXTURES) + 2)
_PRODUCTS = (_FEATURES[:, :, None] * _FEATURES[:, None]).reshape(len(_FEATURES), -1)


@dataclass(frozen=True)
class ParsedScene:
    """The best-fitting scene of an image, and what it leaves unexplained.

    Args:
        scene: background, and the coloured regions that have the outline of a shape.
        fits: per object, intersection over union of region and outline, in [0, 1].
        num_misfits: coloured regions as large as an object without the outline of one, or beyond the eighth.
        num_fragments: smaller coloured regions of at least 8 pixels.
        overlap_px: by how much the circles around the objects overlap, summed over pairs; the world keeps them apart.
        rmse: root mean square of image minus drawing, over all pixels and channels.
        block_rmse: the same over the worst eight of the 225 overlapping 8x8 blocks.
    """

    scene: Scene
    fits: tuple[float, ...]
    num_misfits: int
    num_fragments: int
    overlap_px: float
    rmse: float
    block_rmse: float

    @property
    def num_found(self) -> int:
        """Coloured regions as large as an object, whether they are one or not."""
        return len(self.scene.objects) + self.num_misfits


@dataclass(frozen=True)
class _Regions:
    """Connected regions of one palette colour, over all images of a batch.

    Args:
        ids: (N, 64, 64) region of each pixel, -1 for none.
        image: (M,) the image of each region.
        colour: (M,) its palette index.
        area_px: (M,)
    """

    ids: Labels
    image: Labels
    colour: Labels
    area_px: Labels


def parse(image: Pixels) -> ParsedScene:
    """Find the scene that explains a (64, 64, 3) image in [0, 1] best."""
    return parse_batch(image[None])[0]


def parse_batch(images: Pixels) -> list[ParsedScene]:
    """Parse (N, 64, 64, 3) images in [0, 1]; each result is the same whatever the others are.

    Raises:
        ValueError: another shape, or values outside [0, 1].
    """
    pixels = _checked(images)
    if not len(pixels):
        return []
    # One product per image: a product over the batch would round differently with the size of the batch.
    chroma = (pixels.reshape(len(pixels), -1, 3) @ _CHROMA_AXES).reshape(*pixels.shape[:3], 2)
    colours = _palette_labels(chroma)
    backgrounds = _fit_backgrounds(pixels, chroma)
    regions = _connected_regions(colours)
    chosen = _largest_per_image(regions, len(pixels))
    outlines = fit_outlines(
        chroma,
        regions.ids,
        chosen=chosen,
        images=regions.image[chosen],
        hues=_PALETTE[regions.colour[chosen]],
    )
    return _assemble(pixels, backgrounds, regions, list(zip(chosen.tolist(), outlines, strict=True)))


def _checked(images: Pixels) -> Pixels:
    if images.ndim != 4 or images.shape[1:] != (SIZE_PX, SIZE_PX, 3):
        raise ValueError(
            f"the pocket world parses images of shape (N, {SIZE_PX}, {SIZE_PX}, 3), got {images.shape}. "
            "Move the channels to the end and resize beforehand."
        )
    # Written so that NaN fails too.
    if len(images) and not (images.min() >= -_ROUNDING and images.max() <= 1 + _ROUNDING):
        raise ValueError(
            f"pixels are numbers in [0, 1], got {images.min():.3g} to {images.max():.3g}: the colours would mean "
            "something else. Divide bytes by 255, and clip what a decoder returns."
        )
    return np.ascontiguousarray(images, np.float32)


def _assemble(
    pixels: Pixels, backgrounds: list[Background], regions: _Regions, found: list[tuple[int, Outline]]
) -> list[ParsedScene]:
    large = regions.area_px >= MIN_AREA_PX
    num_large = np.bincount(regions.image[large], minlength=len(pixels))
    fragments = ~large & (regions.area_px >= MIN_FRAGMENT_PX)
    num_fragments = np.bincount(regions.image[fragments], minlength=len(pixels))
    members: list[list[tuple[SceneObject, float]]] = [[] for _ in pixels]
    for region, outline in found:
        if outline.fit >= MIN_FIT:
            item = SceneObject(outline.shape, _NAMES[regions.colour[region]], outline.x, outline.y, outline.radius)
            members[regions.image[region]].append((item, outline.fit))
    scenes = [Scene(tuple(i for i, _ in row), back) for row, back in zip(members, backgrounds, strict=True)]
    rmse, block_rmse = _residuals(pixels, scenes)
    return [
        ParsedScene(
            scene,
            tuple(fit for _, fit in members[k]),
            int(num_large[k]) - len(scene.objects),
            int(num_fragments[k]),
            _overlap_px(scene),
            float(rmse[k]),
            float(block_rmse[k]),
        )
        for k, scene in enumerate(scenes)
    ]


def _overlap_px(scene: Scene) -> float:
    pairs = itertools.combinations(scene.objects, 2)
    return sum(max(0.0, a.radius + b.radius - math.hypot(a.x - b.x, a.y - b.y)) for a, b in pairs)


def _residuals(pixels: Pixels, scenes: Sequence[Scene]) -> tuple[Pixels, Pixels]:
    """(N,) root mean square of image minus drawing: over everything, and over the worst blocks."""
    drawn = np.stack([render(scene) for scene in scenes])
    squares = np.square(pixels - drawn).mean(3)
    cells = squares.reshape(-1, 16, 4, 16, 4).mean((2, 4))
    blocks = (cells[:, 1:, 1:] + cells[:, 1:, :-1] + cells[:, :-1, 1:] + cells[:, :-1, :-1]) / 4
    worst = np.sort(blocks.reshape(len(blocks), -1), axis=1)[:, -_WORST_BLOCKS:]
    return np.sqrt(squares.mean((1, 2))), np.sqrt(worst.mean(1))


def _palette_labels(chroma: Pixels) -> npt.NDArray[np.int8]:
    """(N, 64, 64) palette index of each pixel by hue; -1 where it is nearer to grey."""
    labels = np.full(chroma.shape[:3], -1, np.int8)
    coloured = np.square(chroma).sum(3) > 0.01
    hues = chroma[coloured]
    nearest = np.einsum("nc,kc->nk", hues, _PALETTE_HUES).argmax(1)
    strength = (hues * _PALETTE[nearest]).sum(1) / np.square(_PALETTE).sum(1)[nearest]
    labels[coloured] = np.where(strength > _COLOURED, nearest, -1)
    return labels


def _connected_regions(colours: npt.NDArray[np.int8]) -> _Regions:
    """Group neighbours (sharing a side) of one palette colour."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    inside = colours >= 0
    nodes = np.full(colours.shape, -1, np.int64)
    num = int(inside.sum())
    nodes[inside] = np.arange(num)
    across = inside[:, :, 1:] & (colours[:, :, 1:] == colours[:, :, :-1])
    down = inside[:, 1:] & (colours[:, 1:] == colours[:, :-1])
    starts = np.concatenate([nodes[:, :, :-1][across], nodes[:, :-1][down]])
    ends = np.concatenate([nodes[:, :, 1:][across], nodes[:, 1:][down]])
    graph = coo_matrix((np.ones(len(starts), np.int8), (starts, ends)), (num, num))
    total, region = connected_components(graph, directed=False)
    area_px = np.bincount(region, minlength=total)
    member = np.zeros(total, np.int64)
    member[region] = np.flatnonzero(inside)
    nodes[inside] = region
    return _Regions(nodes, member // SIZE_PX**2, colours.reshape(-1)[member].astype(np.int64), area_px)


def _largest_per_image(regions: _Regions, num_images: int) -> Labels:
    """Indices of the regions that may be objects: at most eight per image."""
    large = np.flatnonzero(regions.area_px >= MIN_AREA_PX)
    order = large[np.lexsort((-regions.area_px[large], regions.image[large]))]
    first = np.searchsorted(regions.image[order], np.arange(num_images))
    rank = np.arange(len(order)) - first[regions.image[order]]
    return order[rank < MAX_CANDIDATES]


def _fit_backgrounds(pixels: Pixels, chroma: Pixels) -> list[Background]:
    """Least squares on what is grey and away from coloured pixels, then once more without the outliers."""
    from scipy.ndimage import maximum_filter

    coloured = np.square(chroma).sum(3) > 0.02
    near = maximum_filter(coloured.astype(np.uint8), size=(1, 2 * _SHADOW_REACH_PX + 1, 2 * _SHADOW_REACH_PX + 1))
    flat = pixels.reshape(len(pixels), -1, 3)
    grey = flat.mean(2)
    weights = (near.reshape(grey.shape) == 0).astype(np.float32)
    too_few = weights.sum(1) < 200
    weights[too_few] = (~coloured).reshape(grey.shape)[too_few]
    for _ in range(2):
        found = _weighted_fit(grey, weights)
        weights *= np.abs(grey - (found[:, None] @ _FEATURES.T)[:, 0]) < 0.06
    total = weights.sum(1)[:, None] + 1e-6
    tint = ((flat - grey[..., None]) * weights[..., None]).sum(1) / total
    return [_world_background(row, shift) for row, shift in zip(found.tolist(), tint, strict=True)]


def _weighted_fit(grey: Pixels, weights: Pixels) -> Pixels:
    """(N, 6) coefficients: grey at the centre, gradient right and down, the three textures."""
    size = _FEATURES.shape[1]
    gram = (weights[:, None] @ _PRODUCTS).reshape(-1, size, size) + 1e-3 * np.eye(size, dtype=np.float32)
    # The ridge pulls towards the middle of the world's greys, not towards black.
    middle = (MIN_GREY + MAX_GREY) / 2
    moments = ((grey - middle) * weights)[:, None] @ _FEATURES
    solved = np.linalg.solve(gram, moments.transpose(0, 2, 1))[..., 0]
    solved[:, 0] += middle
    return solved


def _world_background(found: list[float], tint: Pixels) -> Background:
    """The nearest background that the world could draw."""
    grey = min(max(found[0], MIN_GREY), MAX_GREY)
    red, green, blue = (grey + np.clip(tint, -MAX_TINT, MAX_TINT)).tolist()
    across, down = (min(max(slope, -MAX_GRADIENT), MAX_GRADIENT) for slope in found[1:3])
    textures = found[3:]
    strongest = max(range(len(textures)), key=textures.__getitem__)
    texture = TEXTURES[strongest + 1] if textures[strongest] > TEXTURE_AMPLITUDE / 2 else TEXTURES[0]
    return Background((red, green, blue), (across, down), texture)

"""A contact sheet: the images of a labelled set, or a ladder of one's own images, on one picture to look at."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import PIL.Image

from pyrite.artifact.data import CuratedSet, Example, Split
from pyrite.artifact.ladder_change import Operation
from pyrite.core.types import Image
from pyrite.records.image_files import open_image

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

MOST_COLUMNS = 8

_INK, _PAPER, _FAINT = (30, 30, 30), (255, 255, 255), (120, 120, 120)
_ARTIFACT, _CLEAN = (203, 75, 22), (38, 112, 176)  # apart for colour-blind eyes too, and said in words besides
_GAP, _LINE_PX, _FRAME = 8, 15, 3
_TEXT_PX = 12


@dataclass(frozen=True)
class Tile:
    """One image of the sheet.

    Args:
        image: the image, or why there is none.
        lines: under it.
        frame: its colour; None for none.
    """

    image: Image | str
    lines: Sequence[str] = ()
    frame: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Row:
    """Tiles that belong together, under a title, broken into several lines where they are many."""

    title: str
    tiles: Sequence[Tile]


def set_sheet(curated: CuratedSet, split: Split, *, num: int, tile_px: int = 160) -> Image:
    """The first pictures of each part of a split with all their versions: label, kind, severity, part.

    Args:
        curated: the set.
        split: of it.
        num: how many pictures (pairs, or images on their own), shared out evenly among the parts.
        tile_px: longer side of an image on the sheet.
    """
    part_of = {example.id: name for name, part in split.parts.items() for example in part}
    groups: dict[str, list[Example]] = {}
    for example in curated.examples:
        groups.setdefault(example.group, []).append(example)
    names = list(groups)
    chosen = _in_turn({part: [n for n in names if part_of[groups[n][0].id] == part] for part in split.parts}, num)
    rows = [Row(f"{name}: {part_of[groups[name][0].id]}", _tiles(groups[name])) for name in chosen]
    titles = [_summary(curated, split, len(names), len(chosen)), *split.shortcomings]
    return draw_sheet(rows, titles=titles, tile_px=tile_px)


def ladder_sheet(
    images: Sequence[Image],
    operations: Mapping[str, Operation],
    severities: Sequence[float],
    *,
    seed: int = 0,
    tile_px: int = 160,
) -> Image:
    """Every operation at every severity, the image as it is first; a row per operation and image.

    Raises:
        ValueError: an image that is too small, or a severity out of range.
    """
    # Sizes are shares of the image's, so a smaller image shows the same, and much sooner.
    images = [_at_most(image, 2 * tile_px) for image in images]
    rows = [
        Row(
            f"{name}: {operation.imitates}",
            [
                Tile(operation(image, severity, seed).image, [f"{severity:g}"])
                for image in images
                for severity in (0.0, *severities)
            ],
        )
        for name, operation in operations.items()
    ]
    return draw_sheet(rows, titles=(), tile_px=tile_px, columns=len(images) * (1 + len(severities)))


def draw_sheet(rows: Sequence[Row], *, titles: Sequence[str], tile_px: int, columns: int = MOST_COLUMNS) -> Image:
    """The rows, one below the other, on white."""
    from PIL.ImageDraw import Draw

    columns = max(1, min(columns, max((len(row.tiles) for row in rows), default=1)))
    rows = [Row(row.title, [_fitted(tile, tile_px - 2 * _FRAME) for tile in row.tiles]) for row in rows]
    width = _GAP + columns * (tile_px + _GAP)
    letters = max(10, int(width / (0.56 * _TEXT_PX)))
    head = [line for title in titles for line in textwrap.wrap(title, letters)]
    heights = [_row_height(row, columns) for row in rows]
    sheet = PIL.Image.new("RGB", (width, 2 * _GAP + len(head) * _LINE_PX + sum(heights)), _PAPER)
    pen, top = Draw(sheet), _GAP
    for line in head:
        _write(pen, (_GAP, top), line, _INK)
        top += _LINE_PX
    for row, height in zip(rows, heights, strict=True):
        _write(pen, (_GAP, top), textwrap.shorten(row.title, letters), _INK)
        for number, tile in enumerate(row.tiles):
            down, right = divmod(number, columns)
            corner = _GAP + right * (tile_px + _GAP), top + _LINE_PX + 2 + down * _tile_height(row)
            _place(sheet, pen, corner, tile, _picture_height(row), tile_px // 6)
        top += height
    return sheet


def _tiles(examples: Sequence[Example]) -> list[Tile]:
    """Clean ones first, then kind by kind: so the versions of a picture stand side by side."""
    ordered = sorted(examples, key=lambda item: (item.has_artifact, item.kind, item.severity or 0))
    return [
        Tile(
            open_image(example.image),
            ("artifacts" if example.has_artifact else "none", _kind(example)),
            _ARTIFACT if example.has_artifact else _CLEAN,
        )
        for example in ordered
    ]


def _kind(example: Example) -> str:
    return example.kind + ("" if example.severity is None else f" {example.severity:g}")


def _summary(curated: CuratedSet, split: Split, num_groups: int, num_shown: int) -> str:
    num_bad = sum(example.has_artifact for example in curated.examples)
    parts = ", ".join(f"{name} {len(part)}" for name, part in split.parts.items())
    skipped = f"; {len(curated.skipped)} entries skipped" if curated.skipped else ""
    return (
        f"{curated.path.name}: {len(curated.examples)} images of {num_groups} pictures, {num_bad} with artifacts "
        f"({parts}{skipped}); {num_shown} pictures shown"
    )


def _in_turn(groups: Mapping[str, Sequence[str]], num: int) -> list[str]:
    """`num` names, one of each part in turn while it has any."""
    longest = max((len(names) for names in groups.values()), default=0)
    return [names[k] for k in range(longest) for names in groups.values() if k < len(names)][:num]


def _picture_height(row: Row) -> int:
    return 2 * _FRAME + max(_LINE_PX if isinstance(tile.image, str) else tile.image.height for tile in row.tiles)


def _tile_height(row: Row) -> int:
    return _picture_height(row) + _GAP + _LINE_PX * max(len(tile.lines) for tile in row.tiles)


def _row_height(row: Row, columns: int) -> int:
    return _LINE_PX + 2 + -(-len(row.tiles) // columns) * _tile_height(row) + _GAP // 2


def _place(sheet: Image, pen: "ImageDraw", corner: tuple[int, int], tile: Tile, height: int, letters: int) -> None:
    left, top = corner
    if isinstance(tile.image, str):
        _write(pen, (left + _FRAME, top + _FRAME), textwrap.shorten(tile.image, letters, placeholder="…"), _FAINT)
    else:
        if tile.frame is not None:
            right, bottom = left + tile.image.width + 2 * _FRAME - 1, top + tile.image.height + 2 * _FRAME - 1
            pen.rectangle((left, top, right, bottom), fill=tile.frame)
        sheet.paste(tile.image, (left + _FRAME, top + _FRAME))
    for number, line in enumerate(tile.lines):
        text = textwrap.shorten(line, letters, placeholder="…")
        _write(pen, (left + _FRAME, top + height + number * _LINE_PX), text, tile.frame or _FAINT)


def _at_most(image: Image, side: int) -> Image:
    factor = side / max(image.size)
    if factor >= 1:
        return image
    return image.resize((round(factor * image.width), round(factor * image.height)), PIL.Image.Resampling.LANCZOS)


def _fitted(tile: Tile, side: int) -> Tile:
    """With its image in RGB on white, as large as fits; small ones keep their pixels square."""
    image = tile.image
    if isinstance(image, str):
        return tile
    shown = PIL.Image.new("RGB", image.size, _PAPER)
    covering = image.convert("RGBA")
    shown.paste(covering, mask=covering.getchannel("A"))
    factor = side / max(image.size)
    size = max(1, round(factor * image.width)), max(1, round(factor * image.height))
    how = PIL.Image.Resampling.NEAREST if factor >= 1 else PIL.Image.Resampling.LANCZOS
    return replace(tile, image=shown.resize(size, how))


def _write(pen: "ImageDraw", corner: tuple[float, float], text: str, colour: tuple[int, int, int]) -> None:
    from PIL.ImageFont import load_default

    # Names come from files: what UTF-8 has no form for would end the drawing.
    pen.text(corner, text.encode("utf-8", "replace").decode(), fill=colour, font=load_default(size=_TEXT_PX))

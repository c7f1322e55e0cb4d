"""The pocket world on one picture: scenes with their prompts and gold, and every kind of damage with what it costs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyrite.core.types import Image, Prompt
from pyrite.world.corruptions import CORRUPTIONS, corrupt
from pyrite.world.gold import gold_scores
from pyrite.world.prompts import random_scene, sample_prompts, spoil
from pyrite.world.scenes import SIZE_PX, Pixels, render, to_uint8

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SEVERITIES = (0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0)
_ZOOM = 2
_PICTURE_PX = _ZOOM * SIZE_PX
_WIDTH_PX = _PICTURE_PX + 12
_LINE_PX = 13
_CAPTION_LINES = 5
_LINE_CHARACTERS = 23
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def contact_sheet(*, split: str = "rl", seed: int = 0, num: int = 12) -> Image:
    """Draw `num` scenes of a split, as many that break their prompt, and the ladder of damage.

    The number under each picture is its gold, as alignment times realism.

    Raises:
        ValueError: unknown split, or fewer than one scene.
    """
    from PIL.Image import new
    from PIL.ImageDraw import Draw

    if num < 1:
        raise ValueError(f"a sheet shows at least one scene, got num = {num}. Type num=12.")
    prompts = sample_prompts(split, num, seed)
    rng = np.random.default_rng([seed, 3])
    columns = len(SEVERITIES) + 1
    right = np.stack([render(random_scene(prompt, rng)) for prompt in prompts])
    wrong = np.stack([render(spoil(prompt, rng)) for prompt in prompts])
    scene_rows = -(-num // columns)
    row_px = _PICTURE_PX + _CAPTION_LINES * _LINE_PX + 6
    ladder_row_px = _PICTURE_PX + _LINE_PX + 6
    height = 3 * 24 + 2 * scene_rows * row_px + len(CORRUPTIONS) * ladder_row_px
    sheet = new("RGB", (columns * _WIDTH_PX, height), _PAPER)
    pen = Draw(sheet)
    top = 0
    for title, images in ((f"{split}: scenes that satisfy their prompt", right), ("scenes that break it", wrong)):
        pen.text((4, top + 5), title, fill=_INK)
        _draw_scenes(sheet, pen, top + 24, images=images, prompts=prompts)
        top += 24 + scene_rows * row_px
    pen.text((4, top + 5), "damage, by severity", fill=_INK)
    for row, kind in enumerate(CORRUPTIONS):
        _draw_ladder(sheet, pen, top + 24 + row * ladder_row_px, kind=kind, picture=right[-1], prompt=prompts[-1])
    return sheet


def _draw_scenes(sheet: Image, pen: "ImageDraw", top: int, *, images: Pixels, prompts: Sequence[Prompt]) -> None:
    scores = gold_scores(images, prompts)
    columns = len(SEVERITIES) + 1
    for index, prompt in enumerate(prompts):
        x = index % columns * _WIDTH_PX + 4
        y = top + index // columns * (_PICTURE_PX + _CAPTION_LINES * _LINE_PX + 6)
        lines = [*_wrap(prompt.text), _product(scores.alignment[index], scores.realism[index])]
        _place(sheet, pen, (x, y), picture=images[index], lines=lines)


def _draw_ladder(sheet: Image, pen: "ImageDraw", top: int, *, kind: str, picture: Pixels, prompt: Prompt) -> None:
    damaged = np.stack([corrupt(picture, kind, level, np.random.default_rng(7)) for level in SEVERITIES])
    scores = gold_scores(damaged, [prompt] * len(damaged))
    pen.text((4, top + _PICTURE_PX // 2), kind, fill=_INK)
    for column, image in enumerate(damaged):
        line = f"{SEVERITIES[column]:g}: {_product(scores.alignment[column], scores.realism[column])}"
        _place(sheet, pen, ((column + 1) * _WIDTH_PX + 4, top), picture=image, lines=[line])


def _place(sheet: Image, pen: "ImageDraw", corner: tuple[int, int], *, picture: Pixels, lines: Sequence[str]) -> None:
    from PIL.Image import fromarray

    left, top = corner
    enlarged = to_uint8(picture).repeat(_ZOOM, 0).repeat(_ZOOM, 1)
    sheet.paste(fromarray(enlarged), (left, top))
    for number, line in enumerate(lines):
        pen.text((left, top + _PICTURE_PX + 1 + number * _LINE_PX), line, fill=_INK)


def _product(alignment: float, realism: float) -> str:
    return f"{alignment:.2f} x {realism:.2f} = {alignment * realism:.2f}"


def _wrap(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, _LINE_CHARACTERS)[: _CAPTION_LINES - 1]

"""Looking at a detector's score: the boxes it found, drawn on each image, with what they are and how sure it was.

    OUT/
      index.html            every image with its prompt, its score or why it has none, and its boxes
      images/00000-REWARD.png

The page refers to the images by relative paths and to nothing outside the folder.
"""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import PIL.Image
from PIL import ImageDraw, ImageFont

from pyrite.core.errors import RecipeError
from pyrite.core.protocols import Reward
from pyrite.core.types import Image, Prompt
from pyrite.evaluation.image_sets import ImageSet, Item
from pyrite.records.image_files import bombs_are_errors, decode, read_image_file
from pyrite.records.jsonl import teaching_os_errors

PAGE, IMAGES = "index.html", "images"

_BATCH_SIZE = 16
_SMALLEST_SIDE = 512
"""Images are enlarged to this longest side, since a label must be readable."""
_NO_COLOURS = ("I", "F")
"""How the names of modes begin that have no agreed form in 8 bits; such an image is unscored, and not drawn."""

# Distinct on dark and light, the first ones for colour-blind eyes too (after Okabe and Ito).
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2", "#ffffff")


class Marked(Protocol):
    """A box that a reward found."""

    @property
    def phrase(self) -> str:
        """What it shows."""
        ...

    @property
    def score(self) -> float:
        """How sure the reward is of that."""
        ...

    def corners(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of an image of (width, height)."""
        ...


@runtime_checkable
class Explaining(Reward, Protocol):
    """A reward whose scores come from boxes that can be drawn."""

    def explain(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Sequence[Sequence[Marked]]:
        """The boxes that the score of each image was made of; none where it is unscored."""
        ...


class Overlay(NamedTuple):
    """What the page says of one image and one reward.

    Args:
        item: of the set.
        reward: its name.
        score: in words: a number, or why there is none.
        boxes: what was found, the surest first.
        file: the picture, from the folder of the page; empty where the image cannot be read.
    """

    item: Item
    reward: str
    score: str
    boxes: Sequence[Marked]
    file: str


def explaining(rewards: Mapping[str, Reward]) -> dict[str, Explaining]:
    """Those of the rewards that can show what their scores came from.

    Raises:
        RecipeError: none of them can.
    """
    found = {name: reward for name, reward in rewards.items() if isinstance(reward, Explaining)}
    if not found:
        raise RecipeError(
            f"--explain draws the boxes that a score was made of, and {' and '.join(rewards)} found none: such a score "
            "comes from the image as a whole, and there would be nothing on the page. Leave --explain out, or add a "
            "reward that detects: --rewards gdino"
        )
    return found


def write_overlays(images: ImageSet, rewards: Mapping[str, Explaining], out: Path) -> int:
    """Draw what each reward found on each image, and write the page; returns the number of pictures.

    Args:
        images: the set.
        rewards: name -> reward, see `explaining`.
        out: the folder; files of the same names are replaced.

    Raises:
        RunFolderError: it cannot be written.
        ImageSetError: the set is not what its layout says.
    """
    overlays: list[Overlay] = []
    with teaching_os_errors(f"write the overlays to {out}"), bombs_are_errors():
        (out / IMAGES).mkdir(parents=True, exist_ok=True)
        items = images.items()
        start = 0
        while batch := list(islice(items, _BATCH_SIZE)):
            overlays += _overlays(batch, rewards, out, start)
            start += len(batch)
        (out / PAGE).write_text(_page(overlays), encoding="utf-8")
    return sum(bool(overlay.file) for overlay in overlays)


def draw_boxes(image: Image, boxes: Sequence[Marked]) -> Image:
    """A copy of the image in RGB, enlarged if it is small, with each box outlined and labelled."""
    factor = max(1, math.ceil(_SMALLEST_SIDE / max(image.size)))
    drawn = image.convert("RGBA").convert("RGB")
    drawn = drawn.resize((drawn.width * factor, drawn.height * factor), PIL.Image.Resampling.NEAREST)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(size=max(14, max(drawn.size) // 48))
    colours = _colours(boxes)
    for box in reversed(boxes):  # the surest is drawn last, on top
        left, top, right, bottom = box.corners(drawn.size)
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colours[box.phrase], width=3)
        _label(pen, font, (left, top), f"{box.phrase} {box.score:.2f}", colours[box.phrase], drawn.size)
    return drawn


def _label(
    pen: ImageDraw.ImageDraw,
    font: "ImageFont.ImageFont | ImageFont.FreeTypeFont",
    corner: tuple[float, float],
    text: str,
    colour: str,
    size: tuple[int, int],
) -> None:
    """The text on its colour, above the corner if there is room, and inside the image."""
    written = text.encode("utf-8", "replace").decode().replace("\n", " ")
    _, _, wide, high = pen.textbbox((0, 0), written, font=font)
    left = min(max(corner[0], 0), max(size[0] - wide - 4, 0))
    top = corner[1] - high - 4 if corner[1] - high - 4 >= 0 else max(corner[1], 0)
    pen.rectangle((left, top, left + wide + 4, top + high + 4), fill=colour)
    pen.text((left + 2, top + 1), written, fill="black", font=font)


def _overlays(batch: Sequence[Item], rewards: Mapping[str, Explaining], out: Path, start: int) -> Iterator[Overlay]:
    pictures: dict[int, Image] = {}
    reasons: dict[int, str] = {}
    for row, item in enumerate(batch):
        file = read_image_file(item.source)
        picture = file if isinstance(file, str) else decode(file)
        if isinstance(picture, str):
            reasons[row] = picture
        else:
            pictures[row] = picture
    asked = list(pictures.values()), [batch[row].prompt for row in pictures]
    explained = {name: (reward.score(*asked), reward.explain(*asked)) for name, reward in rewards.items()}
    places = {row: place for place, row in enumerate(pictures)}
    for row, item in enumerate(batch):
        for name, (scores, boxes) in explained.items():
            if row in reasons:
                yield Overlay(item, name, reasons[row], (), "")
                continue
            place = places[row]
            score = scores.reasons.get(place) or f"{scores.values[place]:.3f}"
            found = sorted(boxes[place], key=lambda box: -box.score)
            file_name = "" if pictures[row].mode.startswith(_NO_COLOURS) else f"{IMAGES}/{start + row:05d}-{name}.png"
            if file_name:
                draw_boxes(pictures[row], found).save(out / file_name)
            yield Overlay(item, name, score, found, file_name)


def _page(overlays: Sequence[Overlay]) -> str:
    return _HEAD + "\n".join(map(_figure, overlays)) + "\n</main></body></html>\n"


def _figure(overlay: Overlay) -> str:
    colours = _colours(overlay.boxes)
    boxes = "".join(
        f'<li><b style="background:{colours[box.phrase]}"></b>{_escaped(box.phrase)} {box.score:.2f}</li>'
        for box in overlay.boxes
    )
    picture = f'<img src="{_escaped(overlay.file)}" alt="" loading="lazy">' if overlay.file else ""
    return (
        f"<figure>{picture}<figcaption><p>{_escaped(overlay.item.prompt.text)}</p>"
        f"<p>{_escaped(overlay.item.id)} · {_escaped(overlay.reward)}: <strong>{_escaped(overlay.score)}</strong></p>"
        f"<ul>{boxes}</ul></figcaption></figure>"
    )


def _colours(boxes: Sequence[Marked]) -> dict[str, str]:
    phrases = sorted({box.phrase for box in boxes})
    return {phrase: _COLOURS[place % len(_COLOURS)] for place, phrase in enumerate(phrases)}


def _escaped(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>What the detector found</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 2rem 1.5rem; }
figure { margin: 0; }
img { width: 100%; height: auto; border-radius: 4px; }
p { margin: .4rem 0; overflow-wrap: anywhere; }
ul { list-style: none; padding: 0; margin: 0; font-size: 13px; }
b { display: inline-block; width: .7em; height: .7em; margin-right: .5em; border: 1px solid #888; }
</style></head><body>
<h1>What the detector found</h1>
<p>Every box above the threshold, with its phrase and score. A score in bold is the reward's; a sentence says why there
is none.</p>
<main>
"""

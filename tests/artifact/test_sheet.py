from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.artifact.pictures import picture

from pyrite.artifact.data import CuratedSet, Example, load_curated, split_examples
from pyrite.artifact.ladder import ARTIFACTS, NEUTRAL, build_ladder
from pyrite.artifact.sheet import Row, Tile, draw_sheet, ladder_sheet, set_sheet


def pixels(image: PILImage.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def test_a_ladder_has_a_row_per_kind_and_a_tile_per_severity() -> None:
    kinds = {name: {**ARTIFACTS, **NEUTRAL}[name] for name in ("seam", "crop")}
    one = ladder_sheet([picture()], kinds, [0.5, 1.0], tile_px=100)
    two = ladder_sheet([picture(), picture(seed=1)], kinds, [0.5, 1.0], tile_px=100)
    assert one.width == 8 + 3 * 108
    assert two.width == 8 + 6 * 108
    assert two.height == one.height


def test_large_images_are_drawn_from_smaller_ones() -> None:
    sheet = ladder_sheet([picture(900, 600)], {"seam": ARTIFACTS["seam"]}, [1.0], tile_px=100)
    assert sheet.width == 8 + 2 * 108


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_a_tile_shows_any_mode_on_white(mode: str) -> None:
    sheet = draw_sheet([Row("title", [Tile(picture(20, 20, mode), ["none"], (1, 2, 3))])], titles=["head"], tile_px=60)
    assert (pixels(sheet) == (1, 2, 3)).all(2).sum() > 4 * 50


def test_a_set_is_drawn_from_every_part_with_what_it_lacks(tmp_path: Path) -> None:
    images = [picture(40, 30, seed=seed) for seed in range(5)]
    curated = load_curated(build_ladder(images, tmp_path / "set", kinds=["smear", "crop"], severities=[1]))
    split = split_examples(curated.examples)
    few, all_of_them = (set_sheet(curated, split, num=num, tile_px=80) for num in (2, 5))
    assert few.width == all_of_them.width == 8 + 3 * 88
    assert few.height < all_of_them.height
    assert few.mode == "RGB"


def test_an_image_that_went_away_is_said_in_its_place(tmp_path: Path) -> None:
    examples = tuple(Example(str(k), tmp_path / f"{k}.png", bool(k), kind="\ud800" * k) for k in (0, 1))
    curated = CuratedSet(tmp_path / "set.jsonl", examples, {"line 3": "no label"})
    sheet = set_sheet(curated, split_examples(examples), num=4, tile_px=120)
    assert (pixels(sheet) == (120, 120, 120)).all(2).any()

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageOps
from scipy.ndimage import sobel
from scipy.stats import spearmanr
from tests.artifact.pictures import picture

from pyrite.artifact.ladder import ARTIFACTS, NEUTRAL, operations
from pyrite.core.errors import UnknownNameError
from pyrite.core.types import Image

ALL = {**ARTIFACTS, **NEUTRAL}
MOVES = ("resize", "crop", "flip")
SIZES = {"tiny": (16, 16), "narrow": (17, 90), "wide": (120, 40), "large": (301, 257)}
PAGE = Path(__file__).parents[2] / "docs/reference/corruption-ladder.md"

LEAST_STRUCTURE = 0.9
"""What a neutral change keeps at severity 1: see `structure_kept`."""


def pixels(image: Image) -> np.ndarray:
    return np.asarray(image)


def structure_kept(before: Image, after: Image) -> float:
    """Correlation of the brightness gradients of two images of one size: 1 if every edge stays where it is."""
    slopes = [
        np.stack([sobel(np.asarray(image.convert("L"), float), axis) for axis in (0, 1)]) for image in (before, after)
    ]
    return float((slopes[0] * slopes[1]).sum() / np.sqrt((slopes[0] ** 2).sum() * (slopes[1] ** 2).sum()))


def aligned(kind: str, before: Image, after: Image) -> tuple[Image, Image]:
    """Both in one geometry: what a neutral change does to the frame is undone, or done to the original too."""
    if kind == "flip":
        return before, ImageOps.mirror(after)
    if kind == "resize":
        return before.resize(after.size, PILImage.Resampling.LANCZOS), after
    if kind == "crop":
        places = [
            (x, y) for x in range(before.width - after.width + 1) for y in range(before.height - after.height + 1)
        ]
        frames = [before.crop((x, y, x + after.width, y + after.height)) for x, y in places]
        return max(frames, key=lambda frame: structure_kept(frame, after)), after
    return before, after


def test_there_are_at_least_ten_artifacts_and_no_name_is_both() -> None:
    assert len(ARTIFACTS) >= 10
    assert not set(ARTIFACTS) & set(NEUTRAL)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
@pytest.mark.parametrize("kind", ALL)
def test_no_severity_is_the_same_image_and_an_empty_mask(kind: str, mode: str) -> None:
    image = picture(40, 32).convert(mode)
    change = ALL[kind](image, 0.0, 3)
    assert (change.image.mode, change.image.tobytes()) == (image.mode, image.tobytes())
    assert change.image is not image
    assert change.mask.shape == (32, 40)
    assert not change.mask.any()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
@pytest.mark.parametrize("kind", ARTIFACTS)
def test_an_artifact_leaves_everything_outside_its_mask_alone(kind: str, mode: str) -> None:
    image = picture(96, 64, mode)
    change = ARTIFACTS[kind](image, 0.6, 5)
    assert (change.image.mode, change.image.size) == (image.mode, image.size)
    assert change.mask.any()
    assert np.array_equal(pixels(image)[~change.mask], pixels(change.image)[~change.mask])
    assert (pixels(image)[change.mask] != pixels(change.image)[change.mask]).any()


@pytest.mark.parametrize("kind", ALL)
def test_transparency_stays_with_its_pixels(kind: str) -> None:
    image = picture(64, 48, "RGBA")
    after = ALL[kind](image, 0.8, 1).image.getchannel("A")
    before = image.getchannel("A")
    if kind not in MOVES:
        assert after.tobytes() == before.tobytes()
    elif kind == "flip":
        assert ImageOps.mirror(after).tobytes() == before.tobytes()
    else:
        assert pixels(after).min() >= 0
        assert abs(pixels(after).mean() - pixels(before).mean()) < 30  # the frame moves by 15 % at most


@pytest.mark.parametrize("kind", ALL)
def test_the_same_seed_gives_the_same_bytes_and_the_input_stays(kind: str) -> None:
    image = picture()
    before = image.tobytes()
    first, second = (ALL[kind](image, 0.7, 11) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert np.array_equal(first.mask, second.mask)
    assert image.tobytes() == before


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_another_seed_gives_another_artifact(kind: str) -> None:
    image = picture()
    assert len({ARTIFACTS[kind](image, 0.7, seed).image.tobytes() for seed in range(4)}) == 4


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_damage_grows_with_severity(kind: str) -> None:
    severities = np.linspace(0, 1, 9)
    rhos = []
    for seed in range(3):
        image = picture(96, 80, seed=seed)
        damage = [
            np.abs(pixels(ARTIFACTS[kind](image, float(severity), seed).image).astype(float) - pixels(image)).mean()
            for severity in severities
        ]
        rhos.append(spearmanr(severities, damage).statistic)
    assert min(rhos) >= 0.85
    assert np.mean(rhos) >= 0.95


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_an_artifact_breaks_more_structure_than_a_neutral_change_may(kind: str) -> None:
    kept = [
        structure_kept(picture(seed=seed), ARTIFACTS[kind](picture(seed=seed), 1.0, seed).image) for seed in range(6)
    ]
    assert np.median(kept) < LEAST_STRUCTURE


@pytest.mark.parametrize("kind", NEUTRAL)
def test_a_neutral_change_is_mild_even_at_its_most_severe(kind: str) -> None:
    for seed in range(3):
        image = picture(60, 48, seed=seed)
        before, after = aligned(kind, image, NEUTRAL[kind](image, 1.0, seed).image)
        assert structure_kept(before, after) >= LEAST_STRUCTURE


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", ALL)
def test_any_size_and_shape_works(kind: str, size: tuple[int, int]) -> None:
    image = picture(*size)
    for severity in (0.1, 1.0):
        change = ALL[kind](image, severity, 2)
        assert change.mask.shape == (change.image.height, change.image.width)
        assert min(change.image.size) >= 16 or min(change.image.size) == min(image.size)
        if kind in ARTIFACTS:
            assert change.image.size == image.size


@pytest.mark.parametrize("kind", ALL)
def test_a_flat_image_has_nothing_to_break_but_breaks_nothing_else(kind: str) -> None:
    flat = PILImage.new("RGB", (32, 32), (120, 130, 140))
    change = ALL[kind](flat, 1.0, 0)
    if change.image.size == flat.size:
        assert np.array_equal(change.mask, (pixels(change.image) != pixels(flat)).any(2))


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr"])
def test_other_modes_come_back_in_rgb(mode: str) -> None:
    assert ARTIFACTS["smear"](picture().convert(mode), 0.5, 0).image.mode == "RGB"


def test_a_transparent_palette_comes_back_in_rgba() -> None:
    image = picture().convert("P")
    image.info["transparency"] = 0
    assert ARTIFACTS["smear"](image, 0.5, 0).image.mode == "RGBA"


@pytest.mark.parametrize("kind", ["smear", "crop"])
@pytest.mark.parametrize(
    ("image", "severity", "seed", "says"),
    [
        (picture(), 1.5, 0, "severity is 1.5; it goes from 0"),
        (picture(), float("nan"), 0, "severity is nan"),
        (picture(), 0.5, -1, "seed is -1"),
        (picture(15, 40), 0.5, 0, "15 x 40 pixels; below 16"),
        (picture().convert("F"), 0.5, 0, "mode 'F', which has no agreed form in 8 bits; convert it to RGB"),
    ],
    ids=["severity above 1", "severity nan", "negative seed", "too small", "mode F"],
)
def test_what_cannot_be_changed_is_refused(kind: str, image: Image, severity: float, seed: int, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        ALL[kind](image, severity, seed)


def test_an_unknown_kind_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no change is called 'smaer'. Did you mean 'smear'"):
        operations(["seam", "smaer"])


def test_no_kinds_are_all_kinds() -> None:
    assert list(operations([])) == list(ALL)
    assert list(operations(["crop", "seam"])) == ["seam", "crop"]


def test_the_page_describes_every_kind_as_the_registry_does() -> None:
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in PAGE.read_text().splitlines()]
    described = {row[0].strip("`"): tuple(row[1:]) for row in rows if len(row) == 3 and row[0].startswith("`")}
    assert described == {kind: (operation.imitates, operation.grows) for kind, operation in ALL.items()}

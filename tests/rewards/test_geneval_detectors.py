"""The two detectors of GenEval's rules: what they report, what they are identified by, and what they refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.tiny_detectors import write_gdino
from tests.tiny_mask2former import geneval_hf, write_color_clip

from pyrite.core.detections import ObjectDetector, Wanted
from pyrite.core.errors import CheckpointError, RecipeError, RewardError, UnknownNameError
from pyrite.core.types import Image
from pyrite.evaluation.geneval.rules import COLORS
from pyrite.rewards.colored_detector import ColoredDetector
from pyrite.rewards.geneval_detectors import MIN_SCORE, load_detector


def pictures(num: int = 2) -> list[Image]:
    rng = np.random.default_rng(1)
    small = [PILImage.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)) for _ in range(num)]
    return [one.resize((80, 64), PILImage.Resampling.BICUBIC) for one in small]


def gdino_options(folder: Path) -> dict[str, Any]:
    options = write_gdino(folder / "gdino")
    del options["box_threshold"]
    return {**options, **write_color_clip(folder / "clip"), "device": "cpu", "min_score": 0.6}


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> ObjectDetector:
    return load_detector("mask2former", **geneval_hf(tmp_path_factory.mktemp("hf")))


@pytest.fixture(scope="module")
def gdino(tmp_path_factory: pytest.TempPathFactory) -> ObjectDetector:
    return load_detector("gdino", **gdino_options(tmp_path_factory.mktemp("gdino")))


def test_each_is_called_by_what_it_is_and_not_by_the_benchmark(hf: ObjectDetector, gdino: ObjectDetector) -> None:
    assert (hf.name, gdino.name) == ("geneval-hf", "geneval-gdino")
    assert hf.identity["detector"] == "mask2former"
    assert hf.identity["min_score"] == MIN_SCORE
    assert hf.identity["colors"]["model"] == "clip-vit-l-14"


@pytest.mark.parametrize("which", ["hf", "gdino"])
def test_colours_are_told_of_the_classes_they_are_asked_of(which: str, request: pytest.FixtureRequest) -> None:
    detector: ObjectDetector = request.getfixturevalue(which)
    asked = Wanted(("bench", "dog"), frozenset({"dog"}), COLORS)
    found = detector.look(pictures(), [asked, Wanted(("bench", "dog"))])
    assert not any(isinstance(one, str) for one in found)
    first, second = found
    assert {one.name for one in first} >= {"bench", "dog"}  # type: ignore[union-attr]
    for one in first:
        assert not isinstance(one, str)
        assert bool(one.colors) == (one.name == "dog")
        left, top, right, bottom = one.box
        assert 0 <= left < right <= 80
        assert 0 <= top < bottom <= 64
    assert not any(one.colors for one in second)  # type: ignore[union-attr]


def test_gdino_looks_for_any_class_and_mask2former_for_its_own(hf: ObjectDetector, gdino: ObjectDetector) -> None:
    assert gdino.why_unknown("unicorn") is None
    assert hf.why_unknown("computer mouse") is None
    assert hf.why_unknown("unicorn") == "'unicorn' is none of the 4 classes of its detector"


def test_an_image_gdino_cannot_see_has_a_reason(gdino: ObjectDetector) -> None:
    good, bad = gdino.look([pictures()[0], PILImage.new("RGB", (0, 5))], [Wanted(("bench",))] * 2)
    assert not isinstance(good, str)
    assert bad == "the image is empty: 0 x 5 pixels"


def test_models_are_loaded_when_the_first_image_is_looked_at(tmp_path: Path) -> None:
    detector = load_detector("mask2former", **geneval_hf(tmp_path))
    assert isinstance(detector, ColoredDetector)
    assert not {"_boxes", "_colors"} & vars(detector).keys()
    detector.look(pictures(1), [Wanted(("bench",))])
    assert "_boxes" in vars(detector)
    assert "_colors" not in vars(detector), "nobody asked for a colour"


def test_other_weights_and_other_sizes_are_another_identity(tmp_path: Path, hf: ObjectDetector) -> None:
    options = geneval_hf(tmp_path)
    same = load_detector("mask2former", **options)
    assert same.identity == hf.identity
    other = load_detector("mask2former", **{**options, "config": {"resize": {"short": 32, "max": 64}}})
    assert other.identity != hf.identity
    config = options["weights"] / "config.json"
    config.write_text(config.read_text() + "\n")
    assert load_detector("mask2former", **options).identity["revision"] != hf.identity["revision"]


def test_a_detector_that_is_none_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no detector is called 'yolo'. .* mask2former or gdino"):
        load_detector("yolo")


def test_an_option_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"the detector 'gdino' has no option temperature. It has: weights, config"):
        load_detector("gdino", temperature=0)


@pytest.mark.parametrize("min_score", [0, 1.0, -0.5])
@pytest.mark.parametrize("name", ["mask2former", "gdino"])
def test_a_least_score_that_is_none_is_refused(name: str, min_score: float) -> None:
    with pytest.raises(RewardError, match="boxes that are less sure are forgotten"):
        load_detector(name, min_score=min_score)


def test_missing_weights_are_told_with_the_command_that_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRITE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="pyrite weights fetch mask2former"):
        load_detector("mask2former")
    options = geneval_hf(tmp_path / "here")
    with pytest.raises(CheckpointError, match="pyrite weights fetch clip-l14"):
        load_detector("mask2former", weights=options["weights"])

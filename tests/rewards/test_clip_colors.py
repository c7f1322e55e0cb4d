"""Colours told by CLIP: what it is shown, what it is asked, and what its answers become."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from tests.tiny_mask2former import geneval_hf

from pyrite.evaluation.geneval.rules import COLORS
from pyrite.rewards.clip_colors import TEMPLATES, ColorClassifier, cut_out
from pyrite.rewards.colored_detector import ColoredDetector
from pyrite.rewards.found import Found
from pyrite.rewards.geneval_detectors import load_geneval_hf
from pyrite.rewards.preprocessing import openai_pixels

GREY = (0x99, 0x99, 0x99)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> ColorClassifier:
    detector = load_geneval_hf(**geneval_hf(tmp_path_factory.mktemp("geneval")))
    assert isinstance(detector, ColoredDetector)
    return detector._colors


def image() -> PILImage.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    return PILImage.fromarray(pixels)


def masked(box: tuple[float, float, float, float] = (10, 5, 30, 25)) -> Found:
    mask = np.zeros((40, 60), bool)
    mask[8:20, 12:28] = True
    return Found("car", 0.9, box, mask)


def test_what_is_not_the_object_becomes_the_published_grey() -> None:
    crop = cut_out(image(), masked())
    assert isinstance(crop, PILImage.Image)
    seen, original = np.asarray(crop), np.asarray(image())[5:25, 10:30]
    inside = np.zeros((20, 20), bool)
    inside[3:15, 2:18] = True
    assert (seen[inside] == original[inside]).all()
    assert (seen[~inside] == GREY).all()


def test_without_a_mask_the_box_is_shown_as_it_is() -> None:
    crop = cut_out(image(), Found("car", 0.9, (9.6, 5.4, 30.4, 24.6)))
    assert (np.asarray(crop) == np.asarray(image())[5:25, 10:30]).all()


def test_a_box_without_pixels_has_no_colour(classifier: ColorClassifier) -> None:
    sliver = Found("car", 0.9, (10.0, 5.0, 10.3, 25.0))
    told, other = classifier.colors(image(), [sliver, masked()], COLORS)
    assert told == "its box is narrower than a pixel, so there is nothing to see of it"
    assert classifier.colors(image(), [masked()], COLORS) == [other]


def test_probabilities_are_those_of_the_averaged_templates(classifier: ColorClassifier) -> None:
    (told,) = classifier.colors(image(), [masked()], COLORS)
    assert not isinstance(told, str)
    crop = cut_out(image(), masked())
    assert not isinstance(crop, str)
    model, reader = classifier.model, classifier.reader
    with torch.inference_mode():
        seen = F.normalize(
            model.get_image_features(pixel_values=torch.from_numpy(openai_pixels(crop))[None]).pooler_output, dim=-1
        )
        classes = []
        for color in COLORS:
            texts = [f"a photo of a {color} car", f"a photo of a {color}-colored car", f"a photo of a {color} object"]
            ids, mask = reader.tensors(reader.ids(texts), model.device)
            each = F.normalize(model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output, dim=-1)
            classes.append(F.normalize(each.mean(0), dim=-1))
        expected = (100 * seen @ torch.stack(classes).T).softmax(-1)[0]
    assert list(told) == list(COLORS)
    np.testing.assert_allclose(list(told.values()), expected.numpy(), atol=1e-4)
    assert sum(told.values()) == pytest.approx(1)


def test_the_templates_are_the_published_ones() -> None:
    assert [template.format(color="red", name="tv remote") for template in TEMPLATES] == [
        "a photo of a red tv remote",
        "a photo of a red-colored tv remote",
        "a photo of a red object",
    ]


def test_output_that_is_no_number_is_a_reason(tmp_path: Path) -> None:
    detector = load_geneval_hf(**geneval_hf(tmp_path))
    assert isinstance(detector, ColoredDetector)
    with torch.no_grad():
        detector._colors.model.visual_projection.weight.fill_(float("nan"))
    assert detector._colors.colors(image(), [masked()], COLORS) == [
        "CLIP's output for this object is not a finite number"
    ]

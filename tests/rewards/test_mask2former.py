"""Mask2Former as a detector: pixels, masks to boxes, strict loading."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from tests.tiny_mask2former import CLASSES, SMALL, as_of_transformers_4, write_mask2former, write_preprocessor

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image
from pyrite.rewards.found import Found
from pyrite.rewards.mask2former import Mask2FormerDetector, geneval_name, load_mask2former
from pyrite.rewards.mask2former_pixels import Mask2FormerPixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mask2former(tmp_path_factory.mktemp("mask2former"))


def loaded(folder: Path, min_score: float = 0.05) -> Mask2FormerDetector:
    return load_mask2former(
        folder / "model.safetensors",
        config={"resize": SMALL},
        device="cpu",
        dtype=torch.float32,
        min_score=min_score,
        batch_size=2,
    )


@pytest.fixture(scope="module")
def detector(folder: Path) -> Mask2FormerDetector:
    return loaded(folder)


def picture(width: int, height: int, seed: int = 0) -> Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return PILImage.fromarray(small).resize((width, height), PILImage.Resampling.BICUBIC)


PICTURES = [picture(80, 80), picture(64, 50, 1), picture(80, 80, 2), picture(30, 200, 3), picture(80, 80, 4)]


def plain(found: list[Found] | str) -> list[tuple[str, float, tuple[float, ...]]]:
    assert not isinstance(found, str)
    return sorted((one.name, round(one.score, 5), one.box) for one in found)


@pytest.mark.parametrize("size", [(512, 512), (1024, 1024), (96, 96)], ids=str)
def test_square_images_become_the_pixels_of_transformers_processor(size: tuple[int, int]) -> None:
    from transformers import Mask2FormerImageProcessorPil

    image = picture(*size)
    expected = Mask2FormerImageProcessorPil()(images=[image], return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(Mask2FormerPixels()(image), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "inner", "shape"),
    [
        ((640, 480), (1067, 800), (800, 1088)),
        ((1000, 200), (1333, 267), (288, 1344)),
        ((300, 900), (444, 1333), (1344, 448)),
    ],
    ids=["shortest side", "longest side wins", "upright"],
)
def test_other_images_keep_their_proportions_and_get_bars(
    size: tuple[int, int], inner: tuple[int, int], shape: tuple[int, int]
) -> None:
    pixels = Mask2FormerPixels()
    assert pixels.size(*size) == inner
    seen = pixels(PILImage.new("RGB", size, "white"))
    assert seen.shape == (3, *shape)
    assert (seen[:, : inner[1], : inner[0]] > 2).all()
    assert not seen[:, inner[1] :].any()
    assert not seen[:, :, inner[0] :].any()


def test_the_folder_says_how_images_are_normalised(tmp_path: Path) -> None:
    write_preprocessor(
        tmp_path, image_mean=[0, 0, 0], image_std=[1, 1, 1], size={"shortest_edge": 64, "longest_edge": 64}
    )
    pixels = Mask2FormerPixels.load(tmp_path, {"max": 128})
    assert (pixels.shortest, pixels.longest) == (64, 128)
    assert (pixels(PILImage.new("RGB", (64, 64), "white")) == 1).all()


def reference(detector: Mask2FormerDetector, image: Image) -> list[tuple[str, float, tuple[float, ...]]]:
    """What mmdet's fusion head makes of the output, in its order: everything enlarged, then chosen."""
    pixels = torch.from_numpy(detector.preparation(image))[None]
    with torch.inference_mode():
        output = detector.model(pixel_values=pixels)
    inner, size = detector.preparation.size(*image.size), image.size
    masks = F.interpolate(output.masks_queries_logits, pixels.shape[2:], mode="bilinear", align_corners=False)
    masks = masks[..., : inner[1], : inner[0]]
    masks = F.interpolate(masks, size[::-1], mode="bilinear", align_corners=False)[0].numpy()
    probs = output.class_queries_logits[0].softmax(-1)[:, :-1].numpy()
    rows = []
    for query in range(probs.shape[0]):
        on = masks[query] > 0
        if not on.any():
            continue
        quality = (1 / (1 + np.exp(-masks[query][on]))).mean()
        where = np.argwhere(on)
        (top, left), (bottom, right) = where.min(0), where.max(0) + 1
        for label, prob in enumerate(probs[query]):
            box = tuple(map(float, (left, top, right, bottom)))
            rows.append((geneval_name(CLASSES[label]), round(float(prob * quality), 5), box))
    return sorted(row for row in rows if row[1] >= detector.min_score)


@pytest.mark.parametrize("row", range(len(PICTURES)))
def test_objects_are_those_of_the_published_arithmetic(detector: Mask2FormerDetector, row: int) -> None:
    (found,) = detector.detect([PICTURES[row]], [()])
    expected = reference(detector, PICTURES[row])
    assert len(expected) > 1, "a test that sees nothing proves nothing"
    assert [(name, box) for name, _, box in plain(found)] == [(name, box) for name, _, box in expected]
    np.testing.assert_allclose([one[1] for one in plain(found)], [one[1] for one in expected], atol=2e-5)


def test_a_mask_is_of_the_images_own_size_and_fills_its_box(detector: Mask2FormerDetector) -> None:
    for image, found in zip(PICTURES, detector.detect(PICTURES, [()] * len(PICTURES)), strict=True):
        assert not isinstance(found, str)
        for one in found:
            assert one.mask is not None
            assert one.mask.shape == image.size[::-1]
            left, top, right, bottom = map(int, one.box)
            assert one.mask.sum() == one.mask[top:bottom, left:right].sum()
            assert one.mask[top].any()
            assert one.mask[:, right - 1].any()


def test_images_of_several_sizes_are_seen_as_one_by_one(detector: Mask2FormerDetector) -> None:
    together = detector.detect(PICTURES, [()] * len(PICTURES))
    alone = [detector.detect([image], [()])[0] for image in PICTURES]
    for one, other in zip(together, alone, strict=True):
        assert [(name, box) for name, _, box in plain(one)] == [(name, box) for name, _, box in plain(other)]


def test_less_sure_objects_are_not_reported(folder: Path, detector: Mask2FormerDetector) -> None:
    few = loaded(folder, min_score=0.2).detect(PICTURES[:1], [()])[0]
    assert plain(few) == [one for one in plain(detector.detect(PICTURES[:1], [()])[0]) if one[1] >= 0.2]


def test_an_image_that_cannot_be_seen_has_a_reason_and_harms_no_other(detector: Mask2FormerDetector) -> None:
    blank, wide, fine = detector.detect(
        [PILImage.new("RGB", (0, 4)), PILImage.new("I;16", (64, 64)), PICTURES[0]], [(), (), ()]
    )
    assert blank == "the image is empty: 0 x 4 pixels"
    assert isinstance(wide, str)
    assert "mode 'I;16'" in wide
    assert plain(fine) == plain(detector.detect([PICTURES[0]], [()])[0])


def test_output_that_is_no_number_is_a_reason(folder: Path) -> None:
    broken = loaded(folder)
    with torch.no_grad():
        broken.model.class_predictor.bias.fill_(float("nan"))
    assert broken.detect(PICTURES[:1], [()]) == ["the detector's output for this image is not a finite number"]


def test_a_file_of_transformers_4_gives_the_same_objects(
    folder: Path, detector: Mask2FormerDetector, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "old")
    as_of_transformers_4(tmp_path / "old")
    assert plain(loaded(tmp_path / "old").detect(PICTURES[:1], [()])[0]) == plain(
        detector.detect(PICTURES[:1], [()])[0]
    )


def test_a_file_that_lacks_a_tensor_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "torn")
    file = tmp_path / "torn" / "model.safetensors"
    tensors = load_file(file)
    del tensors["class_predictor.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 tensors are missing or left over .*class_predictor.weight"):
        loaded(tmp_path / "torn")


def test_another_architecture_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "model_type": "maskformer"}))
    with pytest.raises(CheckpointError, match="a model of type 'maskformer', and this reward needs 'mask2former'"):
        loaded(tmp_path / "other")


@pytest.mark.parametrize(
    ("label", "name"),
    [("mouse", "computer mouse"), ("Remote", "tv remote"), ("potted_plant", "potted plant"), ("bench", "bench")],
)
def test_classes_are_called_as_genevals_prompts_call_them(label: str, name: str) -> None:
    assert geneval_name(label) == name

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt
from pyrite.rewards.images import check_pairs
from pyrite.rewards.pixels import MAX_PIXELS, PixelPreparation, run_on_images


def processor(kind: str):
    from transformers import CLIPImageProcessorPil, ViTImageProcessorPil

    if kind == "stretch":
        return ViTImageProcessorPil(size={"height": 16, "width": 16})
    edge = {"crop": 16, "resize then crop": 20}[kind]
    return CLIPImageProcessorPil(size={"shortest_edge": edge}, crop_size={"height": 16, "width": 16})


def noise(width: int, height: int, seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PILImage.fromarray(pixels)


def brightness(pixels: torch.Tensor, rows: object = None) -> torch.Tensor:
    return pixels.mean((1, 2, 3))[:, None]


def run(images: list[Image], forward=brightness, batch_size: int = 64):
    return run_on_images(
        forward,
        images,
        preparation=PixelPreparation(processor("crop")),
        num_outputs=1,
        batch_size=batch_size,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("kind", ["crop", "stretch", "resize then crop"])
@pytest.mark.parametrize("size", [(16, 16), (20, 20), (40, 17), (9, 12)], ids=str)
def test_pixels_are_those_of_the_library(kind: str, size: tuple[int, int]) -> None:
    images = [noise(*size, seed) for seed in range(3)]
    expected = processor(kind)(images=images, return_tensors="np")["pixel_values"]
    # the short cut scales in another order: two units in the last place of numbers up to 2.7
    preparation = PixelPreparation(processor(kind))
    np.testing.assert_allclose([preparation(image) for image in images], expected, atol=1e-6, rtol=0)


def test_threads_give_every_row_its_own_image() -> None:
    large = [noise(700 + 10 * seed, 800, seed) for seed in range(7)]  # enough pixels for the threads to be used
    images = [large[0], PILImage.new("RGB", (0, 3)), *large[1:], large[0], large[0]]
    outputs, reasons = run(images, batch_size=3)
    alone = [run([image])[0][0, 0] for image in images]
    np.testing.assert_array_equal(outputs[:, 0], alone)
    assert list(reasons) == [1]


def test_an_image_is_asked_for_when_its_batch_is_prepared() -> None:
    class Opened(list):
        asked = 0

        def __getitem__(self, row):
            self.asked += 1
            return super().__getitem__(row)

    images, ahead = Opened([noise(16, 16)] * 12), []

    def forward(pixels: torch.Tensor, rows: object) -> torch.Tensor:
        ahead.append(images.asked)
        return brightness(pixels)

    run(images, forward, batch_size=3)
    assert ahead == [6, 9, 12, 12]  # its own batch and the next one


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr", "HSV", "PA"])
def test_every_eight_bit_mode_is_scored(mode: str) -> None:
    image = noise(16, 16).convert("P").convert("PA") if mode == "PA" else noise(16, 16).convert(mode)
    outputs, reasons = run([image])
    assert np.isfinite(outputs).all()
    assert not reasons


def test_palette_with_transparency_is_scored_without_a_warning() -> None:
    image = noise(16, 16).convert("P")
    image.info["transparency"] = bytes(range(256))
    assert np.isfinite(run([image])[0]).all()


def truncated_file() -> Image:
    buffer = io.BytesIO()
    noise(64, 64).save(buffer, "JPEG")
    return PILImage.open(io.BytesIO(buffer.getvalue()[:700]))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (PILImage.new("RGB", (0, 8)), "the image is empty: 0 x 8"),
        (PILImage.new("RGB", (2, 200)), "2 x 200 pixels, narrower than 1:50"),
        (PILImage.new("I;16", (16, 16)), "mode 'I;16'"),
        (PILImage.new("F", (16, 16)), "mode 'F'"),
        (PILImage.new("1", (10_000, 9_000)), f"90000000 pixels, more than the {MAX_PIXELS}"),
        (truncated_file(), "could not be decoded: .*truncated"),
    ],
    ids=["empty", "sliver", "sixteen bit", "float", "enormous", "truncated"],
)
def test_an_image_that_cannot_be_read_is_unscored_alone(image: Image, reason: str) -> None:
    outputs, reasons = run([noise(16, 16), image, noise(16, 16)])
    assert np.isnan(outputs[:, 0]).tolist() == [False, True, False]
    assert list(reasons) == [1]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(reasons[1])


def test_a_model_output_that_is_not_finite_is_unscored_alone() -> None:
    def explode_on_white(pixels: torch.Tensor, rows: object) -> torch.Tensor:
        return 1 / (2 - brightness(pixels).round())  # white is about 2

    outputs, reasons = run([noise(16, 16), PILImage.new("RGB", (16, 16), "white")], explode_on_white)
    assert np.isnan(outputs[:, 0]).tolist() == [False, True]
    assert reasons == {1: "the model's output for this image is not a finite number"}


def test_batches_are_no_larger_than_asked() -> None:
    seen = []

    def forward(pixels: torch.Tensor, rows: object) -> torch.Tensor:
        seen.append(len(pixels))
        return brightness(pixels)

    run([noise(16, 16)] * 7, forward, batch_size=3)
    assert seen == [3, 3, 1]


def test_as_many_prompts_as_images_are_needed() -> None:
    with pytest.raises(ValueError, match="1 images and 2 prompts"):
        check_pairs([noise(4, 4)], [Prompt("a"), Prompt("b")])


def test_a_folder_without_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no image processor could be read"):
        PixelPreparation.load(tmp_path)

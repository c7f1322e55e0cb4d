import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.evaluation.scored import noise

from pyrite.records import image_files
from pyrite.records.image_files import MAX_PIXELS, Readable, bombs_are_errors, decode, read_image_file


def encoded(image: PILImage.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def animated(format: str) -> bytes:
    return encoded(noise(0), format, save_all=True, append_images=[noise(1), noise(2)])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_keeps_its_own_mode_and_pixels(mode: str, tmp_path: Path) -> None:
    image = PILImage.new(mode, (5, 3), 1 if mode in {"1", "L", "P", "I;16"} else (9,) * len(mode))
    path = tmp_path / "a.png"
    image.save(path)
    file = read_image_file(path)
    assert isinstance(file, Readable)
    assert file.num_pixels == 15
    opened = decode(file)
    assert not isinstance(opened, str)
    assert opened.size == (5, 3)
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(PILImage.open(path)))


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero bytes": (lambda: b"", "the file is empty: 0 bytes"),
    "text": (lambda: b"this is no image", "the file is no image that Pillow knows"),
    "gif that moves": (lambda: animated("GIF"), "the file holds 3 frames, and only one can be meant"),
    "webp that moves": (lambda: animated("WEBP"), "the file holds 3 frames"),
    "png that moves": (lambda: animated("PNG"), "the file holds 3 frames"),
    "100 megapixels": (lambda: encoded(PILImage.new("1", (10_000, 10_000))), "more than 67 megapixels, the limit"),
    "200 megapixels": (lambda: encoded(PILImage.new("1", (20_000, 10_000))), "more than 67 megapixels, the limit"),
    "a little too large": (lambda: encoded(PILImage.new("1", (8193, 8192))), "more than 67 megapixels, the limit"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_scored_is_a_reason_before_it_is_decoded(case: str, tmp_path: Path) -> None:
    make, reason = BAD[case]
    path = tmp_path / "a.png"
    path.write_bytes(make())
    with bombs_are_errors():
        for source in (path, make()):
            told = read_image_file(source)
            assert isinstance(told, str)
            assert reason in told


def test_the_largest_image_allowed_is_read() -> None:
    file = read_image_file(encoded(PILImage.new("1", (8192, 8192))))
    assert isinstance(file, Readable)
    assert file.num_pixels == MAX_PIXELS


def test_a_truncated_file_is_a_reason(tmp_path: Path) -> None:
    whole = encoded(noise(0, (64, 64)))
    file = read_image_file(whole[: len(whole) // 2])
    assert isinstance(file, Readable)
    assert str(decode(file)).startswith("the image cannot be read: ")


def test_a_file_that_is_gone_or_too_long_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_image_file(tmp_path / "gone.png") == "there is no such file"
    assert read_image_file(tmp_path) == "the file cannot be read: Is a directory"
    path = tmp_path / "a.png"
    path.write_bytes(encoded(noise(0)))
    monkeypatch.setattr(image_files, "MAX_BYTES", 20)
    assert "more than the limit of 20" in str(read_image_file(path))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata
def test_no_damage_to_a_file_raises(format: str) -> None:
    """300 files per format with 1 to 8 bytes overwritten and, for every other one, the end cut off."""
    whole, rng = encoded(noise(0, (32, 24)), format), np.random.default_rng(0)
    for trial in range(300):
        data = bytearray(whole[: int(rng.integers(1, len(whole)))] if trial % 2 else whole)
        for _ in range(int(rng.integers(1, 9))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        file = read_image_file(bytes(data))
        if isinstance(file, Readable):
            decode(file)

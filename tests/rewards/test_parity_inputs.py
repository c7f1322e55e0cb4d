"""Images become the very pixels, and prompts the very ids, that the official codes make of them."""

import functools
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.rewards.goldens import Golden, vocabulary

from pyrite.core.types import Image
from pyrite.rewards.preprocessing import Float32Array, hf_pixels, hpsv2_pixels, openai_pixels
from pyrite.rewards.texts import TextReader, as_written, clean_clip_text

PIPELINES: dict[str, Callable[[Image], Float32Array]] = {
    "hpsv2": hpsv2_pixels,
    "pickscore": hf_pixels,
    "aesthetic": openai_pixels,
    "clipscore": openai_pixels,
    "imagereward": openai_pixels,
}
IMAGES = [(name, row["image"]) for name in PIPELINES for row in Golden(name).rows]


@pytest.mark.parametrize(("name", "file"), IMAGES, ids=lambda value: value)
def test_pixels_are_those_of_the_official_code(name: str, file: str) -> None:
    golden = Golden(name)
    row = next(row for row in golden.rows if row["image"] == file)
    pixels, probe = PIPELINES[name](golden.image(row)), row["pixels"]
    assert list(pixels.shape) == probe["shape"]
    assert pixels.dtype == np.float32
    middle = pixels.size // 2
    for found, expected in (
        (pixels.ravel()[:6], probe["first"]),
        (pixels.ravel()[middle : middle + 6], probe["middle"]),
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=golden.tolerance["pixels_abs"])
    # every pixel counts here: the mean of 150,528 numbers within 1e-6 has a mean within 1e-6
    assert np.mean(pixels, dtype=np.float64) == pytest.approx(probe["mean"], abs=golden.tolerance["pixels_abs"])
    assert np.linalg.norm(pixels.astype(np.float64)) == pytest.approx(probe["l2"], abs=1e-4)


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return (
        PILImage.fromarray(pixels).convert(mode)
        if mode != "PA"
        else PILImage.fromarray(pixels).convert("P").convert("PA")
    )


SIZES = [(224, 224), (227, 224), (224, 229), (333, 1000), (1, 1), (64, 64), (225, 225), (448, 300), (223, 224), (50, 1)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pickscore_pixels_are_the_librarys(size: tuple[int, int]) -> None:
    from transformers import CLIPImageProcessorPil

    expected = CLIPImageProcessorPil()(images=[noise(*size)], return_tensors="np")["pixel_values"][0]
    # the library divides by 255 in float64: one unit in the last place of numbers up to 2.7
    np.testing.assert_allclose(hf_pixels(noise(*size)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pipeline", [openai_pixels, hf_pixels, hpsv2_pixels], ids=lambda f: f.__name__)
@pytest.mark.parametrize("mode", ["L", "LA", "P", "PA", "RGBA", "1", "CMYK", "YCbCr", "HSV"])
@pytest.mark.parametrize("size", [(1, 1), (300, 200), (50, 1)], ids=str)
def test_every_mode_and_size_becomes_224_pixels_square(
    pipeline: Callable[[Image], Float32Array], mode: str, size: tuple[int, int]
) -> None:
    pixels = pipeline(noise(*size, mode))
    assert pixels.shape == (3, 224, 224)
    assert np.isfinite(pixels).all()


def test_the_two_crops_differ_by_a_pixel_where_the_margin_is_odd() -> None:
    image = noise(227, 224)
    left_of_hf, left_of_openai = 1, 2  # (227 - 224) / 2 = 1.5, rounded down and to even
    shifted = (
        image.crop((left_of_openai, 0, left_of_openai + 224, 224)),
        image.crop((left_of_hf, 0, left_of_hf + 224, 224)),
    )
    assert np.array_equal(openai_pixels(image), openai_pixels(shifted[0]))
    assert np.array_equal(hf_pixels(image), hf_pixels(shifted[1]))


def test_openai_resizes_a_palette_before_it_knows_the_colours() -> None:
    palette = noise(64, 64, "P")
    assert not np.allclose(openai_pixels(palette), openai_pixels(palette.convert("RGB")), atol=0.1)
    assert np.array_equal(hf_pixels(palette), hf_pixels(palette.convert("RGB")))


@pytest.mark.parametrize("size", [(224, 100), (100, 224)], ids=str)
def test_hpsv2_pads_an_image_whose_longest_side_is_already_right(size: tuple[int, int]) -> None:
    pixels = hpsv2_pixels(noise(*size))
    black = openai_pixels(PILImage.new("RGB", (224, 224)))[:, 0, 0]
    assert pixels.shape == (3, 224, 224)  # the official code crashes here
    assert np.array_equal(pixels[:, 0, 0], black)
    band = pixels[:, 62:162] if size[1] == 100 else pixels[:, :, 62:162]
    assert np.array_equal(band, np.asarray(hpsv2_pixels_without_bars(noise(*size))))


def hpsv2_pixels_without_bars(image: Image) -> Float32Array:
    square = PILImage.new("RGB", (224, 224))
    square.paste(image)
    return openai_pixels(square)[:, : image.height, : image.width]


def test_antialias_moves_hpsv2_pixels() -> None:
    without = functools.partial(hpsv2_pixels, antialias=False)
    assert np.abs(hpsv2_pixels(noise(500, 500)) - without(noise(500, 500))).mean() > 0.1
    assert np.array_equal(hpsv2_pixels(noise(224, 224)), without(noise(224, 224)))


def test_a_palette_with_transparency_gives_no_warning() -> None:
    image = noise(64, 64, "P")
    image.info["transparency"] = bytes(range(256))
    for pipeline in (openai_pixels, hf_pixels, hpsv2_pixels):
        assert np.isfinite(pipeline(image)).all()


# --- prompts ---------------------------------------------------------------------------------------------------------


def clip_reader(folder: str, clean: Callable[[str], str]) -> TextReader:
    from transformers import CLIPTokenizer

    return TextReader(CLIPTokenizer.from_pretrained(vocabulary(folder), local_files_only=True), 77, clean)


def bert_reader() -> TextReader:
    from transformers import BertTokenizer

    return TextReader(BertTokenizer(vocab=str(vocabulary("imagereward") / "vocab.txt")), 35)


READERS: dict[str, tuple[Callable[[], TextReader], str]] = {
    "hpsv2": (lambda: clip_reader("hpsv2/tokenizer", clean_clip_text), ""),
    "pickscore": (lambda: clip_reader("pickscore", as_written), ""),
    "clipscore": (lambda: clip_reader("clipscore/clip_hf", clean_clip_text), "A photo depicts "),
    "imagereward": (bert_reader, ""),
}


@pytest.mark.parametrize("name", READERS)
def test_ids_are_those_of_the_official_code(name: str) -> None:
    golden, (make, prefix) = Golden(name), READERS[name]
    reader = make()
    for row, prompt in zip(golden.rows, golden.prompts, strict=True):
        (ids,) = reader.ids([prefix + prompt.text])
        real = row.get("attention_mask", [1] * len(row["token_ids"]))
        assert reader.cut(ids) == [token for token, mask in zip(row["token_ids"], real, strict=True) if mask]


def test_the_two_policies_read_entities_and_curly_quotes_differently() -> None:
    text = "a “sign” &amp;amp; more"
    clean, raw = clip_reader("hpsv2/tokenizer", clean_clip_text), clip_reader("pickscore", as_written)
    assert clean.ids([text]) == raw.ids(['a "sign" & more'])
    assert clean.ids([text]) != raw.ids([text])


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("&amp;lt;3", "<3"),
        ("  Two\t\n words ", "two words"),
        ("ﬁne", "fine"),
        ("caf\u00c3\u00a9", "café"),
        ("“quoted”", '"quoted"'),
        ("Ω", "ω"),
        ("", ""),
    ],
    ids=["entity twice", "spaces", "ligature", "mojibake", "curly quotes", "lower case", "empty"],
)
def test_cleaning_is_openais(text: str, cleaned: str) -> None:
    assert clean_clip_text(text) == cleaned


@pytest.mark.parametrize(
    ("name", "special"),
    [
        ("hpsv2", "<|endoftext|>"),
        ("pickscore", "<|endoftext|>"),
        ("clipscore", "<|startoftext|>"),
        ("imagereward", "[SEP]"),
    ],
)
def test_a_special_token_spelled_out_is_read_as_characters(name: str, special: str) -> None:
    reader = READERS[name][0]()
    (plain,), (spelled,) = reader.ids(["a cat"]), reader.ids([f"a {special} cat"])
    assert spelled.count(plain[0]) == 1
    assert spelled.count(plain[-1]) == 1
    assert len(spelled) > len(plain) + 2  # several pieces, not one token


def test_a_cut_prompt_keeps_its_beginning_and_its_end_token() -> None:
    reader = bert_reader()
    (whole,) = reader.ids(["word " * 100])
    cut = reader.cut(whole)
    assert len(cut) == 35
    assert cut[:34] == whole[:34]
    assert cut[-1] == whole[-1]


def test_reading_a_truncated_file_is_an_error_of_that_image() -> None:
    buffer = io.BytesIO()
    noise(300, 300).save(buffer, "JPEG")
    for pipeline in (openai_pixels, hf_pixels, hpsv2_pixels):
        with pytest.raises(OSError, match="truncated"):
            pipeline(PILImage.open(io.BytesIO(buffer.getvalue()[:900])))

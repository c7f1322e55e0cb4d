"""Published rewards give the official scores on every golden image and prompt, in float32 on the CPU.

Models are fed the ids that the fixtures list, so these tests need no vocabulary; whole rewards, vocabulary included,
are compared where there is one.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tests.rewards.goldens import Golden, shared, vocabulary

from pyrite.core.protocols import Reward
from pyrite.core.types import Prompt
from pyrite.rewards.aesthetic import load_aesthetic_v1, load_aesthetic_v2, load_head
from pyrite.rewards.clip_published import (
    VIT_B_32,
    VIT_H_14,
    clipscore_reward,
    hpsv2_reward,
    load_clipscore,
    load_hpsv2_0,
    load_hpsv2_1,
    load_pickscore,
    pickscore_reward,
)
from pyrite.rewards.clip_weights import load_clip
from pyrite.rewards.imagereward import imagereward_reward, load_imagereward, load_parts
from pyrite.rewards.maniqa import ManiqaReward, crop_places, cut, load_maniqa
from pyrite.rewards.texts import TextReader

F32 = torch.float32


@dataclass(frozen=True)
class GivenIds(TextReader):
    """Reads the ids a fixture lists for its prompts."""

    tokenizer: Any = None
    longest: int = 77
    known: dict[str, list[int]] = field(default_factory=dict)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.known[text] for text in texts]

    def has_unknown_words(self, ids: list[int]) -> bool:
        return False

    def tensors(self, batch: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, batch))
        rows = [row + [0] * (longest - len(row)) for row in batch]
        real = [[1] * len(row) + [0] * (longest - len(row)) for row in batch]
        return torch.tensor(rows, device=device), torch.tensor(real, device=device)


def given(golden: Golden, prefix: str = "") -> GivenIds:
    known = {}
    for row, prompt in zip(golden.rows, golden.prompts, strict=True):
        real = row.get("attention_mask", [1] * len(row["token_ids"]))
        known[prefix + prompt.text] = [token for token, mask in zip(row["token_ids"], real, strict=True) if mask]
    return GivenIds(known=known)


def hpsv2(golden: Golden) -> Reward:
    model = load_clip("hpsv2.1", golden.folder / "HPS_v2.1_compressed.pt", VIT_H_14, golden.config, F32)
    return hpsv2_reward(model, given(golden), name="hpsv2.1", revision="tiny")


def pickscore(golden: Golden, scale: str = "official") -> Reward:
    model = load_clip("pickscore", golden.folder / "model.safetensors", VIT_H_14, None, F32)
    return pickscore_reward(model, given(golden), revision="tiny", scale=scale)


def clipscore(golden: Golden, file: str = "clip_hf/model.safetensors") -> Reward:
    config = None if file.endswith("safetensors") else golden.config
    model = load_clip("clipscore", golden.folder / file, VIT_B_32, config, F32)
    return clipscore_reward(model, given(golden, "A photo depicts "), revision="tiny")


def imagereward(golden: Golden) -> Reward:
    return imagereward_reward(*load_parts(golden.folder / "ImageReward.pt", golden.config, F32), given(golden), "tiny")


def aesthetic(golden: Golden, version: str, tower: str) -> Reward:
    load = {"v1": load_aesthetic_v1, "v2": load_aesthetic_v2}[version]
    return load(golden.folder, config=golden.config, tower=golden.folder / tower, device="cpu")


CASES: dict[str, tuple[str, Callable[[Golden], Reward], str, str]] = {
    "hpsv2.1": ("hpsv2", hpsv2, "score", "score_abs"),
    "pickscore": ("pickscore", pickscore, "score", "score_abs"),
    "pickscore, cosine": ("pickscore", functools.partial(pickscore, scale="cosine"), "cosine", "cosine_abs"),
    "clipscore": ("clipscore", clipscore, "score", "score_abs"),
    "clipscore, OpenAI's file": (
        "clipscore",
        functools.partial(clipscore, file="clip_openai.pt"),
        "score",
        "score_abs",
    ),
    "aesthetic-v1": ("aesthetic", functools.partial(aesthetic, version="v1", tower="clip_hf"), "v1", "v1_abs"),
    "aesthetic-v2": ("aesthetic", functools.partial(aesthetic, version="v2", tower="clip_hf"), "v2", "v2_abs"),
    "aesthetic-v1, OpenAI's tower": (
        "aesthetic",
        functools.partial(aesthetic, version="v1", tower="clip_openai.pt"),
        "v1",
        "v1_abs",
    ),
    "imagereward": ("imagereward", imagereward, "score", "score_abs"),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_the_official_code_and_the_card_says_how_nearly(case: str) -> None:
    fixture, make, key, tolerance = CASES[case]
    golden = Golden(fixture)
    reward = make(golden)
    scores = reward.score(golden.images(), golden.prompts)
    expected = np.array([row[key] for row in golden.rows])
    assert not scores.reasons
    np.testing.assert_allclose(scores.values, expected, rtol=0, atol=golden.tolerance[tolerance])
    assert reward.card.parity_error is not None
    # other processors sum in another order: the claim is of the size of the error, not of its digits
    assert np.abs(scores.values - expected).max() < 10 * reward.card.parity_error


def test_one_image_scores_as_officially_for_every_prompt() -> None:
    golden = Golden("hpsv2")
    scores = hpsv2(golden).score([golden.images()[0]] * 8, golden.prompts)
    expected = golden.said["matrix_image0_vs_all_prompts"]
    np.testing.assert_allclose(scores.values, expected, rtol=0, atol=golden.tolerance["score_abs"])


def test_imagereward_ranks_all_images_of_a_prompt_as_officially() -> None:
    golden = Golden("imagereward")
    scores = imagereward(golden).score(golden.images(), [golden.prompts[0]] * 8)
    expected = golden.said["prompt0_vs_all_images"]
    np.testing.assert_allclose(scores.values, expected["rewards"], rtol=0, atol=golden.tolerance["score_abs"])
    assert np.argsort(np.argsort(-scores.values)).tolist() == [rank - 1 for rank in expected["ranking"]]


@pytest.fixture(scope="module")
def maniqa() -> ManiqaReward:
    golden = Golden("maniqa")
    return load_maniqa(golden.folder, config=golden.config, device="cpu")


@pytest.mark.parametrize("row", range(8))
def test_maniqa_scores_the_official_crops_as_officially(maniqa: ManiqaReward, row: int) -> None:
    golden = Golden("maniqa")
    said = golden.rows[row]
    crops = torch.from_numpy(cut(golden.images()[row].convert("RGB"), said["crops_top_left"], 224))
    with torch.inference_mode():
        scores = maniqa.score_crops(crops)
    np.testing.assert_allclose(scores, said["per_crop_scores"], rtol=0, atol=golden.tolerance["per_crop_abs"])
    assert float(scores.mean()) == pytest.approx(said["score"], abs=golden.tolerance["score_abs"])
    assert float(scores.mean()) == pytest.approx(said["score"], abs=10 * (maniqa.card.parity_error or 0))
    probe, flat = said["pixels_crop0"], crops[0].flatten()
    np.testing.assert_allclose(flat[:6], probe["first"], rtol=0, atol=golden.tolerance["pixels_abs"])
    assert float(flat.double().mean()) == pytest.approx(probe["mean"], abs=golden.tolerance["pixels_abs"])


def test_maniqa_draws_crops_that_the_pixels_decide(maniqa: ManiqaReward) -> None:
    image = Golden("maniqa").images()[0].convert("RGB")
    assert np.array_equal(crop_places(image, 224), crop_places(image.copy(), 224))
    touched = image.copy()
    touched.putpixel((0, 0), (1, 2, 3))
    assert not np.array_equal(crop_places(image, 224), crop_places(touched, 224))
    places = crop_places(PILImage.new("RGB", (225, 230)), 224)
    assert places.shape == (20, 2)
    assert set(places[:, 0]) <= set(range(6))
    assert set(places[:, 1]) == {0}


@pytest.mark.parametrize("size", [(224, 300), (300, 224), (100, 60), (1, 1), (30, 1)], ids=str)
def test_maniqa_enlarges_what_is_no_larger_than_a_crop_and_says_so(maniqa: ManiqaReward, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    scores = maniqa.score([PILImage.fromarray(pixels), PILImage.new("RGB", (225, 225))], [Prompt("a")] * 2)
    assert np.isfinite(scores.values).all()
    assert scores.details["upsampled"].tolist() == [1, 0]
    assert min(maniqa.enlarged(PILImage.fromarray(pixels)).size) == 225


# --- with vocabularies that belong to others ------------------------------------------------------------------------


WHOLE: dict[str, tuple[str, str, Callable[..., Reward], str]] = {
    "hpsv2.0": ("hpsv2", "hpsv2/tokenizer", load_hpsv2_0, "HPS_v2.1_compressed.pt"),
    "hpsv2.1": ("hpsv2", "hpsv2/tokenizer", load_hpsv2_1, "HPS_v2.1_compressed.pt"),
    "pickscore": ("pickscore", "pickscore", load_pickscore, ""),
    "clipscore": ("clipscore", "clipscore/clip_hf", load_clipscore, "clip_hf"),
    "imagereward": ("imagereward", "imagereward", load_imagereward, ""),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_reward_scores_as_officially(name: str) -> None:
    fixture, words, load, file = WHOLE[name]
    golden = Golden(fixture)
    config = golden.config if fixture in ("hpsv2", "imagereward") else None
    reward = load(golden.folder / file, config=config, tokenizer=vocabulary(words), device="cpu")
    scores = reward.score(golden.images(), golden.prompts)
    expected = [row["score"] for row in golden.rows]
    np.testing.assert_allclose(scores.values, expected, rtol=0, atol=golden.tolerance["score_abs"])
    assert reward.card.name == name
    assert scores.details["prompt_truncated"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


# --- real weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "widths", "layers", "norm", "bias"),
    [
        ("aesthetic-v1", "sa_0_4_vit_l_14_linear.pth", (768, 1), ("",), 28.444, 3.5294),
        (
            "aesthetic-v2",
            "sac+logos+ava1-l14-linearMSE.pth",
            (768, 1024, 128, 64, 16, 1),
            tuple(f"layers.{place}." for place in (0, 2, 4, 6, 7)),
            17.996,
            5.2366,
        ),
    ],
    ids=["v1", "v2"],
)
def test_the_real_aesthetic_heads_are_the_affine_maps_they_should_be(
    name: str, file: str, widths: tuple[int, ...], layers: tuple[str, ...], norm: float, bias: float
) -> None:
    head = load_head(name, shared(f"weights/{file}"), widths, layers).double()
    with torch.no_grad():
        offset = head(torch.zeros(1, 768, dtype=torch.float64))
        slope = head(torch.eye(768, dtype=torch.float64)) - offset
    # the figures were noted to four decimals
    assert float(offset) == pytest.approx(bias, abs=5e-5)
    assert float(slope.norm()) == pytest.approx(norm, abs=5e-4)


IQA = {"I03": 3.6420, "I04": 5.5836, "I06": 5.0716, "I08": 4.6458, "I19": 3.0889}
OCEAN = "a painting of an ocean with clouds and birds, day time, low depth field effect"
OCEAN_SCORES = (0.5811622738838196, 0.2745276093482971, -1.4131819009780884, -2.029569625854492)


def loaded_or_skipped(load: Callable[..., Reward], **options: Any) -> Reward:
    from pyrite.core.errors import CheckpointError

    try:
        return load(device="cpu", **options)
    except CheckpointError as error:
        pytest.skip(str(error))


@pytest.mark.weights
def test_imagereward_gives_the_scores_of_its_readme() -> None:
    reward = loaded_or_skipped(load_imagereward)
    images = [PILImage.open(shared(f"images/imagereward/{index}.webp")) for index in (1, 2, 3, 4)]
    # float32 on another machine: the README's own digits repeat to about 1e-5
    np.testing.assert_allclose(reward.score(images, [Prompt(OCEAN)] * 4).values, OCEAN_SCORES, rtol=0, atol=1e-3)


@pytest.mark.weights
def test_the_improved_aesthetic_predictor_gives_its_published_scores() -> None:
    reward = loaded_or_skipped(load_aesthetic_v2, weights=Path(shared("weights/sac+logos+ava1-l14-linearMSE.pth")))
    images = [PILImage.open(shared(f"images/iqa/{name}.bmp")) for name in IQA]
    # given to four decimals, and computed in float16
    np.testing.assert_allclose(reward.score(images, [Prompt("")] * 5).values, list(IQA.values()), rtol=0, atol=2e-2)

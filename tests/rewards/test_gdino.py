"""GroundingDINO as a reward: official scores in the mode `reference`, strict loading, captions, and bad metadata."""

import dataclasses
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tests.rewards.goldens import Golden, vocabulary
from tests.tiny_checkpoints import write_bert_vocabulary
from tests.tiny_detectors import gdino_dimensions, write_detector_vocabulary, write_gdino

from pyrite.core.errors import CheckpointError, RewardError
from pyrite.core.types import Image, Prompt
from pyrite.records.published_table import TABLE
from pyrite.rewards.gdino import GDinoReward, gdino_reward, load_gdino
from pyrite.rewards.gdino_pixels import DetectorPixels
from pyrite.rewards.gdino_text import LONGEST_CAPTION, STOP, Caption, read_nouns
from pyrite.rewards.gdino_weights import from_official, gdino_config, load_gdino_model
from pyrite.rewards.loading import read_tensors

GOLDEN = Golden("groundingdino")
FILE = "groundingdino_swint_ogc.pth"
CASES = GOLDEN.said["per_case"]
ROWS = json.loads((GOLDEN.folder / "prompts.json").read_text())
PROMPTS = [Prompt.from_json({**row, "prompt": "."}) for row in ROWS]
TOLERANCE = GOLDEN.tolerance


def opened(name: str) -> Image:
    return PILImage.open(io.BytesIO((GOLDEN.folder / "images" / name).read_bytes()))


@dataclasses.dataclass(frozen=True)
class GivenEncoding:
    """One caption with the ids a fixture lists; every word and every full stop of it is one token."""

    caption: str
    ids: list[int]

    def __getitem__(self, key: str) -> list[int]:
        return self.ids

    def char_to_token(self, place: int) -> int | None:
        starts = [match.span() for match in re.finditer(r"\w+|\.", self.caption)]
        assert len(starts) + 2 == len(self.ids)
        return next((index for index, (start, end) in enumerate(starts, 1) if start <= place < end), None)


class GivenIds:
    """Reads the captions of the fixture."""

    def __call__(self, caption: str, **_: object) -> GivenEncoding:
        return GivenEncoding(caption, next(case["token_ids"] for case in CASES if case["text_prompt"] == caption))


@pytest.fixture(scope="module")
def model() -> Any:
    return load_gdino_model(GOLDEN.folder / FILE, GOLDEN.config)


@pytest.fixture(scope="module")
def official(model: Any) -> GDinoReward:
    """The reference mode at the official size, where a look takes a second."""
    return gdino_reward(model, GivenIds(), "tiny", preparation=DetectorPixels(), mode="reference")


def everyday() -> set[int]:
    """The first case of every image and of every branch of the score; the others are looked at when asked for."""
    first: dict[object, int] = {}
    for row, prompt in enumerate(PROMPTS):
        kind = prompt.task_type if prompt.task_type in ("spatial", "numeracy") else "object"
        for branch in (ROWS[row]["image"], (kind, (prompt.spatial_info or {}).get("locality"))):
            first.setdefault(branch, row)
    return set(first.values())


# --- parity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=() if row in everyday() else pytest.mark.slow) for row in range(len(ROWS))]
)
def test_reference_scores_and_boxes_are_those_of_the_official_code(official: GDinoReward, row: int) -> None:
    scores, (found,) = official.look([opened(ROWS[row]["image"])], [PROMPTS[row]])
    expected, case = GOLDEN.said["scores"][row], CASES[row]
    assert scores.values[0] == pytest.approx(expected, abs=TOLERANCE["score_abs"])
    # other processors sum in another order: the claim is of the size of the error, not of its digits
    assert abs(scores.values[0] - expected) < 10 * (official.card.parity_error or 0)
    if "token_ids" not in case:
        assert np.isnan(scores.details["num_detections"][0])
        return
    assert scores.details["num_detections"][0] == sum(case["detections_per_noun"])
    for noun, num, score, box in zip(
        PROMPTS[row].nouns,
        *(case[key] for key in ("detections_per_noun", "best_phrase_score", "best_box_cxcywh")),
        strict=True,
    ):
        words = noun.split()
        phrase = noun if len(words) == 1 else f"{words[0]} {words[-1]}"
        here = [one for one in found if one.phrase == phrase]
        assert len(here) == num * PROMPTS[row].nouns.count(noun)
        if num:
            best = max(here, key=lambda one: one.score)
            assert best.score == pytest.approx(score, abs=TOLERANCE["prob_abs"])
            np.testing.assert_allclose(best.box, box, rtol=0, atol=TOLERANCE["box_abs"])


@pytest.mark.parametrize("name", sorted({row["image"] for row in ROWS}))
def test_pixels_are_those_of_the_official_code(name: str) -> None:
    probe = next(case["pixels"] for case in CASES if case["image"] == name and "pixels" in case)
    pixels = DetectorPixels()(opened(name))
    assert list(pixels.shape) == probe["shape"]
    assert pixels.dtype == np.float32
    middle = pixels.size // 2
    # one unit in the last place of numbers up to 2.7
    np.testing.assert_allclose(pixels.ravel()[:6], probe["first"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(pixels.ravel()[middle : middle + 6], probe["middle"], rtol=0, atol=1e-6)
    assert np.mean(pixels, dtype=np.float64) == pytest.approx(probe["mean"], abs=1e-6)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((384, 384), (800, 800)),
        ((800, 900), (800, 900)),
        ((512, 384), (1066, 800)),
        ((384, 512), (800, 1066)),
        ((1000, 71), (1338, 95)),  # round(1333 * 71 / 1000) = 95, then int(95 * 1000 / 71): above the limit
        ((1414, 100), (1329, 94)),
        ((3000, 100), (1320, 44)),
        ((1, 1), (800, 800)),
    ],
    ids=str,
)
def test_the_longest_side_is_rounded_as_officially(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert DetectorPixels().size(*size) == expected


@pytest.mark.parametrize("row", range(len(CASES)))
def test_captions_are_the_official_ids(row: int) -> None:
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(vocab=str(vocabulary("groundingdino/bert") / "vocab.txt"))
    case, nouns = CASES[row], PROMPTS[row].nouns
    if not nouns:
        assert "token_ids" not in case
        return
    reference, fixed = (read_nouns(tokenizer, nouns, mode) for mode in ("reference", "fixed"))
    assert isinstance(reference, Caption)
    assert isinstance(fixed, Caption)
    assert list(reference.ids) == list(fixed.ids) == case["token_ids"]
    assert fixed.phrases == nouns
    given = read_nouns(GivenIds(), nouns, "reference")
    assert isinstance(given, Caption)
    assert given.phrases == reference.phrases
    assert np.array_equal(given.weights, reference.weights)
    if all(len(noun.split()) < 3 for noun in nouns):  # the middle of a longer noun is what the reference leaves out
        np.testing.assert_array_equal(reference.weights, fixed.weights)


# --- the model ------------------------------------------------------------------------------------------------------


def test_attention_of_the_text_is_pinned_to_what_masks(model: Any, tmp_path: Path) -> None:
    """The eager attention of transformers 5 adds the boolean mask of the phrases, and so lets nouns see each other."""
    text = model.model.text_backbone
    assert text.config._attn_implementation == "sdpa"
    ids = torch.tensor([[101, 4937, STOP, 3899, STOP, 102]])
    blocks = torch.block_diag(*(torch.ones(size, size) for size in (1, 2, 2, 1))).bool()[None, None]
    changed = ids.clone()
    changed[0, 3] = 3482

    def first_noun(which: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return text(which, blocks).last_hidden_state[0, 1]

    assert torch.equal(first_noun(ids), first_noun(changed))
    text.set_attn_implementation("eager")
    assert (first_noun(ids) - first_noun(changed)).abs().max() > 1e-3
    text.set_attn_implementation("sdpa")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["_attn_implementation"] = config["text_config"]["attn_implementation"] = "eager"
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = load_gdino_model(tmp_path / "model.safetensors", {})
    assert again.model.text_backbone.config._attn_implementation == "sdpa"


@pytest.fixture(scope="module")
def tiny_options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {**write_gdino(tmp_path_factory.mktemp("gdino")), "box_threshold": 0.3}


@pytest.fixture(scope="module")
def tiny(tiny_options: dict[str, Any]) -> GDinoReward:
    return load_gdino(**tiny_options, device="cpu")


def noise(width: int, height: int, seed: int = 0) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return PILImage.fromarray(coarse).resize((width, height), PILImage.Resampling.BICUBIC)


SIZES = [(64, 64), (64, 64), (80, 64), (64, 80), (64, 64), (200, 90), (64, 64), (80, 64)]
NOUNS = [
    ("cat",),
    ("a dog", "cat"),
    ("cat",),
    ("teddy bear", "umbrella", "cat"),
    ("cat",),
    ("x",),
    ("cat", "dog"),
    ("y",),
]


def batch() -> tuple[list[Image], list[Prompt]]:
    return [noise(*size, seed) for seed, size in enumerate(SIZES)], [Prompt("a", nouns=nouns) for nouns in NOUNS]


def test_images_of_any_size_and_captions_of_any_length_are_seen_as_if_alone(tiny: GDinoReward) -> None:
    images, prompts = batch()
    together = tiny.explain(images, prompts)
    assert sum(map(len, together)) > 10
    for image, prompt, found in zip(images, prompts, together, strict=True):
        (alone,) = tiny.explain([image], [prompt])
        assert [one.phrase for one in alone] == [one.phrase for one in found]
        # text is padded behind its end and masked: products of another shape round differently
        np.testing.assert_allclose([one.score for one in alone], [one.score for one in found], rtol=0, atol=1e-5)
        np.testing.assert_allclose([one.box for one in alone], [one.box for one in found], rtol=0, atol=1e-5)


def test_a_score_is_explained_by_its_boxes(tiny: GDinoReward) -> None:
    images, prompts = batch()
    scores, found = tiny.score(images, prompts), tiny.explain(images, prompts)
    assert scores.details["num_detections"].tolist() == [len(boxes) for boxes in found]
    for value, prompt, boxes in zip(scores.values, prompts, found, strict=True):
        present = {one.phrase for one in boxes}
        assert value == pytest.approx(sum(noun in present for noun in prompt.nouns) / len(prompt.nouns))
        assert all(one.score > 0.3 for one in boxes)


def test_outputs_that_are_no_numbers_are_not_taken_for_absent_objects(tiny: GDinoReward) -> None:
    model = load_gdino_model(GOLDEN.folder / FILE, GOLDEN.config)
    model.model.decoder.layer_norm.weight.fill_(torch.nan)
    scores = dataclasses.replace(tiny, model=model).score([noise(64, 64)], [Prompt("a", nouns=("cat",))])
    assert "not a finite number" in scores.reasons[0]


def test_an_image_too_narrow_for_the_boxes_is_unscored(tiny: GDinoReward) -> None:
    scores = tiny.score([noise(8, 240), noise(64, 64)], [Prompt("a", nouns=("cat",))] * 2)
    assert "places for its 30 boxes" in scores.reasons[0]
    assert list(scores.reasons) == [0]


# --- metadata -------------------------------------------------------------------------------------------------------

CAT = {"nouns": ("cat", "dog")}
PLACE = {"obj1": "cat", "obj2": "dog", "locality": "left of"}
LACKING: dict[str, tuple[dict[str, Any], str]] = {
    "no nouns": ({"nouns": ()}, "`nouns` of the prompt is empty"),
    "a number for a noun": ({"nouns": ("cat", 3)}, "a noun is a text"),
    "a blank noun": ({"nouns": ("cat", " ")}, "the noun ' ' in `nouns` has no word"),
    "a noun of stops": ({"nouns": ("cat", "..?")}, r"the noun '..\?' in `nouns` has no word"),
    "no relation": ({**CAT, "task_type": "spatial"}, "`spatial_info` of the prompt is empty"),
    "a sentence for a relation": (
        {**CAT, "task_type": "spatial", "spatial_info": "left of"},
        "is 'left of', and not an object with obj1, obj2 and locality",
    ),
    "a sentence for numbers": ({**CAT, "task_type": "numeracy", "numeracy_info": ("two",)}, "holds 'two', which lacks"),
    "half a relation": ({**CAT, "task_type": "spatial", "spatial_info": {"obj1": "cat"}}, "no obj2 and no locality"),
    "an unknown word": (
        {**CAT, "task_type": "spatial", "spatial_info": {**PLACE, "locality": "amid"}},
        "the locality 'amid', and known are on the left of",
    ),
    "somebody else": (
        {**CAT, "task_type": "spatial", "spatial_info": {**PLACE, "obj2": "bird"}},
        "speaks of 'bird', which is not among `nouns`",
    ),
    "itself": ({**CAT, "task_type": "spatial", "spatial_info": {**PLACE, "obj2": "cat"}}, "'cat' twice"),
    "no numbers": ({**CAT, "task_type": "numeracy"}, "`numeracy_info` of the prompt is empty"),
    "half a number": (
        {**CAT, "task_type": "numeracy", "numeracy_info": ({"obj_name": "cat"},)},
        "lacks a text obj_name or a whole num",
    ),
    "numbers of others": (
        {**CAT, "task_type": "numeracy", "numeracy_info": ({"obj_name": "bird", "num": 2},)},
        "counts 'bird', which is not among `nouns`",
    ),
    "forty nouns": ({"nouns": tuple(f"thing{n}" for n in range(40))}, "the 40 entries of `nouns` make a caption of"),
}


@pytest.mark.parametrize("case", LACKING)
def test_a_prompt_that_lacks_metadata_is_unscored_naming_the_field_and_the_rest_is_scored(
    tiny: GDinoReward, case: str
) -> None:
    given, reason = LACKING[case]
    whole = Prompt("a", task_type="spatial", spatial_info=PLACE, nouns=("cat", "dog"))
    scores = tiny.score([noise(64, 64)] * 3, [whole, Prompt("a", **given), whole])
    assert list(scores.reasons) == [1]
    assert re.search(reason, scores.reasons[1])
    assert np.isfinite(scores.values[[0, 2]]).all()


REFERENCE: dict[str, float | None] = {
    "no nouns": 1,
    "no relation": 0,
    "half a relation": 0,
    "a sentence for a relation": 0,
    "numbers of others": 0,
    "no numbers": None,
    "half a number": None,
}


@pytest.mark.parametrize("case", REFERENCE)
def test_the_reference_mode_gives_the_numbers_that_nobody_earned(tiny: GDinoReward, case: str) -> None:
    reward = dataclasses.replace(tiny, mode="reference")
    scores = reward.score([noise(64, 64), PILImage.new("RGB", (0, 3))], [Prompt("a", **LACKING[case][0])] * 2)
    assert scores.values[0] == REFERENCE[case] or (REFERENCE[case] is None and 0 in scores.reasons)
    assert 1 in scores.reasons  # an image that is none has no score in any mode


def test_the_reference_mode_cuts_a_caption_that_is_too_long_and_says_so(tiny: GDinoReward) -> None:
    reward = dataclasses.replace(tiny, mode="reference", box_threshold=0.0)
    nouns = tuple(f"thing{n}" for n in range(60))
    prompts = [Prompt("a", nouns=nouns), Prompt("a", nouns=("cat",))]
    images = [noise(64, 64)] * 2
    scores, found = reward.score(images, prompts), reward.explain(images, prompts)
    assert scores.details["prompt_truncated"].tolist() == [1, 0]
    named = {one.phrase for one in found[0]}
    assert "thing0" in named
    assert "thing59" not in named


# --- what is inside a noun ------------------------------------------------------------------------------------------

ATTACKS = ("[SEP]", "cat [SEP] dog", "cat. dog", "[CLS]", "who?", "a . b . c", "[PAD] [MASK]", "\ud83d cat", "x\x00y")


@pytest.mark.parametrize("noun", ATTACKS, ids=ascii)
def test_a_noun_can_not_change_the_form_of_the_caption(tiny: GDinoReward, noun: str) -> None:
    caption = read_nouns(tiny.tokenizer, ("cat", noun, "dog"))
    plain = read_nouns(tiny.tokenizer, ("cat", "dog"))
    assert isinstance(caption, Caption)
    assert isinstance(plain, Caption)
    ids = list(caption.ids)
    assert [ids.count(number) for number in (101, 102, STOP, 1029)] == [1, 1, 3, 0]
    first, second = plain.weights.astype(bool)
    assert ids[: 1 + first.sum()] == list(plain.ids[: 1 + first.sum()])
    assert ids[-2 - second.sum() :] == list(plain.ids[-2 - second.sum() :])
    # every token but the two ends and the stops stands for exactly one noun
    assert caption.weights.astype(bool).sum(0).tolist() == [int(number not in (101, 102, STOP)) for number in ids]
    np.testing.assert_allclose(caption.weights.sum(1), 1, atol=2e-6)


def test_the_reference_mode_reads_a_special_token_as_its_characters_too(tiny: GDinoReward) -> None:
    caption = read_nouns(tiny.tokenizer, ("cat", "[SEP]"), "reference")
    assert isinstance(caption, Caption)
    assert [caption.ids.count(number) for number in (101, 102)] == [1, 1]


def test_every_word_of_a_noun_counts_and_in_the_reference_the_first_and_the_last(tiny: GDinoReward) -> None:
    nouns = ("ab ab ab", "c")  # a letter is a token here
    fixed, reference = (read_nouns(tiny.tokenizer, nouns, mode) for mode in ("fixed", "reference"))
    assert isinstance(fixed, Caption)
    assert isinstance(reference, Caption)
    assert fixed.phrases == nouns
    assert reference.phrases == ("ab ab", "c")
    assert fixed.weights.astype(bool).tolist()[0] == [False, *[True] * 6, *[False] * 4]
    assert reference.weights.astype(bool).tolist()[0] == [False, True, True, False, False, True, True, *[False] * 4]


# --- loading --------------------------------------------------------------------------------------------------------


def same_scores(first: GDinoReward, second: GDinoReward) -> bool:
    images, prompts = batch()
    found = [[one.score for boxes in reward.explain(images, prompts) for one in boxes] for reward in (first, second)]
    return found[0] == found[1]


def test_every_form_of_the_weights_gives_the_same_scores(
    tiny: GDinoReward, tiny_options: dict[str, Any], model: Any, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    tensors = read_tensors(GOLDEN.folder / FILE)
    torch.save({"model": {f"module.{key}": tensor for key, tensor in tensors.items()}}, tmp_path / FILE)
    save_file(tensors, tmp_path / "groundingdino_swint_ogc.safetensors")
    hub = tmp_path / "hub"
    model.save_pretrained(hub)
    size = {"shortest_edge": 64, "longest_edge": 128}
    (hub / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    words, config = tiny_options["tokenizer"], tiny_options["config"]
    for weights, given in (
        (tmp_path / FILE, config),
        (tmp_path / "groundingdino_swint_ogc.safetensors", config),
        (GOLDEN.folder, config),
        (hub, None),
    ):
        again = load_gdino(weights, config=given, tokenizer=words, device="cpu")
        assert again.preparation == DetectorPixels(64, 128)
        assert same_scores(tiny, again)


OLDER_NAMES = (
    (r"\.swin\.", "."),
    (r"attention\.q_proj", "attention.self.query"),
    (r"attention\.k_proj", "attention.self.key"),
    (r"attention\.v_proj", "attention.self.value"),
    (r"(blocks.*attention)\.o_proj", r"\1.output.dense"),
    (r"attention\.relative_position_bias\.", "attention.self."),
    (r"(blocks.*)mlp\.fc1", r"\1intermediate.dense"),
    (r"(blocks.*)mlp\.fc2", r"\1output.dense"),
)


def test_the_names_that_the_hub_still_has_are_read(model: Any, tmp_path: Path) -> None:
    """The hub's file is of 2023, when transformers called the backbone's parts otherwise."""
    from safetensors.torch import load_file, save_file

    model.save_pretrained(tmp_path)
    older = {}
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        for pattern, place in OLDER_NAMES:
            name = re.sub(pattern, place, name)
        if "conv_encoder.model.layernorm" not in name:
            older[name] = tensor.clone()
        if name.endswith("relative_position_bias_table"):
            older[name.replace("bias_table", "index")] = torch.zeros(49, 49, dtype=torch.long)
    (tmp_path / "model.safetensors").unlink()
    save_file(older, tmp_path / "model.safetensors", {"format": "pt"})
    again, expected = load_gdino_model(tmp_path / "model.safetensors", {}).state_dict(), model.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("damage", ["missing", "left over", "shape", "two box heads"])
def test_a_file_that_is_not_exactly_the_model_is_refused(
    tiny_options: dict[str, Any], tmp_path: Path, damage: str
) -> None:
    tensors = read_tensors(GOLDEN.folder / FILE)
    if damage == "missing":
        del tensors["transformer.decoder.layers.1.ca_text.in_proj_bias"]
    elif damage == "left over":
        tensors["somebody.elses.weight"] = torch.ones(2)
    elif damage == "shape":
        tensors["feat_map.bias"] = torch.zeros(3)
    else:
        tensors["bbox_embed.1.layers.0.weight"] = tensors["bbox_embed.1.layers.0.weight"] + 1
    torch.save({"model": tensors}, tmp_path / FILE)
    expected = {
        "missing": "3 tensors are missing.*encoder_attn_text",
        "left over": r"1 are left over \(first: somebody.elses.weight\)",
        "shape": r"text_projection.bias has shape \(3,\)",
        "two box heads": "this model has one box head",
    }
    with pytest.raises(CheckpointError, match=expected[damage]):
        load_gdino(**{**tiny_options, "weights": tmp_path / FILE}, device="cpu")


def test_the_larger_sibling_is_refused_in_both_forms(tiny_options: dict[str, Any], tmp_path: Path) -> None:
    tensors = read_tensors(GOLDEN.folder / FILE)
    tensors["backbone.0.patch_embed.proj.weight"] = torch.zeros(128, 3, 4, 4)
    torch.save({"model": tensors}, tmp_path / FILE)
    with pytest.raises(
        CheckpointError, match=r"holds GroundingDINO-B \(Swin-B\), a sibling.*pyrite weights fetch gdino"
    ):
        load_gdino(**{**tiny_options, "weights": tmp_path / FILE}, device="cpu")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model.safetensors").write_bytes(b"")
    config = {"model_type": "grounding-dino", "backbone_config": {"model_type": "swin", "embed_dim": 128}}
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"holds GroundingDINO-B \(Swin-B\), a sibling"):
        load_gdino(tmp_path / "hub", tokenizer=tiny_options["tokenizer"], device="cpu")


def test_another_rewards_file_is_refused_and_named(tiny_options: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(Golden("imagereward").folder / "ImageReward.pt", tmp_path / FILE)
    with pytest.raises(CheckpointError, match=r"is not the weights of 'gdino'.*look like the weights of imagereward"):
        load_gdino(**{**tiny_options, "weights": tmp_path / FILE}, device="cpu")


def test_a_hub_folder_without_its_dimensions_is_refused(tiny_options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no config.json beside model.safetensors.*grounding-dino-tiny"):
        load_gdino(tmp_path, tokenizer=tiny_options["tokenizer"], device="cpu")


def test_a_missing_or_foreign_vocabulary_is_named(tiny_options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no vocab.txt in that folder.*pyrite weights fetch gdino"):
        load_gdino(**{**tiny_options, "tokenizer": tmp_path}, device="cpu")
    write_bert_vocabulary(tmp_path)
    with pytest.raises(CheckpointError, match="parts its captions at 101, 102, 1012, 1029: nouns would run into"):
        load_gdino(**{**tiny_options, "tokenizer": tmp_path}, device="cpu")


def test_options_that_change_scores_change_the_key_and_wrong_ones_are_refused(tiny_options: dict[str, Any]) -> None:
    with pytest.raises(RewardError, match="mode='sound' is no way to score detections"):
        load_gdino(mode="sound")  # type: ignore[arg-type]
    with pytest.raises(RewardError, match="box_threshold=30 is none"):
        load_gdino(box_threshold=30)
    changes = ({}, {"mode": "reference"}, {"box_threshold": 0.2}, {"config": gdino_dimensions(short=80)})
    cards = [load_gdino(**{**tiny_options, **change}, device="cpu").card for change in changes]
    assert len({card.store_key for card in cards}) == len(changes)
    assert cards[0].parity_error is None  # no official code scores as the fixed mode does
    assert cards[1].parity_error is not None


def test_the_published_shape_has_the_published_number_of_parameters_and_tensors() -> None:
    from transformers import GroundingDinoForObjectDetection

    with torch.device("meta"):
        model = GroundingDinoForObjectDetection(gdino_config())
    assert sum(parameter.numel() for parameter in model.parameters()) == TABLE["gdino"].num_parameters == 172_250_626
    names = [key for key in model.state_dict() if "swin.layernorm" not in key]
    attentions = "swin.*attention|text_enhancer.*self_attn|decoder.*self_attn|encoder_attn_text"
    fused = rf"({attentions})\.(q_proj|k_proj|v_proj|query|key|value)\."
    official = {re.sub(fused, r"\1.fused.", name) for name in names}
    assert TABLE["gdino"].parts[0].files[0].num_tensors == len(official) == 924


def test_nobodys_names_stay_to_be_found_left_over() -> None:
    found = from_official({"module.oddity": torch.ones(1), "bert.pooler.dense.bias": torch.ones(1)})
    assert set(found) == {"oddity"}


def test_the_caption_limit_is_that_of_the_model() -> None:
    assert gdino_config().max_text_len == LONGEST_CAPTION


def test_a_vocabulary_for_tests_parts_captions_where_bert_does(tmp_path: Path) -> None:
    assert (write_detector_vocabulary(tmp_path) / "vocab.txt").read_text().split("\n")[STOP] == "."

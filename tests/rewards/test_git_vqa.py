"""GIT as a judge of attributes: official scores, one look for several questions, strict loading, and bad metadata."""

import dataclasses
import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tests.rewards.goldens import Golden, vocabulary
from tests.tiny_checkpoints import write_bert_vocabulary
from tests.tiny_detectors import write_git

from pyrite.core.errors import CheckpointError, RewardError
from pyrite.core.types import Image, Prompt
from pyrite.records.published_table import TABLE
from pyrite.rewards.git_vqa import GitReward, git_reward, load_git, load_git_model
from pyrite.rewards.loading import read_tensors
from pyrite.rewards.pixels import PixelPreparation
from pyrite.rewards.texts import TextReader

GOLDEN = Golden("git")
FILE = "pytorch_model.bin"
CASES = GOLDEN.said["per_image"]
PROMPTS = [Prompt.from_json({**row, "prompt": "."}) for row in json.loads((GOLDEN.folder / "prompts.json").read_text())]
YES, NO = 2748, 2053


@dataclasses.dataclass(frozen=True)
class GivenIds(TextReader):
    """Reads the ids that the fixture lists for its questions."""

    tokenizer: Any = None
    longest: int = 512

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        asked = {one["text"]: [*one["input_ids"], 102] for case in CASES for one in case["questions"]}
        known = {**asked, "yes": [101, YES, 102], "no": [101, NO, 102]}
        return [known[text] for text in texts]

    def has_unknown_words(self, ids: list[int]) -> bool:
        return False

    def tensors(self, batch: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, batch))
        rows = [row + [0] * (longest - len(row)) for row in batch]
        real = [[1] * len(row) + [0] * (longest - len(row)) for row in batch]
        return torch.tensor(rows, device=device), torch.tensor(real, device=device)


def opened(name: str) -> Image:
    return PILImage.open(io.BytesIO((GOLDEN.folder / "images" / name).read_bytes()))


IMAGES = [opened(case["image"]) for case in CASES]


@pytest.fixture(scope="module")
def official() -> GitReward:
    model = load_git_model(GOLDEN.folder / FILE, {}, torch.float32)
    return git_reward(model, GivenIds(), PixelPreparation.load(GOLDEN.folder), "tiny", mode="reference")


# --- parity ---------------------------------------------------------------------------------------------------------


def test_reference_scores_are_those_of_the_official_code_and_the_card_says_how_nearly(official: GitReward) -> None:
    scores = official.score(IMAGES, PROMPTS)
    expected = np.array(GOLDEN.said["scores"])
    assert not scores.reasons
    np.testing.assert_allclose(scores.values, expected, rtol=0, atol=GOLDEN.tolerance["score_abs"])
    assert official.card.parity_error is not None
    assert np.abs(scores.values - expected).max() < 10 * official.card.parity_error
    assert scores.details["num_questions"].tolist() == [2, 1, 3, 0, 0, 0, 1, 3]


@pytest.mark.parametrize("row", range(len(CASES)))
def test_every_answer_is_the_official_one(official: GitReward, row: int) -> None:
    case = CASES[row]
    for question in case["questions"]:
        asked = Prompt(".", attr_nouns=(question["text"].removesuffix("?"),))
        if "p" in question:
            answer = official.score([IMAGES[row]], [asked]).values[0]
            assert answer == pytest.approx(question["p"], abs=GOLDEN.tolerance["score_abs"])


@pytest.mark.parametrize("row", range(len(CASES)))
def test_pixels_are_those_of_the_official_code(official: GitReward, row: int) -> None:
    probe, pixels = CASES[row]["pixels"], official.preparation(IMAGES[row])
    assert list(pixels.shape) == probe["shape"]
    middle = pixels.size // 2
    # one unit in the last place of numbers up to 2.7
    np.testing.assert_allclose(pixels.ravel()[:6], probe["first"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(pixels.ravel()[middle : middle + 6], probe["middle"], rtol=0, atol=1e-6)
    assert np.mean(pixels, dtype=np.float64) == pytest.approx(probe["mean"], abs=1e-6)


def test_a_whole_reward_scores_as_officially() -> None:
    reward = load_git(GOLDEN.folder, tokenizer=vocabulary("git"), device="cpu", mode="reference")
    scores = reward.score(IMAGES, PROMPTS)
    np.testing.assert_allclose(scores.values, GOLDEN.said["scores"], rtol=0, atol=GOLDEN.tolerance["score_abs"])
    assert reward.answers == (YES, NO)
    asked = {one["text"]: one["input_ids"] for case in CASES for one in case["questions"]}
    assert [ids[:-1] for ids in reward.reader.ids(list(asked))] == list(asked.values())


def test_one_look_answers_as_one_look_per_question_does(official: GitReward) -> None:
    """The library's own forward pass, image and question together, unbatched and without a cache."""
    questions = [one["input_ids"] for case in CASES for one in case["questions"]]
    pixels = torch.stack([torch.from_numpy(official.preparation(image)) for image in IMAGES[:3]])
    asked = [questions, questions[:2], questions[4:5]]
    expected = []
    with torch.inference_mode():
        for image, ids in zip(pixels, asked, strict=True):
            logits = [
                official.model(pixel_values=image[None], input_ids=torch.tensor([one])).logits[0, -1] for one in ids
            ]
            given = [row.double().softmax(0)[[YES, NO]] for row in logits]
            answers = [float(yes / (yes + no)) for yes, no in given]
            expected.append([np.mean(answers), min(answers)])
        found = official.rate(pixels, asked)
    # float32 products of other shapes
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-6)


# --- metadata -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_git(tmp_path_factory.mktemp("git"))


@pytest.fixture(scope="module")
def tiny(options: dict[str, Any]) -> GitReward:
    return load_git(**options, device="cpu")


LACKING: dict[str, tuple[dict[str, Any], str, float]] = {
    "nothing": ({}, "`attr_nouns` and `nouns` of the prompt are empty", 1.0),
    "a place": ({"nouns": ("cat",), "task_type": "spatial"}, "task_type is 'spatial': GIT is asked about things", 0.0),
    "a number": ({"nouns": ("cat",), "task_type": "numeracy"}, "task_type is 'numeracy': GIT is asked about", 0.0),
}


@pytest.mark.parametrize("case", LACKING)
def test_what_git_was_not_asked_is_unscored_and_in_the_reference_a_number(tiny: GitReward, case: str) -> None:
    given, reason, number = LACKING[case]
    prompts = [Prompt("a", nouns=("cat",)), Prompt("a", **given), Prompt("a", nouns=("cat",))]
    images = [PILImage.new("RGB", (30, 30), "red")] * 3
    scores = tiny.score(images, prompts)
    assert list(scores.reasons) == [1]
    assert reason in scores.reasons[1]
    reference = dataclasses.replace(tiny, mode="reference")
    assert reference.score(images, prompts).values[1] == number
    # an image that is none has no score in any mode
    assert list(reference.score([images[0], PILImage.new("RGB", (0, 3))], prompts[:2]).reasons) == [1]


@pytest.mark.parametrize(
    ("nouns", "reason"),
    [
        ((" ",), r"`attr_nouns` of the prompt holds ' '"),
        (("cat", 3), r"`attr_nouns` of the prompt holds 3"),
        (("cat " * 600,), r"a question about the prompt has \d+ tokens, and GIT reads 512"),
    ],
    ids=["blank", "a number", "long"],
)
def test_a_question_that_cannot_be_asked_is_a_reason(tiny: GitReward, nouns: tuple[Any, ...], reason: str) -> None:
    prompts = [Prompt("a", attr_nouns=nouns), Prompt("a", attr_nouns=("cat",))]
    scores = tiny.score([PILImage.new("RGB", (30, 30), "red")] * 2, prompts)
    assert list(scores.reasons) == [0]
    assert re.search(reason, scores.reasons[0])


@pytest.mark.parametrize("noun", ["cat [SEP] dog", "[CLS]", "[PAD]", "who? [MASK]", "\ud83d cat"], ids=ascii)
def test_a_noun_can_not_end_the_question_or_begin_another(tiny: GitReward, noun: str) -> None:
    ids, reasons = tiny._questions([Prompt("a", attr_nouns=(noun,))])
    assert not reasons
    (asked,) = ids[0]
    assert asked[0] == 101
    assert not {0, 101, 102, 103} & set(asked[1:])
    assert asked[-1] == 1029


# --- loading --------------------------------------------------------------------------------------------------------


def copied(folder: Path, **changes: Any) -> Path:
    """The fixture's files, with changes to its config.json."""
    folder.mkdir(parents=True)
    for name in (FILE, "preprocessor_config.json"):
        shutil.copyfile(GOLDEN.folder / name, folder / name)
    (folder / "config.json").write_text(json.dumps({**GOLDEN.config, **changes}))
    return folder


def test_every_form_of_the_weights_gives_the_same_scores(
    tiny: GitReward, options: dict[str, Any], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    tensors = read_tensors(GOLDEN.folder / FILE)
    old = {**tensors, "git.embeddings.position_ids": torch.arange(512)[None]}
    for name in ("model.safetensors", "pytorch_model.safetensors", FILE):
        folder = copied(tmp_path / Path(name).suffix[1:] / name)
        (folder / FILE).unlink()
        torch.save(old, folder / name) if name == FILE else save_file(old, folder / name)
        again = load_git(folder, tokenizer=options["tokenizer"], device="cpu")
        prompts = [Prompt("a", nouns=("cat", "dog"))] * 2
        assert np.array_equal(again.score(IMAGES[:2], prompts).values, tiny.score(IMAGES[:2], prompts).values)


@pytest.mark.parametrize("damage", ["missing", "left over", "shape"])
def test_a_file_that_is_not_exactly_the_model_is_refused(options: dict[str, Any], tmp_path: Path, damage: str) -> None:
    folder = copied(tmp_path / "model")
    tensors = read_tensors(GOLDEN.folder / FILE)
    if damage == "missing":
        del tensors["output.bias"]
    elif damage == "left over":
        tensors["somebody.elses.weight"] = torch.ones(2)
    else:
        tensors["output.bias"] = torch.ones(2)
    torch.save(tensors, folder / FILE)
    expected = {
        "missing": r"1 tensors are missing \(first: output.bias\)",
        "left over": r"1 are left over \(first: somebody.elses.weight\)",
        "shape": r"output.bias has shape \(2,\)",
    }
    with pytest.raises(CheckpointError, match=expected[damage]):
        load_git(folder, tokenizer=options["tokenizer"], device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "blip"}, "model of type 'blip', and this reward needs 'git'"),
        ({"vision_config": {"hidden_size": 768, "image_size": 480}}, "git-base-vqav2, a sibling of git-large-vqav2"),
        ({"vision_config": {"hidden_size": 1024, "image_size": 224}}, "git-large, a sibling of git-large-vqav2"),
        ({"num_image_with_embedding": 6}, "a GIT for videos, a sibling"),
    ],
    ids=["blip", "base", "large", "video"],
)
def test_a_sibling_is_refused(options: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_git(copied(tmp_path / "model", **changes), tokenizer=options["tokenizer"], device="cpu")


def test_missing_files_are_named(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRITE_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = copied(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"vocab.txt.*as its tokenizer.*pyrite weights fetch git"):
        load_git(folder, device="cpu")
    with pytest.raises(CheckpointError, match=r"no vocab.txt in that folder.*pyrite weights fetch git"):
        load_git(folder, tokenizer=tmp_path, device="cpu")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config.json as its weights.*pyrite weights fetch git"):
        load_git(folder, tokenizer=options["tokenizer"], device="cpu")


def test_a_vocabulary_of_another_size_or_without_yes_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nyes\nno")
    with pytest.raises(CheckpointError, match="holds 7 word pieces, and the model knows 30522"):
        load_git(**{**options, "tokenizer": tmp_path}, device="cpu")
    write_bert_vocabulary(tmp_path)
    with pytest.raises(CheckpointError, match='does not have "yes" and "no" as one word each'):
        load_git(**{**options, "tokenizer": tmp_path}, device="cpu")


def test_the_mode_changes_the_key_and_a_wrong_one_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RewardError, match="mode='sound' is no way to score prompts without questions"):
        load_git(mode="sound")  # type: ignore[arg-type]
    cards = [load_git(**options, device="cpu", mode=mode).card for mode in ("fixed", "reference")]
    assert cards[0].store_key != cards[1].store_key


def test_the_published_shape_has_the_published_number_of_parameters_and_tensors() -> None:
    from transformers import GitConfig, GitForCausalLM

    from pyrite.rewards.random_detectors import _GIT_VISION

    with torch.device("meta"):
        model = GitForCausalLM(GitConfig(vision_config=_GIT_VISION))
    assert sum(parameter.numel() for parameter in model.parameters()) == TABLE["git"].num_parameters
    assert len(model.state_dict()) == TABLE["git"].parts[0].files[0].num_tensors

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from tests.tiny_qwen import SPECIALS, write_preprocessor, write_qwen, write_qwen_tokenizer
from tokenizers import Tokenizer

import pyrite
from pyrite.core.errors import CheckpointError, MissingExtraError
from pyrite.core.types import Image, Prompt
from pyrite.rewards.artifact_vlm import QUESTION, ArtifactVlmReward
from pyrite.rewards.chat import Picture, encode
from pyrite.rewards.qwen_pixels import QwenPixels
from pyrite.rewards.qwen_vl import IMAGE_TOKEN

# The reference's question and the chat template of Qwen2.5-VL, from the fact sheet, sections 7 and 7b.
QUESTION_SHA256 = "36f8342fe7e95d15373d708c439581ff67304aa85c6c4607b5ee98ee5eca8e7f"
TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{question}<|vision_start|>{image}"
    "<|vision_end|><|im_end|>\n<|im_start|>assistant\n"
)
# float32 sums in another order; logits are of order 1
CLOSE = 2e-6
SIZES = [(64, 64), (100, 40), (300, 300), (20, 31), (64, 64), (9, 140)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen(tmp_path_factory.mktemp("qwen"), shards=3)


def load(folder: Path, **options: Any) -> ArtifactVlmReward:
    reward = pyrite.load_reward("artifact", **{"weights": folder, "device": "cpu", "dtype": "float32", **options})
    assert isinstance(reward, ArtifactVlmReward)
    return reward


@pytest.fixture(scope="module")
def reward(folder: Path) -> ArtifactVlmReward:
    return load(folder, batch_size=4)


def images(sizes: list[tuple[int, int]] = SIZES) -> list[Image]:
    rng = np.random.default_rng(0)
    return [PILImage.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def prompts(num: int) -> list[Prompt]:
    return [Prompt("anything")] * num


def hand_built(folder: Path, image: Image, text: str) -> dict[str, torch.Tensor]:
    """The inputs of one row: the template as one string with its special tokens, patches cut by hand."""
    size = [round(side / 28) * 28 for side in (image.height, image.width)]
    if size[0] * size[1] > 112 * 112:  # the tiny preprocessor's most
        scale = (112 * 112 / (image.height * image.width)) ** 0.5
        size = [int(side * scale / 28) * 28 for side in (image.height, image.width)]
    assert size[0] * size[1] >= 56 * 56
    pixels = np.asarray(image.resize((size[1], size[0]), PILImage.Resampling.BICUBIC), np.float32) / 255
    pixels = (pixels - np.float32([0.48145466, 0.4578275, 0.40821073])) / np.float32(
        [0.26862954, 0.26130258, 0.27577711]
    )
    rows, columns = size[0] // 14, size[1] // 14
    patches = []
    for block_row in range(0, rows, 2):
        for block_column in range(0, columns, 2):
            for row in (block_row, block_row + 1):
                for column in (block_column, block_column + 1):
                    patch = pixels[14 * row : 14 * row + 14, 14 * column : 14 * column + 14].transpose(2, 0, 1)
                    patches.append(np.stack([patch, patch], axis=1).ravel())
    asked = text.format(image="<|image_pad|>" * (rows * columns // 4))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = torch.tensor([tokenizer.encode(asked).ids])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == tokenizer.token_to_id("<|image_pad|>")).long(),
        "pixel_values": torch.from_numpy(np.stack(patches)),
        "image_grid_thw": torch.tensor([[1, rows, columns]]),
    }


def library_logits(folder: Path, inputs: dict[str, torch.Tensor]) -> np.ndarray:
    """(V,) of the first token, from transformers' own unbatched path."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(**inputs).logits[0, -1].double().numpy()


def plain_prob(folder: Path, logits: np.ndarray) -> float:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    weights = np.exp(logits - logits.max())
    mass = {
        word: sum(
            weights[tokenizer.token_to_id(space + form)]
            for space in ("", "Ġ")
            for form in (word, word.title(), word.upper())
        )
        for word in ("yes", "no")
    }
    return mass["yes"] / (mass["yes"] + mass["no"])


@pytest.mark.parametrize("size", [(64, 64), (100, 40), (300, 300)])
def test_the_score_is_that_of_the_library_s_own_forward_pass(
    size: tuple[int, int], folder: Path, reward: ArtifactVlmReward
) -> None:
    (image,) = images([size])
    logits = library_logits(folder, hand_built(folder, image, TEMPLATE.replace("{question}", QUESTION)))
    scores = reward.score([image], prompts(1))
    assert scores.values[0] == pytest.approx(1 - plain_prob(folder, logits), abs=CLOSE)
    assert scores.details["artifact_prob"][0] == pytest.approx(1 - scores.values[0], abs=1e-15)


def test_the_question_is_the_reference_s_to_the_letter() -> None:
    assert hashlib.sha256(QUESTION.encode()).hexdigest() == QUESTION_SHA256


def test_the_ids_are_those_of_the_whole_template(folder: Path, reward: ArtifactVlmReward) -> None:
    whole = TEMPLATE.format(question=QUESTION, image="<|image_pad|>" * 5)
    expected = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(whole).ids
    assert encode(reward.asker.vocabulary, reward.pieces(Picture(5, IMAGE_TOKEN))) == expected


def test_positions_of_three_axes_matter_so_that_the_comparison_would_see_them_missing(folder: Path) -> None:
    inputs = hand_built(folder, images([(112, 112)])[0], TEMPLATE.replace("{question}", QUESTION))
    right = library_logits(folder, inputs)
    assert np.abs(library_logits(folder, {**inputs, "mm_token_type_ids": None}) - right).max() > 1e-3


def test_a_batch_of_unequal_images_scores_as_one_by_one(folder: Path, reward: ArtifactVlmReward) -> None:
    alone = [reward.score([image], prompts(1)).values[0] for image in images()]
    for batch_size in (2, 4, 16):
        together = load(folder, batch_size=batch_size).score(images(), prompts(len(SIZES)))
        np.testing.assert_allclose(together.values, alone, atol=CLOSE)


def test_reading_the_shared_beginning_once_gives_the_logits_of_reading_it_in_every_row(
    reward: ArtifactVlmReward,
) -> None:
    asked = reward.asker.ask(images(), lambda _, picture: reward.pieces(picture))
    start = reward.asker.shared_start(asked)
    assert start is not None
    before_image = min(len(ids) for ids in asked.ids.values()) - 4
    assert 0.5 * before_image < start.ids.shape[1] < before_image
    for _, inputs in reward.asker.batches(images(), asked):
        whole = reward.asker.first_logits(inputs)
        torch.testing.assert_close(reward.asker.first_logits(inputs, start), whole, atol=1e-5, rtol=0)


def test_the_vision_tower_attends_to_all_windows_of_a_length_at_once(
    reward: ArtifactVlmReward, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images([(112, 112)])[0]
    attend, calls = torch.nn.functional.scaled_dot_product_attention, []
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *given, **how: calls.append(given[0].shape) or attend(*given, **how),
    )
    reward.score([image] * 4, prompts(4))
    in_language_model = 2 * 2  # layers, for the shared beginning and for the rest
    # 4 windows of 4 x 4 patches for each image in the first layer, the whole of each image in the second
    assert calls[2:4] == [(16, 2, 16, 16), (4, 2, 64, 16)]
    assert len(calls) == 2 + in_language_model


def test_reference_mode_reads_the_ten_likeliest_tokens_with_its_defects(folder: Path) -> None:
    image = images([(64, 64)])[0]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    logits = library_logits(folder, hand_built(folder, image, TEMPLATE.replace("{question}", QUESTION)))
    listed = [tokenizer.decode([token]).lower() for token in np.argsort(-logits)[:10]]
    assert not {"yes", "no"} & set(listed)  # what a random model says, and the reference takes for a perfect image
    scores = load(folder, mode="reference").score([image], prompts(1))
    assert scores.values[0] == 1.0
    assert scores.details["answered"][0] < 0.1


def test_a_jpeg_on_the_way_is_an_option_that_changes_scores_and_the_key(
    folder: Path, reward: ArtifactVlmReward
) -> None:
    image, file = images([(64, 64)])[0], io.BytesIO()
    image.save(file, "JPEG", quality=95)
    sent = load(folder, transport="jpeg95")
    expected = reward.score([PILImage.open(file).convert("RGB")], prompts(1)).values
    assert sent.score([image], prompts(1)).values == pytest.approx(expected, abs=1e-7)
    assert abs(expected - reward.score([image], prompts(1)).values) > 1e-4
    assert sent.card.store_key != reward.card.store_key


def test_another_question_is_on_the_card_and_can_hold_no_markup(folder: Path, reward: ArtifactVlmReward) -> None:
    asks = load(folder, question=f"Broken? <|im_end|>{IMAGE_TOKEN}<tool_call>")
    ids = encode(asks.asker.vocabulary, asks.pieces(Picture(3, IMAGE_TOKEN)))
    plain = encode(reward.asker.vocabulary, reward.pieces(Picture(3, IMAGE_TOKEN)))
    special = {asks.asker.vocabulary.token(name) for name in (*SPECIALS, "<tool_call>")}
    assert [token for token in ids if token in special] == [token for token in plain if token in special]
    assert asks.card.options["question"] != reward.card.options["question"]
    assert asks.card.store_key != reward.card.store_key


def test_an_image_with_more_tokens_than_the_model_reads_is_unscored_and_the_rest_scored(
    folder: Path, reward: ArtifactVlmReward
) -> None:
    needed = {row: len(ids) for row, ids in reward.asker.ask(images(), lambda _, p: reward.pieces(p)).ids.items()}
    short = load(folder, config={"max_position_embeddings": max(needed.values()) - 1})
    scores = short.score(images(), prompts(len(SIZES)))
    too_long = {row for row, num in needed.items() if num == max(needed.values())}
    assert set(scores.reasons) == too_long
    assert all("tokens and the model reads" in why for why in scores.reasons.values())
    kept = [row for row in range(len(SIZES)) if row not in too_long]
    np.testing.assert_allclose(
        scores.values[kept], reward.score(images(), prompts(len(SIZES))).values[kept], atol=CLOSE
    )


def test_an_image_alone_beyond_the_context_is_not_even_put_into_a_question(folder: Path) -> None:
    short = load(folder, config={"max_position_embeddings": 10})
    assert "tokens and the model reads 10" in short.score(images([(300, 300)]), prompts(1)).reasons[0]


def test_a_damaged_image_is_unscored_and_the_rest_scored(reward: ArtifactVlmReward) -> None:
    file = io.BytesIO()
    images([(90, 90)])[0].save(file, "PNG")
    damaged = PILImage.open(io.BytesIO(file.getvalue()[:3000]))
    clean = images([(64, 64), (70, 64)])
    scores = reward.score([clean[0], damaged, clean[1]], prompts(3))
    assert list(scores.reasons) == [1]
    assert "could not be decoded" in scores.reasons[1]
    np.testing.assert_allclose(scores.values[[0, 2]], reward.score(clean, prompts(2)).values, atol=CLOSE)


def test_a_sliver_is_refused_as_by_qwen_s_own_preprocessing(reward: ArtifactVlmReward) -> None:
    scores = reward.score(images([(1, 201), (1, 200)]), prompts(2))
    assert list(scores.reasons) == [0]
    assert "narrower than 1:200" in scores.reasons[0]


def test_the_same_image_object_twice_is_scored_twice(reward: ArtifactVlmReward) -> None:
    image = images([(64, 64)])[0]
    first, second = reward.score([image, image], prompts(2)).values
    assert first == pytest.approx(second, abs=CLOSE)


def test_the_number_of_tokens_follows_the_published_limits(tmp_path: Path) -> None:
    write_preprocessor(tmp_path, min_pixels=3136, max_pixels=12_845_056)
    pixels = QwenPixels.load(tmp_path)
    # 28 x 28 pixels a token, sides rounded to the nearest; the least are 4 tokens; the most would be 16384,
    # but Qwen's rule rounds 5000 px down to 127 tokens a side
    assert [pixels.num_tokens((side, side)) for side in (384, 512, 1024, 5, 5000)] == [196, 324, 1369, 4, 16129]
    patches = pixels(images([(100, 40)])[0])
    assert patches.values.shape == (patches.grid[0] * patches.grid[1], 3 * 2 * 14 * 14)
    assert patches.grid[0] * patches.grid[1] == 4 * pixels.num_tokens((100, 40))


def test_nan_weights_give_a_reason_and_no_number(folder: Path) -> None:
    broken = load(folder)
    with torch.no_grad():
        broken.asker.model.lm_head.weight[3] = float("nan")
    scores = broken.score(images([(64, 64)]), prompts(1))
    assert "not a finite number" in scores.reasons[0]


def changed(folder: Path, into: Path, **said: Any) -> Path:
    shutil.copytree(folder, into)
    config = json.loads((into / "config.json").read_text())
    (into / "config.json").write_text(json.dumps({**config, **said}))
    return into


def test_a_model_of_the_sister_family_is_refused(tmp_path: Path) -> None:
    write_qwen(tmp_path, model_type="qwen2_vl")
    with pytest.raises(CheckpointError, match="of type 'qwen2_vl', and 'artifact' is a 'qwen2_5_vl'"):
        load(tmp_path)


def test_other_dimensions_than_the_tensors_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the weights of 'artifact'"):
        load(changed(folder, tmp_path / "model", num_hidden_layers=3))
    with pytest.raises(CheckpointError, match="left over"):
        load(folder, config={"num_hidden_layers": 1})


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("tokenizer.json", "tokenizer.json as its tokenizer"),
        ("preprocessor_config.json", "preprocessor_config.json"),
        ("config.json", "config.json"),
        ("model-00002-of-00003.safetensors", "model.safetensors.index.json"),
    ],
)
def test_a_missing_file_is_named(gone: str, says: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / gone).unlink()
    with pytest.raises(CheckpointError, match=says):
        load(tmp_path / "model")


def test_a_tokenizer_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    write_qwen_tokenizer(tmp_path)
    said = json.loads((tmp_path / "tokenizer.json").read_text())
    said["added_tokens"].insert(0, {**said["added_tokens"][0], "content": "<|first|>"})
    for place, token in enumerate(said["added_tokens"]):
        token["id"] = said["added_tokens"][1]["id"] + place if place else token["id"]
    for place, token in enumerate(said["added_tokens"]):
        token["id"] = said["added_tokens"][0]["id"] + place
    (tmp_path / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match="it would see none"):
        load(folder, tokenizer=tmp_path)


def test_a_vocabulary_without_yes_is_refused(folder: Path, tmp_path: Path) -> None:
    write_qwen_tokenizer(tmp_path)
    said = json.loads((tmp_path / "tokenizer.json").read_text())
    said["model"]["merges"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match="no single token for yes in any spelling"):
        load(folder, tokenizer=tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "fixed"}, "mode='fixed' is no way to read an answer. Use sound or reference."),
        ({"transport": "gif"}, "transport='gif' is no way an image can take to the model. Use png or jpeg95."),
        ({"dtype": "int3"}, "dtype='int3' is no precision"),
        ({"quantise": "3bit"}, "quantise='3bit' is not known"),
    ],
)
def test_an_unknown_option_is_refused_with_those_there_are(options: dict[str, str], says: str, folder: Path) -> None:
    with pytest.raises((CheckpointError, MissingExtraError), match=says.replace(".", r"\.")):
        load(folder, **options)


def test_the_card_claims_what_can_be_claimed(folder: Path, reward: ArtifactVlmReward) -> None:
    card = reward.card
    assert (card.range, card.reads_prompt, card.parity_error) == ((0.0, 1.0), False, None)
    assert dict(card.options) == {"mode": "sound", "question": QUESTION, "transport": "png"}
    assert load(folder, dtype=None).card.dtype == "bfloat16"


def test_changed_pixels_or_configuration_change_the_revision(
    folder: Path, reward: ArtifactVlmReward, tmp_path: Path
) -> None:
    other = changed(folder, tmp_path / "model")
    write_preprocessor(other, max_pixels=84 * 84)
    assert load(other).card.revision != reward.card.revision


def test_half_precision_stays_near(folder: Path, reward: ArtifactVlmReward) -> None:
    # bfloat16 keeps 8 bits; over two layers of random weights a probability moves by a few hundredths
    exact = reward.score(images(), prompts(len(SIZES))).values
    np.testing.assert_allclose(load(folder, dtype=None).score(images(), prompts(len(SIZES))).values, exact, atol=0.1)

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt
from pyrite.rewards.clip import load_hps, load_pickscore
from pyrite.rewards.texts import Memory

PROMPTS = [Prompt("a photo of a red circle"), Prompt("two blue stars"), Prompt("a photo of a red circle")]


def images(num: int) -> list[Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (num, 16, 16, 3), dtype=np.uint8)
    return [PILImage.fromarray(row) for row in pixels]


def test_pickscore_is_the_librarys_logit_and_hps_its_cosine(clip_folder: Path) -> None:
    pickscore, hps = load_pickscore(clip_folder, device="cpu"), load_hps(clip_folder, device="cpu")
    model = pickscore.model
    tokens = pickscore.reader.tokenizer([prompt.text for prompt in PROMPTS], padding=True, return_tensors="pt")
    pixels = pickscore.preparation.processor(images=images(3), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels
        ).logits_per_image.diagonal()
        scale = float(model.logit_scale.exp())
    found = pickscore.score(images(3), PROMPTS).values
    # float32 rounds otherwise where memory is aligned otherwise: 1e-6 of a cosine, times the scale
    np.testing.assert_allclose(found, logits.numpy(), rtol=1e-5, atol=1e-6 * scale)
    np.testing.assert_allclose(hps.score(images(3), PROMPTS).values, found / scale, rtol=1e-6)
    assert hps.card.range == (-1, 1)
    assert pickscore.card.range == pytest.approx((-scale, scale))


def test_each_distinct_prompt_is_read_once_and_remembered(clip_folder: Path) -> None:
    reward = load_hps(clip_folder, device="cpu")
    read = []
    reward.model.text_model.register_forward_hook(lambda *call: read.append(call[2].last_hidden_state.shape[0]))
    reward.score(images(3), PROMPTS)
    reward.score(images(2), [PROMPTS[1], Prompt("a pink square")])
    assert read == [2, 1]


def test_a_prompt_with_unknown_words_is_unscored_alone(clip_folder: Path) -> None:
    scores = load_hps(clip_folder, device="cpu").score(images(2), [PROMPTS[0], Prompt("a photo of a zebra")])
    assert np.isnan(scores.values).tolist() == [False, True]
    assert "'a photo of a zebra' has words that this reward never learned" in scores.reasons[1]


def test_a_prompt_that_is_cut_says_so(clip_folder: Path) -> None:
    long = Prompt("a photo of " + "a red circle and " * 4)
    scores = load_hps(clip_folder, device="cpu").score(images(2), [PROMPTS[0], long])
    assert scores.details["prompt_truncated"].tolist() == [0, 1]
    assert np.isfinite(scores.values).all()


def test_weights_that_are_not_numbers_score_nothing(clip_folder: Path) -> None:
    reward = load_hps(clip_folder, device="cpu")
    with torch.no_grad():
        reward.model.visual_projection.weight[0, 0] = torch.nan
    scores = reward.score(images(2), PROMPTS[:2])
    assert np.isnan(scores.values).all()
    assert set(scores.reasons.values()) == {"the model's output for this image is not a finite number"}


def test_the_prompts_unused_for_longest_are_forgotten_first() -> None:
    memory: Memory[int] = Memory(capacity=2)
    asked: list[str] = []

    def compute(texts: list[str]) -> list[int]:
        asked.extend(texts)
        return [len(text) for text in texts]

    assert memory.recall(["a", "bb", "a"], compute) == {"a": 1, "bb": 2}
    memory.recall(["a"], compute)
    memory.recall(["ccc"], compute)
    assert memory.recall(["a", "bb"], compute) == {"a": 1, "bb": 2}
    assert asked == ["a", "bb", "ccc", "bb"]


def test_more_prompts_than_are_remembered_are_all_answered() -> None:
    memory: Memory[int] = Memory(capacity=2)
    assert len(memory.recall(list("abcdef"), lambda texts: [1] * len(texts))) == 6


def test_a_prompt_whose_embedding_is_not_a_number_is_unscored(clip_folder: Path) -> None:
    reward = load_hps(clip_folder, device="cpu")
    with torch.no_grad():
        reward.model.text_projection.weight[0, 0] = torch.nan
    scores = reward.score(images(1), PROMPTS[:1])
    assert scores.reasons == {0: "the model's output for the prompt 'a photo of a red circle' is not a finite number"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precision_tower_scores_nearly_the_same_and_says_so(clip_folder: Path, dtype: str) -> None:
    exact, half = load_hps(clip_folder, device="cpu"), load_hps(clip_folder, device="cpu", dtype=dtype)
    # bfloat16 has 8 bits of mantissa: about 4e-3 per number, a few roundings deep
    np.testing.assert_allclose(half.score(images(3), PROMPTS).values, exact.score(images(3), PROMPTS).values, atol=0.03)
    assert half.card.dtype == dtype
    assert half.card.store_key != exact.card.store_key


def test_a_precision_nothing_computes_in_is_refused(clip_folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"dtype='int8' is no precision.*float32, bfloat16, float16"):
        load_hps(clip_folder, device="cpu", dtype="int8")


def test_config_is_laid_over_the_folders(clip_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="could not be read"):
        load_hps(clip_folder, config={"projection_dim": 9}, device="cpu")
    assert load_hps(clip_folder, config={"vision_config": {"hidden_act": "gelu"}}, device="cpu").model is not None

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from pyrite.core.types import Image, Prompt
from pyrite.rewards.clip import load_hps, load_pickscore

PROMPTS = [Prompt("a photo of a red circle"), Prompt("two blue stars"), Prompt("a photo of a red circle")]


def images(num: int) -> list[Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (num, 16, 16, 3), dtype=np.uint8)
    return [PILImage.fromarray(row) for row in pixels]


def test_pickscore_is_the_librarys_logit_and_hps_its_cosine(clip_folder: Path) -> None:
    pickscore, hps = load_pickscore(clip_folder, device="cpu"), load_hps(clip_folder, device="cpu")
    model = pickscore.model
    tokens = pickscore.tokenizer([prompt.text for prompt in PROMPTS], padding=True, return_tensors="pt")
    pixels = pickscore.preparation.processor(images=images(3), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels
        ).logits_per_image.diagonal()
        scale = float(model.logit_scale.exp())
    found = pickscore.score(images(3), PROMPTS).values
    np.testing.assert_allclose(found, logits.numpy(), rtol=1e-5)
    np.testing.assert_allclose(hps.score(images(3), PROMPTS).values, found / scale, rtol=1e-6)
    assert hps.card.range == (-1, 1)
    assert pickscore.card.range == pytest.approx((-scale, scale))


def test_each_distinct_prompt_is_read_once(clip_folder: Path) -> None:
    reward = load_hps(clip_folder, device="cpu")
    read = []
    reward.model.text_model.register_forward_hook(lambda *call: read.append(call[2].last_hidden_state.shape[0]))
    reward.score(images(3), PROMPTS)
    assert read == [2]


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

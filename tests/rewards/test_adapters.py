from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError
from pyrite.core.types import Prompt, Scores
from pyrite.rewards.adapters import as_flow_grpo, as_pictures, as_trl, as_verl
from pyrite.rewards.diagnostics import load_saturation

RED, GREY, EMPTY = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "grey"), Image.new("RGB", (0, 8))


class Remembering:
    """Scores everything 1 and keeps what it was handed."""

    card = RewardCard(name="remembering", summary="One.", range=(1.0, 1.0), reads_prompt=False, revision="1")

    def score(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Scores:
        self.images, self.prompts = list(images), list(prompts)
        return Scores(np.ones(len(images)), {}, {"width": np.array([float(image.width) for image in images])})


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)


def pixels(pictures: Sequence[Image.Image | str]) -> np.ndarray:
    return np.stack([np.asarray(picture) for picture in pictures])


# TRL: GRPOTrainer calls every function with keywords alone, and turns None into NaN, which it leaves out of the sum.


def test_trl_gets_plain_floats_and_none_for_the_unscored() -> None:
    values = as_trl(load_saturation())(prompts=["a", "b", "c"], images=[RED, EMPTY, GREY])
    assert values == [1.0, None, 0.0]
    assert [type(value) for value in values] == [float, type(None), float]


def test_trl_may_pass_any_further_column() -> None:
    columns = {
        "completions": ["x"],
        "completion_ids": [[1]],
        "trainer_state": object(),
        "log_extra": print,
        "solution": [3],
    }
    assert as_trl(load_saturation())(prompts=["a"], images=[RED], **columns) == [1.0]


def test_trl_logs_the_reward_under_its_name() -> None:
    assert as_trl(load_saturation()).__name__ == "saturation"


def test_columns_a_prompt_knows_reach_the_reward() -> None:
    reward = Remembering()
    as_trl(reward)(prompts=["a", "b"], images=[RED, GREY], id=[7, 8], nouns=[["dog"], []], explanation="not a column")
    assert reward.prompts == [Prompt("a", "7", nouns=("dog",)), Prompt("b", "8")]


def test_a_conversation_counts_as_its_last_user_message() -> None:
    reward = Remembering()
    plain = [{"role": "system", "content": "draw"}, {"role": "user", "content": "a dog"}]
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a cat"}]}]
    as_trl(reward)(prompts=[plain, parts], images=[RED, GREY])
    assert [prompt.text for prompt in reward.prompts] == ["a dog", "a cat"]


def test_a_row_of_the_images_column_may_be_a_list_of_one_image_or_an_array() -> None:
    reward = Remembering()
    as_trl(reward)(prompts=["a"] * 3, images=[[RED], GREY, noise()[0]])
    assert [image.size for image in reward.images] == [(8, 8), (8, 8), (5, 6)]


def test_a_blank_prompt_is_no_error_for_a_reward_that_does_not_read_it() -> None:
    assert as_trl(load_saturation())(prompts=["", " "], images=[RED, GREY]) == [1.0, 0.0]


def test_trl_without_images_is_told_what_is_missing() -> None:
    with pytest.raises(RewardError, match=r"'saturation' was called without images: its columns are \['completions'\]"):
        as_trl(load_saturation())(prompts=["a"], completions=["b"])


def test_unequal_numbers_are_refused() -> None:
    with pytest.raises(RewardError, match="2 images, 1 prompts"):
        as_trl(load_saturation())(prompts=["a"], images=[RED, GREY])
    with pytest.raises(RewardError, match="1 images, 1 prompts and 2 rows of metadata"):
        as_flow_grpo(load_saturation())([RED], ["a"], [{}, {}])


def test_a_reward_that_raises_is_named() -> None:
    class Broken(Remembering):
        def score(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Scores:
            raise ZeroDivisionError("by zero")

    with pytest.raises(RewardError, match="the reward 'remembering' raised ZeroDivisionError"):
        as_trl(Broken())(prompts=["a"], images=[RED])


# Flow-GRPO: fn(images, prompts, metadata) -> (scores, info); torch.as_tensor(scores).float() is what it does with them.


def test_flow_grpo_gets_numbers_nan_for_the_unscored_and_the_reasons_beside_them() -> None:
    scores, info = as_flow_grpo(load_saturation())([RED, EMPTY], ["a", "b"], {})
    assert torch.as_tensor(scores).float().isnan().tolist() == [False, True]
    assert scores[0] == 1
    assert list(info["reasons"]) == [1]
    assert "empty" in info["reasons"][1]


def test_flow_grpo_may_weigh_the_scores_one_by_one() -> None:
    scores, _ = as_flow_grpo(load_saturation())([RED, GREY], ("a", "b"), ({}, {}))
    assert [0.5 * score for score in scores] == [0.5, 0.0]


def test_the_three_forms_of_an_image_give_the_same_pixels() -> None:
    array = noise()
    floats = torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255
    assert np.array_equal(pixels(as_pictures(array)), array)
    assert np.array_equal(pixels(as_pictures([Image.fromarray(one) for one in array])), array)
    assert np.array_equal(pixels(as_pictures(floats)), array)
    assert np.array_equal(pixels(as_pictures(floats.numpy())), array)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_floats_round_as_in_flow_grpo(dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    expected = (images.detach().float() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pixels(as_pictures(images)), expected)


def test_metadata_and_details_travel() -> None:
    reward = Remembering()
    _, info = as_flow_grpo(reward)([RED, GREY], ["a", "b"], [{"id": "3", "tag": "counting"}, "no mapping"])
    assert reward.prompts == [Prompt("a", "3"), Prompt("b")]
    assert info["details"]["width"].tolist() == [8, 8]
    assert info["name"] == "remembering"


def test_an_image_of_nan_pixels_is_unscored_and_disturbs_nobody() -> None:
    images = torch.zeros(3, 3, 4, 4)
    images[:, 0] = 1
    images[1, 2, 0, 0] = torch.nan
    scores, info = as_flow_grpo(load_saturation())(images, ["a", "b", "c"], None)
    assert scores[[0, 2]].tolist() == [1, 1]
    assert info["reasons"] == {1: "the image has pixels that are not finite numbers"}


def test_nothing_but_unreadable_images_is_nothing_scored() -> None:
    scores, info = as_flow_grpo(load_saturation())(torch.full((2, 3, 4, 4), torch.nan), ["a", "b"], None)
    assert np.isnan(scores).all()
    assert set(info["reasons"]) == {0, 1}


@pytest.mark.parametrize("images", [torch.full((1, 3, 4, 4), -1.0), torch.full((1, 3, 4, 4), 255.0)])
def test_floats_in_another_range_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(RewardError, match=r"float images lie in \[0, 1\], and these in .*images / 2 \+ 0.5"):
        as_pictures(images)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 4, 4, 3), np.int64), np.zeros((2, 4, 4, 3)), torch.zeros(3, 4, 4), np.zeros((2, 3, 4, 4), np.uint8)],
    ids=["int64", "float NHWC", "one image", "uint8 NCHW"],
)
def test_other_forms_are_refused_with_their_shape(images: object) -> None:
    with pytest.raises(RewardError, match=r"images are a list of PIL images, uint8 of shape .* these are \w+ of shape"):
        as_pictures(images)


def test_the_adapters_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, pyrite.rewards.adapters, pyrite.rewards.versus; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# verl: compute_score(data_source=…, solution_image=…, ground_truth=…, extra_info=…) for one image, by keyword.


def verl_call(reward: object, image: object, **extra: object) -> dict[str, float]:
    return as_verl(reward)(  # type: ignore[arg-type]
        data_source="t2i", solution_image=image, ground_truth="a", extra_info={"num_turns": 2, **extra}, model_name="x"
    )


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 3, 8, 8)])
def test_verl_gets_a_score_for_one_image_with_or_without_its_axis(shape: tuple[int, ...]) -> None:
    red = torch.zeros(3, 8, 8)
    red[0] = 1
    assert verl_call(load_saturation(), red.reshape(shape)) == {"score": 1.0, "unscored": 0.0}
    assert verl_call(load_saturation(), GREY) == {"score": 0.0, "unscored": 0.0}


def test_verl_gets_nan_and_a_count_for_the_unscored() -> None:
    result = verl_call(load_saturation(), torch.full((3, 4, 4), torch.nan))
    assert np.isnan(result["score"])
    assert result["unscored"] == 1.0


def test_what_verl_knows_of_a_prompt_reaches_the_reward() -> None:
    reward = Remembering()
    verl_call(reward, RED, id="7", nouns=["dog"])
    assert reward.prompts == [Prompt("a", "7", nouns=("dog",))]


def test_a_video_is_refused() -> None:
    with pytest.raises(RewardError, match=r"a video of 5 frames, and a score is about one image"):
        verl_call(load_saturation(), torch.zeros(5, 3, 4, 4))

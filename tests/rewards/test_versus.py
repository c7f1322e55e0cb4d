from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError, UnknownNameError
from pyrite.core.types import Prompt, Scores
from pyrite.rewards.diagnostics import load_jpeg_incompressibility, load_saturation
from pyrite.rewards.versus import load_versus, versus

PROMPTS = [Prompt("a red square", "1"), Prompt("a grey square", "2")]


def flat(colour: object) -> Image.Image:
    return Image.new("RGB", (8, 8), colour)


class Counting:
    """Mean of the pixels, longer prompts scoring higher; counts the images it was asked about. White is unscored."""

    card = RewardCard(name="counting", summary="Bright.", range=(0.0, 300.0), reads_prompt=True, revision="1")

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> Scores:
        self.calls.append(len(images))
        means = np.array([np.asarray(image.convert("RGB")).mean() for image in images])
        values = np.where(means == 255, np.nan, means + [len(prompt.text) for prompt in prompts])
        return Scores(values, {int(row): "too white" for row in np.flatnonzero(means == 255)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    flat("red").save(tmp_path / "1.png")
    flat((10, 20, 30)).save(tmp_path / "2.png")
    return tmp_path


def test_the_score_is_the_difference_of_the_two_scores(folder: Path) -> None:
    images = [flat((40, 40, 40)), flat((0, 9, 0))]
    scores = versus(Counting(), folder).score(images, PROMPTS)
    np.testing.assert_allclose(scores.values, [40 - 85, 3 - 20])
    np.testing.assert_allclose(scores.details["image"], [40 + 12, 3 + 13])
    np.testing.assert_allclose(scores.details["baseline"], [85 + 12, 20 + 13])


def test_an_image_against_itself_scores_zero(folder: Path) -> None:
    images = [Image.open(folder / f"{prompt.id}.png") for prompt in PROMPTS]
    assert versus(Counting(), folder).score(images, PROMPTS).values.tolist() == [0, 0]


def test_an_earlier_image_is_scored_once_and_remembered(folder: Path) -> None:
    counting = Counting()
    compare = versus(counting, folder)
    group = [flat((value, value, value)) for value in range(4)]
    compare.score(group, [PROMPTS[0]] * 4)
    assert counting.calls == [1, 4]
    compare.score(group, [PROMPTS[0]] * 4)
    assert counting.calls == [1, 4, 4]
    compare.score(group[:2], PROMPTS)
    assert counting.calls == [1, 4, 4, 1, 2]


def test_the_same_id_with_another_text_is_another_comparison(folder: Path) -> None:
    compare = versus(Counting(), folder)
    first = compare.score([flat("red")], [Prompt("short", "1")])
    second = compare.score([flat("red")], [Prompt("a longer one", "1")])
    assert first.values.tolist() == second.values.tolist() == [0]


def test_a_prompt_without_an_earlier_image_is_unscored_and_disturbs_nobody(folder: Path) -> None:
    scores = versus(Counting(), folder).score(
        [flat("red")] * 3, [PROMPTS[0], Prompt("a blue square", "17"), Prompt("a green square")]
    )
    assert scores.values[0] == 0
    assert scores.reasons[1] == "there is no earlier image of prompt '17'"
    assert "'a green square' has no id" in scores.reasons[2]


def test_an_earlier_image_that_cannot_be_read_is_told(folder: Path) -> None:
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:40])
    scores = versus(Counting(), folder).score([flat("red")] * 2, PROMPTS)
    assert list(scores.reasons) == [1]
    assert "the earlier image of prompt '2' cannot be read" in scores.reasons[1]


def test_an_earlier_image_that_is_unscored_gives_its_reason(folder: Path) -> None:
    flat("white").save(folder / "2.png")
    compare = versus(Counting(), folder)
    for _ in range(2):
        assert compare.score([flat("red")], PROMPTS[1:]).reasons == {0: "the earlier image of prompt '2': too white"}


def test_an_image_that_is_unscored_keeps_its_own_reason(folder: Path) -> None:
    assert versus(Counting(), folder).score([flat("white")], [Prompt("x", "17")]).reasons == {0: "too white"}


def test_earlier_images_come_from_a_mapping_of_images_or_files(folder: Path) -> None:
    mapping = {"1": flat("red"), "2": str(folder / "2.png")}
    images = [flat((1, 2, 3))] * 2
    assert np.array_equal(
        versus(Counting(), mapping).score(images, PROMPTS).values,
        versus(Counting(), folder).score(images, PROMPTS).values,
    )


def test_the_range_is_that_of_all_differences(folder: Path) -> None:
    assert versus(Counting(), folder).card.range == (-300, 300)
    assert versus(load_saturation(), folder).card.range == (-1, 1)
    assert versus(load_jpeg_incompressibility(), folder).card.range == (-np.inf, np.inf)


def test_other_earlier_images_or_another_reward_have_another_key(folder: Path, tmp_path_factory) -> None:
    key = versus(Counting(), folder).card.store_key
    assert versus(Counting(), folder).card.store_key == key
    assert versus(load_saturation(), folder).card.store_key != key
    flat("blue").save(folder / "1.png")
    assert versus(Counting(), folder).card.store_key != key
    assert (
        versus(Counting(), {"1": flat("red")}).card.store_key != versus(Counting(), {"2": flat("red")}).card.store_key
    )


def test_a_recipe_names_the_reward_and_the_folder(folder: Path) -> None:
    compare = load_versus(reward="random", baseline=str(folder), seed=3, device="cpu")
    assert compare.card.name == "versus"
    assert compare.reward.card.options == {"seed": 3}


@pytest.mark.parametrize("options", [{}, {"reward": "saturation"}, {"baseline": "folder"}])
def test_a_recipe_that_leaves_one_out_is_told_both(options: dict[str, str]) -> None:
    with pytest.raises(RewardError, match=r"Say both: \{name: versus, options: \{reward: hpsv2.1, baseline:"):
        load_versus(**options)


def test_an_unknown_reward_is_told(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no reward is called 'saturatoin'. Did you mean 'saturation'"):
        load_versus(reward="saturatoin", baseline=folder)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"no folder of earlier images at .*gone.*such as 17.png"):
        versus(Counting(), tmp_path / "gone")


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(RewardError, match="holds no image"):
        versus(Counting(), tmp_path)


def test_two_images_for_one_prompt_are_told(folder: Path) -> None:
    flat("red").save(folder / "1.jpg")
    with pytest.raises(RewardError, match=r"1.jpg and .*1.png, both for prompt '1'"):
        versus(Counting(), folder)

import numpy as np
import pytest
from tests.fakes import BrokenReward, FakePolicy, TableReward, every_sequence, toy_prompts
from tests.training.scenario import recipe

from pyrite.core.errors import CheckpointError, RewardError, TrainingError
from pyrite.core.types import FloatArray, Rollouts, Scores
from pyrite.training.scoring import Shaping, join_tables, score_gold, score_panel, trainable

NAN = np.nan


@pytest.fixture
def rollouts() -> Rollouts:
    """Every sequence once."""
    return FakePolicy.create().rollouts(every_sequence(3, 3), toy_prompts(27), 1)


def scores(*values: float) -> Scores:
    array = np.array(values)
    return Scores(array, {int(row): "shy" for row in np.flatnonzero(np.isnan(array))})


def test_every_reward_scores_every_image(rollouts: Rollouts) -> None:
    first, second = TableReward.random("first", 1), TableReward.random("second", 2)
    table = score_panel({"first": first, "second": second}, rollouts.images, rollouts.prompts)
    np.testing.assert_array_equal(table["first"].values, first.table)
    np.testing.assert_array_equal(table["second"].values, second.table)


def test_a_reward_that_raises_is_named_with_what_it_said(rollouts: Rollouts) -> None:
    with pytest.raises(RewardError, match=r"'broken' raised RuntimeError: out of cheese, on 27 images.*a toy number 0"):
        score_panel({"broken": BrokenReward("broken")}, rollouts.images, rollouts.prompts)


def test_an_error_of_ours_from_a_reward_stays_what_it_is(rollouts: Rollouts) -> None:
    class Missing(BrokenReward):
        def score(self, images: object, prompts: object) -> Scores:
            raise CheckpointError("its weights are gone")

    with pytest.raises(CheckpointError, match="its weights are gone"):
        score_panel({"missing": Missing("missing")}, rollouts.images, rollouts.prompts)


def test_gold_brings_its_parts_and_a_reason_for_each_hole(rollouts: Rollouts) -> None:
    whole, part, other = np.ones(27), np.ones(27), np.ones(27)
    whole[3] = part[3] = part[5] = NAN
    gold = TableReward("g", whole, details={"gold_alignment": part, "unrelated": other})
    table = score_gold(gold, rollouts.images, rollouts.prompts)
    assert set(table) == {"gold", "gold_alignment"}
    assert table["gold_alignment"].reasons == {3: "g has no entry for this sequence", 5: "gold gave no gold_alignment"}


def test_joined_tables_keep_the_order_and_the_reasons() -> None:
    joined = join_tables([{"a": scores(1, NAN)}, {"a": scores(NAN, 4)}])
    np.testing.assert_array_equal(joined["a"].values, [1, NAN, NAN, 4])
    assert joined["a"].reasons == {1: "shy", 2: "shy"}


def test_training_reward_is_made_as_the_recipe_says() -> None:
    """first: mean 1, deviation 1; second: mean 0, deviation 2, then clipped to [-2, 2] and halved."""
    shaping = Shaping.fit(recipe(), {"first": scores(0, 1, 2), "second": scores(-2, 0, 2)})
    rewards = shaping({"first": scores(1, 2, NAN, 1), "second": scores(2, 20, 2, NAN)})
    np.testing.assert_allclose(rewards, [0.5, 1 + 1, NAN, NAN])


def test_fitted_transforms_read_back_as_the_same() -> None:
    base = {"first": scores(0.1, 0.7, NAN, 0.4), "second": scores(3, 1, 4, 1)}
    shaping = Shaping.fit(recipe(), base)
    assert Shaping.from_specs(recipe(), shaping.specs) == shaping


@pytest.mark.parametrize(
    ("unscored", "kept"),
    [
        ("drop_sample", [1, 1, 1, 0, 1, 1, 0, 0, 0]),
        ("drop_group", [1, 1, 1, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_what_is_left_of_groups_of_three(unscored: str, kept: list[int]) -> None:
    """The second group lacks one image, the third two: what is left of it has no sibling."""
    rewards = np.array([1, 2, 3, NAN, 5, 6, NAN, NAN, 9])
    found = trainable(rewards, 3, unscored=unscored, scores={"a": scores(*rewards)})
    assert found.tolist() == [bool(flag) for flag in kept]


@pytest.mark.parametrize(
    ("rewards", "unscored", "message"),
    [
        ([1, NAN, 3, 4], "abort", r"1 of 4 images have no reward \(a: shy\).*drop_sample"),
        ([NAN, NAN, NAN, NAN], "drop_sample", r"none of 4 images can be trained on: 4 have no reward \(a: shy\)"),
        ([1, NAN, NAN, 4], "drop_group", r"none of 4 images.*grpo.unscored = drop_group"),
    ],
    ids=["abort", "nothing scored", "no whole group"],
)
def test_unscored_images_that_stop_training(rewards: list[float], unscored: str, message: str) -> None:
    values: FloatArray = np.array(rewards)
    with pytest.raises(TrainingError, match=message):
        trainable(values, 2, unscored=unscored, scores={"a": scores(*rewards)})

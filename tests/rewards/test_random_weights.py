import numpy as np
import pytest
import torch

from pyrite.core.errors import UnknownNameError
from pyrite.evaluation.throughput import grpo_batch
from pyrite.records.published import published_names
from pyrite.rewards.catalogue import REWARDS
from pyrite.rewards.clip import ClipReward
from pyrite.rewards.random_parts import StandInTokenizer
from pyrite.rewards.random_weights import RANDOM_REWARDS, as_in_a_plain_loop, random_reward


def test_every_published_reward_has_a_random_form() -> None:
    """Beside those of rewards, the weights of GenEval's detectors are listed."""
    assert tuple(name for name in published_names() if name in REWARDS.names()) == RANDOM_REWARDS


@pytest.mark.parametrize("name", RANDOM_REWARDS)
def test_the_same_seed_gives_the_same_scores_and_the_card_says_they_mean_nothing(name: str) -> None:
    images, prompts = grpo_batch(2, 1, 40, seed=0)
    first, second = (random_reward(name, tiny=True, device="cpu") for _ in range(2))
    values = first.score(images, prompts).values
    assert np.isfinite(values).all()
    assert np.array_equal(values, second.score(images, prompts).values)
    assert "random" in first.card.summary
    assert first.card.revision == "random/0"


def test_another_seed_gives_other_weights() -> None:
    images, prompts = grpo_batch(2, 1, 40, seed=0)
    values = [
        random_reward("hpsv2.1", tiny=True, device="cpu", seed=seed).score(images, prompts).values for seed in (0, 1)
    ]
    assert not np.allclose(*values)


def test_a_reward_that_is_not_published_has_none() -> None:
    with pytest.raises(UnknownNameError, match="'hps-pocket' has no form with random weights"):
        random_reward("hps-pocket")


def test_a_plain_loop_reads_every_prompt_again_at_full_length_and_gives_the_same_scores() -> None:
    images, prompts = grpo_batch(2, 2, 40, seed=0)
    reward = random_reward("hpsv2.1", tiny=True, device="cpu")
    plain = as_in_a_plain_loop(reward)
    assert isinstance(plain, ClipReward)
    np.testing.assert_allclose(plain.score(images, prompts).values, reward.score(images, prompts).values, atol=1e-6)
    assert not plain.memory._values
    short = [[49406, 7, 49407]]
    assert [each.reader.tensors(short, torch.device("cpu"))[0].shape[1] for each in (reward, plain)] == [3, 77]


def test_the_stand_in_tokenizer_gives_one_id_a_word_between_first_and_last() -> None:
    ids = StandInTokenizer(first=7, last=8, pad=0, num_words=5000)(["a red fox", "a"])["input_ids"]
    assert [(row[0], row[-1], len(row)) for row in ids] == [(7, 8, 5), (7, 8, 3)]
    assert ids[0][1] == ids[1][1]
    assert all(1000 <= number < 5000 for row in ids for number in row[1:-1])

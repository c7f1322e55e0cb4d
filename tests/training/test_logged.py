import numpy as np
import pytest
from tests.fakes import FakePolicy, toy_prompts

from pyrite.core.types import REQUEST, Prompt, Scores
from pyrite.training.learner import Divergence, Update
from pyrite.training.logged import PhaseClock, eval_row, sample_rows, seconds_per_phase, train_row
from pyrite.training.processes import Processes
from pyrite.training.scoring import gather_table

NAN = np.nan
UPDATE = Update(loss=0.1, grad_norm=2.0, clip_frac=0.25, learning_rate=1e-4)


def divergence(num: int) -> Divergence:
    values = np.arange(1.0, num + 1)
    return Divergence(kl=values, kl_k3=2 * values, surprise=3 * values, gap=0.5 * values, num_tokens=np.full(num, 10.0))


def scores(*values: float) -> Scores:
    array = np.array(values)
    return Scores(array, {int(row): f"reason {row}" for row in np.flatnonzero(np.isnan(array))})


def test_a_training_line_sums_up_its_images() -> None:
    rewards = np.array([1.0, 3.0, 5.0, 5.0])
    row = train_row(7, UPDATE, rewards, 2, scores={"a": scores(0, 2, 4, 6)}, divergence=divergence(4))
    assert row == {
        "step": 7, "split": "train", "loss": 0.1, "grad_norm": 2.0, "learning_rate": 1e-4, "clip_frac": 0.25,
        "reward": 3.5, "reward_std": pytest.approx((11 / 3) ** 0.5),
        "rewards/a/mean": 3.0, "rewards/a/std": pytest.approx((20 / 3) ** 0.5), "unscored_frac": 0.0,
        "kl": 2.5, "kl_k3": 5.0, "entropy": 0.75, "offpolicy_gap": 0.125, "zero_variance_group_frac": 0.5,
    }  # fmt: skip


def test_unscored_images_are_left_out_of_means_and_counted() -> None:
    row = eval_row(
        0, np.array([1.0, NAN, 3.0, NAN]), scores={"a": scores(1, NAN, 3, 4), "b": scores(1, 2, 3, NAN)},
        divergence=divergence(4),
    )  # fmt: skip
    assert (row["reward"], row["rewards/a/mean"], row["rewards/b/mean"]) == (2.0, pytest.approx(8 / 3), 2.0)
    assert row["unscored_frac"] == 0.5
    assert "reasons" not in row


def test_a_number_that_is_missing_says_why() -> None:
    table = {"a": scores(NAN, NAN), "gold": scores(NAN, NAN), "b": scores(1, NAN)}
    row = eval_row(0, np.array([NAN, NAN]), scores=table, divergence=divergence(2))
    assert row["reasons"] == {
        "reward": "no image scored: reason 0",
        "rewards/a/mean": "no image scored: reason 0",
        "rewards/a/std": "fewer than two images scored: reason 0",
        "rewards/b/std": "fewer than two images scored: reason 1",
        "gold/mean": "no image scored: reason 0",
    }


@pytest.mark.parametrize(
    ("rewards", "share"),
    [([1, 2, 3, 4], 0.0), ([1, 1, 3, 4], 0.5), ([1, NAN, 3, 4], 0.5), ([NAN, NAN, 2, 2], 1.0)],
    ids=["all differ", "two alike", "one alone", "none and alike"],
)
def test_groups_that_teach_nothing_are_counted(rewards: list[float], share: float) -> None:
    row = train_row(
        1, UPDATE, np.array(rewards, dtype=float), 2, scores={"a": scores(1, 2, 3, 4)}, divergence=divergence(4)
    )
    assert row["zero_variance_group_frac"] == share


def test_a_sample_says_what_every_reward_thought() -> None:
    rows = sample_rows(
        3, "train", toy_prompts(2), scores={"a": scores(1, NAN)}, rewards=np.array([2.0, NAN]),
        kl=np.array([0.1, 0.2]), advantages=np.array([1.5, NAN]), images={1: "images/x.png"},
    )  # fmt: skip
    assert rows[0] == {
        "step": 3, "split": "train", "prompt_id": "p0", "prompt": "a toy number 0", "task_type": "object",
        "index": 0, "image": None, "scores": {"a": 1.0}, "reward": 2.0, "advantage": 1.5, "kl": 0.1,
    }  # fmt: skip
    assert (rows[1]["image"], rows[1]["reasons"]) == ("images/x.png", {"a": "reason 1"})
    assert "advantage" not in sample_rows(
        0, "eval", toy_prompts(1), scores={"a": scores(1)}, rewards=np.ones(1), kl=np.ones(1)
    )[0]  # fmt: skip


def test_the_clock_adds_up_what_a_phase_took_and_starts_again() -> None:
    clock = PhaseClock()
    for phase in ("draw", "score", "draw"):
        with clock(phase):
            pass
    assert set(clock.take()) == {"seconds/draw", "seconds/score"}
    assert clock.take() == {}


def test_seconds_are_summed_over_the_lines() -> None:
    assert seconds_per_phase([{"seconds/draw": 1.0, "kl": 3.0}, {"seconds/draw": 0.5, "seconds/look": 2.0}]) == {
        "draw": 1.5, "look": 2.0,
    }  # fmt: skip


def test_a_sample_names_the_judges_reply_where_there_is_one() -> None:
    table = {
        "served": Scores(np.array([0.5, np.nan]), {1: "no answer"}, {REQUEST: np.array([41.0, np.nan])}),
        "local": Scores(np.array([1.0, 2.0]), details={"other": np.array([3.0, 4.0])}),
    }
    gathered = gather_table(table, Processes(FakePolicy.create().module))
    zeros = np.zeros(2)
    rows = sample_rows(1, "train", [Prompt("a"), Prompt("b")], scores=gathered, rewards=zeros, kl=zeros)
    assert rows[0]["requests"] == {"served": 41}
    assert "requests" not in rows[1]

from pathlib import Path

import numpy as np
import pytest
from tests.fakes import toy_prompts
from tests.training.scenario import run_toy

from pyrite.core.types import Prompt, Scores
from pyrite.records.samples import read_samples
from pyrite.training.learner import Divergence
from pyrite.training.looking import NUM_OFFENDERS, Looked, worst_offenders


def looked(prompts: list[Prompt], gold: list[float] | None) -> Looked:
    zeros = np.zeros(len(prompts))
    array = np.array(gold) if gold is not None else zeros
    scores = Scores(array, {int(row): "shy" for row in np.flatnonzero(np.isnan(array))})
    return Looked(prompts, {} if gold is None else {"gold": scores}, Divergence(zeros, zeros, zeros, zeros, zeros), {})


def test_worst_offenders_please_the_proxy_and_not_gold() -> None:
    rewards = np.array([0.0, 5.0, 4.0, 1.0])
    assert worst_offenders(rewards, looked(toy_prompts(4), [3.0, 0.0, 2.0, 1.0])) == {0, 1, 2, 3}
    many = toy_prompts(40)
    gold = [float(i) for i in range(40)]
    assert worst_offenders(np.arange(40.0)[::-1], looked(many, gold)) == set(range(NUM_OFFENDERS))


def test_a_prompt_has_one_worst_offender() -> None:
    prompts = [toy_prompts(1)[0]] * 3
    assert worst_offenders(np.array([1.0, 2.0, 3.0]), looked(prompts, [3.0, 2.0, 1.0])) == {2}


def test_an_image_without_gold_or_reward_is_no_offender() -> None:
    assert worst_offenders(np.array([9.0, np.nan, 1.0]), looked(toy_prompts(3), [np.nan, 0.0, 1.0])) == {2}
    assert worst_offenders(np.array([9.0, 1.0]), looked(toy_prompts(2), None)) == set()


@pytest.mark.parametrize("keep", [0, 7, 1000])
def test_the_first_images_of_a_look_are_kept_beside_its_offenders(tmp_path: Path, keep: int) -> None:
    run_toy(tmp_path / "run", "grpo.steps=1", f"evaluation.keep_images={keep}", "gold=null", gold=None)
    rows = [row for row in read_samples(tmp_path / "run") if row["split"] == "eval"]
    assert [row["image"] is not None for row in rows if row["step"] == 1] == [i < keep for i in range(20)]
    assert [row["image"] for row in rows if row["step"] == 0][:keep] == [
        f"images/step_000000/eval_{i:04d}.png" for i in range(min(keep, 20))
    ]


def test_each_look_has_the_same_prompts_and_an_unchanged_policy_the_same_images(tmp_path: Path) -> None:
    run_toy(tmp_path / "run", "grpo.steps=2", "evaluation.every=1", "grpo.learning_rate=1e-30")
    looks = {step: [] for step in (0, 1, 2)}
    for row in read_samples(tmp_path / "run"):
        if row["split"] == "eval":
            looks[row["step"]].append((row["index"], row["prompt_id"], row["scores"]))
    assert looks[0] == looks[1] == looks[2]

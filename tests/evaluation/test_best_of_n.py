import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fakes import BrokenReward, FakePolicy, TableReward, toy_prompts

from pyrite.audit.report.agreement import read_best_of_n
from pyrite.core.errors import RewardError, RunFolderError
from pyrite.evaluation.best_of_n import BestOfNScores, measure_best_of_n

POLICY = FakePolicy.create(seed=1)


def panel() -> dict[str, TableReward]:
    holes = np.where(np.arange(27) % 9 == 4, np.nan, np.random.default_rng(1).normal(size=27))
    return {"proxy": TableReward("proxy", holes), "other": TableReward.random("other", 2)}


def measure(num_prompts: int = 5, **options: Any) -> BestOfNScores:
    settings = {"samples_per_prompt": 20, "seed": 3} | options
    rewards, gold = settings.pop("rewards", None) or panel(), settings.pop("gold", TableReward.random("g", 9))
    return measure_best_of_n(POLICY, rewards, gold, toy_prompts(num_prompts), **settings)


def assert_equal(found: BestOfNScores, wanted: BestOfNScores) -> None:
    assert (found.prompts, found.reasons) == (wanted.prompts, wanted.reasons)
    assert set(found.scores) == set(wanted.scores)
    for name, table in found.scores.items():
        np.testing.assert_array_equal(table, wanted.scores[name])


def test_every_prompt_has_a_row_of_scores_for_every_reward() -> None:
    found = measure()
    assert {name: table.shape for name, table in found.scores.items()} == dict.fromkeys(
        ("proxy", "other", "gold"), (5, 20)
    )
    holes = {(p, m) for p, m, _ in found.reasons["proxy"]}
    assert holes == {tuple(place) for place in np.argwhere(np.isnan(found.scores["proxy"])).tolist()} != set()
    assert {why for _, _, why in found.reasons["proxy"]} == {"proxy has no entry for this sequence"}
    assert found.reasons["gold"] == ()


def test_a_prompt_has_the_same_images_whatever_is_measured_beside_it() -> None:
    """Three prompts at a time, or one: 20 images of each fit into one batch of 64, 64 do not."""
    few, many = measure(2), measure(5)
    for name in few.scores:
        np.testing.assert_array_equal(few.scores[name], many.scores[name][:2])
    assert not np.array_equal(measure(2, seed=4).scores["other"], few.scores["other"])


def test_a_curve_starts_at_the_mean_and_ends_at_the_best() -> None:
    found = measure(rewards={"other": TableReward.random("other", 2)})
    curve = found.curve("other", [1, 20])
    other, gold = found.scores["other"], found.scores["gold"]
    np.testing.assert_allclose(curve.proxy_PS[:, 0], other.mean(1))
    np.testing.assert_allclose(curve.proxy_PS[:, 1], other.max(1))
    np.testing.assert_allclose(curve.gold_PS[:, 1], gold[np.arange(5), other.argmax(1)])


def test_the_file_reads_back_and_is_what_the_report_reads(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "best_of_n.json"
    found = measure(path=path)
    assert_equal(BestOfNScores.load(path), found)
    for name, table in read_best_of_n(path).items():
        np.testing.assert_array_equal(table, found.scores[name])


def test_an_interrupted_measurement_continues_to_the_same_result(tmp_path: Path) -> None:
    path = tmp_path / "best_of_n.json"

    def stop(done: int, total: int) -> None:
        assert (done, total) == (3, 5)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        measure(path=path, progress=stop)
    rewards = panel()
    assert_equal(measure(path=path, rewards=rewards), measure())
    assert rewards["other"].calls == [40]


def test_a_finished_measurement_is_read_and_not_made_again(tmp_path: Path) -> None:
    path, rewards = tmp_path / "best_of_n.json", panel()
    measure(path=path)
    measure(path=path, rewards=rewards)
    assert rewards["other"].calls == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "the seed was 3, is 4"),
        ({"samples_per_prompt": 10}, "samples_per_prompt was 20, is 10"),
        ({"rewards": {"new": TableReward.random("new", 1)}}, "the list of rewards was"),
        ({"num_prompts": 4}, "the prompts differ"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_another_measurement_in_the_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    measure(path=tmp_path / "best_of_n.json")
    with pytest.raises(RunFolderError, match=rf"holds another measurement \({message}.*Remove it"):
        measure(path=tmp_path / "best_of_n.json", **change)


@pytest.mark.parametrize("text", ["", "[]", '{"scores": {}}'], ids=["empty", "list", "incomplete"])
def test_a_file_that_is_no_measurement_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "best_of_n.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"no best-of-n measurement.*Remove it to measure again"):
        measure(path=tmp_path / "best_of_n.json")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFolderError, match=r"cannot write .*best_of_n\.json"):
        measure(path=tmp_path / "file" / "best_of_n.json")


def test_null_stands_for_an_unscored_image(tmp_path: Path) -> None:
    measure(path=tmp_path / "b.json")
    value = json.loads((tmp_path / "b.json").read_text())
    p, m, _ = value["reasons"]["proxy"][0]
    assert value["scores"]["proxy"][p][m] is None


def test_without_gold_only_the_rewards_are_measured() -> None:
    assert set(measure(gold=None).scores) == {"proxy", "other"}


@pytest.mark.parametrize(("num_prompts", "samples"), [(0, 4), (2, 0)])
def test_nothing_to_measure_is_refused(num_prompts: int, samples: int) -> None:
    with pytest.raises(ValueError, match=f"{num_prompts} prompts with {samples} samples each"):
        measure(num_prompts, samples_per_prompt=samples)


def test_a_reward_that_raises_is_named() -> None:
    with pytest.raises(RewardError, match="'broken' raised RuntimeError: out of cheese"):
        measure(rewards={"broken": BrokenReward("broken")})


def test_a_reward_with_too_few_scores_is_named() -> None:
    class Short(TableReward):
        def score(self, images: Any, prompts: Any) -> Any:
            return super().score(images[1:], prompts[1:])

    with pytest.raises(RewardError, match="'short' returned 59 scores for 60 images"):
        measure(rewards={"short": Short("short", np.zeros(27))})

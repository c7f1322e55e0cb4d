import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import BrokenReward, FakePolicy, TableReward, toy_prompts
from tests.training.scenario import gold, held_out, panel, recipe, run_toy, table
from torch import Tensor

from pyrite.core.errors import CheckpointError, NonFiniteLossError, RewardError, TrainingError
from pyrite.core.types import Rollouts
from pyrite.records.samples import read_metrics, read_samples
from pyrite.training.grpo import train
from pyrite.training.logged import LOGGED_KEYS
from pyrite.training.processes import TrainingStopped

ROOT = Path(__file__).parents[2]
TIMED = ("seconds/", "images_per_s")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    run_toy(folder)
    return folder


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl as they are, but for the times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith(TIMED)} for row in rows]


def assert_same_run(folder: Path, other: Path) -> None:
    """Bit for bit, in everything but times."""
    assert lines(folder) == lines(other)
    images = {path.relative_to(folder) for path in folder.glob("images/**/*.png")}
    assert images == {path.relative_to(other) for path in other.glob("images/**/*.png")}
    last = Path("checkpoints/step_000006")
    for name in {Path("samples.jsonl"), Path("transforms.json"), last / "trainer.safetensors", *images}:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    assert {path.name for path in folder.glob("checkpoints/*")} == {"step_000004", "step_000006"}


def in_a_process_of_its_own(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_run_leaves_what_the_contract_names(undisturbed: Path) -> None:
    samples = read_samples(undisturbed)
    assert [(row["step"], row["split"]) for row in lines(undisturbed)] == [
        (0, "eval"), (1, "train"), (2, "train"), (3, "train"), (3, "eval"),
        (4, "train"), (5, "train"), (6, "train"), (6, "eval"),
    ]  # fmt: skip
    assert sum(row["split"] == "train" for row in samples) == 6 * 16
    assert sum(row["split"] == "eval" for row in samples) == 3 * 20
    for row in samples:
        assert row["image"] is None or (undisturbed / row["image"]).is_file()
    first_look = [row for row in samples if row["step"] == 0]
    assert set(first_look[0]["scores"]) == {"first", "second", "held-out", "gold", "gold_alignment", "gold_realism"}
    assert {row["kl"] for row in first_look} == {0.0}
    assert json.loads((undisturbed / "summary.json").read_text()).keys() == {"status", "steps", "seconds"}


def test_the_scale_of_a_reward_is_that_of_the_base_policys_images(undisturbed: Path) -> None:
    scores = np.array([row["scores"]["first"] for row in read_samples(undisturbed) if row["step"] == 0])
    spec = json.loads((undisturbed / "transforms.json").read_text())["first"]
    assert spec == f"standardise({float(scores.mean())!r}, {float(scores.std(ddof=1))!r})"


def test_every_logged_key_is_explained_and_every_explained_key_is_logged(undisturbed: Path, tmp_path: Path) -> None:
    run_toy(tmp_path / "silent", "grpo.steps=1", gold=TableReward("toy-gold", np.full(27, np.nan)))
    found = {key for folder in (undisturbed, tmp_path / "silent") for row in read_metrics(folder) for key in row}
    for name in ("first", "second", "held-out"):
        found = {key.replace(f"rewards/{name}/", "rewards/{name}/") for key in found}
    assert found == set(LOGGED_KEYS)


def test_two_runs_of_one_seed_are_equal_and_of_two_are_not(undisturbed: Path, tmp_path: Path) -> None:
    run_toy(tmp_path / "again")
    assert_same_run(tmp_path / "again", undisturbed)
    run_toy(tmp_path / "other", "seed=1")
    assert lines(tmp_path / "other") != lines(undisturbed)


@pytest.mark.timeout(900)  # starts processes that import torch: seconds on an idle machine, minutes on a busy one
@pytest.mark.parametrize("step", [1, 5], ids=["before any checkpoint", "after one"])
def test_a_killed_run_continues_as_if_nothing_had_happened(undisturbed: Path, tmp_path: Path, step: int) -> None:
    folder = tmp_path / "killed"
    died = in_a_process_of_its_own("-m", "tests.training.scenario", str(folder), "--die-at", str(step))
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not (folder / "summary.json").exists()
    assert lines(folder)[-1]["step"] == step

    run_toy(folder)
    assert_same_run(folder, undisturbed)


@pytest.mark.timeout(900)
def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    """Sums are taken in another order, in float32: equal to about 1e-7 per step."""
    overrides = ("grpo.steps=3", "grpo.prompts_per_step=3", "grpo.updates_per_rollout=2")
    policy = run_toy(tmp_path / "one", *overrides)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.training.scenario")
    done = in_a_process_of_its_own(*launch, str(tmp_path / "two"), "--twice", "--set", *overrides)
    assert done.returncode == 0, done.stderr

    pair = FakePolicy.load(str(tmp_path / "two" / "final"))
    torch.testing.assert_close(pair.table.logits, policy.table.logits, atol=1e-5, rtol=0)
    assert {path.name for path in (tmp_path / "two").glob("images/*/*")} == {
        path.name for path in (tmp_path / "one").glob("images/*/*")
    }
    for ours, theirs in zip(lines(tmp_path / "two"), lines(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    assert lines(tmp_path / "two" / "again") == lines(tmp_path / "two")


def test_gold_and_held_out_rewards_never_reach_the_parameters(tmp_path: Path) -> None:
    policy = run_toy(tmp_path / "gold")
    others = {"held-out": TableReward("held-out", table(99))}
    permuted = run_toy(tmp_path / "permuted", gold=gold(seed=77), eval_rewards=others)
    absent = run_toy(tmp_path / "absent", "eval_rewards=[]", "gold=null", gold=None, eval_rewards={})
    assert torch.equal(policy.table.logits, permuted.table.logits)
    assert torch.equal(policy.table.logits, absent.table.logits)
    assert not any(key.startswith("gold") for row in read_metrics(tmp_path / "absent") for key in row)


def test_gold_judges_each_image_once(tmp_path: Path) -> None:
    judge = gold()
    run_toy(tmp_path / "run", gold=judge)
    assert judge.calls == [16, 4, 16, 16, 4, 16, 16, 16, 4]  # looks of 16 + 4 at 0, 3, 6; batches at 2, 4, 6


@pytest.mark.parametrize(("every", "steps"), [(0, []), (1, [1, 2, 3, 4, 5, 6]), (5, [5])])
def test_gold_is_logged_on_the_training_batch_every_so_often(tmp_path: Path, every: int, steps: list[int]) -> None:
    run_toy(tmp_path / "run", f"gold_every={every}")
    rows = [row for row in read_metrics(tmp_path / "run") if row["split"] == "train"]
    assert [row["step"] for row in rows if "gold/mean" in row] == steps


def test_training_raises_the_reward_and_beta_holds_it_back(tmp_path: Path) -> None:
    overrides = ("grpo.steps=40", "evaluation.every=40", "grpo.learning_rate=0.1", "evaluation.images_per_prompt=20")
    run_toy(tmp_path / "free", *overrides, "grpo.beta=0")
    run_toy(tmp_path / "held", *overrides, "grpo.beta=1")
    before, free = (row for row in read_metrics(tmp_path / "free") if row["split"] == "eval")
    _, held = (row for row in read_metrics(tmp_path / "held") if row["split"] == "eval")
    assert free["reward"] > before["reward"] + 1  # standard deviations of the base policy's first reward
    assert before["kl"] == 0 < held["kl"] < 0.5 * free["kl"]


def test_learning_rate_rises_over_the_warm_up(tmp_path: Path) -> None:
    run_toy(tmp_path / "run", "grpo.warmup_steps=4", "grpo.learning_rate=0.08")
    rates = [row["learning_rate"] for row in read_metrics(tmp_path / "run") if row["split"] == "train"]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.08, 0.08])


def test_several_updates_of_one_batch_meet_the_clip(tmp_path: Path) -> None:
    run_toy(tmp_path / "run", "grpo.updates_per_rollout=4", "grpo.learning_rate=0.3")
    rows = [row for row in read_metrics(tmp_path / "run") if row["split"] == "train"]
    assert all(0 < row["clip_frac"] < 1 for row in rows)


# Unscored images


def holey(probability: float = 0.3) -> dict[str, Any]:
    """The panel, with holes in the table of the first reward."""
    holes = np.random.default_rng(3).random(27) < probability
    return {**panel(), "first": TableReward("first", np.where(holes, np.nan, table(10)))}


@pytest.mark.parametrize("unscored", ["drop_sample", "drop_group"])
def test_unscored_images_are_left_out_by_name(tmp_path: Path, unscored: str) -> None:
    run_toy(tmp_path / "run", f"grpo.unscored={unscored}", "grpo.prompts_per_step=8", rewards=holey(0.15))
    rows = [row for row in read_samples(tmp_path / "run") if row["split"] == "train"]
    groups = np.array([np.isnan([row["reward"], row["advantage"]]) for row in rows]).reshape(-1, 4, 2)
    no_reward, left_out = groups[..., 0], groups[..., 1]

    assert no_reward.any()
    assert not no_reward.all(axis=1).any()
    if unscored == "drop_sample":
        wanted = no_reward | ((~no_reward).sum(1, keepdims=True) < 2)
    else:
        wanted = np.broadcast_to(no_reward.any(1, keepdims=True), no_reward.shape)
    assert (left_out == wanted).all()
    hole = next(row for row in rows if np.isnan(row["scores"]["first"]))
    assert hole["reasons"] == {"first": "first has no entry for this sequence"}
    metrics = next(row for row in read_metrics(tmp_path / "run") if row["split"] == "train")
    assert metrics["unscored_frac"] == pytest.approx(no_reward[:8].mean())


def test_abort_stops_at_the_first_unscored_image(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"of 16 images have no reward \(first: first has no entry.*grpo.unscored"):
        run_toy(tmp_path / "run", "grpo.unscored=abort", rewards=holey())


def test_a_step_without_any_reward_stops_instead_of_learning_nothing(tmp_path: Path) -> None:
    class GoesSilent(TableReward):
        def score(self, images: Any, prompts: Any) -> Any:
            if len(self.calls) == 4:  # a look of two batches, then two steps
                self.table = np.full(27, np.nan)
            return super().score(images, prompts)

    with pytest.raises(TrainingError, match=r"none of 16 images can be trained on: 16 have no reward \(first: "):
        run_toy(tmp_path / "run", rewards={**panel(), "first": GoesSilent("first", table(10))})
    assert lines(tmp_path / "run")[-1]["step"] == 2


# Trouble


def test_a_reward_that_raises_is_named_and_costs_no_finished_step(undisturbed: Path, tmp_path: Path) -> None:
    class Breaks(TableReward):
        def score(self, images: Any, prompts: Any) -> Any:
            if len(self.calls) == 6:  # a look of two batches at 0, three steps, half a look at 3
                raise ConnectionError("nobody answers")
            return super().score(images, prompts)

    broken = {**panel(), "second": Breaks("second", table(20))}
    with pytest.raises(RewardError, match=r"the reward 'second' raised ConnectionError: nobody answers.*same command"):
        run_toy(tmp_path / "look", rewards=broken)
    broken = {**panel(), "second": Breaks("second", table(20))}
    with pytest.raises(RewardError, match="'second'"):
        run_toy(tmp_path / "step", "evaluation.every=6", rewards=broken)
    assert (tmp_path / "step" / "checkpoints" / "step_000004").is_dir()

    run_toy(tmp_path / "look")
    assert_same_run(tmp_path / "look", undisturbed)


def test_a_reward_that_breaks_leaves_a_checkpoint_of_the_step_before(tmp_path: Path) -> None:
    broken = {**panel(), "second": BrokenReward("second", after=5)}
    overrides = ("evaluation.every=6", "rewards.1.transform=null", "checkpoint.every=100")
    with pytest.raises(RewardError, match="the reward 'second' raised RuntimeError: out of cheese"):
        run_toy(tmp_path / "run", *overrides, rewards=broken)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_000003"]


def test_a_reward_with_another_number_of_scores_is_refused(tmp_path: Path) -> None:
    class Short(TableReward):
        def score(self, images: Any, prompts: Any) -> Any:
            return super().score(images[1:], prompts[1:])

    with pytest.raises(RewardError, match="the reward 'first' returned 15 scores for 16 images"):
        run_toy(tmp_path / "run", rewards={**panel(), "first": Short("first", table(10))})


def test_a_reward_without_scale_is_refused_before_training(tmp_path: Path) -> None:
    flat = {**panel(), "first": TableReward("first", np.ones(27))}
    with pytest.raises(RewardError, match=r"first gave all 20 base-policy images the same score"):
        run_toy(tmp_path / "run", rewards=flat)


class Poisoned(FakePolicy):
    """Turns to NaN after some forward passes with gradient."""

    good_passes: int = 3

    def logp(self, rollouts: Rollouts) -> Tensor:
        logp = super().logp(rollouts)
        if logp.requires_grad:
            self.good_passes -= 1
        return logp * torch.nan if self.good_passes < 0 and logp.requires_grad else logp


def test_a_loss_that_is_no_number_saves_its_batch_and_updates_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    policy = Poisoned.create(seed=1)
    with pytest.raises(NonFiniteLossError, match=r"step 4: the loss is nan.*prompts p\d.*step_000004_process_0.npz"):
        run_toy(folder, "evaluation.every=6", policy=policy)
    assert torch.isfinite(policy.table.logits).all()
    with np.load(folder / "failed" / "step_000004_process_0.npz", allow_pickle=False) as batch:
        assert set(batch) == {"tokens", "behaviour_logp", "mask", "logp", "old_logp", "ref_logp", "advantages"}
        assert batch["tokens"].shape == (16, 3)
        assert np.isnan(batch["logp"]).all()
    about = json.loads((folder / "failed" / "step_000004_process_0.json").read_text())
    assert len(about["prompts"]) == about["group_size"] == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_run_asked_to_stop_finishes_its_step_and_can_go_on(
    undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    def ask(step: int, steps: int, row: Mapping[str, Any]) -> None:
        if step == 3 and row["split"] == "train":
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(
        TrainingStopped, match=rf"stopped by {number.name} after step 3 of 6.*The same command continues"
    ):
        run_toy(tmp_path / "run", progress=ask)
    assert signal.getsignal(number) is before
    assert lines(tmp_path / "run") == lines(undisturbed)[:5]

    run_toy(tmp_path / "run")
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path: Path) -> None:
    def ask(step: int, steps: int, row: Mapping[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        run_toy(tmp_path / "run", progress=ask)
    assert not isinstance(caught.value, TrainingStopped)


def test_a_finished_run_is_not_trained_again(undisturbed: Path) -> None:
    rewards = panel()
    run_toy(undisturbed, rewards=rewards)
    assert rewards["first"].calls == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "checkpoints/step_000002/trainer.safetensors").write_bytes(b"torn"), "cannot be read"),
        (lambda run: (run / "transforms.json").unlink(), "without the scales of the rewards"),
    ],
    ids=["tensors", "transforms"],
)
def test_damage_to_what_a_run_continues_from_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    stop_after_three_steps(tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(CheckpointError, match=message):
        run_toy(tmp_path / "run")


def test_a_run_is_not_continued_with_another_policy(tmp_path: Path) -> None:
    stop_after_three_steps(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"belongs to another policy: 1 parameters differ.*parameters/logits"):
        run_toy(tmp_path / "run", policy=FakePolicy.create(2, 3))


def stop_after_three_steps(folder: Path) -> None:
    """Leave the checkpoint of step 2 and the lines of step 3, as a kill would."""

    def fail(step: int, steps: int, row: Mapping[str, Any]) -> None:
        if step == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_toy(folder, progress=fail)


@pytest.mark.parametrize("lacking", ["prompts", "eval_prompts"])
def test_training_needs_prompts(tmp_path: Path, lacking: str) -> None:
    with pytest.raises(TrainingError, match="both need at least one"):
        run_toy(tmp_path / "run", **{lacking: []})


def test_training_needs_something_to_train(tmp_path: Path) -> None:
    policy = FakePolicy.create()
    policy.module.requires_grad_(False)
    with pytest.raises(TrainingError, match="no parameter of the policy 'fake' takes a gradient"):
        run_toy(tmp_path / "run", policy=policy)


def test_training_needs_a_run_folder_on_one_process() -> None:
    with pytest.raises(TrainingError, match="no process was given a run folder"):
        train(
            recipe(), policy=FakePolicy.create(), rewards=panel(), eval_rewards=held_out(), gold=None,
            prompts=toy_prompts(4), eval_prompts=toy_prompts(2), run=None,
        )  # fmt: skip


def test_a_checkpoint_holds_a_policy_that_loads_on_its_own(undisturbed: Path) -> None:
    last = undisturbed / "checkpoints" / "step_000006"
    policy = FakePolicy.load(str(last / "policy"))
    assert torch.equal(policy.table.logits, load_file(last / "trainer.safetensors")["parameters/logits"])


def test_images_do_not_depend_on_how_prompts_are_batched(tmp_path: Path) -> None:
    """The look draws four prompts at a time in one run and one at a time in the other."""
    run_toy(tmp_path / "wide", "grpo.steps=1")
    run_toy(tmp_path / "narrow", "grpo.steps=1", "grpo.prompts_per_step=1")
    wide, narrow = (
        [replace_none(row) for row in read_samples(tmp_path / name) if row["step"] == 0] for name in ("wide", "narrow")
    )
    assert wide == narrow


def replace_none(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key in ("index", "prompt_id", "scores", "image")}

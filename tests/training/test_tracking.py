from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.training.scenario import run_toy
from tests.training.test_grpo import stop_after_three_steps

from pyrite.core.errors import MissingExtraError, TrainingError
from pyrite.records.samples import read_metrics


def shown(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_shows_the_numbers_of_metrics_and_a_grid_of_each_look(tmp_path: Path) -> None:
    run_toy(tmp_path / "run", "evaluation.keep_images=8", trackers=["tensorboard"])
    board, rows = shown(tmp_path / "run"), read_metrics(tmp_path / "run")
    for key in ("loss", "reward", "kl", "images_per_s"):
        wanted = [(row["step"], row[key]) for row in rows if row["split"] == "train"]
        found = [(event.step, event.value) for event in board.Scalars(f"train/{key}")]
        assert [step for step, _ in found] == [step for step, _ in wanted]
        np.testing.assert_allclose([value for _, value in found], [value for _, value in wanted], rtol=1e-6)
    assert [event.step for event in board.Scalars("eval/gold/mean")] == [0, 3, 6]
    assert [event.step for event in board.Images("eval/images")] == [0, 3, 6]


@pytest.mark.filterwarnings("ignore")
def test_a_continued_run_shows_each_step_once(tmp_path: Path) -> None:
    stop_after_three_steps(tmp_path / "run")
    run_toy(tmp_path / "run", trackers=["tensorboard"])
    assert [event.step for event in shown(tmp_path / "run").Scalars("train/loss")] == [3, 4, 5, 6]


def test_a_tracker_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no tracker called teletype.*There are tensorboard, wandb, trackio"):
        run_toy(tmp_path / "run", trackers=["teletype"])
    with pytest.raises(
        MissingExtraError, match=r"--track trackio needs the package trackio.*pip install 'pyrite\[track"
    ):
        run_toy(tmp_path / "run", trackers=["trackio"])

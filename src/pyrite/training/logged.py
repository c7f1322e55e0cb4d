"""What a run writes about itself: every key of metrics.jsonl, and the rows of both files.

Rows are functions of what happened to each image, so several processes write what one would have written.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrite.core.types import REQUEST, FloatArray, Prompt
from pyrite.records.runs import RunFolder
from pyrite.training.learner import Divergence, Update
from pyrite.training.scoring import ScoreTable
from pyrite.training.tracking import Tracking

LOGGED_KEYS: dict[str, str] = {
    "step": "Training steps made so far; 0 is the base policy.",
    "split": "train: the images of the step; eval: those of a look.",
    "num_samples": "Images of a look.",
    "loss": "What was minimised: negative clipped surrogate plus beta times the KL estimator, mean over tokens.",
    "grad_norm": "Euclidean norm of the gradient before clipping, mean over the step's updates.",
    "learning_rate": "Of this step.",
    "reward": "Mean training reward, transforms and weights included, over scored images.",
    "reward_std": "Its standard deviation over the batch (ddof 1).",
    "rewards/{name}/mean": "Mean raw score of one reward, over the images it scored.",
    "rewards/{name}/std": "Its standard deviation (ddof 1).",
    "kl": "log-probability minus the reference's, summed over the tokens of an image, in nats; mean over images (k1).",
    "kl_k3": "The same divergence by the k3 estimator, which is never negative.",
    "entropy": "Minus the mean log-probability of a token under the distribution it was drawn from, in nats.",
    "offpolicy_gap": "Mean |log-probability - the one a token was drawn with|, in nats: 0 unless guidance is used.",
    "clip_frac": "Share of tokens whose ratio was clipped, mean over the step's updates; 0 with one update.",
    "zero_variance_group_frac": "Share of groups whose scored images all got the same reward: they teach nothing.",
    "unscored_frac": "Share of images that at least one of the rewards could not score.",
    "gold/mean": "Mean gold over the images it judged; never trained on.",
    "gold_alignment/mean": "Is the prompt satisfied, in [0, 1].",
    "gold_realism/mean": "Could the world have drawn it, in [0, 1].",
    "reasons": "Of each key that is null: why there is no number.",
    "images_per_s": "Images of the step, over the seconds of drawing, decoding, scoring and updating.",
    "seconds/draw": "Drawing the tokens of the images.",
    "seconds/decode": "Making pictures of them, where the policy says how long that took; else part of the drawing.",
    "seconds/score": "Scoring them with the training rewards.",
    "seconds/gold": "Scoring them with gold.",
    "seconds/update": "Log-probabilities, loss, gradient, optimiser.",
    "seconds/look": "The look after this step: drawing, scoring, log-probabilities.",
    "seconds/keep": "Writing files and the checkpoint of the step before.",
}
"""Key of metrics.jsonl -> what it is. `{name}` stands for the name of a reward."""

STEP_PHASES = ("draw", "decode", "score", "update")
"""What a training step cannot do without."""

Row = dict[str, Any]
Progress = Callable[[int, int, Mapping[str, Any]], None]
"""Called with step, number of steps, and each line of metrics.jsonl once it is written."""


@dataclass(frozen=True)
class Diary:
    """Where lines are written; on processes other than the main one, nowhere.

    Args:
        run: the run folder, or None.
        steps: of the whole run.
        progress: is told of each line.
        tracking: is shown each line.
    """

    run: RunFolder | None
    steps: int
    progress: Progress
    tracking: Tracking

    def write(self, row: Row, samples: Sequence[Row]) -> None:
        """A line of metrics.jsonl, and the lines of samples.jsonl it sums up."""
        if self.run is not None:
            self.run.append_samples(samples)
            self.run.append_metrics(row)
            self.tracking.show_row(row)
            self.progress(row["step"], self.steps, row)


class PhaseClock:
    """Seconds spent in each phase since they were last taken."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time spent within to `phase`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - start

    def move(self, phase: str, part: str, seconds: float) -> None:
        """Count as `part` what is known to have gone into it of a phase; nothing if that is 0."""
        if seconds:
            self._seconds[phase] = self._seconds.get(phase, 0.0) - seconds
            self._seconds[part] = self._seconds.get(part, 0.0) + seconds

    def total(self, *phases: str) -> float:
        """Seconds spent in these."""
        return sum(self._seconds.get(phase, 0.0) for phase in phases)

    def take(self) -> Row:
        """As keys of metrics.jsonl; starts again from 0."""
        row = {f"seconds/{phase}": round(seconds, 6) for phase, seconds in self._seconds.items()}
        self._seconds.clear()
        return row


def train_row(
    step: int, update: Update, rewards_R: FloatArray, group_size: int, *, scores: ScoreTable, divergence: Divergence
) -> Row:
    """The line of metrics.jsonl about the batch of a training step.

    Args:
        step: from 1 on.
        update: what was done with it.
        rewards_R: (R,) training rewards, NaN where unscored.
        group_size: G.
        scores: of the training rewards, and of gold if it was asked.
        divergence: of the batch, before the update.
    """
    row = {"step": step, "split": "train", "loss": update.loss, "grad_norm": update.grad_norm}
    row |= {"learning_rate": update.learning_rate, "reward": _mean(rewards_R), "reward_std": _std(rewards_R)}
    row |= _panel(scores) | _drift(divergence)
    lowest_P, highest_P = _extremes(rewards_R.reshape(-1, group_size))
    row |= {"clip_frac": update.clip_frac, "zero_variance_group_frac": float(np.mean(lowest_P >= highest_P))}
    return _with_reasons(row, scores)


def eval_row(step: int, rewards_R: FloatArray, *, scores: ScoreTable, divergence: Divergence) -> Row:
    """The line of metrics.jsonl about a look; arguments as for `train_row`."""
    row = {"step": step, "split": "eval", "num_samples": len(rewards_R), "reward": _mean(rewards_R)}
    return _with_reasons(row | _panel(scores) | _drift(divergence), scores)


def sample_rows(
    step: int,
    split: str,
    prompts: Sequence[Prompt],
    *,
    scores: ScoreTable,
    rewards: FloatArray,
    kl: FloatArray,
    advantages: FloatArray | None = None,
    images: Mapping[int, str] | None = None,
) -> list[Row]:
    """One line of samples.jsonl per image; prompts are repeated for each of their images.

    Args:
        step: of training.
        split: "train" or "eval".
        prompts: one per image.
        scores: everything that was asked.
        rewards: training rewards.
        kl: nats per image.
        advantages: of training images; NaN for those that were left out.
        images: row -> path, for the images that were kept.
    """
    rows: list[Row] = []
    for index, prompt in enumerate(prompts):
        row: Row = {"step": step, "split": split, "prompt_id": prompt.id or prompt.text, "prompt": prompt.text}
        row |= {"task_type": prompt.task_type, "index": index, "image": (images or {}).get(index)}
        row["scores"] = {name: float(column.values[index]) for name, column in scores.items()}
        if reasons := {name: column.reasons[index] for name, column in scores.items() if index in column.reasons}:
            row["reasons"] = reasons
        if requests := _requests(scores, index):
            row["requests"] = requests
        row |= {"reward": float(rewards[index])}
        if advantages is not None:
            row["advantage"] = float(advantages[index])
        rows.append(row | {"kl": float(kl[index])})
    return rows


def _requests(scores: ScoreTable, index: int) -> dict[str, int]:
    """Name of a reward -> number of the reply it got about an image, for those that asked a judge and got one."""
    columns = {name: column.details[REQUEST] for name, column in scores.items() if REQUEST in column.details}
    return {name: int(numbers[index]) for name, numbers in columns.items() if not np.isnan(numbers[index])}


def seconds_per_phase(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Phase -> seconds, summed over the lines of metrics.jsonl."""
    total: dict[str, float] = {}
    for row in rows:
        for key, value in row.items():
            if key.startswith("seconds/"):
                phase = key.removeprefix("seconds/")
                total[phase] = round(total.get(phase, 0.0) + value, 3)
    return total


def _panel(scores: ScoreTable) -> Row:
    row: Row = {}
    for name, column in scores.items():
        if name.startswith("gold"):
            row[f"{name}/mean"] = _mean(column.values)
        else:
            row |= {f"rewards/{name}/mean": _mean(column.values), f"rewards/{name}/std": _std(column.values)}
    panel_KN = [np.isnan(column.values) for name, column in scores.items() if not name.startswith("gold")]
    return row | {"unscored_frac": float(np.any(panel_KN, axis=0).mean())}


def _drift(divergence: Divergence) -> Row:
    num_tokens = divergence.num_tokens.sum()
    return {
        "kl": float(divergence.kl.mean()),
        "kl_k3": float(divergence.kl_k3.mean()),
        "entropy": float(divergence.surprise.sum() / num_tokens),
        "offpolicy_gap": float(divergence.gap.sum() / num_tokens),
    }


def _with_reasons(row: Row, scores: ScoreTable) -> Row:
    """Beside each number that is missing, why it is."""
    everything = [why for column in scores.values() for why in column.reasons.values()]
    reasons = {}
    for key in [key for key, value in row.items() if isinstance(value, float) and np.isnan(value)]:
        name = key.removeprefix("rewards/").rpartition("/")[0]
        said = list(scores[name].reasons.values()) if name in scores else everything
        count = "fewer than two images" if key.endswith("std") else "no image"
        reasons[key] = f"{count} scored" + (f": {said[0]}" if said else "")
    return row | {"reasons": reasons} if reasons else row


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _std(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")


def _extremes(rewards_PG: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest scored reward of each group; of a group without any, the highest is below the lowest."""
    unscored_PG = np.isnan(rewards_PG)
    lowest_P: FloatArray = np.where(unscored_PG, np.inf, rewards_PG).min(1)
    highest_P: FloatArray = np.where(unscored_PG, -np.inf, rewards_PG).max(1)
    return lowest_P, highest_P

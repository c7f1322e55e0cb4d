"""A run folder as arrays: evaluation samples, their steps and scores, and means over steps with intervals."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyrite.core.types import FloatArray
from pyrite.stats.intervals import resample_weights

IntArray = npt.NDArray[np.int64]
TextArray = npt.NDArray[np.str_]

NUM_RESAMPLES = 1000
GOLD_NAMES = ("gold", "gold_alignment", "gold_realism")


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class SampleTable:
    """N evaluated images as columns; the same `index` is the same prompt and seed at every step.

    Args:
        steps: (N,) training step at which the image was drawn.
        index: (N,) running number within its step.
        prompt_ids: (N,) images of one prompt share it: the unit of resampling.
        prompts: (N,) the texts.
        task_types: (N,) empty where the run says nothing.
        images: (N,) paths inside the run folder, empty where the image was not kept.
        reward: (N,) what the policy was trained on, NaN where unscored or not recorded.
        kl: (N,) nats per image between policy and reference, NaN where not recorded.
        scores: name -> (N,) raw scores, NaN where unscored.
    """

    steps: IntArray
    index: IntArray
    prompt_ids: TextArray
    prompts: TextArray
    task_types: TextArray
    images: TextArray
    reward: FloatArray
    kl: FloatArray
    scores: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def step_values(self) -> list[int]:
        """The evaluated steps, ascending."""
        return [int(step) for step in np.unique(self.steps)]

    def select(self, rows: npt.NDArray[np.bool_]) -> "SampleTable":
        """The rows where `rows` (N,) is true."""
        columns = {item.name: getattr(self, item.name)[rows] for item in fields(self) if item.name != "scores"}
        return SampleTable(**columns, scores={name: column[rows] for name, column in self.scores.items()})

    def at(self, step: int) -> "SampleTable":
        """The rows of one step."""
        return self.select(self.steps == step)


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Run:
    """One run folder, read.

    Args:
        name: what the report calls it.
        folder: where it lives; image paths are relative to it.
        samples: the evaluation samples.
        recipe, environment: the parsed files, empty where there is none.
        metrics: the rows of metrics.jsonl.
        unscored: score name -> reason -> number of images, training images included.
        notes: what a reader should know about the state of the folder.
    """

    name: str
    folder: Path
    samples: SampleTable
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    unscored: Mapping[str, Counter[str]]
    notes: tuple[str, ...] = ()

    @property
    def trained_names(self) -> tuple[str, ...]:
        """The rewards that train, as the recipe lists them; empty for a folder without a recipe."""
        return tuple(str(item["name"]) for item in self.reward_items)

    @property
    def reward_items(self) -> tuple[Mapping[str, Any], ...]:
        """The recipe's rewards as `{"name", ...}`; empty if there are none or another trainer writes them otherwise."""
        items = self.recipe.get("rewards")
        if not isinstance(items, list) or not all(isinstance(item, Mapping) and "name" in item for item in items):
            return ()
        return tuple(items)


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Curve:
    """A mean over evaluated steps, with what it would have been had other prompts been drawn.

    Args:
        steps: (S,) ascending.
        mean: (S,) NaN where nothing was scored.
        draws: (B, S) the same mean over B resamples of the prompts; curves of one run share their resamples, so
            differences and ratios of curves have the intervals of their draws' differences and ratios.
    """

    steps: IntArray
    mean: FloatArray
    draws: FloatArray

    @property
    def low(self) -> FloatArray:
        """(S,) lower end of the 95 % interval, NaN where there is none."""
        return percentile(self.draws, 2.5)

    @property
    def high(self) -> FloatArray:
        """(S,) upper end of the 95 % interval, NaN where there is none."""
        return percentile(self.draws, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; all three NaN when it could not be had."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: FloatArray) -> "Estimate":
        """The interval of the middle 95 % of `draws` (B,)."""
        return cls(float(value), float(percentile(draws[:, None], 2.5)[0]), float(percentile(draws[:, None], 97.5)[0]))


def percentile(draws: FloatArray, percent: float) -> FloatArray:
    """(S,) percentile over resamples (B, S); NaN in columns where a resample has no number."""
    if len(draws) == 0:
        return np.full(draws.shape[1], np.nan)
    found: FloatArray = np.percentile(draws, percent, axis=0)
    return found


def prompt_resamples(num_prompts: int) -> FloatArray:
    """(B, P) how often each of P prompts is drawn in each of B resamples, the same for every curve of a run.

    With fewer than two prompts there is nothing to resample: shape (0, P).
    """
    if num_prompts < 2:
        return np.empty((0, num_prompts))
    return resample_weights(num_prompts, NUM_RESAMPLES, np.random.default_rng(0))


def curve(samples: SampleTable, values: FloatArray) -> Curve:
    """Mean of `values` (N,) at every step, unscored images left out, with the cluster bootstrap over prompts."""
    steps, step_of = np.unique(samples.steps, return_inverse=True)
    prompts, prompt_of = np.unique(samples.prompt_ids, return_inverse=True)
    known = np.isfinite(values)
    sums, counts = np.zeros((2, len(prompts), len(steps)))
    np.add.at(sums, (prompt_of[known], step_of[known]), values[known])
    np.add.at(counts, (prompt_of[known], step_of[known]), 1.0)
    weights = prompt_resamples(len(prompts))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sum(axis=0) / counts.sum(axis=0)
        draws = (weights @ sums) / (weights @ counts)
    return Curve(steps, mean, draws)

"""Showing a run to trackers while it goes on: tensorboard, wandb or trackio, through accelerate.

metrics.jsonl remains the record; a tracker gets a copy, and what it does with it changes nothing here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrite.core.errors import MissingExtraError, TrainingError
from pyrite.core.types import Image
from pyrite.records.recipe import Recipe

if TYPE_CHECKING:
    from pyrite.training.processes import Processes

TRACKERS = ("tensorboard", "wandb", "trackio")


class Tracking:
    """The trackers of a run; get it from `of`.

    Args:
        trackers: of accelerate.
    """

    def __init__(self, trackers: Sequence[Any] = ()) -> None:
        self._trackers = trackers

    @classmethod
    @contextmanager
    def of(
        cls, names: Sequence[str], recipe: Recipe, folder: Path, step: int, processes: "Processes"
    ) -> Iterator["Tracking"]:
        """The trackers of these names, told of the recipe; the main process alone has any. Ended on leaving.

        Args:
            names: of `TRACKERS`.
            recipe: of the run.
            folder: of the run; tensorboard writes into its `tensorboard/`.
            step: the last finished one: tensorboard forgets what it was shown of later ones.
            processes: who trains.

        Raises:
            TrainingError: there is no such tracker.
            MissingExtraError: it is not installed.
        """
        _refuse_missing(names)
        if processes.rank or not names:
            yield cls()
            return
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        own: dict[str, dict[str, Any]] = {
            "tensorboard": {"logging_dir": str(folder), "purge_step": step + 1},
            "wandb": {"name": recipe.name, "dir": str(folder)},
            "trackio": {"name": recipe.name},
        }
        trackers = [
            LOGGER_TYPE_TO_CLASS[name]("tensorboard" if name == "tensorboard" else "pyrite", **own[name])
            for name in names
        ]
        try:
            for tracker in trackers:
                tracker.start()
                if tracker.name != "tensorboard":  # which would make another run of it at each start
                    tracker.store_init_configuration(_flat(recipe.model_dump(mode="json")))
            yield cls(trackers)
        finally:
            for tracker in trackers:
                tracker.finish()

    def show_row(self, row: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl: each of its numbers under train/ or eval/."""
        numbers = {
            f"{row['split']}/{key}": float(value)
            for key, value in row.items()
            if isinstance(value, int | float) and key != "step" and isfinite(value)
        }
        for tracker in self._trackers:
            tracker.log(numbers, step=row["step"])

    def show_grid(self, step: int, grid: Image) -> None:
        """The pictures of a look, to trackers that take any."""
        for tracker in self._trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({"eval/images": np.asarray(grid)[None]}, step=step, dataformats="NHWC")
            elif hasattr(tracker, "log_images"):
                tracker.log_images({"eval/images": [grid]}, step=step)


def _refuse_missing(names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in TRACKERS]:
        raise TrainingError(
            f"there is no tracker called {', '.join(unknown)}, so nobody would see the run there. There are "
            f"{', '.join(TRACKERS)}."
        )
    if not names:
        return
    from accelerate.tracking import get_available_trackers

    present = {str(getattr(found, "value", found)) for found in get_available_trackers()}
    if missing := [name for name in names if name not in present]:
        raise MissingExtraError(
            f"--track {missing[0]} needs the package {missing[0]}, which is not installed. Type: "
            f"pip install 'pyrite[track]', or leave --track out: metrics.jsonl holds the same numbers."
        )


def _flat(value: Mapping[str, Any], path: str = "") -> dict[str, str | int | float | bool]:
    """Key a.b -> value, as trackers take settings; lists as text."""
    flat: dict[str, str | int | float | bool] = {}
    for key, child in value.items():
        if isinstance(child, Mapping):
            flat |= _flat(child, f"{path}{key}.")
        else:
            flat[f"{path}{key}"] = child if isinstance(child, str | int | float | bool) else str(child)
    return flat

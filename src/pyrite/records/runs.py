"""The run folder: what training leaves behind, and what audits and reports read.

    RUN/
      config.yaml         the recipe, every default filled in
      environment.json    machine, versions, code, weights
      metrics.jsonl       one object per training step and per look
      samples.jsonl       one object per image
      images/step_000010/eval_0000.png
      checkpoints/step_000020/
      summary.json        only once the run is finished

A killed run goes on from its newest checkpoint: everything written after it is taken back first, so that the files of
a killed and continued run equal those of an undisturbed one. To read a folder, see `samples.py`.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pyrite.core.errors import RecipeError, RunFolderError
from pyrite.core.types import Image
from pyrite.records.checkpoints import Checkpoint, complete_checkpoints, new_checkpoint, repair, step_name
from pyrite.records.environment import describe_environment
from pyrite.records.jsonl import JsonLines, Row, teaching_os_errors, write_atomically, write_json
from pyrite.records.sole_use import hold_folder

if TYPE_CHECKING:
    from pyrite.records.recipe import Recipe

_LOGS = ("metrics.jsonl", "samples.jsonl")
MAY_CHANGE = ("grpo.micro_batch",)
"""Keys of a recipe that change how a run is computed and not what comes out, beyond rounding."""

_STEP_IMAGES = re.compile(r"step_(\d{6,})")


class RunFolder:
    """A run folder open for writing by this process alone; get one from `create_or_resume`.

    Args:
        path: of the folder.
        keep: how many of the newest checkpoints stay.
        closing: what `close` closes.
    """

    def __init__(self, path: Path, *, keep: int, closing: ExitStack) -> None:
        self.path = path
        self.is_finished = (path / "summary.json").exists()
        self.resumed_from: Checkpoint | None = None
        self._keep = keep
        self._closing = closing
        self._logs = {name: JsonLines(path / name) for name in _LOGS}
        for log in self._logs.values():
            closing.callback(log.close)

    @classmethod
    def create_or_resume(
        cls, path: str | Path, recipe: "Recipe", *, checkpoint_hashes: Mapping[str, str] | None = None
    ) -> Self:
        """Open the folder of a run: a new one, or that of the same recipe, taken back to its newest checkpoint.

        After it, `resumed_from` is the checkpoint to load (None: begin at the beginning), and `is_finished` says that
        there is nothing left to do.

        Args:
            path: the folder; made if it is not there.
            recipe: what is about to run.
            checkpoint_hashes: name of a policy or reward -> hash of its weights.

        Raises:
            RunFolderError: the folder cannot be written, is in use by another process, was made with another recipe
                or other weights, or holds something that is not a run.
        """
        path = Path(path)
        with teaching_os_errors(f"make the run folder {path}"):
            path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            hold_folder(path, stack, "two runs writing into one folder would mix their numbers")
            _claim(path, recipe, checkpoint_hashes or {})
            run = cls(path, keep=recipe.checkpoint.keep, closing=stack)
            if not run.is_finished:
                run._take_back()
            run._closing = stack.pop_all()
            return run

    def append_metrics(self, row: Row) -> None:
        """Write one line of numbers about a step; NaN becomes null.

        Raises:
            RunFolderError: it cannot be written.
        """
        self._logs["metrics.jsonl"].append([row])

    def append_samples(self, rows: Iterable[Row]) -> None:
        """Write one line per image; NaN becomes null.

        Raises:
            ValueError: a score is NaN and `reasons` of its row does not say why.
            RunFolderError: they cannot be written.
        """
        rows = list(rows)
        for row in rows:
            silent = [name for name, value in row["scores"].items() if _is_null(value)]
            silent = [name for name in silent if not row.get("reasons", {}).get(name)]
            if silent:
                raise ValueError(f"sample {row.get('index')} of step {row['step']}: {silent} unscored without a reason")
        self._logs["samples.jsonl"].append(rows)

    def save_image(self, step: int, name: str, image: Image) -> str:
        """Keep an image as PNG.

        Args:
            step: the training step it belongs to.
            name: within the step, such as "eval_0000".
            image: as drawn.

        Returns:
            Its path relative to the run folder, as samples.jsonl has it.

        Raises:
            RunFolderError: it cannot be written.
        """
        relative = f"images/{step_name(step)}/{name}.png"
        final = self.path / relative
        temporary = final.with_name(f".{name}.tmp")
        with teaching_os_errors(f"write the image {final}"):
            final.parent.mkdir(parents=True, exist_ok=True)
            image.save(temporary, format="PNG")
            os.replace(temporary, final)
        return relative

    @contextmanager
    def checkpoint(self, step: int) -> Iterator[Path]:
        """A folder to save the trainer's state into: `with run.checkpoint(step) as folder: policy.save(folder)`.

        On leaving it becomes the checkpoint of `step`, from which a killed run goes on with the lines written so far.

        Raises:
            RunFolderError: it cannot be written; the checkpoints from before are still there.
        """
        for log in self._logs.values():
            log.sync()
        offsets = {name: log.offset for name, log in self._logs.items()}
        with new_checkpoint(self.path / "checkpoints", step, offsets=offsets, keep=self._keep) as folder:
            yield folder

    def latest_checkpoint(self) -> Checkpoint | None:
        """The complete checkpoint of the highest step; None if there is none yet."""
        return next(reversed(complete_checkpoints(self.path / "checkpoints")), None)

    def finish(self, summary: Row) -> None:
        """Write summary.json, which says that the run is complete.

        Args:
            summary: steps, seconds per phase, whatever should be known without reading the logs.

        Raises:
            RunFolderError: it cannot be written.
        """
        for log in self._logs.values():
            log.sync()
        write_json(self.path / "summary.json", {"status": "finished", **summary})
        self.is_finished = True

    def close(self) -> None:
        """Let other processes have the folder."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_back(self) -> None:
        repair(self.path / "checkpoints")
        self.resumed_from = self.latest_checkpoint()
        for name, log in self._logs.items():
            log.truncate_to(self.resumed_from.offsets[name] if self.resumed_from else 0)
        last = self.resumed_from.step if self.resumed_from else -1
        images = self.path / "images"
        with teaching_os_errors(f"remove the images after step {last} from {images}"):
            for folder in images.iterdir() if images.is_dir() else ():
                step = _STEP_IMAGES.fullmatch(folder.name)
                if step is not None and int(step[1]) > last:
                    shutil.rmtree(folder)


def _is_null(value: Any) -> bool:
    return value is None or value != value


def _claim(path: Path, recipe: "Recipe", checkpoint_hashes: Mapping[str, str]) -> None:
    """Make the folder that of this recipe and these weights, or refuse."""
    from pyrite.records.config import dump_recipe

    now = describe_environment(checkpoint_hashes)
    if (path / "config.yaml").exists():
        _refuse_another_recipe(path, recipe)
        _note_environment(path, now)
        return
    foreign = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    if set(foreign) - {"environment.json"}:
        raise RunFolderError(
            f"{path} is not empty ({', '.join(foreign[:5])}) and has no config.yaml, so it is not a run folder, and a "
            "run would overwrite what is there. Choose another folder."
        )
    write_json(path / "environment.json", now)
    # Last, because its presence says that the folder is complete.
    write_atomically(path / "config.yaml", dump_recipe(recipe))


def _refuse_another_recipe(path: Path, recipe: "Recipe") -> None:
    import yaml

    from pyrite.records.config import config_differences, resolve_recipe
    from pyrite.records.recipe_file import parse_yaml

    config = path / "config.yaml"
    try:
        made_with, _ = parse_yaml(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise RunFolderError(f"{config} cannot be read ({why}). Restore it, or choose another folder.") from error
    if not isinstance(made_with, dict):
        raise RunFolderError(f"{config} holds no recipe. Restore it, or choose another folder.")
    with suppress(RecipeError):  # what is no recipe of today is compared as it stands
        made_with = resolve_recipe(made_with)  # a key that came since has its default, which does what was done then
    different = [
        line
        for line in config_differences(made_with, recipe)
        if not line.startswith(tuple(f"{key}:" for key in MAY_CHANGE))
    ]
    if different:
        raise RunFolderError(
            f"{path} was made with another recipe, and one folder holds one run:"
            + "".join(f"\n  - {line}" for line in different)
            + f"\nChoose another folder, or continue that run with its own recipe: pyrite train {config}"
        )


def _note_environment(path: Path, now: dict[str, Any]) -> None:
    """Refuse other weights; write down other versions, under which the numbers from here on were made."""
    file = path / "environment.json"
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{file} cannot be read ({error}). Restore it, or choose another folder.") from error
    latest = {**before, **(before.get("resumed") or [{}])[-1]}
    changed = {key: value for key, value in now.items() if key != "created" and value != latest.get(key)}
    if "checkpoints" in changed:
        was, now_is = before.get("checkpoints", {}), now["checkpoints"]
        lines = [
            f"\n  - {name}: was {was.get(name, 'not given')[:12]}, is {now_is.get(name, 'not given')[:12]}"
            for name in dict.fromkeys([*was, *now_is])
            if was.get(name) != now_is.get(name)
        ]
        raise RunFolderError(
            f"{path} was made with other weights:{''.join(lines)}\nIts numbers and new ones would not compare. "
            "Choose another folder, or bring those weights back."
        )
    if changed:
        resumed = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **changed}
        write_json(file, {**before, "resumed": [*before.get("resumed", []), resumed]})

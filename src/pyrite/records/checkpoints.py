"""The `checkpoints/` of a run: a folder per kept step, complete or not there at all."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyrite.records.jsonl import teaching_os_errors, write_json

_PROGRESS = "progress.json"
_COMPLETE = re.compile(r"step_(\d{6,})")
_LEFTOVER = re.compile(r"\.(step_\d{6,})\.(new|old)")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Args:
        step: after which training step it was written.
        folder: holds what the trainer saved.
        offsets: file name -> bytes the append-only files of the run had then.
    """

    step: int
    folder: Path
    offsets: Mapping[str, int]


def step_name(step: int) -> str:
    """The name of a step's folder: `step_000020`."""
    return f"step_{step:06d}"


@contextmanager
def new_checkpoint(root: Path, step: int, *, offsets: Mapping[str, int], keep: int) -> Iterator[Path]:
    """A folder to save into; on leaving it becomes the checkpoint of `step`, and old ones go.

    An exception inside leaves no checkpoint. One of the same step is replaced.

    Args:
        root: the `checkpoints/` folder.
        step: the last finished step.
        offsets: as in `Checkpoint`.
        keep: how many of the newest stay.

    Raises:
        RunFolderError: the disk is full, or the folder cannot be written.
    """
    final, new, old = root / step_name(step), root / f".{step_name(step)}.new", root / f".{step_name(step)}.old"
    with teaching_os_errors(f"write the checkpoint {final}"):
        new.mkdir(parents=True)
        try:
            yield new
            write_json(new / _PROGRESS, {"step": step, "offsets": dict(offsets)})
            _sync_tree(new)
        except BaseException:
            shutil.rmtree(new)
            raise
        # A folder cannot be replaced in one move: `repair` undoes the first half if the second never came.
        if final.exists():
            os.replace(final, old)
        os.replace(new, final)
        _sync(root)
        shutil.rmtree(old, ignore_errors=True)
        for outdated in complete_checkpoints(root)[:-keep]:
            shutil.rmtree(outdated.folder)


def complete_checkpoints(root: Path) -> list[Checkpoint]:
    """Every complete checkpoint, oldest first; a folder without a readable progress.json is none."""
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        name = _COMPLETE.fullmatch(folder.name)
        if name is None:
            continue
        try:
            progress = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
            found.append(Checkpoint(int(name[1]), folder, {key: int(n) for key, n in progress["offsets"].items()}))
        except (OSError, ValueError, KeyError):
            continue
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def repair(root: Path) -> None:
    """Clean up after a process killed while it wrote a checkpoint: half-written ones go, displaced ones come back."""
    with teaching_os_errors(f"clean up {root}"):
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            name = _LEFTOVER.fullmatch(folder.name)
            if name is None:
                continue
            if name[2] == "old" and not (root / name[1]).exists():
                os.replace(folder, root / name[1])
            else:
                shutil.rmtree(folder)


def _sync_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for name in files:
            _sync(Path(parent) / name)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Where the pocket checkpoints lie, and that they are the bytes the manifest names.

The folder `pyrite/world/checkpoints/` holds one transformers folder per name and manifest.json, which lists the
sha256 of every file. The environment variable PYRITE_CHECKPOINTS names another such folder: a world of your own.
"""

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrite.core.errors import CheckpointError
from pyrite.records.jsonl import write_json

ROOT_VARIABLE = "PYRITE_CHECKPOINTS"
_MANIFEST = "manifest.json"
_SHORT = 12


def checkpoints_root() -> Path:
    """The folder of the pocket checkpoints: the one shipped, or the one PYRITE_CHECKPOINTS names."""
    chosen = os.environ.get(ROOT_VARIABLE)
    return Path(chosen) if chosen else Path(__file__).parents[1] / "world" / "checkpoints"


def checkpoint_names() -> tuple[str, ...]:
    """The names in the manifest, sorted; none where nothing was built."""
    return tuple(sorted(_manifest(checkpoints_root())))


def checkpoint_folder(name: str) -> Path:
    """The folder of a pocket checkpoint, every file of it verified once per process.

    Raises:
        CheckpointError: it was never built, a file is missing, or a file is not the one in the manifest.
    """
    root = checkpoints_root()
    _verify(root, name)
    return root / name


def resolve_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint given by name (verified) or by path (taken as it is).

    A name of the manifest wins over a folder that happens to be called like it; `./name` means the folder.

    Raises:
        CheckpointError: as for `checkpoint_folder`, or there is no such folder.
    """
    if not _is_path(name_or_path):
        return checkpoint_folder(str(name_or_path))
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise CheckpointError(f"there is no checkpoint folder at {folder}. Give a folder that holds a config.json.")
    return folder


def checkpoint_revision(name_or_path: str | Path) -> str:
    """12 hexadecimal digits that change when any file of the checkpoint does.

    Raises:
        CheckpointError: as for `resolve_checkpoint`.
    """
    folder = resolve_checkpoint(name_or_path)
    if _is_path(name_or_path):
        hashes = {str(path.relative_to(folder)): file_sha256(path) for path in folder.rglob("*") if path.is_file()}
    else:
        hashes = _entry(checkpoints_root(), str(name_or_path))["files"]
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:_SHORT]


def checkpoint_entry(name: str) -> Mapping[str, Any]:
    """What the manifest says about a checkpoint: `files`, `summary`, and what its builder measured.

    Raises:
        CheckpointError: the manifest does not list it.
    """
    return _entry(checkpoints_root(), name)


def write_manifest_entry(root: Path, name: str, *, summary: str, **facts: Any) -> None:
    """List the files of `root/name` with their hashes, in place of what the manifest said about it.

    Args:
        root: the folder that holds the manifest.
        name: of the checkpoint.
        summary: one sentence: what it is.
        facts: what else is worth knowing: held-out quality, seed, known holes; JSON values.

    Raises:
        CheckpointError: `root/name` has no files, or the manifest cannot be read.
    """
    folder = root / name
    files = {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    if not files:
        raise CheckpointError(f"{folder} holds no files, so there is nothing to list. Save the checkpoint there first.")
    entries = {**_manifest(root), name: {"files": files, "summary": summary, **facts}}
    write_json(root / _MANIFEST, dict(sorted(entries.items())))
    _verify.cache_clear()


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_path(name_or_path: str | Path) -> bool:
    if isinstance(name_or_path, Path) or os.sep in name_or_path:
        return True
    return Path(name_or_path).is_dir() and name_or_path not in _manifest(checkpoints_root())


@functools.cache
def _verify(root: Path, name: str) -> None:
    for file, expected in _entry(root, name)["files"].items():
        path = root / name / file
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing: the manifest lists it as part of '{name}'. {_remedy(path, name)}"
            )
        found = file_sha256(path)
        if found != expected:
            raise CheckpointError(
                f"{path} is not the file it should be: its sha256 begins with {found[:_SHORT]}, the manifest names "
                f"{expected[:_SHORT]}. Numbers made with it would pass for another model's. {_remedy(path, name)}"
            )


def _entry(root: Path, name: str) -> Mapping[str, Any]:
    manifest = _manifest(root)
    if name not in manifest:
        there = f"It lists: {', '.join(sorted(manifest))}." if manifest else "It lists nothing."
        raise CheckpointError(
            f"the pocket checkpoint '{name}' has not been built: {root / _MANIFEST} does not list it. {there} "
            f"Type: pyrite world build --only {name}"
        )
    entry: Mapping[str, Any] = manifest[name]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("files"), Mapping):
        raise CheckpointError(
            f"{root / _MANIFEST} lists no files for '{name}', so it cannot be verified. "
            f"{_remedy(root / _MANIFEST, name)}"
        )
    return entry


def _manifest(root: Path) -> dict[str, Any]:
    path = root / _MANIFEST
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}), so no weights can be verified. {_remedy(path)}"
        ) from error
    if not isinstance(manifest, dict):
        raise CheckpointError(f"{path} holds no list of checkpoints, so no weights can be verified. {_remedy(path)}")
    return manifest


def _remedy(path: Path, name: str = "") -> str:
    rebuild = f"pyrite world build --only {name}" if name else "pyrite world build"
    return f"Bring it back with `git checkout {path}`, or build it again: {rebuild}"

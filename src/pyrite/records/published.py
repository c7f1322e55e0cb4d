"""Where the published weights of a reward lie on this disk, if they do.

Nothing here opens a connection: that is for `pyrite weights fetch` alone (`fetching.py`).
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pyrite.core.errors import CheckpointError, UnknownNameError
from pyrite.records.published_table import TABLE, PublishedFile, PublishedPart
from pyrite.records.weights import file_sha256

ROOT_VARIABLE = "PYRITE_WEIGHTS"
SOURCE_KEY = "pyrite_source_sha256"
CONVERTED_SUFFIX = ".safetensors"
INDEX_SUFFIX = ".index.json"


def published_names() -> tuple[str, ...]:
    """The rewards whose weights somebody publishes, sorted."""
    return tuple(sorted(TABLE))


def published(name: str) -> Mapping[str, PublishedPart]:
    """Role -> part, for a reward of `published_names`.

    Raises:
        UnknownNameError: no weights are listed under that name.
    """
    if name not in TABLE:
        raise UnknownNameError(
            f"no published weights are listed for '{name}'. There are some for {', '.join(published_names())}."
        )
    return {part.role: part for part in TABLE[name].parts}


def num_parameters(name: str) -> int:
    """How many parameters are in memory while a reward of `published_names` scores."""
    return TABLE[name].num_parameters


def weights_root() -> Path:
    """Where fetched and converted weights lie, a folder per reward: PYRITE_WEIGHTS, or a folder of the user's cache."""
    if chosen := os.environ.get(ROOT_VARIABLE):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyrite" / "weights"


def find_file(name: str, role: str, given: str | Path | None = None) -> Path:
    """The path of a part's first file; its other files lie in the same folder. Never asks the network.

    Args:
        name: of a reward in `published_names`.
        role: weights, tokenizer, tower: a key of `published(name)`.
        given: what the user named, if anything. A file is the weights themselves, and other parts are looked for
            beside it; a folder must hold the weights; anything else that reads "owner/name" is a hub repository whose
            files have been fetched. A part that `given` does not hold is looked for where None looks: in
            `weights_root() / name`, then in the Hugging Face cache. Weights that `pyrite weights convert` wrote are
            preferred to their source. An index of shards counts only with all of them beside it (`shard_paths`).

    Raises:
        UnknownNameError: no weights are listed under that name.
        CheckpointError: it is not there; says the file, its size and the command that fetches it.
    """
    part = published(name)[role]
    if given is not None:
        path, folders, repositories = Path(given), tuple[Path, ...](), tuple[str, ...]()
        if path.is_file():
            if role == "weights":
                return path
            folders = (path.parent, path.parent / role)
        elif path.is_dir():
            folders = (path, path / role)
        elif _is_hub_id(given):
            repositories = (str(given),)
        else:
            raise CheckpointError(
                f"there is neither a file nor a folder at {path.absolute()}, and weights={str(given)!r} is no hub id "
                f"('owner/name') either. Name what holds {part.files[0].name}, or leave weights out and type: "
                f"pyrite weights fetch {name}"
            )
        found = _in_folders(part, folders) or _in_hub_cache(part, repositories)
        if found is None and role == "weights":
            raise CheckpointError(_missing(name, part, f"in {given}"))
        if found is not None:
            return found
    here = weights_root() / name
    found = _in_folders(part, (here, here / role)) or _in_hub_cache(part, part.repositories)
    if found is None:
        raise CheckpointError(_missing(name, part, f"in {here} or in the Hugging Face cache"))
    return found


def shard_paths(path: Path) -> tuple[Path, ...]:
    """The files that hold the tensors of a part's first file: itself, or for an index the shards it names, sorted.

    Whether they are there is not asked.

    Raises:
        CheckpointError: the index cannot be read, or names a shard outside its own folder.
    """
    if not path.name.endswith(INDEX_SUFFIX):
        return (path,)
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no index of shards ({type(error).__name__}: {error}): it must say under 'weight_map' which "
            "file holds which tensor. It is damaged or incomplete; fetch it again."
        ) from error
    if astray := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise CheckpointError(
            f"{path} names a shard {astray[0]!r} that is no file of its own folder, which no publisher does. It is "
            "damaged, or was made to read other files; fetch it again."
        )
    return tuple(path.parent / name for name in names)


def source_sha256(path: Path) -> str:
    """The sha256 of the file the publisher offers: of `path`, or of what `pyrite weights convert` made it from.

    So weights keep their revision, and stored scores their key, when they are converted.

    Raises:
        CheckpointError: it is called `.safetensors` and is not.
    """
    return recorded_source(path) or file_sha256(path)


def recorded_source(path: Path) -> str:
    """The sha256 of the file that `pyrite weights convert` made this one from; empty for any other file.

    Raises:
        CheckpointError: it is called `.safetensors` and is not.
    """
    if path.suffix != CONVERTED_SUFFIX:
        return ""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return str((file.metadata() or {}).get(SOURCE_KEY, ""))
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is no safetensors file: {error}. It is damaged or incomplete; delete it, then fetch or convert it "
            "again."
        ) from error


def readable_size(num_bytes: int) -> str:
    """Three digits in units of 1000, as the hubs print sizes: "1.97 GB"."""
    size, units = float(num_bytes), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"


def _is_hub_id(given: str | Path) -> bool:
    owner, slash, name = str(given).partition("/")
    return isinstance(given, str) and bool(owner and slash and name) and "/" not in name and not given.startswith(".")


def _in_folders(part: PublishedPart, folders: tuple[Path, ...]) -> Path | None:
    """The part's first file in the first folder that holds all of it."""
    for folder in folders:
        first = next((folder / form for form in _forms(part.files[0]) if (folder / form).is_file()), None)
        if first is not None and _has_shards(first) and all((folder / file.name).is_file() for file in part.files[1:]):
            return first
    return None


def _forms(file: PublishedFile) -> tuple[str, ...]:
    """The names under which its tensors may lie, the preferred first."""
    is_one_file = file.num_tensors and not file.name.endswith(INDEX_SUFFIX)
    converted = f"{Path(file.name).stem}{CONVERTED_SUFFIX}" if is_one_file else file.name
    return tuple(dict.fromkeys((converted, file.name, *((file.other_form,) if file.other_form else ()))))


def _has_shards(first: Path) -> bool:
    return all(path.is_file() for path in shard_paths(first))


def _in_hub_cache(part: PublishedPart, repositories: tuple[str, ...]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for repository in repositories:
        for form in _forms(part.files[0]):
            first = try_to_load_from_cache(repository, form)
            rest = [try_to_load_from_cache(repository, file.name) for file in part.files[1:]]
            if isinstance(first, str) and _has_shards(Path(first)) and all(isinstance(path, str) for path in rest):
                return Path(first)
    return None


def _missing(name: str, part: PublishedPart, where: str) -> str:
    files = " and ".join(f"{file.name}{_size(file)}" for file in part.files)
    return (
        f"the reward '{name}' needs {files} as its {part.role}, and {where} that is not complete. Nothing is "
        f"downloaded unless you ask for it. Type: pyrite weights fetch {name}"
    )


def _size(file: PublishedFile) -> str:
    if file.shards_bytes:
        return f" (and its shards, {readable_size(file.shards_bytes)})"
    return f" ({readable_size(file.num_bytes)})" if file.num_bytes else ""

"""Published weights that are on this disk: whether they are what they should be, and their form without pickle."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyrite.core.errors import CheckpointError
from pyrite.records.jsonl import teaching_os_errors
from pyrite.records.published import (
    CONVERTED_SUFFIX,
    INDEX_SUFFIX,
    SOURCE_KEY,
    find_file,
    published,
    readable_size,
    recorded_source,
    shard_paths,
    weights_root,
)
from pyrite.records.published_table import PublishedFile
from pyrite.records.weights import file_sha256
from pyrite.rewards.loading import read_json, read_tensors

_SHA256_DIGITS = 64
_IGNORED_TENSORS = "position_ids"


@dataclass(frozen=True)
class Finding:
    """What was found out about one file.

    Args:
        role: of the part it belongs to.
        path: where it lies.
        problem: why it is not the file it should be; empty if nothing speaks against it.
        checked: what was compared, in words.
    """

    role: str
    path: Path
    problem: str
    checked: tuple[str, ...]


def verify(name: str, given: str | Path | None = None) -> list[Finding]:
    """Compare every file of a reward with the manifest: size, sha256 where one is known, number of tensors.

    The Hugging Face cache names a large file by its sha256, so there a damaged file is found even where the manifest
    has none.

    Raises:
        UnknownNameError: no weights are listed under that name.
        CheckpointError: a file is not there.
    """
    findings = []
    for role, part in published(name).items():
        first = find_file(name, role, given)
        shards = [shard for shard in shard_paths(first) if shard != first]
        paths = [first, *(first.parent / file.name for file in part.files[1:]), *shards]
        files = [*part.files, *(PublishedFile(shard.name) for shard in shards)]
        for path, file in zip(paths, files, strict=True):
            checked: list[str] = []
            problem = next((problem for problem in _problems(path, file, checked) if problem), "")
            findings.append(Finding(role, path, problem, tuple(checked)))
    return findings


def convert(name: str, given: str | Path | None = None) -> Path | None:
    """Write the weights of a reward as safetensors into `weights_root() / name`, where `find_file` prefers them.

    The tensors and their names stay as they are, and the sha256 of the source stands in the file, so that the
    reward's revision stays too. The other files of the part are copied beside it.

    Returns:
        The file written, or None where the weights have that form already.

    Raises:
        UnknownNameError: no weights are listed under that name.
        CheckpointError: they are not there, are a pickle that needs code, or pickles in several shards.
        RunFolderError: they cannot be written.
    """
    import shutil

    from safetensors.torch import save_file

    part = published(name)["weights"]
    source = find_file(name, "weights", given)
    if {path.suffix for path in shard_paths(source)} == {CONVERTED_SUFFIX}:
        return None
    if source.name.endswith(INDEX_SUFFIX):
        raise CheckpointError(
            f"{source} is an index of pickled shards, and only weights in one file are converted. They are read as "
            "they are, nothing but tensors of them; leave them so."
        )
    tensors = {key: tensor.contiguous().clone() for key, tensor in read_tensors(source).items()}
    folder = weights_root() / name
    target = folder / f"{source.stem}{CONVERTED_SUFFIX}"
    unfinished = target.with_name(f"{target.name}.part")
    with teaching_os_errors(f"write {target}"):
        folder.mkdir(parents=True, exist_ok=True)
        for file in part.files[1:] if source.parent != folder else ():
            shutil.copyfile(source.parent / file.name, folder / file.name)
        save_file(tensors, unfinished, metadata={SOURCE_KEY: file_sha256(source), "pyrite_source": source.name})
        unfinished.replace(target)
    return target


def _problems(path: Path, file: PublishedFile, checked: list[str]) -> Iterator[str]:
    """Each comparison in turn, cheapest first; says in `checked` what it compared."""
    try:
        source = recorded_source(path)
    except CheckpointError as error:
        yield str(error)
        return
    size = path.stat().st_size
    if file.num_bytes and not source:
        checked.append("size")
        if not file.fits(size):
            yield f"it has {readable_size(size)} ({size} bytes), and the manifest lists {readable_size(file.num_bytes)}"
    expected = file.sha256 if path.name == file.name or source else ""
    blob = path.resolve().name
    if not expected and len(blob) == _SHA256_DIGITS:
        expected = blob
    if expected:
        checked.append("sha256")
        found = source or file_sha256(path)
        if found != expected:
            yield f"its sha256 begins with {found[:12]}, and should begin with {expected[:12]}"
    if file.num_tensors:
        checked.append("tensors")
        try:
            count = sum(not key.endswith(_IGNORED_TENSORS) for key in _tensor_names(path))
        except CheckpointError as error:
            yield str(error)
        else:
            if count < file.num_tensors:
                yield f"it holds {count} tensors, and the reward needs {file.num_tensors}"


def _tensor_names(path: Path) -> Iterable[str]:
    if path.name.endswith(INDEX_SUFFIX):
        names: dict[str, str] = read_json(path)["weight_map"]
        return names
    return read_tensors(path)

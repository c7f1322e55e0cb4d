"""JSON lines that survive a kill: appended whole, cut back to a known length, read with or without a torn last line.

NaN is written as null and read back as NaN by `samples.py`; JSON itself has no NaN, and many readers refuse it.
"""

import errno
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyrite.core.errors import RunFolderError

Row = Mapping[str, Any]

_ADVICE = {
    errno.ENOSPC: "The disk is full: free some space, then give the same command again and it continues.",
    errno.EDQUOT: "Your disk quota is used up: free some space, then give the same command again and it continues.",
    errno.EFBIG: "A file may not grow any further: raise the limit (`ulimit -f`), then give the same command again.",
    errno.EROFS: "That file system is read-only: choose a folder on another one.",
    errno.EACCES: "You may not write there: choose another folder, or ask for the permission.",
    errno.EPERM: "You may not write there: choose another folder, or ask for the permission.",
    errno.ENOENT: "Give the folder of a run.",
    errno.ENOTDIR: "A file stands where a folder is needed: move it away, or choose another folder.",
    errno.EEXIST: "A file stands where a folder is needed: move it away, or choose another folder.",
    errno.EISDIR: "A folder stands where a file is needed: move it away, or choose another folder.",
}


@contextmanager
def teaching_os_errors(doing: str) -> Iterator[None]:
    """Turn what the operating system refuses into a `RunFolderError` that says what to do about it.

    Args:
        doing: what failed, to complete the sentence "cannot ...".
    """
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "Check the disk, or choose another folder.")
        raise RunFolderError(f"cannot {doing}: {error.strerror or error}. {advice}") from error


class JsonLines:
    """One file of JSON objects, open for appending.

    Every append reaches the operating system before it returns, so a killed process loses no line it finished; `sync`
    brings it to the disk, so that a power cut does not either.

    Args:
        path: created if it is not there.

    Raises:
        RunFolderError: it cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with teaching_os_errors(f"open {path}"):
            self._file = path.open("ab", buffering=0)

    @property
    def offset(self) -> int:
        """Length of the file in bytes."""
        return os.fstat(self._file.fileno()).st_size

    def append(self, rows: Iterable[Row]) -> None:
        """Write one line per row; NaN becomes null.

        Raises:
            ValueError: a row holds an infinity, or something JSON has no form for.
            RunFolderError: the disk is full or gone.
        """
        data = memoryview("".join(f"{_to_json(row)}\n" for row in rows).encode())
        with teaching_os_errors(f"write to {self.path}"):
            while data:
                data = data[self._file.write(data) :]

    def truncate_to(self, offset: int) -> None:
        """Forget everything after the first `offset` bytes.

        Raises:
            RunFolderError: the file is already shorter, so lines that should be there are missing.
        """
        if self.offset < offset:
            raise RunFolderError(
                f"{self.path} has {self.offset} bytes, but {offset} were there when its checkpoint was written: lines "
                "are missing, and a continued run would pass for a whole one. Restore the file, or start in another "
                "folder."
            )
        if self.offset > offset:
            with teaching_os_errors(f"cut {self.path} back to {offset} bytes"):
                self._file.truncate(offset)

    def sync(self) -> None:
        """Bring what was appended to the disk."""
        with teaching_os_errors(f"write {self.path} to the disk"):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing is lost, for nothing is buffered."""
        self._file.close()


def read_jsonl(path: Path) -> tuple[list[dict[str, Any]], str]:
    """All objects of a JSON-lines file, and a note if its last line was torn off, which happens to a killed run.

    Returns:
        The rows in order, null as None, and the note: empty if the file is whole.

    Raises:
        RunFolderError: there is no such file, or a line other than a torn last one is not a JSON object.
    """
    with teaching_os_errors(f"read {path}"):
        data = path.read_bytes()
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if data.endswith(line):
                return (
                    rows,
                    f"the last line of {path} is incomplete and was left out: the run was killed while writing.",
                )
            raise _unreadable(path, number, str(error)) from error
        if not isinstance(row, dict):
            raise _unreadable(path, number, f"it is {type(row).__name__}, not an object")
        rows.append(row)
    return rows, ""


def _unreadable(path: Path, number: int, why: str) -> RunFolderError:
    return RunFolderError(
        f"line {number} of {path} cannot be read ({why}). Repair or remove that line, then try again."
    )


def write_atomically(path: Path, text: str) -> None:
    """Replace a small text file so that a reader sees the old one or the new one, never half of it.

    Raises:
        RunFolderError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with teaching_os_errors(f"write {path}"):
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def write_json(path: Path, value: Row) -> None:
    """Write one JSON object, indented, atomically; NaN becomes null.

    Raises:
        ValueError: an infinity, or something JSON has no form for.
        RunFolderError: it cannot be written.
    """
    write_atomically(path, _to_json(value, indent=2) + "\n")


def _to_json(value: Row, indent: int | None = None) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    """The value in JSON's types: numpy scalars and arrays as numbers and lists, NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        raise ValueError("an infinite number cannot be written down: say NaN, and why")
    return value

"""What was paid for, written down as it comes: a continued run reads it back in place of asking again."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from pyrite.core.errors import RunFolderError
from pyrite.records.jsonl import JsonLines, Row, read_jsonl


class Ledger:
    """Outcomes by request, one JSON line each; the same request may have several, in the order they were made.

    Args:
        path: made if it is not there; a last line that a kill tore off is removed.

    Raises:
        RunFolderError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._recalled: Counter[str] = Counter()
        whole = 0
        if path.exists():
            rows, _ = read_jsonl(path)
            whole = path.read_bytes().rfind(b"\n") + 1
            for number, row in enumerate(rows[: path.read_bytes().count(b"\n")], start=1):
                if not isinstance(row.get("key"), str):
                    raise RunFolderError(
                        f"line {number} of {path} says nothing about which request it answers, so calls would be made "
                        "again. Restore the file, or choose another folder."
                    )
                self._rows[row["key"]].append(row)
        self._file = JsonLines(path)
        self._file.truncate_to(whole)

    def recall(self, key: str) -> dict[str, Any] | None:
        """The next outcome of a request that an earlier life of the run wrote down; None if there is none left."""
        rows, place = self._rows[key], self._recalled[key]
        if place >= len(rows):
            return None
        self._recalled[key] += 1
        return rows[place]

    def keep(self, key: str, outcome: Row) -> None:
        """Write down an outcome; it survives a kill of this process once the call returns.

        Raises:
            RunFolderError: it cannot be written.
        """
        self._file.append([{"key": key, **outcome}])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

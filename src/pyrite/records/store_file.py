"""The SQLite file under the score store: made, recognised, locked, and its errors explained."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyrite.core.errors import StoreError
from pyrite.records.jsonl import teaching_os_errors

SCHEMA_VERSION = 1

_APPLICATION_ID = 0x70797274  # "pyrt" in ASCII: says whose file it is before a table is read
_BUSY_S = 60.0
_TABLES = """
CREATE TABLE rewards (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, card TEXT NOT NULL
);
CREATE TABLE prompts (key BLOB PRIMARY KEY, prompt TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE scores (
    reward INTEGER NOT NULL REFERENCES rewards (id),
    image BLOB NOT NULL,
    prompt BLOB NOT NULL,
    value REAL,
    reason TEXT,
    details TEXT,
    time INTEGER NOT NULL,
    PRIMARY KEY (reward, image, prompt),
    CHECK ((value IS NULL) = (reason IS NOT NULL))
) WITHOUT ROWID;
"""


def open_file(path: Path) -> sqlite3.Connection:
    """A connection in which every transaction is begun by hand; the file and its folder are made if need be.

    Raises:
        StoreError: the file is damaged, not a score store, or of another version.
        RunFolderError: its folder cannot be made.
    """
    with teaching_os_errors(f"make the folder of the score store {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with teaching_sqlite_errors(f"open the score store {path}"):
        file = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            _prepare(file, path)
        except BaseException:
            file.close()
            raise
        return file


@contextmanager
def transaction(file: sqlite3.Connection, lock: str = "IMMEDIATE") -> Iterator[None]:
    """All of it or nothing; the write lock is taken at once, for SQLite waits for it only then."""
    file.execute(f"BEGIN {lock}")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        if file.in_transaction:  # a full disk has rolled it back already
            file.execute("ROLLBACK")
        raise


@contextmanager
def teaching_sqlite_errors(doing: str) -> Iterator[None]:
    """Turn what SQLite refuses into a `StoreError` that says what to do about it.

    Args:
        doing: what failed, to complete the sentence "cannot ...".
    """
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"cannot {doing}: {error}. {_advice(error)}") from error


def _prepare(file: sqlite3.Connection, path: Path) -> None:
    with transaction(file, "DEFERRED"):
        owner, version = _pragma(file, "application_id"), _pragma(file, "user_version")
        is_empty = file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if is_empty and not owner:
        _create(file)
    elif owner != _APPLICATION_ID:
        raise StoreError(
            f"{path} is an SQLite file of another program, and scores would be written among its tables. "
            "Name another file: --cache FILE, or the environment variable PYRITE_CACHE."
        )
    elif version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has the layout {version}, and this Pyrite reads layout {SCHEMA_VERSION}: it was written "
            "by another version. Install that version again, or name another file: --cache FILE."
        )
    file.execute("PRAGMA synchronous = NORMAL")  # with WAL: safe from a kill of the process


def _create(file: sqlite3.Connection) -> None:
    # Both only take effect before the first table, outside a transaction. Two processes that create the file at once
    # collide here without SQLite's usual waiting.
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            file.execute("PRAGMA auto_vacuum = INCREMENTAL")
            file.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    with transaction(file):
        if _pragma(file, "application_id") == _APPLICATION_ID:
            return  # another process was faster
        for statement in _TABLES.split(";\n"):
            file.execute(statement)
        file.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _pragma(file: sqlite3.Connection, name: str) -> int:
    return int(file.execute(f"PRAGMA {name}").fetchone()[0])


def _advice(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return "The disk is full: free some space, then give the same command again; every score kept so far is there."
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return "It is no score store, or damaged. Move it away, or name another file: --cache FILE."
    if name.startswith("SQLITE_BUSY"):
        return f"Another process has held it for {_BUSY_S:.0f} seconds. Wait for it to end, or use --cache FILE."
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return "You may not write there. Name another file: --cache FILE, or use none: --no-cache."
    return "Check the disk, name another file (--cache FILE), or use none (--no-cache)."

"""A folder is one process's at a time: whoever comes second is told, and a process that dies lets go."""

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from pyrite.core.errors import RunFolderError
from pyrite.records.jsonl import teaching_os_errors


def hold_file(file: IO[Any], folder: Path, why: str) -> None:
    """Lock an open file until it is closed; the operating system lets go of it when the process dies.

    Args:
        file: of the folder.
        folder: that it stands for.
        why: who else may hold it and what two of them would do, in words that follow "is in use by".

    Raises:
        RunFolderError: another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunFolderError(
            f"{folder} is in use by {why}. Wait for it to end, stop it, or choose another folder."
        ) from error


def hold_folder(folder: Path, stack: ExitStack, why: str) -> None:
    """Hold a folder by its file .lock, in which the number of this process is written, until `stack` closes.

    Args:
        folder: that is there.
        stack: of the work in it.
        why: what two processes would do, in words that follow "is in use by process 12: ".

    Raises:
        RunFolderError: another process holds it, or it cannot be written.
    """
    with teaching_os_errors(f"write into {folder}"):
        file = stack.enter_context((folder / ".lock").open("a+", encoding="utf-8"))
        file.seek(0)
        hold_file(file, folder, f"process {file.read().strip() or 'unknown'}: {why}")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()

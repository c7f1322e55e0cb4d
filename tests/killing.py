"""Commands that are killed in the middle, as a machine that goes down would."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE_S = 240


def kill_while_it_writes(command: Sequence[str], unfinished: Path) -> None:
    """Start a command and send SIGKILL as soon as the file it is writing has something in it."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and not (unfinished.exists() and unfinished.stat().st_size):
        assert time.monotonic() < deadline, "nothing was scored"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the command ended before it could be killed"

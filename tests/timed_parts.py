"""Parts of no build, for processes begun with spawn: they must be found by import."""

import time
from pathlib import Path

from pyrite.world.build.side_by_side import report


def make(folder: Path, part: str) -> dict[str, float]:
    """Says that it begins, waits for the other of its kind if it has one, and returns when it began and ended."""
    began = time.monotonic()
    report(part, "begins")
    if part == "broken":
        raise ValueError("this part cannot be made")
    if part == "endless":
        (folder / "endless").write_text("")
        time.sleep(600)
    if part in ("left", "right"):
        (folder / part).write_text("")
        other = folder / {"left": "right", "right": "left"}[part]
        while not other.exists():  # each ends only if both run at the same time
            time.sleep(0.01)
    return {"began": began, "ended": time.monotonic()}

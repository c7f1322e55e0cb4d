"""Where a run's numbers came from: machine, versions, code, weights."""

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from os import cpu_count
from pathlib import Path
from typing import Any

PACKAGES = ("accelerate", "numpy", "pyrite", "scipy", "torch", "transformers")


def describe_environment(checkpoint_hashes: Mapping[str, str]) -> dict[str, Any]:
    """What environment.json holds; imports none of the packages whose versions it gives.

    Args:
        checkpoint_hashes: name of a policy or reward -> hash of its weights.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "code": code_version(Path(__file__).parents[3]),
        "checkpoints": dict(checkpoint_hashes),
    }


def code_version(root: Path) -> str | None:
    """The commit of a working copy, with "-dirty" if files differ from it; None outside a working copy.

    Args:
        root: the folder that holds `.git`; a repository further up is somebody else's and does not count.
    """
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

"""How much memory and how many cores this process may use."""

import os
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_bytes(limit: Path = CGROUP_LIMIT) -> int:
    """The machine's memory, or less where a container has less.

    Args:
        limit: the file in which Linux says how much a container may use.
    """
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(installed, int(limit.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit, which says "max"
        return installed


def num_cores() -> int:
    """The cores this process may run on, which a cluster may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

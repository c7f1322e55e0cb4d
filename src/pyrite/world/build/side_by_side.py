"""Parts of a build side by side: each in a process of its own, as soon as those it builds on are there."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from graphlib import TopologicalSorter
from multiprocessing import connection, get_context, parent_process
from multiprocessing.queues import Queue
from typing import Any

Report = tuple[Any, ...]

_reports: "Queue[Report | None] | None" = None


def report(*facts: Any) -> None:
    """Tell the process that began this one; for progress callbacks of parts."""
    assert _reports is not None, "reports are made in a process that run_side_by_side began"
    _reports.put(facts)


def run_side_by_side(
    needs: Mapping[str, Sequence[str]],
    make: Callable[[str], Any],
    *,
    jobs: int,
    heard: Callable[..., None],
    done: Callable[[str, Any], None],
) -> None:
    """Make every part after those it needs, up to `jobs` at once.

    Each process computes with its share of the cores. What a part raises is raised here once the others under way
    have ended; processes whose parent is killed end too.

    Args:
        needs: part -> the parts among these that must be there first.
        make: makes a part in a process of its own, so it must be found by import; may call `report`.
        jobs: how many at once.
        heard: called in a thread with what parts report.
        done: called with a part and what `make` returned.
    """
    order = TopologicalSorter(needs)
    order.prepare()
    processes = get_context("spawn")
    reports: Queue[Report | None] = processes.Queue()
    listener = threading.Thread(target=_listen, args=(reports, heard), daemon=True)
    listener.start()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    try:
        with ProcessPoolExecutor(jobs, processes, initializer=_begin, initargs=(reports, threads)) as pool:
            running: dict[Future[Any], str] = {}
            while order.is_active():
                running |= {pool.submit(make, part): part for part in order.get_ready()}
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    part = running.pop(future)
                    done(part, future.result())
                    order.done(part)
    finally:
        reports.put(None)
        listener.join()


def _listen(reports: "Queue[Report | None]", heard: Callable[..., None]) -> None:
    for facts in iter(reports.get, None):
        heard(*facts)


def _begin(reports: "Queue[Report | None]", threads: int) -> None:
    import torch

    global _reports
    _reports = reports
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)

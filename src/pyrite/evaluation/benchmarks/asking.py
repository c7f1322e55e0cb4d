"""Asking a judge about many images, so that each reply is written down the moment it comes.

A question is put again while its reply cannot be read, as the published codes do, up to a number of attempts; what the
network did to one is no reply, and the same command puts it again. Whatever comes is kept as it came.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from typing import Any

from pyrite.core.judging import Heard, Judge
from pyrite.evaluation.benchmarks.protocol import Done, Evidence, Keep, Work
from pyrite.records.image_files import bombs_are_errors, open_image

Ask = Callable[[Judge, Work, Any], Heard]
"""Puts the question about a piece of work and its image."""


def ask_all(
    judge: Judge,
    work: Sequence[Work],
    known: Sequence[Sequence[Evidence]],
    *,
    ask: Ask,
    wants: Callable[[Sequence[Evidence]], bool],
    keep: Keep,
    done: Done,
) -> str:
    """Ask until nothing more is wanted of any image, or the judge gives up.

    Args:
        judge: is asked from as many threads as it takes at once.
        work: the images.
        known: for each what was heard before.
        ask: puts one question.
        wants: whether one more attempt is to be made after what was heard.
        keep: takes what is heard.
        done: called once per image.

    Returns:
        Why everything had to stop; empty if nothing did.

    Raises:
        RunFolderError: what was heard cannot be written down; nothing more is asked then.
    """
    stop = threading.Event()
    why: list[str] = []

    def one(item: Work, heard: Sequence[Evidence]) -> None:
        evidence = list(heard)
        image = None if stop.is_set() or not wants(evidence) else open_image(item.path)
        if isinstance(image, str):
            keep(item, {"unreadable": image})
            return
        while not stop.is_set() and wants(evidence):
            answer = ask(judge, item, image)
            if answer.stop:
                why.append(answer.stop)
                stop.set()
            evidence.append(as_evidence(answer, attempt=num_attempts(evidence) + 1))
            keep(item, evidence[-1])
            if answer.failed:
                return

    with bombs_are_errors(), ThreadPoolExecutor(judge.at_once, thread_name_prefix="pyrite-judge") as pool:
        waiting: set[Future[None]] = {pool.submit(one, *pair) for pair in zip(work, known, strict=True)}
        try:
            while waiting:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                    done()
        except BaseException:
            stop.set()
            for future in waiting:
                future.cancel()
            raise
    return why[0] if why else ""


def as_evidence(heard: Heard, *, attempt: int) -> dict[str, Any]:
    """What was heard, as it is written down: without what is empty or unknown."""
    row = {key: value for key, value in asdict(heard).items() if value not in ("", None)}
    return {
        "attempt": attempt,
        **{key: value for key, value in row.items() if not (isinstance(value, float) and math.isnan(value))},
    }


def num_attempts(evidence: Sequence[Evidence]) -> int:
    """How many replies there are; what failed on the way is none."""
    return sum("failed" not in one and "unreadable" not in one for one in evidence)


def why_silent(evidence: Sequence[Evidence]) -> str:
    """Why there is no reply among the evidence, in the words of the last attempt."""
    if not evidence:
        return "the judge has not been asked yet"
    last: Mapping[str, Any] = evidence[-1]
    return str(last.get("unreadable") or last.get("failed") or "the judge did not reply")

"""What is kept of one image: its size, what its prompt asks, and everything a detector saw in it.

The prompt's metadata are kept with the boxes, so that right and wrong can be read from the evidence alone, under other
thresholds too and without a model.
"""

from collections.abc import Sequence
from typing import Any

from pyrite.core.detections import Detected
from pyrite.core.errors import ImageSetError
from pyrite.evaluation.benchmarks.protocol import Evidence, Work
from pyrite.evaluation.geneval.rules import Task

UNREADABLE, FAILED = "unreadable", "failed"
_EMPTY = (UNREADABLE, FAILED)


def as_evidence(work: Work, size: tuple[int, int], found: Sequence[Detected] | str) -> dict[str, Any]:
    """What is written down of an image in which this was found, or could not be.

    Args:
        work: the image.
        size: its width and height, upright.
        found: by the detector.
    """
    if isinstance(found, str):
        return {FAILED: found}
    ordered = sorted(found, key=lambda one: (-one.score, one.name, one.box))
    return {
        "size": list(size),
        "metadata": dict(work.case.row),
        "objects": [one.to_json() for one in ordered],
    }


def why_empty(evidence: Sequence[Evidence]) -> str:
    """Why nothing is known about an image; empty if something is."""
    if not evidence:
        return "no detector has looked at it yet"
    return next((str(evidence[-1][key]) for key in _EMPTY if key in evidence[-1]), "")


def read_evidence(evidence: Evidence) -> tuple[Task, list[Detected]]:
    """What the prompt asks, and what was seen.

    Raises:
        ImageSetError: it is no evidence of this kind.
    """
    try:
        return Task.from_json(evidence["metadata"]), [Detected.from_json(row) for row in evidence["objects"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ImageSetError(
            f"stored detections cannot be read ({type(error).__name__}: {error}): the line was changed, or is another "
            "benchmark's. Remove it, and the same command looks at that image again."
        ) from error

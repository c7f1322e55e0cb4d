"""What the page about a search needs of each question: its row, and small pictures of what it got wrong."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.examiner import Examiner, load_image
from pyrite.artifact.optimise.folder import IMAGES
from pyrite.artifact.optimise.lineage import Candidate, Lineage
from pyrite.artifact.optimise.objectives import is_wrong
from pyrite.records.jsonl import teaching_os_errors

MOST_WRONG = 6
"""Images shown for each question: those it was surest about."""

_SIDE_PX = 96


def question_rows(lineage: Lineage, examiner: Examiner, train: Sequence[Example], folder: Path) -> list[dict[str, Any]]:
    """One row per question; the training images it got wrong are saved beside it, small.

    Test images are left out on purpose: whoever reads the page may start the next search.

    Raises:
        RunFolderError: an image cannot be written.
    """
    with teaching_os_errors(f"make the folder {folder / IMAGES}"):
        (folder / IMAGES).mkdir(exist_ok=True)
    return [_row(candidate, examiner, train, folder) for candidate in lineage]


def _row(candidate: Candidate, examiner: Examiner, train: Sequence[Example], folder: Path) -> dict[str, Any]:
    known = examiner.known(candidate.question)
    seen = [(example, known[example.id]) for example in train if example.id in known]
    wrong = [(example, prob) for example, prob in seen if is_wrong(example, prob)]
    wrong.sort(key=lambda one: (one[1] if one[0].has_artifact else 1 - one[1], one[0].id))
    return {
        **vars(candidate),
        "num_asked": len(seen),
        "num_unanswered": sum(math.isnan(prob) for _, prob in seen),
        "num_wrong": len(wrong),
        "wrong": [
            {
                "id": example.id,
                "image": _small(example, folder),
                "has_artifact": example.has_artifact,
                "kind": example.kind,
                "prob_artifact": prob,
            }
            for example, prob in wrong[:MOST_WRONG]
        ],
    }


def _small(example: Example, folder: Path) -> str:
    """Path of the small picture from the run folder; written once."""
    name = hashlib.sha256(example.id.encode(errors="surrogatepass")).hexdigest()[:16]
    relative = f"{IMAGES}/{name}.png"
    if not (folder / relative).exists():
        image = load_image(example).convert("RGB")
        image.thumbnail((_SIDE_PX, _SIDE_PX), PILImage.Resampling.LANCZOS)
        with teaching_os_errors(f"write the image {folder / relative}"):
            image.save(folder / relative, "PNG")
    return relative

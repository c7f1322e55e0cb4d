"""GenEval (arXiv:2310.11513) as a benchmark: a detector looks at each image, the published rules say right or wrong.

Results are labelled by the detector, `geneval-hf` or `geneval-gdino`, and never plain GenEval: the rules and the colour
classifier are the published ones, the detector is not (mmdet's Mask2Former), and a score is as good as its detector.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageOps

from pyrite.core.detections import ObjectDetector
from pyrite.core.errors import RecipeError
from pyrite.core.types import Image
from pyrite.evaluation.benchmarks.catalogue import Tools
from pyrite.evaluation.benchmarks.protocol import Case, Done, Evidence, Judged, Keep, Result, Verdict, Work
from pyrite.evaluation.geneval.calibration import calibration, calibration_page
from pyrite.evaluation.geneval.evidence import FAILED, UNREADABLE, as_evidence, read_evidence, why_empty
from pyrite.evaluation.geneval.official import RESULTS, judged_from, results_file
from pyrite.evaluation.geneval.prompts import (
    NUM_PUBLISHED,
    PUBLISHED_DIGEST,
    read_cases,
    refuse_other_metadata,
    rows_digest,
)
from pyrite.evaluation.geneval.rules import Rules, Task, judge
from pyrite.evaluation.geneval.table import table
from pyrite.records.image_files import bombs_are_errors, open_image

RULES_OF: Mapping[str, Rules] = {
    "mask2former": Rules(),
    "gdino": Rules(threshold=0.3, counting_threshold=0.3, max_overlap=0.5),
}
"""By detector. GroundingDINO is seldom 0.9 sure of anything and may put two boxes around one thing, so its numbers are
those it is used with in T2I-R1 and not the published ones."""

IMPORTED = "geneval-imported"

_IMAGES_AT_A_TIME = 32


@dataclass(frozen=True)
class GenEval:
    """GenEval with whoever looks at the images; get one from `load_geneval`.

    Args:
        source: the official prompt file, or a folder that holds it.
        make_detector: the detector, made when it is needed.
        rules: the numbers of the rules.
        images_per_prompt: how many images each prompt has to have; None for as many as the one with the most has.
        official: a results.jsonl of the official code on the same images, to compare with.
    """

    source: tuple[Path, ...]
    make_detector: Callable[[], ObjectDetector]
    rules: Rules
    images_per_prompt: int | None = None
    official: Path | None = None
    name: str = "geneval"
    num_official: int = NUM_PUBLISHED
    layout: str = "geneval"
    cites: tuple[str, ...] = ("arXiv:2310.11513",)

    @property
    def summary(self) -> str:
        """One sentence."""
        return (
            "Are the objects of a prompt there, as many, in their colours and places; the mean over six tasks of the "
            "share of right images, in [0, 1]."
        )

    @cached_property
    def detector(self) -> ObjectDetector:
        """Who looks."""
        return self.make_detector()

    @property
    def identity(self) -> Mapping[str, Any]:
        """The detector, its weights, and the prompts, whose classes it is asked for."""
        return {"label": self.detector.name, **self.detector.identity, "prompts": rows_digest(self.cases())}

    @property
    def reading(self) -> Mapping[str, Any]:
        """The numbers of the rules."""
        return {"rules": "djghosh13/geneval@af4902f", **asdict(self.rules)}

    def cases(self) -> list[Case]:
        """The prompts, called by the folders of their images; see `Benchmark.cases`."""
        return list(self._cases)

    def wants(self, evidence: Sequence[Evidence]) -> bool:
        """One look is enough."""
        return not evidence

    def examine(self, work: Sequence[Work], known: Sequence[Sequence[Evidence]], keep: Keep, done: Done) -> str:
        """Look at every image; see `Benchmark.examine`."""
        waiting = [one for one, evidence in zip(work, known, strict=True) if self.wants(evidence)]
        for _ in range(len(work) - len(waiting)):
            done()
        refuse_other_metadata(waiting)
        with bombs_are_errors():
            for start in range(0, len(waiting), _IMAGES_AT_A_TIME):
                for one, evidence in self._look(waiting[start : start + _IMAGES_AT_A_TIME]):
                    keep(one, evidence)
                    done()
        return ""

    def verdict(self, evidence: Sequence[Evidence]) -> Verdict:
        """Right or wrong by the rules."""
        if why := why_empty(evidence):
            return Verdict(np.nan, why)
        task, objects = read_evidence(evidence[-1])
        outcome = judge(task, objects, self.rules)
        if outcome.is_correct is None:
            return Verdict(np.nan, outcome.unscored)
        return Verdict(float(outcome.is_correct), words=outcome.reason)

    def result(self, cases: Sequence[Case], judged: Sequence[Judged]) -> Result:
        """The share of each task, and their mean."""
        is_imported = bool(judged) and not any(one.evidence for one in judged)
        label = IMPORTED if is_imported else str(self.identity["label"])
        notes = [] if is_imported else [f"no GenEval score but {label}: the detector is not the published one"]
        if rows_digest(cases) != PUBLISHED_DIGEST:
            notes.append(
                f"the prompts are not GenEval's {NUM_PUBLISHED}: these scores compare only with others of the same file"
            )
        return table(cases, judged, samples=self.images_per_prompt, label=label, notes=notes)

    def official_files(self, cases: Sequence[Case], judged: Sequence[Judged]) -> Mapping[str, str]:
        """results.jsonl as the official code writes it, and how far the scores depend on the detections."""
        files = {RESULTS: results_file(judged, self.rules)}
        if not any(one.evidence for one in judged):
            return files
        identity = self.identity
        found = calibration(
            judged,
            self.rules,
            min_score=float(identity.get("min_score", 0)),
            official=judged_from(self.official, cases) if self.official else None,
        )
        return files | {
            "calibration.json": json.dumps(found, indent=2, allow_nan=False) + "\n",
            "calibration.md": calibration_page(found, str(identity["label"])),
        }

    def from_official(self, path: Path, cases: Sequence[Case]) -> Sequence[Judged] | None:
        """What `evaluate_images.py` left behind; see `Benchmark.from_official`."""
        if path.is_dir():
            path = path / RESULTS
        return judged_from(path, cases) if path.suffix == ".jsonl" and path.is_file() else None

    def _look(self, work: Sequence[Work]) -> list[tuple[Work, dict[str, Any]]]:
        seen: list[tuple[Work, dict[str, Any]]] = []
        images: dict[int, Image] = {}
        wanted = {row: Task.from_json(one.case.row).wanted for row, one in enumerate(work)}
        for row, one in enumerate(work):
            unknown = [why for name in wanted[row].names if (why := self.detector.why_unknown(name))]
            image = "; ".join(unknown) or open_image(one.path)
            if isinstance(image, str):
                seen.append((one, {FAILED if unknown else UNREADABLE: image}))
            else:
                images[row] = _upright(image)
        found = self.detector.look(list(images.values()), [wanted[row] for row in images]) if images else []
        for (row, image), objects in zip(images.items(), found, strict=True):
            seen.append((work[row], as_evidence(work[row], image.size, objects)))
        return seen

    @cached_property
    def _cases(self) -> list[Case]:
        return read_cases(self.source)


def _upright(image: Image) -> Image:
    """As the camera says it was held, which the official code heeds."""
    return ImageOps.exif_transpose(image)


def load_geneval(
    tools: Tools,
    source: Sequence[Path],
    *,
    detector: str = "mask2former",
    samples: int | None = None,
    threshold: float | None = None,
    counting_threshold: float | None = None,
    max_objects: int | None = None,
    max_overlap: float | None = None,
    position_threshold: float | None = None,
    official: str = "",
) -> GenEval:
    """GenEval's prompts, rules and table, with a detector that needs no mmdet.

    Args:
        tools: hand it the detector.
        source: evaluation_metadata.jsonl, or a copy of GenEval's repository.
        detector: "mask2former" for `geneval-hf`, "gdino" for `geneval-gdino`.
        samples: images that each prompt has to have (published: 4); None for as many as the prompt with the most has.
        threshold: a box counts above this score.
        counting_threshold: the same for the task `counting`.
        max_objects: boxes of a class that count, at most.
        max_overlap: boxes of a class that overlap a surer one by this or more are left out; 1 for none.
        position_threshold: what part of two objects' sizes their centres must be apart.
        official: a results.jsonl of the official code on the same images: calibration.md says how far both agree.

    Raises:
        RecipeError: an option has no such value.
    """
    if detector not in RULES_OF:
        raise RecipeError(
            f"detector={detector} is none that GenEval's rules are read from. Give {' or '.join(RULES_OF)}."
        )
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 1):
        raise RecipeError(f"samples={samples} is no number of images per prompt. Give 1 or more; GenEval draws 4.")
    given = {
        "threshold": threshold,
        "counting_threshold": counting_threshold,
        "max_objects": max_objects,
        "max_overlap": max_overlap,
        "position_threshold": position_threshold,
    }
    try:
        rules = Rules(
            **{**asdict(RULES_OF[detector]), **{key: value for key, value in given.items() if value is not None}}
        )
    except (ValueError, TypeError) as error:
        raise RecipeError(f"GenEval's rules cannot be read with these numbers: {error}.") from error
    return GenEval(
        tuple(source),
        lambda: tools.detector(detector),
        rules,
        samples,
        Path(official) if official else None,
    )

"""What a benchmark is, so that one runner, one folder and one page serve all of them.

A benchmark looks at images and keeps what it saw as *evidence* (a judge's reply, a detector's boxes): paid for once,
written down the moment it comes. Everything after that is pure: from evidence to a `Verdict` per image, from verdicts
to a `Result`. So a rule can be read anew without asking anybody, and a number can always be traced to what it is from.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pyrite.core.types import Prompt
from pyrite.stats.intervals import Interval

Evidence = Mapping[str, Any]
"""What was seen of one piece of work, in JSON's types; a benchmark may keep several for one."""

Keep = Callable[["Work", Evidence], None]
"""Writes evidence down before it returns; may be called from several threads."""

Done = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """One prompt of a benchmark.

    Args:
        prompt: its id is the official one.
        category: of the official table.
        row: the object as it stands in the official file.
    """

    prompt: Prompt
    category: str
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """One image to be looked at.

    Args:
        case: that it was drawn for.
        path: of the file.
        image_sha256: of its bytes, in hexadecimal; empty for results that came without images.
        n: number of the image among those of its prompt, from 0.
        repeat: which time it is looked at, from 0.
    """

    case: Case
    path: Path
    image_sha256: str = ""
    n: int = 0
    repeat: int = 0

    @property
    def key(self) -> str:
        """What evidence is filed under: other digits whenever image, prompt or repeat is another."""
        facts = [self.image_sha256, self.case.prompt.to_json(), self.n, self.repeat]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode(errors="surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class Verdict:
    """What the evidence about one image says.

    Args:
        score: in [0, 1], higher is better; NaN if the evidence says nothing.
        reason: why it is NaN; empty if it is a number.
        values: name -> the numbers it is made of, such as an axis from 0 to 2.
        words: the judge's own, or why a rule was not met: shown beside the image.
    """

    score: float
    reason: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    words: str = ""

    def __post_init__(self) -> None:
        if bool(np.isnan(self.score)) != bool(self.reason):
            raise ValueError(
                f"a score of {self.score} with the reason '{self.reason}': every NaN has one, no number does"
            )


@dataclass(frozen=True)
class Judged:
    """One image with its verdict.

    Args:
        work: the image.
        verdict: on it.
        evidence: that it rests on.
    """

    work: Work
    verdict: Verdict
    evidence: Sequence[Evidence] = ()


@dataclass(frozen=True)
class CategoryScore:
    """One number of the official table.

    Args:
        name: of the category, or of the overall score.
        score: with its interval; NaN with a reason where it was not earned.
        num_judged: images it rests on.
        num_expected: images it has to rest on.
        mean_of_judged: of those images that were judged; no official number while some are missing.
        values: name -> further means over the judged images, such as those of the axes.
    """

    name: str
    score: Interval
    num_judged: int
    num_expected: int
    mean_of_judged: float
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """The official table.

    Args:
        categories: in the official order.
        overall: NaN with a reason as long as anything is missing.
        notes: what has to be said beside the numbers.
        label: what the numbers are called, where that is not the benchmark's name; empty otherwise.
    """

    categories: Sequence[CategoryScore]
    overall: CategoryScore
    notes: Sequence[str] = ()
    label: str = ""


class Benchmark(Protocol):
    """A member of the catalogue, ready to work: it holds whoever looks at the images."""

    @property
    def name(self) -> str:
        """Under which it is registered."""
        ...

    @property
    def summary(self) -> str:
        """One sentence, with the range and the meaning of its score."""
        ...

    @property
    def cites(self) -> tuple[str, ...]:
        """Ids on arXiv."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides about the evidence, in JSON's types: judge or detector, question, settings."""
        ...

    @property
    def reading(self) -> Mapping[str, Any]:
        """Everything that decides what evidence means; may change without anybody being asked again."""
        ...

    @property
    def images_per_prompt(self) -> int | None:
        """How many images of each prompt the protocol wants; None where any number from 1 will do."""
        ...

    @property
    def num_official(self) -> int:
        """How many prompts the whole benchmark has."""
        ...

    @property
    def layout(self) -> str:
        """How its images are named where they are drawn for it: of `generation_layouts.LAYOUTS`."""
        ...

    def cases(self) -> list[Case]:
        """Its prompts, from the source it was made with.

        Raises:
            PromptFileError: they cannot be read, or are not those of this benchmark.
        """
        ...

    def wants(self, evidence: Sequence[Evidence]) -> bool:
        """Whether there is more to see of one piece of work than the evidence so far, in the order it came."""
        ...

    def examine(self, work: Sequence[Work], known: Sequence[Sequence[Evidence]], keep: Keep, done: Done) -> str:
        """Look at images until nothing more is wanted of any.

        Args:
            work: what is wanted.
            known: for each the evidence there is already, as `keep` was given it.
            keep: takes each new piece of evidence the moment it is there.
            done: called once for each piece of work of which nothing more is wanted now.

        Returns:
            Why it had to stop before the end; empty if it did not.
        """
        ...

    def verdict(self, evidence: Sequence[Evidence]) -> Verdict:
        """What the evidence about one image says; pure."""
        ...

    def result(self, cases: Sequence[Case], judged: Sequence[Judged]) -> Result:
        """The official table from the verdicts of one repeat; pure."""
        ...

    def official_files(self, cases: Sequence[Case], judged: Sequence[Judged]) -> Mapping[str, str]:
        """Name -> content of the files that the official code would have left, with what was judged so far."""
        ...

    def from_official(self, path: Path, cases: Sequence[Case]) -> Sequence[Judged] | None:
        """What official result files at a path say; None if there are none of this benchmark's.

        Raises:
            ImageSetError: they are, and cannot be read.
        """
        ...

"""What the benchmarks of `pyrite evaluate` are handed: judges, readers of replies, detectors."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrite.core.judging import Heard, Judge
    from pyrite.core.types import Image
    from pyrite.evaluation.benchmarks.protocol import Benchmark


@dataclass(frozen=True)
class Tools:
    """Makes what a benchmark asks for; see `evaluation.benchmarks.catalogue.Tools`.

    Args:
        name: of the benchmark.
        settings: what the user says of the judge or the detector.
        examiner: whom an evaluation that is only added up was made by; None where somebody is to look.
    """

    name: str
    settings: Mapping[str, Any]
    examiner: Mapping[str, Any] | None = None

    def judge(self, **defaults: Any) -> "Judge":
        """A judge behind a server; the user's settings before the protocol's."""
        from pyrite.rewards.asked_judge import load_asked_judge

        if self.examiner is not None:
            return _Gone(self.examiner)
        return load_asked_judge(self.name, **{**defaults, **self.settings})

    def reader(self, name: str) -> Callable[..., Any]:
        """A function of `rewards/replies.py`."""
        from pyrite.rewards.asked_judge import reader

        return reader(name)

    def detector(self, name: str, **options: Any) -> Any:
        """A detector by its name; the user's settings before the protocol's."""
        from transformers.utils import logging

        from pyrite.rewards.geneval_detectors import load_detector

        if self.examiner is not None:
            return _NoDetector(self.examiner)
        logging.disable_progress_bar()
        return load_detector(name, **{**options, **self.settings})


@dataclass(frozen=True)
class _Gone:
    """The judge of an evaluation that is only added up."""

    identity: Mapping[str, Any]
    at_once: int = 1

    def ask(self, image: "Image", text: str, *, system: str = "") -> "Heard":
        raise AssertionError("adding up asks nobody")


@dataclass(frozen=True)
class _NoDetector:
    """The detector of an evaluation that is only added up."""

    identity: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.identity["label"])

    def why_unknown(self, name: str) -> str | None:
        raise AssertionError("adding up looks at nothing")

    def look(self, images: "Sequence[Image]", wanted: Sequence[Any]) -> Any:
        raise AssertionError("adding up looks at nothing")


def load_benchmark(
    name: str, source: Sequence[Path], settings: Mapping[str, Any], examiner: Mapping[str, Any] | None = None
) -> "Benchmark":
    """A registered benchmark; of the settings those that its factory knows are its own, the others the judge's.

    Raises:
        UnknownNameError: no benchmark of that name.
        RecipeError: an option has no such value.
    """
    from pyrite.evaluation.benchmarks.catalogue import BENCHMARKS

    factory = BENCHMARKS.load(name)
    known = [key for key, value in inspect.signature(factory).parameters.items() if value.kind is value.KEYWORD_ONLY]
    own = {key: value for key, value in settings.items() if key in known}
    rest = {key: value for key, value in settings.items() if key not in known}
    benchmark: Benchmark = factory(Tools(name, rest, examiner), source, **own)
    return benchmark

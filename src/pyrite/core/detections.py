"""What a detector saw in an image, and the contract of whoever looks: benchmarks know detectors only as this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyrite.core.types import Image

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels; the vertical axis points down."""


@dataclass(frozen=True)
class Detected:
    """One object that a detector saw.

    Args:
        name: of its class.
        score: how sure the detector is, 0 to 1.
        box: in pixels of the image that was looked at.
        colors: colour -> how likely the object has it, 0 to 1, adding up to 1; empty where nobody asked, or nothing
            could be told.
        why_no_color: why the colours are empty although they were asked for.
    """

    name: str
    score: float
    box: Corners
    colors: Mapping[str, float] = field(default_factory=dict)
    why_no_color: str = ""

    @property
    def color(self) -> str:
        """The likeliest colour, of equal ones the first; empty where none is known."""
        return max(self.colors, key=self.colors.__getitem__) if self.colors else ""

    def to_json(self) -> dict[str, Any]:
        """The object `from_json` reads back."""
        row: dict[str, Any] = {"name": self.name, "score": self.score, "box": list(self.box)}
        if self.colors:
            row["colors"] = dict(self.colors)
        if self.why_no_color:
            row["why_no_color"] = self.why_no_color
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Detected":
        """Read one JSON object.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        left, top, right, bottom = (float(number) for number in row["box"])
        colors = {str(color): float(prob) for color, prob in row.get("colors", {}).items()}
        return cls(
            str(row["name"]), float(row["score"]), (left, top, right, bottom), colors, row.get("why_no_color", "")
        )


@dataclass(frozen=True)
class Wanted:
    """What is looked for in one image.

    Args:
        names: of classes; a detector of a fixed vocabulary may report others too.
        colored: those of them whose colours are asked for.
        colors: to choose from.
    """

    names: tuple[str, ...]
    colored: frozenset[str] = frozenset()
    colors: tuple[str, ...] = ()


class ObjectDetector(Protocol):
    """Anything that finds objects of named classes in images, and can tell their colours."""

    @property
    def name(self) -> str:
        """What results made with it are labelled by, such as "geneval-hf"."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides about what it sees, in JSON's types: weights, settings, preprocessing, precision."""
        ...

    def why_unknown(self, name: str) -> str | None:
        """Why it cannot look for this class; None if it can."""
        ...

    def look(self, images: Sequence[Image], wanted: Sequence[Wanted]) -> list[tuple[Detected, ...] | str]:
        """What is in each image, in any order and however unsure, or why that cannot be said.

        Args:
            images: N of them, upright.
            wanted: N times what is looked for.
        """
        ...

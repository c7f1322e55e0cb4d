"""Objects from one model and their colours from another, as one detector that loads them when it has to."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyrite.core.detections import Detected, Wanted
from pyrite.core.types import Image
from pyrite.rewards.clip_colors import ColorClassifier
from pyrite.rewards.found import Found

MOST_COLORED = 16
"""Of the surest objects of a class the colours are told: GenEval's rules count no more of a class."""


class BoxDetector(Protocol):
    """Finds objects; knows nothing of colours."""

    def detect(self, images: Sequence[Image], names: Sequence[Sequence[str]]) -> list[list[Found] | str]:
        """The objects of each image, or why they cannot be said."""
        ...


@dataclass(frozen=True)
class ColoredDetector:
    """Objects from one model and their colours from another, each loaded when it is needed first.

    Args:
        name: what results made with it are labelled by.
        identity: everything that decides about what it sees.
        classes: that it can look for; None for any.
        load_boxes: makes the detector.
        load_colors: makes the classifier.
    """

    name: str
    identity: Mapping[str, Any]
    classes: frozenset[str] | None
    load_boxes: Callable[[], BoxDetector]
    load_colors: Callable[[], ColorClassifier]

    def why_unknown(self, name: str) -> str | None:
        """Why it cannot look for this class; None if it can."""
        if self.classes is None or name in self.classes:
            return None
        return f"'{name}' is none of the {len(self.classes)} classes of its detector"

    def look(self, images: Sequence[Image], wanted: Sequence[Wanted]) -> list[tuple[Detected, ...] | str]:
        """What is in each image; the colours of the surest objects of the classes that they are asked of."""
        seen = self._boxes.detect(images, [one.names for one in wanted])
        return [
            found if isinstance(found, str) else self._with_colors(image, found, one)
            for image, found, one in zip(images, seen, wanted, strict=True)
        ]

    def _with_colors(self, image: Image, found: Sequence[Found], wanted: Wanted) -> tuple[Detected, ...]:
        ordered = sorted(found, key=lambda one: (-one.score, one.box))
        colored: dict[int, Mapping[str, float] | str] = {}
        for name in sorted(wanted.colored):
            rows = [row for row, one in enumerate(ordered) if one.name == name][:MOST_COLORED]
            if rows:
                told = self._colors.colors(image, [ordered[row] for row in rows], wanted.colors)
                colored.update(zip(rows, told, strict=True))
        return tuple(
            Detected(one.name, one.score, one.box, *_told(colored.get(row, {}))) for row, one in enumerate(ordered)
        )

    @functools.cached_property
    def _boxes(self) -> BoxDetector:
        return self.load_boxes()

    @functools.cached_property
    def _colors(self) -> ColorClassifier:
        return self.load_colors()


def _told(colors: Mapping[str, float] | str) -> tuple[Mapping[str, float], str]:
    return ({}, colors) if isinstance(colors, str) else (colors, "")

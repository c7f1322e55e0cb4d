"""A small GenEval: seven prompts of all six tasks, images that are told apart by a pixel, and who sees what in them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from pyrite.core.detections import Corners, Detected, Wanted
from pyrite.core.types import Image
from pyrite.evaluation.geneval.benchmark import GenEval, load_geneval
from pyrite.evaluation.geneval.rules import COLORS

ROWS: list[dict[str, Any]] = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"},
    {"tag": "single_object", "include": [{"class": "dog", "count": 1}], "prompt": "a photo of a dog"},
    {
        "tag": "two_object",
        "include": [{"class": "bench", "count": 1}, {"class": "dog", "count": 1}],
        "prompt": "a photo of a bench and a dog",
    },
    {
        "tag": "counting",
        "include": [{"class": "dog", "count": 2}],
        "exclude": [{"class": "dog", "count": 3}],
        "prompt": "a photo of two dogs",
    },
    {"tag": "colors", "include": [{"class": "car", "count": 1, "color": "red"}], "prompt": "a photo of a red car"},
    {
        "tag": "position",
        "include": [{"class": "dog", "count": 1}, {"class": "bench", "count": 1, "position": ["left of", 0]}],
        "prompt": "a photo of a bench left of a dog",
    },
    {
        "tag": "color_attr",
        "include": [{"class": "car", "count": 1, "color": "red"}, {"class": "dog", "count": 1, "color": "blue"}],
        "prompt": "a photo of a red car and a blue dog",
    },
]
LEFT, RIGHT = (0.0, 4.0, 2.0, 6.0), (8.0, 4.0, 10.0, 6.0)


def seen(name: str, score: float = 0.95, box: Corners = LEFT, color: str = "") -> Detected:
    return Detected(name, score, box, {one: 0.9 if one == color else 0.01 for one in COLORS} if color else {})


RIGHT_ANSWERS: list[list[Detected]] = [
    [seen("bench")],
    [seen("dog", 0.35)],
    [seen("bench"), seen("dog", 0.5)],
    [seen("dog"), seen("dog", 0.95, RIGHT)],
    [seen("car", 0.8, color="red")],
    [seen("bench", 0.9, LEFT), seen("dog", 0.9, RIGHT)],
    [seen("car", 0.9, color="red"), seen("dog", 0.9, color="blue")],
]
"""What is seen in an image that shows its prompt."""


def write_source(path: Path, rows: Sequence[Mapping[str, Any]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_tree(root: Path, samples: int = 2, rows: Sequence[Mapping[str, Any]] = ROWS) -> Path:
    """GenEval's tree; image n of prompt p has the colour (p, n, 0)."""
    for place, row in enumerate(rows):
        folder = root / f"{place:05d}"
        (folder / "samples").mkdir(parents=True)
        (folder / "metadata.jsonl").write_text(json.dumps(row))
        for n in range(samples):
            PILImage.new("RGB", (12, 10), (place, n, 0)).save(folder / "samples" / f"{n:04d}.png")
    return root


@dataclass
class FakeDetector:
    """Sees in every image what its prompt asks, but for those it is told otherwise about.

    Args:
        otherwise: (prompt, image) -> what is there, or why that cannot be said.
        unknown: classes it does not know.
    """

    otherwise: Mapping[tuple[int, int], Sequence[Detected] | str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    name: str = "geneval-hf"
    num_seen: int = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"detector": "fake", "min_score": 0.05}

    def why_unknown(self, name: str) -> str | None:
        return f"'{name}' is none of the classes of its detector" if name in self.unknown else None

    def look(self, images: Sequence[Image], wanted: Sequence[Wanted]) -> list[tuple[Detected, ...] | str]:
        found: list[tuple[Detected, ...] | str] = []
        for image in images:
            place, n, _ = image.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
            what = self.otherwise.get((place, n), RIGHT_ANSWERS[place])  # type: ignore[has-type]
            found.append(what if isinstance(what, str) else tuple(what))
        self.num_seen += len(images)
        return found


@dataclass(frozen=True)
class Tools:
    """Hands over one detector."""

    given: Any

    def judge(self, **defaults: Any) -> Any:
        raise AssertionError("GenEval asks no judge")

    def reader(self, name: str) -> Any:
        raise AssertionError("GenEval reads no replies")

    def detector(self, name: str, **options: Any) -> Any:
        return self.given


def geneval(source: Path, sees: Any = None, **options: Any) -> GenEval:
    return load_geneval(Tools(sees or FakeDetector()), [source], **options)

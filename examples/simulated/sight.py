"""Which image of the set a picture is: the same pixels, or the nearest small version of them."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from examples.simulated.knowledge import ARTIFACTS, NEUTRAL, concept_of
from PIL import Image as PILImage

from pyrite.artifact.data import Example, load_curated

_SIDE = 16
_NEAR = 0.12


@dataclass(frozen=True)
class Truth:
    """What is really in an image.

    Args:
        key: names the image.
        has_artifact: its label.
        concept: of its artifact or its harmless change; empty if it is the untouched source.
        severity: in [0, 1]; 0.6 where the set says none.
        size_px: width times height of the image as it was registered.
        shown_px: of the picture that was shown.
    """

    key: str
    has_artifact: bool
    concept: str
    severity: float
    size_px: int
    shown_px: int = 0


@dataclass
class Sight:
    """The images of a set, to be recognised again.

    Args:
        truths: one per image.
        pixels: sha256 of the RGB pixels -> row.
        small: (N, 16 x 16 x 3) each image in small, in [0, 1].
    """

    truths: Sequence[Truth]
    pixels: dict[str, int]
    small: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, path: Path) -> "Sight":
        """Register every image of a curated set."""
        examples = load_curated(path).examples
        images = [PILImage.open(example.image).convert("RGB") for example in examples]
        truths = [_truth(example, image) for example, image in zip(examples, images, strict=True)]
        return cls(
            truths,
            {_key(image): row for row, image in enumerate(images)},
            np.stack([_small(image) for image in images]),
        )

    def recognise(self, file: bytes) -> Truth | None:
        """The truth about a picture file; None if it is none of the set, however it was encoded or scaled."""
        return _recognise(self, file)

    def recognise_image(self, image: PILImage.Image) -> Truth | None:
        """The same about a picture in memory."""
        image = image.convert("RGB")
        row = self.pixels.get(_key(image))
        if row is None:
            far = np.abs(self.small - _small(image)).mean(1)
            row = int(far.argmin())
            if far[row] > _NEAR:
                return None
        return replace(self.truths[row], shown_px=image.width * image.height)

    def __hash__(self) -> int:
        return id(self)


@lru_cache(maxsize=4096)
def _recognise(sight: Sight, file: bytes) -> Truth | None:
    return sight.recognise_image(PILImage.open(io.BytesIO(file)))


def _truth(example: Example, image: PILImage.Image) -> Truth:
    # A set without kinds still has some: one per image, by its id, as if somebody had planted it.
    concepts = ARTIFACTS if example.has_artifact else NEUTRAL
    guess = list(ARTIFACTS)[hashlib.sha256(example.id.encode()).digest()[0] % len(ARTIFACTS)]
    concept = concept_of(example.kind, concepts) if example.kind else guess if example.has_artifact else ""
    severity = 0.6 if example.severity is None else example.severity
    return Truth(_key(image), example.has_artifact, concept, severity, image.width * image.height)


def _key(image: PILImage.Image) -> str:
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()


def _small(image: PILImage.Image) -> np.ndarray:
    scaled = image.resize((_SIDE, _SIDE), PILImage.Resampling.BOX)
    return np.asarray(scaled, np.float32).reshape(-1) / 255

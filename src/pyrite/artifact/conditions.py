"""The same images and the same question, changed in ways that should not change a judge's mind.

A judge whose verdict turns when its question is worded otherwise or the file is saved once more measures something
besides artifacts. What each condition does to a question or to an image is here; nothing here asks anybody.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image as PILImage

from pyrite.artifact.judges import DEFAULT_QUESTION
from pyrite.core.errors import RecipeError
from pyrite.core.types import Image
from pyrite.rewards.images import as_rgb
from pyrite.rewards.served_judges import Position

VARIED = ("question", "position", "size", "jpeg")

SIZES = (0.5, 2.0)
"""Sides are multiplied by these."""

JPEG_QUALITIES = (75, 30)

REWORDINGS = (
    "Look for unintended digital defects in the image: inconsistent lighting, misplaced objects, faulty blending, or "
    "anything else that makes it unrealistic. Do not count intended styles or surreal content. Answer YES if there are "
    "any defects, otherwise answer NO.",
    "Does this image contain artifacts that were not intended, such as wrong shadows, objects in impossible places, "
    "visible seams, or other anomalies? Artistic style and deliberate surrealism are not artifacts. Answer YES or NO.",
)
"""ArtifactReward's question in other words."""

_FRAMES = ("Look at the image carefully. {question}", "{question} Give your answer as one word.")


@dataclass(frozen=True)
class Condition:
    """One way to ask again.

    Args:
        name: in tables and files.
        what: in words.
        question: what is asked.
        change: of the image; None leaves it.
        position: of the question, where it is another one than usual.
    """

    name: str
    what: str
    question: str
    change: Callable[[Image], Image] | None = None
    position: Position | None = None


def conditions(question: str, varied: Sequence[str], paraphrases: Sequence[str] = ()) -> list[Condition]:
    """The conditions of the parts that are to be varied.

    Args:
        question: the one they are compared with.
        varied: of `VARIED`.
        paraphrases: of the question; without any, a built-in few.

    Raises:
        RecipeError: no such part.
    """
    if unknown := sorted(set(varied) - set(VARIED)):
        raise RecipeError(
            f"there is nothing called {' or '.join(unknown)} to vary. Choose from {', '.join(VARIED)}, or 'none'."
        )
    found: list[Condition] = []
    if "question" in varied:
        texts = [text for text in paraphrases or built_in_paraphrases(question) if text != question]
        found += [
            Condition(f"reworded-{number}", f'asked: "{text}"', text) for number, text in enumerate(texts, start=1)
        ]
    if "position" in varied:
        found.append(Condition("text-after", "the question after the image", question, position="after"))
    if "size" in varied:
        found += [Condition(f"size-{by:g}", f"sides times {by:g}", question, _resized(by)) for by in SIZES]
    if "jpeg" in varied:
        found += [
            Condition(f"jpeg-{quality}", f"saved once as JPEG of quality {quality}", question, _as_jpeg(quality))
            for quality in JPEG_QUALITIES
        ]
    return found


def built_in_paraphrases(question: str) -> tuple[str, ...]:
    """Questions that mean the same: rewordings of ArtifactReward's; of any other, the question in another frame."""
    frames = tuple(frame.format(question=question) for frame in _FRAMES)
    return REWORDINGS + frames[:1] if question == DEFAULT_QUESTION else frames


def _resized(by: float) -> Callable[[Image], Image]:
    def change(image: Image) -> Image:
        width, height = (max(1, round(side * by)) for side in image.size)
        return as_rgb(image).resize((width, height), PILImage.Resampling.LANCZOS)

    return change


def _as_jpeg(quality: int) -> Callable[[Image], Image]:
    def change(image: Image) -> Image:
        file = io.BytesIO()
        as_rgb(image).save(file, "JPEG", quality=quality)
        with PILImage.open(file) as saved:
            return saved.convert("RGB")

    return change

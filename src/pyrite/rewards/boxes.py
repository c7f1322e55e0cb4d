"""From what a detector found to a score: objects that are there, where they are to each other, and how many.

Pure arithmetic on numbers, after T2I-R1 (arXiv:2505.00703) and, for the relations, T2I-CompBench (arXiv:2307.06350).
Two modes: `reference` repeats the code that T2I-R1 and ArtifactReward train with, its mistakes included; `fixed` says
what that code was meant to say. docs/reference/reference-defects.md lists the differences.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Mode = Literal["fixed", "reference"]
Corners = npt.NDArray[np.float64]
"""(4,) left, top, right, bottom; (K, 4) for several boxes. The vertical axis points down."""

RELATIONS: Mapping[str, str] = {
    "on the left of": "left",
    "left of": "left",
    "on the right of": "right",
    "right of": "right",
    "on the top of": "above",
    "top of": "above",
    "on top of": "above",
    "above": "above",
    "on the bottom of": "below",
    "below": "below",
    "next to": "near",
    "on side of": "near",
    "near": "near",
}
"""A word for a place, as `spatial_info` has it under `locality` -> the relation of the first object to the second."""

_UNKNOWN_TO_REFERENCE = ("above", "on top of")
_DIRECTIONS: Mapping[str, tuple[int, int]] = {"left": (0, 1), "right": (0, -1), "above": (1, 1), "below": (1, -1)}

MAX_IOU = 0.1
"""Two boxes that overlap more than this are not beside each other."""

DUPLICATE_IOU = 0.5
"""A box that overlaps a better one of its phrase more than this is the same object again."""

NEAR_FRAC = 150 / 384
"""How far apart near things may be, as a part of the image's side (the root of its area): 150 px of 384 x 384."""

_REFERENCE_NEAR = 150.0
_PRESENT, _WRONG_NUMBER = 0.2, 0.2


class Detection(NamedTuple):
    """A box for a phrase.

    Args:
        phrase: what it shows.
        score: how sure the detector is, 0 to 1.
        box: centre x, centre y, width and height, each as a part of the image's width or height.
    """

    phrase: str
    score: float
    box: tuple[float, float, float, float]

    def corners(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of an image of (width, height)."""
        left, top, right, bottom = corners(np.array(self.box), *size).tolist()
        return left, top, right, bottom


def corners(boxes: Corners, width: float, height: float) -> Corners:
    """(..., 4) boxes by centre and size, in parts of the image -> by their corners, on a canvas of that size."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    found: Corners = np.concatenate([centre - half, centre + half], axis=-1) * [width, height, width, height]
    return found


def iou(first: Corners, second: Corners) -> float:
    """Intersection over union of two boxes, 0 to 1; 0 where neither has an area.

    For corners in the wrong order, where areas are negative, it is what the formula gives, as in torchvision.
    """
    overlap = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    both = float(np.prod(np.maximum(overlap, 0)))
    union = sum(float(np.prod(box[2:] - box[:2])) for box in (first, second)) - both
    return both / union if union else 0.0


def nms(boxes: Corners, scores: Sequence[float], max_iou: float = DUPLICATE_IOU) -> list[int]:
    """Rows that remain, best first, when each box suppresses those that overlap it more than `max_iou`.

    The rule of torchvision's `nms`: strictly more, and of equal scores the earlier row is the better.

    Args:
        boxes: (K, 4) corners.
        scores: K of them.
        max_iou: between 0 and 1.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist()
    kept: list[int] = []
    for row in order:
        if not any(iou(boxes[best], boxes[row]) > max_iou for best in kept):
            kept.append(row)
    return kept


def position_score(relation: str, first: Corners, second: Corners, near: float) -> float:
    """How well two boxes stand in a relation, 0 to 1: T2I-CompBench's rule.

    Left, right, above, below: 1 if the centres differ more in that direction than across it and the boxes hardly
    overlap, less the more they overlap; else 0. Near: 1 if the centres are less than `near` apart horizontally *or*
    vertically, else `near` over the larger distance.

    Args:
        relation: a value of `RELATIONS`.
        first: corners of the object that is somewhere.
        second: corners of the object it is there to.
        near: a distance, in the unit of the corners.
    """
    away = (second[:2] + second[2:] - first[:2] - first[2:]) / 2
    if relation == "near":
        distances = np.abs(away)
        return 1.0 if distances.min() < near else float(near / distances.max())
    axis, sign = _DIRECTIONS[relation]
    if sign * away[axis] <= abs(away[1 - axis]):
        return 0.0
    overlap = iou(first, second)
    return 1.0 if overlap < MAX_IOU else MAX_IOU / overlap


def object_score(nouns: Sequence[str], detections: Sequence[Detection]) -> float:
    """The part of the nouns that have a detection, 0 to 1."""
    found = {detection.phrase for detection in detections}
    return sum(noun in found for noun in nouns) / len(nouns)


def spatial_score(
    info: Mapping[str, Any], detections: Sequence[Detection], *, size: tuple[int, int], mode: Mode = "fixed"
) -> float:
    """0.2 for each of the two objects that is there, and half the position score of their best boxes: 0 to 0.9.

    Args:
        info: `obj1`, `obj2` and `locality`, of which the first two name phrases.
        detections: of the image.
        size: its width and height.
        mode: of the arithmetic; `reference` gives 0 for two objects of one name, and no position score for a locality
            that the published code does not know.
    """
    names = (info["obj1"], info["obj2"])
    best = [max((one for one in detections if one.phrase == name), key=_score, default=None) for name in names]
    score = sum(_PRESENT for one in best if one is not None)
    first, second = best
    if first is None or second is None:
        return score
    if mode == "reference" and (names[0] == names[1] or "locality" not in info):
        return 0.0  # its code raises here, and catches what it raised
    relation = relation_of(info["locality"], mode)
    if relation is None:
        return score
    width, height = size if mode == "fixed" else (1, 1)
    near = NEAR_FRAC * math.sqrt(width * height) if mode == "fixed" else _REFERENCE_NEAR
    places = [corners(np.array(one.box), width, height) for one in (first, second)]
    return score + position_score(relation, places[0], places[1], near) / 2


def numeracy_score(
    items: Sequence[Mapping[str, Any]],
    detections: Sequence[Detection],
    *,
    size: tuple[int, int],
    mode: Mode = "fixed",
) -> float:
    """The mean over the items: 1 for the right number of boxes, 0.2 for another number, 0 for none; 0 to 1.

    Boxes of one phrase that overlap by more than `DUPLICATE_IOU` count once.

    Args:
        items: each an `obj_name` that names a phrase, and the `num` there should be of it.
        detections: of the image.
        size: its width and height.
        mode: of the arithmetic; in `reference`, boxes by centre and size are compared as if they were corners.
    """
    scores = []
    for item in items:
        found = [one for one in detections if one.phrase == item["obj_name"]]
        boxes = np.array([one.box for one in found]).reshape(-1, 4)
        if mode == "fixed":
            boxes = corners(boxes, *size)
        num = len(nms(boxes, [one.score for one in found]))
        scores.append(0.0 if num == 0 else 1.0 if num == item["num"] else _WRONG_NUMBER)
    return sum(scores) / len(scores)


def relation_of(locality: str, mode: Mode = "fixed") -> str | None:
    """The relation that a word stands for in this mode; None if it does not know the word."""
    if mode == "reference" and locality in _UNKNOWN_TO_REFERENCE:
        return None
    return RELATIONS.get(locality)


def _score(detection: Detection) -> float:
    return detection.score

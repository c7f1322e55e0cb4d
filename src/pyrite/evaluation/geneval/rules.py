"""GenEval's rules: from what a detector saw to right or wrong, with the reason. Pure functions; no model, no image.

The rules are those of arXiv:2310.11513 as its authors run them (djghosh13/geneval@af4902f,
evaluation/evaluate_images.py): boxes at or below a confidence are dropped, the surest of each class are kept, a prompt
asks for classes, numbers, colours and places, and forbids a class beyond a number. Reasons are worded as theirs, so
that their results and these can be laid side by side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pyrite.core.detections import Corners, Detected, Wanted

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
"""The six tasks, in the order of the paper's table."""

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")

_ASIDE = 0.5  # of the direction from one centre to the other: cos 60 degrees
_NO_OFFSET = 1e-3


@dataclass(frozen=True)
class Rules:
    """The numbers of the rules; the defaults are the published ones.

    Args:
        threshold: a box counts if its score is above this.
        counting_threshold: the same for the task `counting`.
        max_objects: no more than this many boxes of a class count, the surest.
        max_overlap: boxes of a class that overlap a surer one by this or more are left out; 1 leaves none out.
        position_threshold: centres must be further apart than this part of the two objects' sizes.
    """

    threshold: float = 0.3
    counting_threshold: float = 0.9
    max_objects: int = 16
    max_overlap: float = 1.0
    position_threshold: float = 0.1

    def __post_init__(self) -> None:
        for name in ("threshold", "counting_threshold", "max_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)} is no share: use a number from 0 to 1")
        if self.max_objects < 1 or self.position_threshold < 0:
            raise ValueError(
                f"max_objects = {self.max_objects} and position_threshold = {self.position_threshold}: the first is at "
                "least 1, the second at least 0"
            )

    def confidence(self, tag: str) -> float:
        """Above which a box counts, in this task."""
        return self.counting_threshold if tag == "counting" else self.threshold


@dataclass(frozen=True)
class Clause:
    """One thing a prompt asks for, or forbids.

    Args:
        name: of the class.
        count: as many there must be; or, forbidden, as many there must not be.
        color: that each of them must have; empty for any.
        relation: where each of them must be; empty for anywhere.
        target: to the things of which clause, counted from 0.
    """

    name: str
    count: int
    color: str = ""
    relation: str = ""
    target: int = 0


@dataclass(frozen=True)
class Task:
    """What GenEval's metadata say of one prompt.

    Args:
        tag: one of `TAGS`.
        prompt: its text.
        include: all of this has to be there.
        exclude: none of this may be there.
    """

    tag: str
    prompt: str
    include: tuple[Clause, ...]
    exclude: tuple[Clause, ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Task":
        """Read one line of evaluation_metadata.jsonl.

        Raises:
            ValueError: it is none; says what is wrong.
        """
        if row.get("tag") not in TAGS:
            raise ValueError(f"'tag' is {row.get('tag')!r}, and the tasks are {', '.join(TAGS)}")
        if not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
            raise ValueError("it has no text under 'prompt'")
        include = _clauses(row, "include")
        if not include:
            raise ValueError("'include' asks for nothing, so any image would be right")
        return cls(row["tag"], row["prompt"], include, _clauses(row, "exclude"))

    @property
    def wanted(self) -> Wanted:
        """What a detector has to look for."""
        named = dict.fromkeys(clause.name for clause in (*self.include, *self.exclude))
        colored = frozenset(clause.name for clause in self.include if clause.color)
        return Wanted(tuple(named), colored, COLORS if colored else ())


class Outcome(NamedTuple):
    """What the rules say of one image.

    Args:
        is_correct: whether everything is as asked; None if that cannot be said.
        reason: what is not as asked, in the words of the official code, a line each; empty if nothing.
        unscored: why it cannot be said; empty if it can.
    """

    is_correct: bool | None
    reason: str = ""
    unscored: str = ""


def _clauses(row: Mapping[str, Any], key: str) -> tuple[Clause, ...]:
    items = row.get(key, [])
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise ValueError(f"'{key}' is {items!r}, not a list")
    return tuple(_clause(item, f"'{key}', item {place}", place) for place, item in enumerate(items))


def _clause(item: Any, where: str, place: int) -> Clause:
    if not isinstance(item, Mapping) or not isinstance(item.get("class"), str) or not item["class"]:
        raise ValueError(f"{where} names no class: {item!r}")
    count = item.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"{where} has the count {count!r}, not a whole number from 1")
    color = item.get("color", "")
    if color and color not in COLORS:
        raise ValueError(f"{where} has the colour {color!r}, and the rules know {', '.join(COLORS)}")
    if "position" not in item:
        return Clause(item["class"], count, color)
    position = item["position"]
    if not isinstance(position, Sequence) or len(position) != 2 or position[0] not in RELATIONS:
        raise ValueError(f"{where} has the position {position!r}, not one of {', '.join(RELATIONS)} and a number")
    relation, target = position
    if not isinstance(target, int) or not 0 <= target < place:
        raise ValueError(f"{where} is placed by item {target!r}, and only an earlier one can be its target")
    return Clause(item["class"], count, color, relation, target)


def kept_objects(objects: Sequence[Detected], confidence: float, rules: Rules) -> dict[str, list[Detected]]:
    """The boxes that count, by class, surest first.

    Of equally sure boxes the one further left and up comes first: then their order in the list decides nothing. (The
    official code takes whichever its sort puts there.)

    Args:
        objects: of one image.
        confidence: above which a box counts.
        rules: of which `max_objects` cuts first and `max_overlap` after it, as officially.
    """
    by_name: dict[str, list[Detected]] = {}
    for one in sorted(objects, key=lambda one: (-one.score, one.box)):
        if one.score > confidence:
            by_name.setdefault(one.name, []).append(one)
    return {name: _without_overlaps(found[: rules.max_objects], rules.max_overlap) for name, found in by_name.items()}


def _without_overlaps(found: Sequence[Detected], max_overlap: float) -> list[Detected]:
    kept: list[Detected] = []
    for one in found:
        if max_overlap == 1 or all(iou(surer.box, one.box) < max_overlap for surer in kept):
            kept.append(one)
    return kept


def iou(first: Corners, second: Corners) -> float:
    """Intersection over union of two boxes, 0 to 1, counting the last pixel in, as the official code does."""
    overlap = _area(
        (max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3]))
    )
    union = _area(first) + _area(second) - overlap
    return overlap / union if union else 0.0


def _area(box: Corners) -> float:
    return max(box[2] - box[0] + 1, 0) * max(box[3] - box[1] + 1, 0)


def relations(first: Corners, second: Corners, position_threshold: float = Rules.position_threshold) -> tuple[str, ...]:
    """Where the first object is to the second: up to two of `RELATIONS`, none if they are too close.

    What the centres are apart beyond `position_threshold` times the sum of the sizes is compared with the whole
    distance of the centres: more than half of it in a direction is that relation.
    """
    offsets, beyond = [], []
    for axis in (0, 1):
        offset = (first[axis] + first[axis + 2] - second[axis] - second[axis + 2]) / 2
        sizes = abs(first[axis + 2] - first[axis]) + abs(second[axis + 2] - second[axis])
        offsets.append(offset)
        beyond.append(math.copysign(max(abs(offset) - position_threshold * sizes, 0), offset))
    if all(abs(part) < _NO_OFFSET for part in beyond):
        return ()
    across, down = (part / math.hypot(*offsets) for part in beyond)
    holds = (across < -_ASIDE, across > _ASIDE, down < -_ASIDE, down > _ASIDE)
    return tuple(relation for relation, is_so in zip(RELATIONS, holds, strict=True) if is_so)


def judge(task: Task, objects: Sequence[Detected], rules: Rules | None = None) -> Outcome:
    """Whether an image in which these were seen shows what its prompt says.

    Colours and places are asked of the surest `count` boxes alone, as in the official code since its change of that
    rule; a place is asked only of things whose number and colour are right.

    Args:
        task: what the prompt asks.
        objects: everything seen, in any order; other classes than the prompt's change nothing.
        rules: the numbers; the published ones if left out.
    """
    rules = rules or Rules()
    kept = kept_objects(objects, rules.confidence(task.tag), rules)
    reasons: list[str] = []
    matched: list[list[Detected] | None] = []
    for clause in task.include:
        found = kept.get(clause.name, [])[: clause.count]
        if clause.color and len(found) == clause.count and (blind := [one for one in found if not one.colors]):
            why = blind[0].why_no_color or "nobody looked"
            return Outcome(None, unscored=f"the colour of a {clause.name} is not known: {why}")
        problem = _unmet(clause, found, matched, rules)
        reasons += [problem] if problem else []
        matched.append(None if problem else found)
    for clause in task.exclude:
        if (num := len(kept.get(clause.name, []))) >= clause.count:
            reasons.append(f"expected {clause.name}<{clause.count}, found {num}")
    return Outcome(not reasons, "\n".join(reasons))


def _unmet(
    clause: Clause, found: Sequence[Detected], matched: Sequence[Sequence[Detected] | None], rules: Rules
) -> str:
    """What is wrong with the things found for a clause, in the official words; empty if nothing."""
    name, count = clause.name, clause.count
    if len(found) < count:
        return f"expected {name}>={count}, found {len(found)}"
    if clause.color:
        seen = [one.color for one in found]
        if seen.count(clause.color) < count:
            listed = ", ".join(f"{seen.count(color)} {color}" for color in COLORS if color in seen)
            right = seen.count(clause.color)
            return f"expected {clause.color} {name}>={count}, found {right} {clause.color}; and {listed}"
    if clause.relation:
        targets = matched[clause.target]
        if targets is None:
            return f"no target for {name} to be {clause.relation}"
        for one in found:
            for target in targets:
                true = relations(one.box, target.box, rules.position_threshold)
                if clause.relation not in true:
                    return f"expected {name} {clause.relation} target, found {' and '.join(true)} target"
    return ""

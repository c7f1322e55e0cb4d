"""GenEval's rules, branch by branch, on boxes whose outcome follows by hand from the published code."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest

from pyrite.core.detections import Corners, Detected
from pyrite.evaluation.geneval.rules import COLORS, RELATIONS, TAGS, Rules, Task, iou, judge, kept_objects, relations

LEFT, RIGHT = (0.0, 40.0, 20.0, 60.0), (80.0, 40.0, 100.0, 60.0)
TOP, BOTTOM = (40.0, 0.0, 60.0, 20.0), (40.0, 80.0, 60.0, 100.0)


def seen(name: str, score: float = 0.95, box: Corners = LEFT, color: str = "") -> Detected:
    others = dict.fromkeys(COLORS, 0.01)
    return Detected(name, score, box, {**others, color: 0.9} if color else {})


def task(tag: str, *include: dict[str, Any], exclude: Sequence[dict[str, Any]] = ()) -> Task:
    return Task.from_json({"tag": tag, "prompt": "a photo", "include": list(include), "exclude": list(exclude)})


def asks(name: str, count: int = 1, **more: Any) -> dict[str, Any]:
    return {"class": name, "count": count, **more}


BENCH = task("single_object", asks("bench"))
TWO = task("two_object", asks("bench"), asks("dog"))
THREE = task("counting", asks("cat", 3), exclude=[asks("cat", 4)])
RED = task("colors", asks("car", color="red"))
LEFT_OF = task("position", asks("dog"), asks("cat", position=["left of", 0]))
TWO_COLORS = task("color_attr", asks("car", color="red"), asks("bus", color="blue"))
TWO_RED = task("colors", asks("car", 2, color="red"))
LEFT_OF_RED = task("position", asks("dog", color="red"), asks("cat", position=["left of", 0]))
ALL_LEFT_OF = task("position", asks("dog", 2), asks("cat", 2, position=["left of", 0]))

CASES = {
    "single, there": (BENCH, [seen("bench", 0.31)], True, ""),
    "single, more than asked": (BENCH, [seen("bench"), seen("bench")], True, ""),
    "single, nothing seen": (BENCH, [], False, "expected bench>=1, found 0"),
    "single, another thing": (BENCH, [seen("dog")], False, "expected bench>=1, found 0"),
    "single, at the threshold and not above": (BENCH, [seen("bench", 0.3)], False, "expected bench>=1, found 0"),
    "two, both": (TWO, [seen("dog"), seen("bench")], True, ""),
    "two, one missing": (TWO, [seen("bench")], False, "expected dog>=1, found 0"),
    "two, both missing": (TWO, [], False, "expected bench>=1, found 0\nexpected dog>=1, found 0"),
    "counting, right": (THREE, [seen("cat")] * 3, True, ""),
    "counting, too few": (THREE, [seen("cat")] * 2, False, "expected cat>=3, found 2"),
    "counting, too many": (THREE, [seen("cat")] * 4, False, "expected cat<4, found 4"),
    "counting, one unsure": (THREE, [seen("cat")] * 2 + [seen("cat", 0.9)], False, "expected cat>=3, found 2"),
    "counting, a fourth that is unsure": (THREE, [seen("cat")] * 3 + [seen("cat", 0.9)], True, ""),
    "color, right": (RED, [seen("car", color="red")], True, ""),
    "color, wrong": (RED, [seen("car", color="blue")], False, "expected red car>=1, found 0 red; and 1 blue"),
    "color, no car": (RED, [], False, "expected car>=1, found 0"),
    "color, only the surest is asked": (
        RED,
        [seen("car", 0.5, color="red"), seen("car", 0.6, color="blue")],
        False,
        "expected red car>=1, found 0 red; and 1 blue",
    ),
    "color, the surest is right": (RED, [seen("car", 0.5, color="blue"), seen("car", 0.6, color="red")], True, ""),
    "color, one of two": (
        TWO_RED,
        [seen("car", 0.9, color="white"), seen("car", 0.8, color="red"), seen("car", 0.7, color="red")],
        False,
        "expected red car>=2, found 1 red; and 1 red, 1 white",
    ),
    "position, right": (LEFT_OF, [seen("cat", box=LEFT), seen("dog", box=RIGHT)], True, ""),
    "position, the other way round": (
        LEFT_OF,
        [seen("cat", box=RIGHT), seen("dog", box=LEFT)],
        False,
        "expected cat left of target, found right of target",
    ),
    "position, oblique is both": (
        LEFT_OF,
        [seen("cat", box=(80, 0, 100, 20)), seen("dog", box=(0, 80, 20, 100))],
        False,
        "expected cat left of target, found right of and above target",
    ),
    "position, in one place": (
        LEFT_OF,
        [seen("cat"), seen("dog")],
        False,
        "expected cat left of target, found  target",
    ),
    "position, no target": (
        LEFT_OF,
        [seen("cat")],
        False,
        "expected dog>=1, found 0\nno target for cat to be left of",
    ),
    "position, nothing to place": (LEFT_OF, [seen("dog")], False, "expected cat>=1, found 0"),
    "position, the target has the wrong colour": (
        LEFT_OF_RED,
        [seen("cat", box=LEFT), seen("dog", box=RIGHT, color="blue")],
        False,
        "expected red dog>=1, found 0 red; and 1 blue\nno target for cat to be left of",
    ),
    "position, only the surest is asked": (
        LEFT_OF,
        [seen("cat", 0.9, RIGHT), seen("cat", 0.8, LEFT), seen("dog", 0.9, TOP)],
        False,
        "expected cat left of target, found right of and below target",
    ),
    "position, each of several to each": (
        ALL_LEFT_OF,
        [
            seen("cat", 0.9, LEFT),
            seen("cat", 0.8, (110, 40, 130, 60)),
            seen("dog", 0.9, RIGHT),
            seen("dog", 0.8, RIGHT),
        ],
        False,
        "expected cat left of target, found right of target",
    ),
    "position, all of several": (
        ALL_LEFT_OF,
        [
            seen("cat", box=LEFT),
            seen("cat", box=(2, 40, 22, 60)),
            seen("dog", box=RIGHT),
            seen("dog", box=(78, 40, 98, 60)),
        ],
        True,
        "",
    ),
    "colour attribution, right": (TWO_COLORS, [seen("car", color="red"), seen("bus", color="blue")], True, ""),
    "colour attribution, swapped": (
        TWO_COLORS,
        [seen("car", color="blue"), seen("bus", color="red")],
        False,
        "expected red car>=1, found 0 red; and 1 blue\nexpected blue bus>=1, found 0 blue; and 1 red",
    ),
    "colour attribution, one missing": (TWO_COLORS, [seen("car", color="red")], False, "expected bus>=1, found 0"),
}


@pytest.mark.parametrize(("asked", "objects", "is_correct", "reason"), CASES.values(), ids=CASES)
def test_an_image_is_right_or_wrong_for_the_published_reason(
    asked: Task, objects: list[Detected], is_correct: bool, reason: str
) -> None:
    assert judge(asked, objects) == (is_correct, reason, "")


def test_every_task_has_a_right_and_a_wrong_fixture() -> None:
    assert {(asked.tag, right) for asked, _, right, _ in CASES.values()} == set(itertools.product(TAGS, (True, False)))


@pytest.mark.parametrize("case", CASES)
def test_the_order_of_detections_changes_nothing(case: str) -> None:
    asked, objects, is_correct, reason = CASES[case]
    for seed in range(5):
        shuffled = random.Random(seed).sample(objects, len(objects))
        assert judge(asked, shuffled) == (is_correct, reason, "")


@pytest.mark.parametrize("case", CASES)
def test_a_class_the_prompt_does_not_name_changes_nothing(case: str) -> None:
    asked, objects, is_correct, reason = CASES[case]
    crowd = [seen("giraffe", 0.99 - place / 100, (place, 0, place + 50, 90)) for place in range(20)]
    assert judge(asked, [*crowd, *objects]) == (is_correct, reason, "")


def test_equally_sure_objects_are_ordered_by_their_place_and_not_by_the_list() -> None:
    both = [seen("car", 0.9, RIGHT, "red"), seen("car", 0.9, LEFT, "blue")]
    assert judge(RED, both) == judge(RED, both[::-1])
    assert judge(RED, both).reason == "expected red car>=1, found 0 red; and 1 blue"


def test_a_colour_nobody_could_tell_leaves_the_image_unscored() -> None:
    blind = Detected("car", 0.9, LEFT, {}, "its box is narrower than a pixel")
    outcome = judge(RED, [blind])
    assert outcome == (None, "", "the colour of a car is not known: its box is narrower than a pixel")
    assert judge(RED, [seen("car", 0.95, color="red"), blind]).is_correct, "a less sure one is not asked"


def test_no_more_than_sixteen_of_a_class_are_counted() -> None:
    crowd = task("counting", asks("cat", 16), exclude=[asks("cat", 17)])
    assert judge(crowd, [seen("cat")] * 40).is_correct
    assert judge(crowd, [seen("cat")] * 40, Rules(max_objects=20)).reason == "expected cat<17, found 20"


@pytest.mark.parametrize(
    ("max_overlap", "num"),
    [(1.0, 3), (0.9, 2), (0.5, 1)],
    ids=["published: none left out", "near copies left out", "overlapping left out"],
)
def test_boxes_that_overlap_a_surer_one_are_left_out_if_asked(max_overlap: float, num: int) -> None:
    boxes = [seen("cat", 0.9, (0, 0, 99, 99)), seen("cat", 0.8, (0, 0, 99, 99)), seen("cat", 0.7, (0, 0, 99, 59))]
    assert len(kept_objects(boxes, 0.3, Rules(max_overlap=max_overlap))["cat"]) == num


def test_overlaps_are_taken_out_after_the_surest_were_chosen() -> None:
    boxes = [seen("cat", 0.9 - place / 100, LEFT) for place in range(16)] + [seen("cat", 0.5, RIGHT)]
    assert len(kept_objects(boxes, 0.3, Rules(max_overlap=0.5))["cat"]) == 1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 9, 9), (0, 0, 9, 9), 1.0),
        ((0, 0, 9, 9), (5, 0, 14, 9), 50 / 150),
        ((0, 0, 9, 9), (10, 0, 19, 9), 0.0),
        ((0, 0, 9, 9), (9, 0, 18, 9), 10 / 190),
        ((9, 9, 0, 0), (9, 9, 0, 0), 0.0),
    ],
    ids=["the same", "half", "beside", "sharing a column", "inside out"],
)
def test_overlap_counts_the_last_pixel_in(first: Corners, second: Corners, expected: float) -> None:
    assert iou(first, second) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (LEFT, RIGHT, ("left of",)),
        (RIGHT, LEFT, ("right of",)),
        (TOP, BOTTOM, ("above",)),
        (BOTTOM, TOP, ("below",)),
        (LEFT, TOP, ("left of", "below")),
        (LEFT, LEFT, ()),
        # centres 4 apart, sizes 20 + 20: exactly what is not counted
        ((0, 0, 20, 20), (4, 0, 24, 20), ()),
        # centres 8 apart, 4 beyond: half of the distance, and more than half is needed
        ((0, 0, 20, 20), (8, 0, 28, 20), ()),
        ((0, 0, 20, 20), (8.1, 0, 28.1, 20), ("left of",)),
        # 60 degrees from the axis: cos is exactly half
        ((0, 0, 0, 0), (1, 3**0.5, 1, 3**0.5), ("above",)),
        # a box with its corners in the wrong order has its centre and size all the same
        ((20, 60, 0, 40), RIGHT, ("left of",)),
    ],
    ids=[
        "left",
        "right",
        "above",
        "below",
        "oblique",
        "one place",
        "too close",
        "half",
        "above half",
        "60°",
        "inside out",
    ],
)
def test_places_follow_the_published_formula(first: Corners, second: Corners, expected: tuple[str, ...]) -> None:
    assert relations(first, second) == expected


def test_places_turn_round_when_the_objects_are_swapped() -> None:
    opposite = dict(zip(RELATIONS, ("right of", "left of", "below", "above"), strict=True))
    generator = random.Random(0)
    for _ in range(200):
        first, second = (tuple(generator.uniform(0, 100) for _ in range(4)) for _ in range(2))
        there, back = relations(first, second), relations(second, first)  # type: ignore[arg-type]
        assert {opposite[one] for one in there} == set(back)


def test_a_larger_margin_never_adds_a_place() -> None:
    generator = random.Random(1)
    for _ in range(200):
        first, second = (tuple(generator.uniform(0, 100) for _ in range(4)) for _ in range(2))
        near, far = (set(relations(first, second, margin)) for margin in (0.1, 0.3))  # type: ignore[arg-type]
        assert far <= near


BAD_ROWS = {
    "no tag": ({"tag": "shape"}, "'tag' is 'shape'"),
    "no prompt": ({"prompt": " "}, "no text under 'prompt'"),
    "nothing asked": ({"include": []}, "asks for nothing"),
    "include is a text": ({"include": "bench"}, "'include' is 'bench', not a list"),
    "no class": ({"include": [{"count": 1}]}, "'include', item 0 names no class"),
    "count of nought": ({"include": [asks("cat", 0)]}, "count 0, not a whole number from 1"),
    "count is true": ({"include": [asks("cat", True)]}, "count True"),
    "unknown colour": ({"include": [asks("cat", color="teal")]}, "colour 'teal', and the rules know red"),
    "unknown place": ({"include": [asks("dog"), asks("cat", position=["near", 0])]}, "not one of left of"),
    "no target": ({"include": [asks("dog"), asks("cat", position=["above", 1])]}, "only an earlier one can be"),
    "position is a word": ({"include": [asks("dog"), asks("cat", position="above")]}, "position 'above'"),
}


@pytest.mark.parametrize(("changes", "why"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_metadata_that_no_rule_can_be_read_from_are_refused(changes: dict[str, Any], why: str) -> None:
    good = {"tag": "colors", "prompt": "a photo of a red car", "include": [asks("car", color="red")]}
    with pytest.raises(ValueError, match=why):
        Task.from_json({**good, **changes})


@pytest.mark.parametrize(
    "numbers",
    [
        {"threshold": 1.2},
        {"counting_threshold": -0.1},
        {"max_overlap": 2.0},
        {"max_objects": 0},
        {"position_threshold": -1},
    ],
    ids=str,
)
def test_numbers_that_are_no_rules_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(numbers))):
        Rules(**numbers)


def test_what_is_wanted_of_a_detector_is_what_the_prompt_names() -> None:
    wanted = TWO_COLORS.wanted
    assert (wanted.names, wanted.colored, wanted.colors) == (("car", "bus"), {"car", "bus"}, COLORS)
    assert THREE.wanted.names == ("cat",)
    assert THREE.wanted.colors == ()


def test_detections_come_back_as_they_were_written() -> None:
    for one in (seen("car", color="red"), seen("dog"), Detected("car", 0.5, LEFT, {}, "too small")):
        assert Detected.from_json(one.to_json()) == one

"""The arithmetic of the detector reward: what must hold for all boxes, and the published code's mistakes by example."""

import itertools
import json
from collections.abc import Sequence

import numpy as np
import pytest
from tests.rewards.goldens import shared

from pyrite.rewards.boxes import (
    DUPLICATE_IOU,
    NEAR_FRAC,
    RELATIONS,
    Detection,
    Mode,
    corners,
    iou,
    nms,
    numeracy_score,
    object_score,
    position_score,
    relation_of,
    spatial_score,
)

SEEDS = range(40)
SIZE = (640, 480)
NUMERACY = ({"obj_name": "cat", "num": 2}, {"obj_name": "dog", "num": 1})
EXACT = {"rel": 0, "abs": 1e-12}


def some(seed: int, num: int = 6, phrases: Sequence[str] = ("cat", "dog")) -> list[Detection]:
    """Boxes inside the image, of distinct scores."""
    rng = np.random.default_rng(seed)
    found = []
    for score in rng.permutation(np.linspace(0.31, 0.95, num)):
        size = rng.uniform(0.02, 0.5, 2)
        centre = rng.uniform(size / 2, 1 - size / 2)
        found.append(Detection(str(rng.choice(phrases)), float(score), (*centre.tolist(), *size.tolist())))
    return found


def info(locality: str) -> dict[str, str]:
    return {"obj1": "cat", "obj2": "dog", "locality": locality}


def spatial(locality: str, found: Sequence[Detection], size: tuple[int, int] = SIZE, mode: Mode = "fixed") -> float:
    return spatial_score(info(locality), found, size=size, mode=mode)


def moved(found: Sequence[Detection], x: tuple[float, float], y: tuple[float, float]) -> list[Detection]:
    """Each centre coordinate c becomes factor * c + shift."""
    return [one._replace(box=(x[0] * one.box[0] + x[1], y[0] * one.box[1] + y[1], *one.box[2:])) for one in found]


# --- boxes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_iou_is_the_share_of_common_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.zeros((2, 30, 30), bool)
    boxes = []
    for canvas in pixels:
        (left, right), (top, bottom) = (np.sort(rng.choice(30, 2, replace=False)) for _ in "xy")
        canvas[top:bottom, left:right] = True
        boxes.append(np.array([left, top, right, bottom], float))
    expected = (pixels[0] & pixels[1]).sum() / (pixels[0] | pixels[1]).sum()
    assert iou(*boxes) == pytest.approx(expected, **EXACT)
    assert iou(boxes[1], boxes[0]) == pytest.approx(expected, **EXACT)
    assert iou(3 * boxes[0] + 7, 3 * boxes[1] + 7) == pytest.approx(expected, **EXACT)


def test_boxes_without_area_do_not_overlap() -> None:
    point = np.array([1.0, 1, 1, 1])
    assert iou(point, point) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_nms_keeps_the_best_and_what_hardly_overlaps_it(seed: int) -> None:
    found = some(seed, num=12)
    boxes, scores = corners(np.array([one.box for one in found]), *SIZE), [one.score for one in found]
    kept = nms(boxes, scores)
    assert kept == sorted(kept, key=lambda row: -scores[row])
    for row in range(len(found)):
        better = [best for best in kept if scores[best] > scores[row]]
        assert (row in kept) == all(iou(boxes[best], boxes[row]) <= DUPLICATE_IOU for best in better)
    order = np.random.default_rng(seed).permutation(len(found))
    shuffled = nms(boxes[order], [scores[row] for row in order])
    assert [order[row] for row in shuffled] == kept


def test_nms_suppresses_strictly_more_than_the_threshold_and_prefers_the_earlier_of_equals() -> None:
    half = np.array([[0.0, 0, 2, 1], [0, 0, 1, 1]])
    assert iou(*half) == 0.5
    assert nms(half, [0.9, 0.8]) == [0, 1]
    assert nms(np.array([[0.0, 0, 2, 2], [0, 0, 2, 2]]), [0.5, 0.5]) == [0]
    assert nms(np.empty((0, 4)), []) == []


def test_corners_are_in_pixels_of_the_image() -> None:
    assert Detection("cat", 0.5, (0.5, 0.25, 0.5, 0.1)).corners((200, 100)) == (50, 20, 150, 30)


# --- laws of the fixed mode -----------------------------------------------------------------------------------------

MIRRORED = {"left": "right", "right": "left", "above": "above", "below": "below", "near": "near"}
FLIPPED = {"left": "left", "right": "right", "above": "below", "below": "above", "near": "near"}
TURNED = {"left": "above", "right": "below", "above": "left", "below": "right", "near": "near"}
SWAPPED = {"left": "right", "right": "left", "above": "below", "below": "above", "near": "near"}
WORD = {"left": "left of", "right": "right of", "above": "above", "below": "below", "near": "near"}


@pytest.mark.parametrize("locality", RELATIONS)
def test_in_a_mirror_left_is_right_and_upside_down_above_is_below(locality: str) -> None:
    relation = RELATIONS[locality]
    for seed in SEEDS:
        found = some(seed)
        score = spatial(locality, found)
        mirror, flip = moved(found, (-1, 1), (1, 0)), moved(found, (1, 0), (-1, 1))
        assert spatial(WORD[MIRRORED[relation]], mirror) == pytest.approx(score, **EXACT)
        assert spatial(WORD[FLIPPED[relation]], flip) == pytest.approx(score, **EXACT)


@pytest.mark.parametrize("relation", WORD)
def test_a_turned_image_has_the_turned_relation_and_swapped_objects_the_opposite_one(relation: str) -> None:
    for seed in SEEDS:
        found = some(seed)
        score = spatial(WORD[relation], found)
        turned = [one._replace(box=(one.box[1], one.box[0], one.box[3], one.box[2])) for one in found]
        assert spatial(WORD[TURNED[relation]], turned, SIZE[::-1]) == pytest.approx(score, **EXACT)
        other = {"obj1": "dog", "obj2": "cat", "locality": WORD[SWAPPED[relation]]}
        assert spatial_score(other, found, size=SIZE) == pytest.approx(score, **EXACT)


@pytest.mark.parametrize("scale", [0.1, 3, 17.5])
def test_a_larger_copy_of_the_image_scores_the_same(scale: float) -> None:
    larger = (int(SIZE[0] * scale), int(SIZE[1] * scale))
    for seed in SEEDS:
        found = some(seed)
        for locality in WORD.values():
            assert spatial(locality, found, larger) == pytest.approx(spatial(locality, found), **EXACT)
        assert numeracy_score(NUMERACY, found, size=larger) == numeracy_score(NUMERACY, found, size=SIZE)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_detections_does_not_matter(seed: int) -> None:
    found = some(seed)
    shuffled = [found[row] for row in np.random.default_rng(seed).permutation(len(found))]
    for mode in ("fixed", "reference"):
        for locality in WORD.values():
            assert spatial(locality, shuffled, mode=mode) == spatial(locality, found, mode=mode)
        scores = [numeracy_score(NUMERACY, each, size=SIZE, mode=mode) for each in (found, shuffled)]
        assert scores[0] == scores[1]
    assert object_score(("cat", "dog"), found) == object_score(("cat", "dog"), shuffled)


@pytest.mark.parametrize("seed", SEEDS)
def test_more_duplicates_never_help(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = some(seed)
    copies = []
    for one in found:
        shift = np.array([*(rng.uniform(-0.05, 0.05, 2) * one.box[2:]), 0, 0])  # an IoU of at least 0.8
        copies.append(Detection(one.phrase, one.score - 0.3, tuple((np.array(one.box) + shift).tolist())))
    for locality in WORD.values():
        assert spatial(locality, [*found, *copies]) == spatial(locality, found)
    assert numeracy_score(NUMERACY, [*found, *copies], size=SIZE) == numeracy_score(NUMERACY, found, size=SIZE)
    assert object_score(("cat", "bird"), [*found, *copies]) == object_score(("cat", "bird"), found)


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_keep_to_their_ranges(seed: int) -> None:
    found = some(seed, phrases=("cat", "dog", "bird"))[: seed % 7]
    for mode in ("fixed", "reference"):
        for locality in RELATIONS:
            score = spatial(locality, found, mode=mode)
            assert score in (0, 0.2) or 0.4 <= score <= 0.9
        assert 0 <= numeracy_score(NUMERACY, found, size=SIZE, mode=mode) <= 1
    assert object_score(("cat", "dog"), found) in (0, 0.5, 1)


def test_the_more_two_boxes_overlap_the_less_one_is_left_of_the_other() -> None:
    second = np.array([100.0, 0, 200, 100])
    scores = [position_score("left", second - [shift, 0, shift, 0], second, 1) for shift in range(120, 0, -5)]
    assert scores[0] == 1
    assert all(after <= before for before, after in itertools.pairwise(scores))
    assert 0.1 < scores[-1] < 0.12  # 0.1 over an IoU of 95 / 105


def test_directions_are_as_words_have_them() -> None:
    for locality, box in {
        "left of": (0.1, 0.5),
        "right of": (0.9, 0.5),
        "above": (0.5, 0.1),
        "below": (0.5, 0.9),
    }.items():
        found = [Detection("cat", 0.9, (*box, 0.1, 0.1)), Detection("dog", 0.9, (0.5, 0.5, 0.1, 0.1))]
        assert spatial(locality, found) == pytest.approx(0.9)
        others = [word for word in WORD.values() if word not in (locality, "near")]
        assert [spatial(word, found) for word in others] == pytest.approx([0.4] * 3)


def test_the_best_box_of_each_object_decides() -> None:
    found = [
        Detection("cat", 0.4, (0.9, 0.5, 0.1, 0.1)),
        Detection("cat", 0.8, (0.1, 0.5, 0.1, 0.1)),
        Detection("dog", 0.5, (0.5, 0.5, 0.1, 0.1)),
    ]
    assert spatial("left of", found) == pytest.approx(0.9)
    assert spatial("left of", found[::2]) == pytest.approx(0.4)
    assert spatial("left of", found[:2]) == 0.2
    assert spatial("left of", []) == 0


def test_in_a_wide_image_distances_are_those_one_sees() -> None:
    found = [Detection("cat", 0.9, (0.4, 0.3, 0.05, 0.05)), Detection("dog", 0.9, (0.6, 0.7, 0.05, 0.05))]
    assert spatial("left of", found, (1000, 200)) == pytest.approx(0.9)  # 200 px across, 80 px down
    assert spatial("left of", found, (1000, 200), "reference") == pytest.approx(0.4)  # 0.2 across, 0.4 down


def test_near_is_as_near_as_in_the_reference_at_the_size_it_draws() -> None:
    assert NEAR_FRAC * 384 == 150
    corner = [Detection("cat", 0.9, (0.05, 0.05, 0.1, 0.1)), Detection("dog", 0.9, (0.95, 0.95, 0.1, 0.1))]
    # 0.9 of 384 px apart both ways
    assert spatial("next to", corner, (384, 384)) == pytest.approx(0.4 + 150 / (0.9 * 384) / 2)
    row = [corner[0], corner[1]._replace(box=(0.95, 0.05, 0.1, 0.1))]
    assert spatial("near", row, (384, 384)) == pytest.approx(0.9)  # T2I-CompBench's rule asks one direction alone


def test_a_right_number_is_1_a_wrong_one_a_fifth_and_none_nothing() -> None:
    apart = [Detection("cat", 0.9, (x, 0.5, 0.1, 0.1)) for x in (0.1, 0.5, 0.9)]
    assert [numeracy_score(NUMERACY[:1], apart[:num], size=SIZE) for num in range(4)] == [0, 0.2, 1, 0.2]
    assert numeracy_score(NUMERACY, apart[:2], size=SIZE) == 0.5


# --- the mistakes of the published code -----------------------------------------------------------------------------


@pytest.mark.parametrize("locality", ["above", "on top of"])
def test_the_reference_does_not_know_above(locality: str) -> None:
    found = [Detection("cat", 0.9, (0.5, 0.1, 0.1, 0.1)), Detection("dog", 0.9, (0.5, 0.9, 0.1, 0.1))]
    assert relation_of(locality, "reference") is None
    assert spatial(locality, found, mode="reference") == pytest.approx(0.4)
    assert spatial(locality, found) == pytest.approx(0.9)


def test_in_the_reference_opposite_corners_are_next_to_each_other() -> None:
    corner = [Detection("cat", 0.9, (0.05, 0.05, 0.1, 0.1)), Detection("dog", 0.9, (0.95, 0.95, 0.1, 0.1))]
    assert spatial("next to", corner, mode="reference") == pytest.approx(0.9)


def test_the_reference_counts_a_small_thing_as_often_as_it_was_found() -> None:
    twice = [Detection("cat", 0.9, (0.2, 0.2, 0.1, 0.1)), Detection("cat", 0.8, (0.205, 0.2, 0.1, 0.1))]
    found = [*twice, Detection("cat", 0.7, (0.7, 0.7, 0.1, 0.1))]
    assert numeracy_score(NUMERACY[:1], found, size=SIZE, mode="reference") == 0.2
    assert numeracy_score(NUMERACY[:1], found, size=SIZE) == 1


def test_the_reference_gives_0_where_its_code_fails() -> None:
    found = [Detection("cat", 0.9, (0.5, 0.1, 0.1, 0.1)), Detection("dog", 0.9, (0.5, 0.9, 0.1, 0.1))]
    same = {"obj1": "cat", "obj2": "cat", "locality": "near"}
    assert spatial_score(same, found, size=SIZE, mode="reference") == 0
    assert spatial_score({"obj1": "cat", "obj2": "dog"}, found, size=SIZE, mode="reference") == 0


def test_every_locality_of_the_training_prompts_is_known() -> None:
    lines = shared("prompts/t2i_r1_train.jsonl").read_text().splitlines()
    words = {row["spatial_info"]["locality"] for row in map(json.loads, lines) if row.get("spatial_info")}
    assert words <= RELATIONS.keys()

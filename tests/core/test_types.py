import json

import numpy as np
import pytest
from PIL import Image

from pyrite.core.types import Prompt, Rollouts, Scores

NUMERACY_LINE = (
    '{"prompt": "three red circles and a blue square", "nouns": ["circles", "square"], '
    '"attr_nouns": ["red circles", "blue square"], "numeracy_info": [{"obj": "circle", "num": 3}], '
    '"task_type": "numeracy"}'
)
SPATIAL_LINE = (
    '{"prompt": "a photo of a cup left of a lamp", "nouns": ["cup", "lamp"], '
    '"spatial_info": {"obj1": "cup", "obj2": "lamp", "locality": "left of"}, "task_type": "spatial"}'
)


@pytest.mark.parametrize("line", [NUMERACY_LINE, SPATIAL_LINE], ids=["numeracy", "spatial"])
def test_a_line_of_t2i_r1_form_survives_the_round_trip(line: str) -> None:
    row = json.loads(line)
    assert Prompt.from_json(row).to_json() == row


def test_a_prompt_reads_the_fields_of_t2i_r1_under_their_names() -> None:
    prompt = Prompt.from_json(json.loads(SPATIAL_LINE))
    assert prompt.text == "a photo of a cup left of a lamp"
    assert prompt.nouns == ("cup", "lamp")
    assert prompt.spatial_info == {"obj1": "cup", "obj2": "lamp", "locality": "left of"}


def test_keys_that_belong_to_others_are_ignored() -> None:
    assert Prompt.from_json({"prompt": "a cup", "their_key": 1}) == Prompt("a cup")


def test_empty_fields_are_left_out_of_the_json() -> None:
    assert Prompt("a cup", id="7").to_json() == {"prompt": "a cup", "id": "7"}


@pytest.mark.parametrize(
    "row", [{"text": "a cup"}, {"prompt": "  "}, {"prompt": None}], ids=["other key", "blank", "null"]
)
def test_a_prompt_object_without_text_names_the_keys_it_has(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"needs a text under the key 'prompt'; its keys are \['{next(iter(row))}'\]"):
        Prompt.from_json(row)


def test_scores_keep_values_reasons_and_details() -> None:
    scores = Scores(np.array([0.5, np.nan]), {1: "too dark"}, {"sharpness": np.array([1.0, np.nan])})
    assert len(scores) == 2
    assert scores.values.dtype == np.float64
    assert scores.reasons == {1: "too dark"}


def test_scores_do_not_change_when_the_callers_array_does() -> None:
    given = np.array([0.5, 0.25])
    scores = Scores(given)
    given[0] = 9.0
    assert scores.values[0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        scores.values[0] = 9.0


@pytest.mark.parametrize(
    ("values", "reasons", "message"),
    [
        ([np.nan, 1.0], {}, r"rows \[0\] are NaN without one"),
        ([1.0, 1.0], {1: "why"}, r"rows \[1\] have a reason and a number"),
        ([1.0], {4: "why"}, r"rows \[4\] have a reason"),
        ([1.0, np.inf], {}, r"infinite score in rows \[1\]: say NaN and why"),
        ([1.0, -np.inf], {1: "why"}, r"infinite score in rows \[1\]"),
        ([[1.0, 2.0]], {}, r"shape \(N,\); got shape \(1, 2\)"),
    ],
    ids=["nan without reason", "reason without nan", "reason for no row", "infinite", "negative infinite", "matrix"],
)
def test_scores_refuse(values: list[float], reasons: dict[int, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scores(np.array(values), reasons)


def test_scores_refuse_a_detail_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"detail 'parts' has shape \(3,\), the scores have \(2,\)"):
        Scores(np.zeros(2), {}, {"parts": np.zeros(3)})


def test_unscored_gives_every_row_the_reason() -> None:
    scores = Scores.unscored(3, "the server is down")
    assert np.isnan(scores.values).all()
    assert scores.reasons == dict.fromkeys(range(3), "the server is down")


def test_concatenation_shifts_reasons_and_fills_absent_details_with_nan() -> None:
    first = Scores(np.array([1.0, 2.0]), {}, {"part": np.array([0.1, 0.2])})
    second = Scores(np.array([np.nan, 4.0]), {0: "blank image"})
    joined = Scores.concatenate([first, second])
    np.testing.assert_array_equal(joined.values, [1.0, 2.0, np.nan, 4.0])
    assert joined.reasons == {2: "blank image"}
    np.testing.assert_array_equal(joined.details["part"], [0.1, 0.2, np.nan, np.nan])


def test_concatenating_nothing_gives_no_scores() -> None:
    assert len(Scores.concatenate([])) == 0


def rollouts(*, group_size: int = 2, num_images: int = 4, mask_shape: tuple[int, int] = (4, 3)) -> Rollouts:
    return Rollouts(
        prompts=[Prompt("a cup")] * 4,
        group_size=group_size,
        images=[Image.new("RGB", (2, 2))] * num_images,
        tokens=np.zeros((4, 3), np.int64),
        behaviour_logp=np.zeros((4, 3), np.float32),
        mask=np.ones(mask_shape, np.bool_),
    )


def test_rollouts_count_their_rows() -> None:
    assert len(rollouts()) == 4


@pytest.mark.parametrize("group_size", [0, 3, -2])
def test_rollouts_that_do_not_divide_into_groups_are_refused(group_size: int) -> None:
    with pytest.raises(ValueError, match=f"4 rollouts do not divide into groups of {group_size}"):
        rollouts(group_size=group_size)


def test_rollouts_whose_parts_disagree_are_refused_with_every_size() -> None:
    with pytest.raises(ValueError, match="4 prompts, 3 images and arrays of shapes"):
        rollouts(num_images=3)
    with pytest.raises(ValueError, match=r"arrays of shapes \[\(4, 2\), \(4, 3\)\] disagree"):
        rollouts(mask_shape=(4, 2))

import numpy as np
import pytest
from tests.audit.pairs.planted import images_of, simple

from pyrite.audit.pairs.images import pair_up
from pyrite.core.errors import ImageSetError

WHOLE = [("a", 0, "", None), ("a", 1, "smear", 0.5)]


def test_every_artifact_of_a_picture_is_a_pair_with_its_clean_side_and_neutral_changes_are_pairs_apart() -> None:
    rows = [("a", 1, "smear", 0.5), ("a", 0, "flip", 1.0), ("a", 0, "", 0.0), ("a", 1, "ghost", 1.0)]
    found = pair_up(images_of(rows, {"r": [1, 2, 3, 4]}))
    assert found.damaged.clean.tolist() == [2, 2]
    assert found.damaged.changed.tolist() == [0, 3]
    assert found.damaged.kind_names == ["smear", "ghost"]
    assert (found.neutral.clean.tolist(), found.neutral.changed.tolist()) == ([2], [1])
    np.testing.assert_array_equal(found.damaged.margin("r"), [2, -1])


def test_a_clean_side_that_names_the_kind_of_its_pair_is_the_clean_side() -> None:
    found = pair_up(images_of([("a", 0, "hands", None), ("a", 1, "hands", None)], {"r": [1, 0]}))
    assert (len(found.damaged), len(found.neutral)) == (1, 0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*WHOLE, ("b", 0, "", None)], "pair 'b': it has no image with label 1"),
        ([*WHOLE, ("b", 1, "", None)], "pair 'b': it has no image with label 0"),
        (
            [*WHOLE, ("b", 0, "", None), ("b", 0, "", None), ("b", 1, "", None)],
            "pair 'b': it has 2 clean sides, 'i2' a",
        ),
        ([*WHOLE, ("b", 0, "x", None), ("b", 0, "y", None), ("b", 1, "", None)], "pair 'b': it has 2 clean sides"),
        ([*WHOLE, ("", 0, "", None), ("", 1, "", None)], "2 images: they have no pair_id, the first is 'i2'"),
    ],
    ids=["no damaged side", "no clean side", "two clean sides", "which clean side", "no pair id"],
)
def test_what_makes_no_pair_is_named_or_left_out_and_counted(rows, message) -> None:
    images = images_of(rows, {"r": np.arange(len(rows))})
    with pytest.raises(ImageSetError, match=r"1 problems, and 1 pairs that are whole.*--skip-bad") as refused:
        pair_up(images)
    assert message in str(refused.value)
    found = pair_up(images, skip_bad=True)
    assert len(found.damaged) == 1
    assert len(found.skipped) == 1


def test_all_problems_are_named_at_once_up_to_twenty() -> None:
    rows = [*WHOLE, *((f"x{k}", k % 2, "", None) for k in range(30))]
    with pytest.raises(ImageSetError, match=r"(?s)30 problems.*'x19'.*and 10 more") as refused:
        pair_up(images_of([(p, label, k, s) for p, label, k, s in rows], {"r": np.arange(32)}))
    assert "'x20'" not in str(refused.value)


@pytest.mark.parametrize(("label", "word"), [(0, r"0 \(clean\)"), (1, r"1 \(artifacts\)")])
def test_a_set_of_one_class_is_refused_even_when_bad_entries_may_be_skipped(label, word) -> None:
    images = images_of([("a", label, "", None), ("b", label, "", None)], {"r": [1, 2]})
    for skip_bad in (False, True):
        with pytest.raises(ImageSetError, match=f"all 2 images have label {word}.*pyrite audit probe"):
            pair_up(images, skip_bad=skip_bad)


def test_a_reward_without_a_score_for_any_pair_is_refused_with_its_reason() -> None:
    images = simple([1, 2], [0, np.nan], s=[np.nan, 1.0, np.nan, 1.0])
    with pytest.raises(ImageSetError, match=r"'s' has no score for both sides of any of the 2 pairs \(the first reaso"):
        pair_up(images)

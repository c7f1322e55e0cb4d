import numpy as np
import pytest
from tests.audit.pairs.planted import images_of, ladder_of

from pyrite.audit.pairs.images import pair_up
from pyrite.audit.pairs.ladder import invariances, monotonicity, separation, severity_curve

SCORES = {
    "falls": lambda picture, kind, severity, broken, rng: picture - severity * broken,
    "climbs": lambda picture, kind, severity, broken, rng: picture + severity * broken,
    "flat": lambda picture, kind, severity, broken, rng: float(picture),
    "constant": lambda *_: 1.0,
    "likes_flips": lambda picture, kind, severity, broken, rng: float(kind == "flip") * (picture % 4 != 0) - broken,
}


@pytest.fixture(scope="module")
def paired():
    return pair_up(ladder_of(12, SCORES))


@pytest.mark.parametrize(("name", "value"), [("falls", 1), ("climbs", -1), ("flat", 0), ("constant", 0)])
def test_monotonicity_is_one_where_every_step_down_is_a_step_down(paired, name, value) -> None:
    found = monotonicity(paired.damaged.of_kind("smear"), name)
    assert (found.estimate, found.low, found.high) == pytest.approx((value, value, value))


def test_monotonicity_of_one_picture_by_hand() -> None:
    """Severities 0, .25, .5, 1 and scores 9, 5, 7, 1: ranks 1 2 3 4 against 4 2 3 1, ρ = 1 - 6·18/60 = -0.8."""
    rows = [("a", 0, "", None), ("a", 1, "x", 0.25), ("a", 1, "x", 0.5), ("a", 1, "x", 1.0)]
    found = monotonicity(pair_up(images_of(rows, {"r": [9, 5, 7, 1]})).damaged, "r")
    assert found.estimate == pytest.approx(0.8)
    assert np.isnan(found.low)


def test_a_picture_with_one_scored_severity_has_no_order_and_is_left_out() -> None:
    rows = [("a", 0, "", None), ("a", 1, "x", 0.5), ("a", 1, "x", 1.0)]
    found = monotonicity(pair_up(images_of(rows, {"r": [9, 5, np.nan]})).damaged, "r")
    assert np.isnan(found.estimate)


def test_the_curve_begins_at_zero_and_counts_in_standard_deviations(paired) -> None:
    pairs = paired.damaged.of_kind("ghost")
    severities, curve = severity_curve(pairs, "falls")
    assert severities.tolist() == [0, 0.25, 0.5, 1]
    np.testing.assert_allclose(curve.mean, -severities / pairs.images.spread("falls"))
    np.testing.assert_allclose(curve.low, curve.mean)
    assert np.isnan(severity_curve(pairs, "constant")[1].mean).all()


def test_too_few_pictures_have_a_curve_without_a_band() -> None:
    _, curve = severity_curve(pair_up(ladder_of(4, SCORES)).damaged.of_kind("smear"), "falls")
    assert np.isfinite(curve.mean).all()
    assert np.isnan(curve.low).all()


def test_a_reward_that_marks_down_whatever_was_touched_separates_nothing() -> None:
    """It is right about every pair, for their clean side is untouched; an oracle is right about these as well."""
    touched = {
        "touched": lambda picture, kind, severity, broken, rng: -float(kind != ""),
        "oracle": lambda picture, kind, severity, broken, rng: -float(broken),
    }
    paired = pair_up(ladder_of(8, touched))
    assert (paired.damaged.margin("touched") > 0).all()
    assert separation(paired, "touched").estimate == 0.5
    assert separation(paired, "oracle").estimate == 1
    assert np.isnan(separation(pair_up(ladder_of(8, touched, neutral=())), "oracle").estimate)


def test_separation_by_hand() -> None:
    """Neutral 3, 1 and damaged 2, 1 of one picture: 3 > 2, 3 > 1, 1 < 2, 1 = 1, so 2.5 of 4."""
    rows = [("a", 0, "", None), ("a", 0, "flip", 1.0), ("a", 0, "crop", 1.0), ("a", 1, "x", 1.0), ("a", 1, "y", 1.0)]
    assert separation(pair_up(images_of(rows, {"r": [9, 3, 1, 2, 1]})), "r").estimate == 2.5 / 4


def test_neutral_changes_are_counted_up_and_down(paired) -> None:
    """Nine of twelve pictures score 1 higher after a flip, three the same; every picture has three flips."""
    found = {item.reward: item for item in invariances(paired.neutral, paired.rewards)}
    likes = found["likes_flips"]
    assert (likes.kind, likes.num_scored) == ("flip", 36)
    assert (likes.preferred.estimate, likes.dispreferred.estimate) == (0.75, 0)
    assert likes.shift.estimate == pytest.approx(0.75 / paired.images.spread("likes_flips"))
    assert likes.shift.low < likes.shift.estimate < likes.shift.high
    assert found["falls"].preferred.estimate == found["falls"].dispreferred.estimate == 0
    assert found["falls"].shift.estimate == 0
    assert np.isnan(found["constant"].shift.estimate)

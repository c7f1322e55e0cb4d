import numpy as np
import pytest
from tests.audit.pairs.planted import images_of, ladder_of, simple

from pyrite.audit.pairs.images import pair_up
from pyrite.audit.pairs.outcomes import outcomes, pair_test, tally


def test_a_table_counted_by_hand() -> None:
    found = pair_test(
        pair_up(
            simple(
                [3, 2, 1, 5, 4, np.nan, 7],
                [1, 2, 2, 4, 4, 3, np.nan],
                ["smear", "smear", "smear", "ghost", "ghost", "ghost", "ghost"],
            )
        )
    )
    whole = found.overall["r"]
    assert (whole.num_correct, whole.num_tie, whole.num_wrong, whole.num_unscored) == (2, 2, 1, 2)
    assert whole.accuracy.estimate == 2 / 5
    assert whole.decided == 2 / 3
    assert whole.wrong.estimate == 1 / 5
    smear, ghost = found.by_kind["r"]["smear"], found.by_kind["r"]["ghost"]
    assert (smear.num_correct, smear.num_tie, smear.num_wrong, smear.num_unscored) == (1, 1, 1, 0)
    assert (ghost.num_correct, ghost.num_tie, ghost.num_wrong, ghost.num_unscored) == (1, 1, 0, 2)


def test_the_papers_own_row_gives_the_papers_own_number() -> None:
    """arXiv:2601.03468, Table 2: 161 correct, 2 ties, 39 wrong of 202 pairs is an accuracy of 0.80."""
    found = tally(np.repeat([1.0, 0.0, -1.0], [161, 2, 39]), np.arange(202).astype(str))
    assert found.num_scored == 202
    assert round(found.accuracy.estimate, 2) == 0.80


def test_swapping_the_sides_changes_every_sign() -> None:
    margin = np.array([0.5, 0.0, -2.0, np.nan, 1e-9, -1e-9])
    for tolerance in (0.0, 1e-6, 0.7):
        np.testing.assert_array_equal(outcomes(-margin, tolerance), -outcomes(margin, tolerance))


@pytest.mark.parametrize("transform", [np.exp, lambda x: 3 * x - 7, np.arctan], ids=["exp", "affine", "arctan"])
def test_only_the_order_of_the_scores_counts(transform) -> None:
    rng = np.random.default_rng(0)
    clean, damaged = rng.normal(size=50), rng.normal(size=50)
    damaged[:5] = clean[:5]
    before = pair_test(pair_up(simple(clean, damaged)))
    after = pair_test(pair_up(simple(transform(clean), transform(damaged))))
    np.testing.assert_array_equal(before.outcomes["r"], after.outcomes["r"])
    assert before.overall == after.overall


def test_a_constant_ties_everywhere_an_oracle_is_always_right_and_its_opposite_never() -> None:
    images = ladder_of(
        12,
        {
            "constant": lambda *_: 0.3,
            "oracle": lambda picture, kind, severity, broken, rng: -severity * broken,
            "opposite": lambda picture, kind, severity, broken, rng: severity * broken,
        },
    )
    found = pair_test(pair_up(images), tie_sd=0.0)
    assert found.overall["constant"].num_tie == found.overall["constant"].num_scored == 72
    assert found.overall["constant"].accuracy.estimate == 0
    assert np.isnan(found.overall["constant"].decided)
    assert found.overall["oracle"].accuracy.estimate == 1
    assert found.overall["oracle"].accuracy.low > 0.7
    assert found.overall["opposite"].wrong.estimate == 1


def test_a_tie_within_a_tolerance_is_in_standard_deviations_of_the_rewards_scores() -> None:
    """Scores 0 and 10 on ten images each: sd = 5.13, so margins of 0.5 are ties at 0.1 sd and not at 0.09."""
    clean, damaged = np.repeat([0.5, 10.0], 5), np.repeat([0.0, 9.5], 5)
    images = simple(clean, damaged)
    spread = images.spread("r")
    assert spread == pytest.approx(np.std(np.concatenate([clean, damaged]), ddof=1))
    at = pair_test(pair_up(images), tie_sd=1.0001 * 0.5 / spread)
    below = pair_test(pair_up(images), tie_sd=0.9999 * 0.5 / spread)
    assert at.overall["r"].num_tie == 10
    assert below.overall["r"].num_correct == 10


def test_a_constant_reward_ties_at_any_tolerance() -> None:
    images = simple([1] * 6, [1] * 6)
    assert pair_test(pair_up(images), tie_sd=0.1).overall["r"].num_tie == 6


def test_severities_are_counted_apart() -> None:
    images = ladder_of(6, {"late": lambda picture, kind, severity, broken, rng: -float(broken and severity == 1)})
    found = pair_test(pair_up(images)).by_severity["late"]
    assert list(found) == [0.25, 0.5, 1.0]
    assert [tally.accuracy.estimate for tally in found.values()] == [0, 0, 1]


def test_pairs_of_one_picture_are_one_cluster() -> None:
    """Twelve pairs of three pictures: three are too few for an interval, though twelve were enough."""
    rows = [(f"p{k}", 0, "", None) for k in range(3)]
    rows += [(f"p{k}", 1, f"kind{j}", None) for k in range(3) for j in range(4)]
    found = pair_test(pair_up(images_of(rows, {"r": [1] * 3 + [0] * 12})))
    assert found.overall["r"].num_scored == 12
    assert np.isnan(found.overall["r"].accuracy.low)

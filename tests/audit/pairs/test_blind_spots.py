import numpy as np
import pytest
from tests.audit.pairs.planted import ladder_of, simple

from pyrite.audit.pairs.blind_spots import Sight, blind_spots, definition, sentence, sight_of
from pyrite.audit.pairs.images import pair_up
from pyrite.audit.pairs.outcomes import pair_test, tally


def counted(correct: int, tie: int, wrong: int):
    found = np.repeat([1.0, 0.0, -1.0], [correct, tie, wrong])
    return tally(found, np.arange(len(found)).astype(str))


@pytest.mark.parametrize(
    ("correct", "tie", "wrong", "sight"),
    [
        (100, 0, 0, Sight.SEES),
        (86, 0, 14, Sight.SEES),
        (75, 0, 25, Sight.UNSURE),
        (60, 0, 40, Sight.BLIND),
        (0, 100, 0, Sight.BLIND),
        (50, 0, 50, Sight.BLIND),
        (30, 0, 70, Sight.PREFERS),
        (6, 0, 4, Sight.UNSURE),
        (4, 0, 0, Sight.UNSURE),
        (0, 0, 0, Sight.UNKNOWN),
    ],
)
def test_a_reward_sees_is_blind_or_prefers_the_damage_only_beyond_doubt(correct, tie, wrong, sight) -> None:
    assert sight_of(counted(correct, tie, wrong)) is sight


def test_the_threshold_decides_what_counts_as_seeing() -> None:
    assert sight_of(counted(60, 0, 40), threshold=0.4) is Sight.SEES
    assert sight_of(counted(95, 0, 5), threshold=0.99) is Sight.BLIND
    assert "at least 60%" in definition(0.6)


def test_the_sentence_names_the_worst_kind_first() -> None:
    images = ladder_of(
        30,
        {
            "picky": lambda picture, kind, severity, broken, rng: (
                {"smear": -1, "ghost": 1, "seam": 0}.get(kind, 0) * severity
            ),
            "sharp": lambda picture, kind, severity, broken, rng: -severity * broken,
        },
        kinds=("smear", "seam", "ghost"),
    )
    spots = blind_spots(pair_test(pair_up(images)))
    by = {name: [spot for spot in spots if spot.reward == name] for name in ("picky", "sharp")}
    assert sentence(by["picky"]) == "picky prefers the damage of ghost (0.00), is blind to seam (0.00) and sees smear."
    assert sentence(by["sharp"]) == "sharp sees every kind."
    assert [spot.is_blind for spot in by["picky"]] == [False, True, True]


def test_a_set_without_kinds_is_one_kind() -> None:
    spots = blind_spots(pair_test(pair_up(simple([1] * 9, [0] * 9, [""] * 9))))
    assert [(spot.kind, spot.tally.num_correct) for spot in spots] == [("all pairs", 9)]

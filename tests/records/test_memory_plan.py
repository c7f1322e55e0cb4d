import itertools
import math

import pytest

from pyrite.records.memory_plan import ELSEWHERE, PRECISIONS, WORKING_FRAC, parse_bytes, plan_memory

NUM = {"hps": 1_000, "maniqa": 100, "orm": 8_000, "artifact": 8_300}
LARGE, EXACT = ("orm", "artifact"), ("maniqa",)


def room_for(num_bytes: int) -> int:
    return math.ceil(num_bytes / (1 - WORKING_FRAC))


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [
        pytest.param(37_000, ("float32", "float32", "bfloat16", "bfloat16"), id="everything at its best"),
        pytest.param(36_999, ("bfloat16", "float32", "bfloat16", "bfloat16"), id="the small one is halved first"),
        pytest.param(34_999, ("float32", "float32", "bfloat16", ELSEWHERE), id="the largest goes elsewhere"),
        pytest.param(18_400, ("bfloat16", "float32", "bfloat16", ELSEWHERE), id="and the small one is halved again"),
        pytest.param(18_399, ("float32", "float32", ELSEWHERE, ELSEWHERE), id="both large ones"),
        pytest.param(2_399, (ELSEWHERE, "float32", ELSEWHERE, ELSEWHERE), id="only the one that must stay exact"),
        pytest.param(399, (ELSEWHERE,) * 4, id="nothing"),
    ],
)
def test_what_stays_and_in_which_precision(num_bytes: int, expected: tuple[str, ...]) -> None:
    placements = plan_memory(NUM, room_for(num_bytes), exact=EXACT, large=LARGE)
    assert tuple(placed.precision for placed in placements) == expected


@pytest.mark.parametrize(
    ("num_bytes", "expected"), [(16_600, "bfloat16"), (16_599, "8bit"), (8_299, "4bit"), (4_149, ELSEWHERE)]
)
def test_a_large_model_alone_is_quantised_before_it_is_sent_away(num_bytes: int, expected: str) -> None:
    (placed,) = plan_memory({"artifact": 8_300}, room_for(num_bytes), large=LARGE)
    assert placed.precision == expected


def test_what_stays_always_fits_and_more_room_never_keeps_less() -> None:
    kept = []
    for room in range(0, 60_000, 500):
        placements = plan_memory(NUM, room, exact=EXACT, large=LARGE)
        assert [placed.reward for placed in placements] == list(NUM)
        assert sum(placed.num_bytes for placed in placements) <= room * (1 - WORKING_FRAC)
        for placed in placements:
            assert placed.num_bytes == int(NUM[placed.reward] * PRECISIONS.get(placed.precision, 0))
        kept.append(sum(placed.precision != ELSEWHERE for placed in placements))
    assert all(fewer <= more for fewer, more in itertools.pairwise(kept))


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("80GB", 80 * 10**9),
        ("22.5 GiB", int(22.5 * 2**30)),
        ("500m", 500 * 10**6),
        ("1024", 1024),
        ("2 TB", 2 * 10**12),
    ],
)
def test_a_size_is_read(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize("text", ["", "much", "-3GB", "80 gigs", "0GB", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an amount of memory\. Write it like 80GB"):
        parse_bytes(text)

"""What goes over a wire comes back the same, and what is no number never becomes one."""

import math
from typing import Any

import numpy as np
import pytest

from pyrite.core.cards import RewardCard
from pyrite.core.types import Prompt, Scores
from pyrite.records import wire

CARD = RewardCard(
    name="hps",
    summary="It is liked.",
    range=(-math.inf, 4.5),
    reads_prompt=True,
    deterministic=False,
    revision="1a2b",
    upstream="repo@1",
    licence="MIT",
    cites=("arXiv:1",),
    options={"mode": "sound"},
    preprocessing="hps/1",
)


def there_and_back(value: Any) -> Any:
    return wire.parse(wire.dump(value))


def test_a_card_comes_back_the_same_with_its_key() -> None:
    card = wire.card_from_json(there_and_back(wire.card_to_json(CARD)))
    assert card == CARD
    assert card.store_key == CARD.store_key


def test_scores_come_back_the_same_to_the_last_digit() -> None:
    values = np.array([0.1, np.nan, 1 / 3, np.nan, -5e-324, 1.7976931348623157e308])
    details = {"a": np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-17])}
    scores = Scores(values, {1: "why \ud83d", 3: "é"}, details, frozenset({3}))
    back = wire.scores_from_json(there_and_back(wire.scores_to_json(scores)), 6)
    np.testing.assert_array_equal(back.values.view(np.int64), values.view(np.int64))
    np.testing.assert_array_equal(back.details["a"], details["a"])
    assert (back.reasons, back.transient) == (scores.reasons, scores.transient)


def test_nothing_on_the_wire_is_beyond_json_or_ascii() -> None:
    data = wire.dump(wire.scores_to_json(Scores(np.array([np.nan]), {0: "ü\ud83d"}, {"x": np.array([np.inf])})))
    assert data.isascii()
    assert b"NaN" not in data
    assert b":Infinity" not in data
    with pytest.raises(ValueError, match="not JSON compliant"):
        wire.dump(math.nan)


@pytest.mark.parametrize(
    "data",
    [b"NaN", b"[Infinity]", b"-Infinity", b"{", b"\xff", b"[" * 100_000, b"9" * 5000],
    ids=["nan", "infinity", "minus infinity", "half", "no UTF-8", "deep", "long number"],
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        wire.parse(data)


GOOD = {"values": [1.0, None], "reasons": {"1": "why"}, "details": {}, "transient": []}
BAD = {
    "a null without a reason": {"reasons": {}},
    "a reason with a number": {"values": [1.0, 2.0]},
    "another length": {"values": [1.0, None, 2.0]},
    "a text": {"values": ["1.0", None]},
    "a truth": {"values": [True, None]},
    "infinite": {"values": ["Infinity", None]},
    "too large a number": {"values": [10**400, None]},
    "details of another length": {"details": {"a": [1.0]}},
    "no list": {"values": 3},
    "a place that is none": {"reasons": {"one": "why"}},
    "a score that is transient": {"transient": [0]},
    "no reasons": {"reasons": None},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_scores_that_are_none_are_refused(change: dict[str, Any]) -> None:
    assert len(wire.scores_from_json(GOOD, 2)) == 2
    with pytest.raises(ValueError, match=r".+"):
        wire.scores_from_json(GOOD | change, 2)


@pytest.mark.parametrize("row", [{}, [], None, {"range": [0]}, {**wire.card_to_json(CARD), "range": ["low", 1]},
                                 {**wire.card_to_json(CARD), "options": 3}])  # fmt: skip
def test_a_card_that_is_none_is_refused(row: Any) -> None:
    with pytest.raises(ValueError, match="no card of a reward"):
        wire.card_from_json(row)


def test_a_prompt_may_be_blank() -> None:
    for prompt in (Prompt("", "7", nouns=("cat",)), Prompt(" \n"), Prompt("a", numeracy_info=({"num": 2},))):
        assert wire.prompt_from_wire(there_and_back(prompt.to_json())) == prompt
    with pytest.raises(ValueError, match="a prompt object needs a text"):
        wire.prompt_from_wire({"id": "7"})

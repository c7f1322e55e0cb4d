import json
import re

import numpy as np
import pytest
from tests.audit.pairs.conftest import ATTACK
from tests.audit.pairs.planted import simple

from pyrite.audit.pairs.card import as_json, make_card
from pyrite.audit.pairs.images import pair_up
from pyrite.audit.report.pair_page import write_pair_page
from pyrite.records.jsonl import write_json


def test_the_page_says_who_is_blind_to_what(pair_page) -> None:
    text = pair_page.read_text()
    assert "artifact-pocket sees every kind." in text
    assert "constant is blind to" in text
    assert "hps-pocket prefers the damage of smear" in text
    assert "Every two rewards: gains beyond doubt first" in text
    assert "of 20 pictures" in text
    for section in ("map", "counts", "severity", "neutral", "together", "examples", "glossary"):
        assert f'<section id="{section}">' in text


def test_nothing_of_the_set_becomes_an_element_or_a_request(pair_page) -> None:
    text = pair_page.read_text()
    assert ATTACK not in text
    assert "&lt;script&gt;document.title" in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")


def test_an_image_outside_the_folder_is_not_shown(pair_page) -> None:
    assert "path leads out of the run folder" in pair_page.read_text()


def test_the_same_card_gives_the_same_bytes(planted_card, pair_page, tmp_path) -> None:
    again = write_pair_page(planted_card, tmp_path / "again.html", title=f"Pairs {ATTACK}")
    assert again.read_bytes() == pair_page.read_bytes()


def test_the_numbers_of_the_page_are_one_json_object(planted_card, tmp_path) -> None:
    write_json(tmp_path / "pairs.json", as_json(planted_card))
    found = json.loads((tmp_path / "pairs.json").read_text())
    assert (found["num_pairs"], found["num_pictures"]) == (240, 20)
    assert found["rewards"]["constant"] == {
        "correct": 0, "tie": 240, "wrong": 0, "unscored": 0, "accuracy": 0.0, "low": 0.0,
        "high": pytest.approx(0.161, abs=1e-3), "decided": None,
    }  # fmt: skip
    assert len(found["kinds"]) == len(found["monotonicity"]) == 5 * 4
    assert len(found["neutral"]) == 5 * 2
    assert found["neutral_above_damaged"]["constant"] == {"estimate": 0.5, "low": 0.5, "high": 0.5}
    assert len(found["combinations"]) == 6  # of the four rewards that are not constant
    assert found["combinations"][0]["gain"].keys() == {"estimate", "low", "high"}


@pytest.mark.parametrize(
    ("images", "note"),
    [
        (simple([1, 1], [0, 0]), "There are pairs of 2 pictures only, and an interval needs 5"),
        (simple([1] * 6, [1] * 6), "r gives both sides of every pair the same score: it has nothing to say"),
        (
            simple([1] * 6, [0] * 5 + [np.nan]),
            "r did not score a side of 1 pairs, which are left out; the first: no ans",
        ),
        (simple([1] * 6, [0] * 6, ["smear"] * 5 + ["ghost"]), "too few for an interval, have the kinds ghost"),
    ],
    ids=["few pictures", "all ties", "unscored", "few of a kind"],
)
def test_what_a_reader_must_know_is_said(images, note, tmp_path) -> None:
    card = make_card(pair_up(images))
    assert any(note in found for found in card.notes)
    assert note in write_pair_page(card, tmp_path / "page.html", title="t").read_text()


def test_a_plain_set_of_one_reward_has_a_page_without_the_sections_of_a_ladder(tmp_path) -> None:
    card = make_card(pair_up(simple([1] * 8, [0] * 8, [""] * 8)))
    text = write_pair_page(card, tmp_path / "page.html", title="t").read_text()
    assert '<section id="severity">' not in text
    assert '<section id="neutral">' not in text
    assert "There are no two rewards to combine." in text

"""The page of the reference's defects says how many training prompts each one touches; here they are counted again."""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.rewards.goldens import shared, vocabulary

from pyrite.core.types import Prompt
from pyrite.rewards.boxes import RELATIONS, relation_of
from pyrite.rewards.gdino import why_unscored
from pyrite.rewards.gdino_text import LONGEST_CAPTION
from pyrite.rewards.git_vqa import why_unasked

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "reference-defects.md"
ROW = re.compile(r"^\| `([a-z0-9-]+)` \|.*\| (\d+|-) \|$", re.MULTILINE)
Row = Mapping[str, Any]


@cache
def rows() -> list[Row]:
    return [json.loads(line) for line in shared("prompts/t2i_r1_train.jsonl").read_text().splitlines()]


def of_type(row: Row, *types: str) -> bool:
    return row["task_type"] in types


def place(row: Row) -> str:
    return (row.get("spatial_info") or {}).get("locality", "") if of_type(row, "spatial") else ""


def caption(row: Row) -> str:
    return f"{' . '.join(row['nouns'])}."


@cache
def tokens(kind: str) -> dict[str, int]:
    """Prompt -> how many tokens it has, its ends included."""
    from transformers import BertTokenizer, CLIPTokenizer

    if kind == "bert":
        tokenizer = BertTokenizer(vocab=str(vocabulary("imagereward") / "vocab.txt"))
    else:
        folder = vocabulary("hpsv2/tokenizer")
        merges = (folder / "merges.txt").read_text().splitlines()[1:]
        vocab = json.loads((folder / "vocab.json").read_text())
        tokenizer = CLIPTokenizer(vocab=vocab, merges=[tuple(line.split()) for line in merges if line])
    texts = [row["prompt"] for row in rows()]
    return dict(zip(texts, map(len, tokenizer(texts, verbose=False)["input_ids"]), strict=True))


def fails(row: Row) -> bool:
    """What the published spatial score raises on, and then calls 0."""
    info = row.get("spatial_info") or {}
    objects = [info.get("obj1"), info.get("obj2")]
    return of_type(row, "spatial") and (None in objects or len(set(objects)) < 2 or not set(objects) <= {*row["nouns"]})


TOUCHES: dict[str, Callable[[Row], bool]] = {
    "gdino-above": lambda row: place(row) == "above",
    "gdino-on-top-of": lambda row: place(row) == "on top of",
    "gdino-near": lambda row: RELATIONS.get(place(row)) == "near",
    "gdino-parts": lambda row: False,  # the trainer draws squares
    "gdino-nms": lambda row: of_type(row, "numeracy"),
    "gdino-long-noun": lambda row: any(len(noun.strip().split(" ")) > 2 for noun in row["nouns"]),
    "gdino-no-nouns": lambda row: not row["nouns"],
    "gdino-except": fails,
    "gdino-unknown-place": lambda row: of_type(row, "spatial") and place(row) not in RELATIONS,
    "gdino-numeracy": lambda row: of_type(row, "numeracy") and not row.get("numeracy_info"),
    # a token is a character at least
    "gdino-cut": lambda row: len(caption(row)) + 2 > LONGEST_CAPTION,
    "gdino-stop": lambda row: any("." in noun or "[" in noun for noun in row["nouns"]),
    "git-unasked": lambda row: of_type(row, "spatial", "numeracy"),
    "git-no-nouns": lambda row: not of_type(row, "spatial", "numeracy") and not (row.get("attr_nouns") or row["nouns"]),
    "orm-sampled": lambda row: True,
    "orm-case": lambda row: True,
    "orm-placeholder": lambda row: "<image>" in row["prompt"],
    "hps-float16": lambda row: True,
    "hps-truncated": lambda row: tokens("clip")[row["prompt"]] > 77,
    "pickscore-scale": lambda row: True,
    "imagereward-truncated": lambda row: tokens("bert")[row["prompt"]] > 35,
    # a token is a character at least, and the question around the prompt has fewer than 300
    "vqascore-truncated": lambda row: len(row["prompt"]) + 300 > 2048,
    "trainer-sum": lambda row: True,
    "trainer-temperature": lambda row: True,
}
STATED = {name: number for name, number in ROW.findall(PAGE.read_text()) if number != "-"}


def test_every_number_on_the_page_is_counted_here() -> None:
    assert STATED.keys() == TOUCHES.keys()
    assert len(ROW.findall(PAGE.read_text())) == PAGE.read_text().count("\n| `")


@pytest.mark.parametrize("defect", TOUCHES)
def test_the_page_states_how_many_training_prompts_a_defect_touches(defect: str) -> None:
    assert sum(map(TOUCHES[defect], rows())) == int(STATED[defect])


def test_what_the_page_says_in_words_is_counted_too() -> None:
    text = PAGE.read_text()
    assert f"the {len(rows()):,} training prompts" in text
    others = [row for row in rows() if row.get("spatial_info") and not of_type(row, "spatial")]
    assert {row["task_type"] for row in others} == {"complex"}
    assert f"the {len(others)} prompts of type `complex`" in text
    on_top = sum(row["spatial_info"]["locality"] == "on top of" for row in others)
    assert f"The {on_top} prompts that say it are of type `complex`" in text


def test_the_default_modes_leave_unscored_what_the_page_says_and_nothing_else() -> None:
    prompts = [Prompt.from_json(row) for row in rows()]
    assert [reason for prompt in prompts if (reason := why_unscored(prompt))] == []
    assert sum(why_unasked(prompt) is not None for prompt in prompts) == int(STATED["git-unasked"])


def test_the_places_that_the_reference_does_not_know_are_those_on_the_page() -> None:
    unknown = {word for word in RELATIONS if relation_of(word, "reference") is None}
    assert unknown == {"above", "on top of"}

"""Which image belongs to which: the rules as they are told, and what finds no partner."""

import json
from pathlib import Path
from typing import Any

import pytest

from pyrite.core.errors import ImageSetError
from pyrite.evaluation.image_sets import ImageSet, open_image_set
from pyrite.evaluation.matching import Matched, Side, match

LONG = "a wide field of tall grass under a sky that is full of clouds which drift from the left to the right " * 2


def listed(path: Path, rows: list[dict[str, Any]]) -> ImageSet:
    path.write_text("".join(json.dumps({"image": f"{n}.png", **row}) + "\n" for n, row in enumerate(rows)))
    return open_image_set(path)


def files(folder: Path, *names: str) -> ImageSet:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return open_image_set(folder)


def paired(found: Matched) -> list[tuple[str, str]]:
    return [(pair.a, pair.b) for pair in found.pairs]


def test_the_same_prompt_id_makes_a_pair(tmp_path: Path) -> None:
    a = listed(tmp_path / "a.jsonl", [{"id": f"a{k}", "prompt_id": str(k), "prompt": f"cat {k}"} for k in (1, 2, 3)])
    b = listed(tmp_path / "b.jsonl", [{"id": f"b{k}", "prompt_id": str(k), "prompt": f"cat {k}"} for k in (3, 1, 4)])
    found = match(a, b)
    assert (found.rule, paired(found)) == ("id", [("a1", "b1"), ("a3", "b3")])
    assert [(one.side, one.id, one.reason) for one in found.alone] == [
        ("A", "a2", "nothing in the other set has the prompt id '2'"),
        ("B", "b4", "nothing in the other set has the prompt id '4'"),
    ]


def test_several_images_of_a_prompt_go_in_order_and_the_rest_is_told(tmp_path: Path) -> None:
    a = listed(tmp_path / "a.jsonl", [{"id": f"a{k}", "prompt": "a cat"} for k in range(3)])
    b = listed(tmp_path / "b.jsonl", [{"id": f"b{k}", "prompt": " a  cat"} for k in range(2)])
    found = match(a, b)
    assert (found.rule, paired(found)) == ("prompt", [("a0", "b0"), ("a1", "b1")])
    assert found.alone[0].reason == "the other set has 2 images of the prompt 'a cat'"


def test_an_id_that_means_two_prompts_is_no_pair(tmp_path: Path) -> None:
    a = listed(tmp_path / "a.jsonl", [{"id": "1", "prompt": "a cat"}, {"id": "2", "prompt": "a dog"}])
    b = listed(tmp_path / "b.jsonl", [{"id": "1", "prompt": "a cow"}, {"id": "2", "prompt": "a dog"}])
    found = match(a, b, rule="id")
    assert paired(found) == [("2", "2")]
    assert {one.reason for one in found.alone} == {"the prompts differ: 'a cat' in A, 'a cow' in B"}


def test_numbers_of_lines_that_happen_to_be_ids_give_way_to_prompts(tmp_path: Path) -> None:
    a = listed(tmp_path / "a.jsonl", [{"id": "1", "prompt": "a cat"}, {"id": "2", "prompt": "a dog"}])
    b = listed(tmp_path / "b.jsonl", [{"id": "1", "prompt": "a dog"}, {"id": "2", "prompt": "a cat"}])
    found = match(a, b)
    assert (found.rule, paired(found)) == ("prompt", [("1", "2"), ("2", "1")])


@pytest.mark.parametrize("rule", ["id", "prompt"])
def test_a_text_cut_after_100_characters_is_the_text_that_it_begins(tmp_path: Path, rule: str) -> None:
    """The reference's sampler cuts file names there, and its other half does not."""
    a = files(tmp_path / "a", f"ID7_{LONG[:100]}_0.jpg", "ID8_a cat_0.jpg")
    b = listed(tmp_path / "b.jsonl", [{"id": "x", "prompt_id": "7", "prompt": LONG}])
    found = match(a, b, rule=rule)
    assert len(found.pairs) == 1
    assert found.pairs[0].prompt.text == LONG
    side = Side(a, {pair.a: pair.prompt for pair in found.pairs})
    assert [item.prompt.text for item in side.items()] == [LONG]  # so both sides are scored for the same text


def test_a_cut_text_that_begins_two_prompts_is_not_guessed(tmp_path: Path) -> None:
    a = files(tmp_path / "a", f"ID7_{LONG[:100]}_0.jpg", "ID8_a cat_0.jpg")
    b = listed(tmp_path / "b.jsonl", [{"prompt": LONG}, {"prompt": f"{LONG} at night"}, {"prompt": "a cat"}])
    found = match(a, b, rule="prompt")
    assert len(found.pairs) == 1
    assert len(found.alone) == 3


@pytest.mark.parametrize(
    ("ours", "theirs", "num"),
    [
        pytest.param(("1.png", "2.png"), ("2.jpg", "1.jpg", "3.jpg"), 2, id="another suffix"),
        pytest.param(("1.png", "2.png"), ("x/1.png", "x/2.png"), 2, id="an extra folder"),
        pytest.param(("c/1.png", "d/1.png"), ("c/1.png", "d/1.png"), 2, id="the same name in two folders"),
        pytest.param(("c/1.png", "d/1.png"), ("d/1.png",), 1, id="a folder less"),
    ],
)
def test_file_names_are_compared_without_what_differs_by_habit(
    tmp_path: Path, ours: tuple[str, ...], theirs: tuple[str, ...], num: int
) -> None:
    found = match(files(tmp_path / "a", *ours), files(tmp_path / "b", *theirs))
    assert (found.rule, len(found.pairs)) == ("name", num)
    assert all(Path(a).stem == Path(b).stem for a, b in paired(found))


def test_without_a_pair_the_message_shows_both_sets(tmp_path: Path) -> None:
    a, b = files(tmp_path / "a", "1.png"), files(tmp_path / "b", "2.png")
    with pytest.raises(ImageSetError, match=r"no image of .*a has a partner .* A begins with '1.png', B with '2.png'"):
        match(a, b)


def test_a_rule_that_is_none_names_those_that_are(tmp_path: Path) -> None:
    a = files(tmp_path / "a", "1.png")
    with pytest.raises(ImageSetError, match=r"--match order is no rule .* auto, id, prompt, name"):
        match(a, a, rule="order")

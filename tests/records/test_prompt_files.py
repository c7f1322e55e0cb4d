"""Prompt files in every form people have them, and every way to get one wrong."""

import json
from pathlib import Path

import pytest

from pyrite.core.errors import PromptFileError
from pyrite.records.prompt_files import read_prompt_file

REFERENCE = {
    "prompt": "a red fox on a log", "task_type": "spatial", "nouns": ["fox", "log"], "attr_nouns": ["red fox"],
    "spatial_info": {"obj1": "fox", "obj2": "log", "locality": "on the top of"}, "numeracy_info": [],
}  # fmt: skip
GENEVAL = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
WISE = {
    "Prompt": "a dish of the Mid-Autumn Festival", "Explanation": "mooncakes", "Category": "Cultural knowledge",
    "Subcategory": "Festivals", "prompt_id": 17,
}  # fmt: skip


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["train.jsonl", "train.ndjson", "train.json"])
def test_the_reference_data_keeps_its_metadata_and_is_numbered_by_line(tmp_path: Path, name: str) -> None:
    first, second = read_prompt_file(write(tmp_path / name, lines(REFERENCE, {**REFERENCE, "id": "own"})))
    assert (first.prompt.id, second.prompt.id) == ("1", "own")
    assert first.prompt.nouns == ("fox", "log")
    assert first.prompt.spatial_info == REFERENCE["spatial_info"]
    assert first.row == REFERENCE


def test_genevals_metadata_is_called_by_its_folders_and_kept_whole(tmp_path: Path) -> None:
    rows = read_prompt_file(write(tmp_path / "evaluation_metadata.jsonl", lines(GENEVAL, GENEVAL)))
    assert [row.prompt.id for row in rows] == ["00000", "00001"]
    assert rows[0].prompt.task_type == "single_object"
    assert rows[0].row == GENEVAL


def test_wise_brings_its_ids_and_explanations(tmp_path: Path) -> None:
    (row,) = read_prompt_file(write(tmp_path / "cultural_common_sense.json", json.dumps([WISE])))
    assert (row.prompt.id, row.prompt.text, row.prompt.explanation) == ("17", WISE["Prompt"], "mooncakes")
    assert row.prompt.task_type == "Cultural knowledge"


def test_text_files_and_lists_of_texts_are_a_prompt_each(tmp_path: Path) -> None:
    of_text = read_prompt_file(write(tmp_path / "a.txt", "\ufeffa red cube\n\n  a blue ball \r\n"))
    assert [(row.prompt.id, row.prompt.text) for row in of_text] == [("1", "a red cube"), ("3", "a blue ball")]
    of_json = read_prompt_file(write(tmp_path / "a.json", '["a red cube", "a blue ball"]'))
    assert [(row.prompt.id, row.prompt.text) for row in of_json] == [("1", "a red cube"), ("2", "a blue ball")]


def test_every_bad_line_is_named_at_once(tmp_path: Path) -> None:
    text = lines(REFERENCE) + "{no json\n" + lines({"text": "x"}, [1], {"prompt": "b", "id": "1"}, {"prompt": " "})
    with pytest.raises(PromptFileError) as caught:
        read_prompt_file(write(tmp_path / "bad.jsonl", text))
    told = str(caught.value)
    for part in (
        "5 of its entries",
        "line 2: is no JSON",
        "line 3: a prompt object needs a text under the key 'prompt'; its keys are ['text']",
        "line 4: is list, and a prompt is an object or a text",
        "line 5: the id '1' is that of line 1 already",
        "line 6: a prompt object needs a text",
        "Repair them, or take them out",
    ):
        assert part in told


def test_a_long_list_of_bad_lines_ends_with_their_number(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match=r"30 of its entries(.|\n)*and 10 more"):
        read_prompt_file(write(tmp_path / "bad.jsonl", "{\n" * 30))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "x", "'.csv' is not one of .jsonl"),
        ("a.txt", "\n \n", "holds no prompt. Write one per line"),
        ("a.json", "[", "is no JSON"),
        ("a.json", "3", "object 1: is int"),
    ],
    ids=["kind", "empty", "json", "number"],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(PromptFileError, match=told):
        read_prompt_file(write(tmp_path / name, text))


def test_a_missing_and_an_undecodable_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match=r"none.jsonl cannot be read: No such file.*Check --prompts"):
        read_prompt_file(tmp_path / "none.jsonl")
    (tmp_path / "latin.txt").write_bytes("ein gr\u00fcner Ball".encode("latin-1"))
    with pytest.raises(PromptFileError, match=r"it is not UTF-8 text"):
        read_prompt_file(tmp_path / "latin.txt")

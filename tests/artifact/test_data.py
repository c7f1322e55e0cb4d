import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from tests.artifact.pictures import picture, picture_files

from pyrite.artifact.data import Example, load_curated, pairs, split_examples
from pyrite.core.errors import ImageSetError, RunFolderError


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def rows_for(folder: Path, num: int) -> list[dict[str, Any]]:
    """`num` good lines, labels in turn, two images to a pair."""
    files = picture_files(folder, num)
    return [{"image": file.name, "label": k % 2, "pair_id": str(k // 2)} for k, file in enumerate(files)]


def examples_for(groups: int, kinds: tuple[str, ...] = ("smear",)) -> list[Example]:
    """Pairs of a clean image and one damaged image per kind."""
    return [
        Example(f"{number}-{kind}", Path(f"{number}-{kind}.png"), bool(kind), pair_id=str(number), kind=kind)
        for number in range(groups)
        for kind in ("", *kinds)
    ]


def test_json_lines_load_with_everything_they_say(tmp_path: Path) -> None:
    first, second = rows_for(tmp_path, 2)
    first |= {"prompt": "a cube", "id": 7}
    second |= {"kind": "smear", "severity": 0.5}
    loaded = load_curated(write(tmp_path / "set.jsonl", [first, "", second]))
    assert loaded.examples == (
        Example("7", tmp_path / "00.png", False, prompt="a cube", pair_id="0"),
        Example("01.png", tmp_path / "01.png", True, pair_id="0", kind="smear", severity=0.5),
    )
    assert loaded.skipped == {}


@pytest.mark.parametrize("as_object", [False, True], ids=["list", "object"])
@pytest.mark.parametrize("image_key", ["image", "image_path", "img_path", "path", "file_name", "filename", "file"])
@pytest.mark.parametrize("label_key", ["label", "has_artifact", "has_artifacts", "artifact", "artifacts"])
def test_the_reference_form_loads(tmp_path: Path, label_key: str, image_key: str, as_object: bool) -> None:
    files = picture_files(tmp_path, 2)
    rows = [{image_key: file.name, label_key: label, "prompt": None} for label, file in enumerate(files)]
    document = {f"n{label}": row for label, row in enumerate(rows)} if as_object else rows
    (tmp_path / "artifacts_curated.json").write_text(json.dumps(document))
    loaded = load_curated(tmp_path / "artifacts_curated.json")
    assert [example.has_artifact for example in loaded.examples] == [False, True]
    assert [example.id for example in loaded.examples] == (["n0", "n1"] if as_object else ["00.png", "01.png"])


def test_the_id_of_an_object_is_the_image_where_it_names_none(tmp_path: Path) -> None:
    picture_files(tmp_path, 2)
    (tmp_path / "a.json").write_text('{"00.png": {"label": true}, "01.png": {"label": false}}')
    assert [example.image.name for example in load_curated(tmp_path / "a.json").examples] == ["00.png", "01.png"]


BAD: dict[str, tuple[Any, str]] = {
    "no label": ({"image": "00.png"}, "line 3: no label among the keys ['image']; write 1 where the image has"),
    "label null": ({"image": "00.png", "label": None}, "line 3: no label among the keys"),
    "label yes": ({"image": "00.png", "label": "yes"}, 'line 3: label is "yes", not 0 or 1; write 1 where'),
    "label 2": ({"image": "00.png", "label": 2}, "line 3: label is 2, not 0 or 1"),
    "label half": ({"image": "00.png", "label": 0.5}, "line 3: label is 0.5, not 0 or 1"),
    "no image": ({"label": 1}, "line 3: no image among the keys ['label']; write its path"),
    "image number": ({"image": 3, "label": 1}, "line 3: image is 3, which is no path; write it in quotes"),
    "severity": ({"image": "00.png", "label": 1, "severity": 2}, "line 3: severity is 2, not a number from 0 to 1"),
    "severity nan": ('{"image": "00.png", "label": 1, "severity": NaN}', "line 3: severity is NaN, not a number"),
    "prompt": ({"image": "00.png", "label": 1, "prompt": ["a"]}, 'line 3: prompt is ["a"], which is no text'),
    "kind": ({"image": "00.png", "label": 1, "kind": True}, "line 3: kind is true, which is no text"),
    "list": ([1, 2], "line 3: it is [1, 2], not an object; write entries such as"),
    "torn": ('{"image": "00.p', "line 3: it cannot be read as JSON ("),
    "deep": ("[" * 100_000, "line 3: it cannot be read as JSON ("),
    "two labels": ('{"image": "00.png", "label": 1, "label": 0}', "the key 'label' stands twice in one object"),
    "missing file": ({"image": "gone.png", "label": 1}, "gone.png: there is no such file"),
    "folder": ({"image": ".", "label": 1}, "the file cannot be read: Is a directory"),
    "impossible name": ({"image": "a\0b.png", "label": 1}, "the file cannot be read: embedded null byte"),
    "no picture": ({"image": "text.png", "label": 1}, "text.png: the file is no image that Pillow knows"),
    "cut short": ({"image": "cut.png", "label": 1}, "cut.png: the image cannot be read:"),
    "frames": ({"image": "two.gif", "label": 1}, "two.gif: the file holds 2 frames"),
    "16 bit": ({"image": "deep.png", "label": 1}, "deep.png: the image has mode 'I;16', which has no agreed form"),
    "same id": ({"image": "02.png", "label": 1, "id": "00.png"}, "line 3: the id '00.png' was given in line 1 already"),
    "same image": ({"image": "copy.png", "label": 0}, "copy.png is the one of line 1 again; leave one of them out"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture_files(tmp_path, 3)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "02.png").read_bytes()[:-300])
    (tmp_path / "copy.png").write_bytes((tmp_path / "00.png").read_bytes())
    PILImage.new("I;16", (20, 20)).save(tmp_path / "deep.png")
    picture().save(tmp_path / "two.gif", save_all=True, append_images=[picture(seed=1)])
    return tmp_path


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_entry_is_refused_by_line_or_skipped_and_listed(folder: Path, bad: str) -> None:
    row, says = BAD[bad]
    path = write(folder / "set.jsonl", [{"image": "00.png", "label": 0}, {"image": "01.png", "label": 1}, row])
    with pytest.raises(ImageSetError, match=re.escape(says)) as refused:
        load_curated(path)
    assert "1 of 3 entries cannot be used" in str(refused.value)
    assert "leave them out with --skip-bad" in str(refused.value)
    loaded = load_curated(path, skip_bad=True)
    assert [example.id for example in loaded.examples] == ["00.png", "01.png"]
    assert list(loaded.skipped) == ["line 3"]


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    good = rows_for(tmp_path, 4)
    path = write(tmp_path / "s.jsonl", [{"image": "x.png", "label": 1}, *good, "{", {"severity": 3, "label": "no"}])
    with pytest.raises(ImageSetError) as refused:
        load_curated(path)
    assert "3 of 7 entries" in str(refused.value)
    assert re.findall(r"^  line (\d+)", str(refused.value), re.MULTILINE) == ["1", "6", "7"]
    for part in ("no image among", "label is", "severity is 3"):
        assert part in str(refused.value).splitlines()[-1]


def test_very_many_problems_are_counted_after_the_first_sixty(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", [{"image": f"{k}.png", "label": k % 2} for k in range(100)])
    with pytest.raises(ImageSetError, match="and 40 more, from line 61 to line 100"):
        load_curated(path)


def test_one_image_with_two_labels_is_no_example_of_either(tmp_path: Path) -> None:
    rows = rows_for(tmp_path, 4)
    (tmp_path / "copy.png").write_bytes((tmp_path / "00.png").read_bytes())
    path = write(tmp_path / "set.jsonl", [*rows, {"image": "copy.png", "label": 1}])
    with pytest.raises(ImageSetError, match="the one of line 5 with the other label; decide on one"):
        load_curated(path)
    loaded = load_curated(path, skip_bad=True)
    assert list(loaded.skipped) == ["line 1", "line 5"]


@pytest.mark.parametrize(("label", "says"), [(0, r"have label 0 \(none\)"), (1, r"have label 1 \(artifacts\)")])
def test_a_set_with_one_class_is_refused(tmp_path: Path, label: int, says: str) -> None:
    rows = [row | {"label": label} for row in rows_for(tmp_path, 3)]
    with pytest.raises(ImageSetError, match=f"all 3 examples {says}, and a judge that always says so") as refused:
        load_curated(write(tmp_path / "set.jsonl", rows))
    assert "pyrite judge ladder IMAGES" in str(refused.value)


def test_a_set_that_is_left_with_one_class_says_what_was_left_out(tmp_path: Path) -> None:
    rows = rows_for(tmp_path, 3)
    rows[1]["image"] = "gone.png"
    with pytest.raises(ImageSetError, match="all 2 examples after 1 of 3 entries were left out have label 0"):
        load_curated(write(tmp_path / "set.jsonl", rows), skip_bad=True)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("set.jsonl", "", "holds no example. Write one line per image"),
        ("set.json", "[]", "holds no example. Write one line per image"),
        (
            "set.json",
            '{"a": 1}\n{"a": 2}',
            "cannot be read as JSON: .* if it has one object per line, call it set.jsonl",
        ),
        ("set.json", '"text"', 'holds "text", and a set is a list of objects'),
        ("set.json", '[{"image": "00.png"}]', "entry 1: no label"),
        ("set.json", '{"a": {"label": 1}, "a": {"label": 0}}', "the key 'a' stands twice in one object"),
        ("set.json", '{"cat": {"label": 3}}', "entry 'cat': label is 3"),
    ],
    ids=["no lines", "empty list", "lines in .json", "text", "in a list", "one id twice", "in an object"],
)
def test_a_file_that_is_no_set_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ImageSetError, match=says):
        load_curated(tmp_path / name)


def test_a_set_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        ImageSetError, match=r"there is no file .*no.jsonl. Give JSON lines such as .*pyrite judge ladder"
    ):
        load_curated(tmp_path / "no.jsonl")


def test_a_set_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "set.jsonl", rows_for(tmp_path, 2))

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RunFolderError, match=r"cannot read .*set.jsonl: Permission denied"):
        load_curated(path)


@pytest.mark.parametrize("num_groups", [3, 10, 37])
def test_no_pair_is_separated_and_every_example_is_in_one_part(num_groups: int) -> None:
    examples = examples_for(num_groups, ("smear", "seam"))
    split = split_examples(examples)
    part_of = {example.id: name for name, part in split.parts.items() for example in part}
    assert sorted(part_of) == sorted(example.id for example in examples)
    assert sum(map(len, split.parts.values())) == len(examples)
    assert all(len({part_of[e.id] for e in examples if e.pair_id == str(k)}) == 1 for k in range(num_groups))


def test_a_split_does_not_depend_on_the_order_but_on_the_seed() -> None:
    examples = examples_for(30)
    assert split_examples(examples) == split_examples(examples[::-1])
    assert split_examples(examples) != split_examples(examples, seed=1)


@pytest.mark.parametrize("shares", [(0.6, 0.2, 0.2), (0.5, 0.0, 0.5), (1 / 3, 1 / 3, 1 / 3)])
def test_parts_have_their_share_of_every_label_and_kind(shares: tuple[float, float, float]) -> None:
    unpaired = [Example(f"u{k}", Path(f"u{k}"), k % 3 == 0) for k in range(90)]
    seams = [
        Example(f"s{k}-{v}", Path("s"), bool(v), pair_id=f"s{k}", kind="seam" * v) for k in range(60) for v in (0, 1)
    ]
    examples = examples_for(60) + seams + unpaired
    split = split_examples(examples, shares=shares)
    total = Counter((example.has_artifact, example.kind) for example in examples)
    for share, part in zip(shares, split.parts.values(), strict=True):
        found = Counter((example.has_artifact, example.kind) for example in part)
        assert all(abs(found[key] - share * num) <= 4 for key, num in total.items())


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_shares_that_are_none_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="parts of a whole are not negative and sum to 1"):
        split_examples(examples_for(4), shares=shares)


def test_a_split_says_what_it_is_too_small_for() -> None:
    split = split_examples(examples_for(30))
    assert split.shortcomings[1:] == (
        "validation holds 6 independent pictures, fewer than 20: too few for an interval that can be believed",
        "test holds 6 independent pictures, fewer than 20: too few for an interval that can be believed",
    )
    assert split_examples(examples_for(100)).shortcomings == ()
    alone = [Example("a", Path("a"), True), Example("b", Path("b"), False)]
    assert "all labelled" in split_examples(alone).shortcomings[0]
    assert any(note == "test is empty: nothing can be measured on it" for note in split_examples(alone).shortcomings)


def test_a_pair_is_the_source_and_one_damaged_version() -> None:
    crop = Example("c", Path("c"), False, pair_id="1", kind="crop")
    clean, smear, seam = (Example(k, Path(k), bool(k), pair_id="1", kind=k) for k in ("", "smear", "seam"))
    lone = Example("x", Path("x"), True)
    orphan = Example("y", Path("y"), True, pair_id="2", kind="smear")
    found = [(pair.clean, pair.damaged) for pair in pairs([crop, smear, clean, seam, lone, orphan])]
    assert found == [(clean, smear), (clean, seam)]
    assert [pair.clean for pair in pairs([crop, smear])] == [crop]

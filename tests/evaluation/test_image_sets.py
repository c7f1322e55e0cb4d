import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.scored import make_folder, noise

from pyrite.core.errors import ImageSetError
from pyrite.core.types import Prompt
from pyrite.evaluation.image_sets import LAYOUTS, Item, open_image_set, survey
from pyrite.records.image_files import Readable, read_image_file


def png(seed: int) -> bytes:
    file = io.BytesIO()
    noise(seed).save(file, format="PNG")
    return file.getvalue()


def make_jsonl(root: Path) -> Path:
    make_folder(root / "images", 2)
    rows = [{"image": f"images/{n:03d}.png", "prompt": f"prompt {n}", "nouns": ["cube"]} for n in range(2)]
    (root / "set.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return root / "set.jsonl"


def _write_parquet(root: Path, columns: dict[str, list[Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.table(columns), root / "set.parquet")
    return root / "set.parquet"


def make_parquet_of_paths(root: Path) -> Path:
    make_folder(root / "images", 2)
    paths = [f"images/{n:03d}.png" for n in range(2)]
    return _write_parquet(root, {"image_path": paths, "prompt": ["prompt 0", "prompt 1"]})


def make_parquet_of_bytes(root: Path) -> Path:
    return _write_parquet(root, {"bytes": [png(0), png(1)], "caption": ["prompt 0", "prompt 1"]})


def make_parquet_of_structs(root: Path) -> Path:
    images = [{"bytes": png(n), "path": None} for n in range(2)]
    return _write_parquet(root, {"image": images, "prompt": ["prompt 0", "prompt 1"]})


def make_datasets(root: Path) -> Path:
    import datasets

    rows = {"image": [noise(0), noise(1)], "prompt": ["prompt 0", "prompt 1"]}
    features = datasets.Features({"image": datasets.Image(), "prompt": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(root / "set"))
    return root / "set"


def make_id_prompt(root: Path) -> Path:
    (root / "set").mkdir()
    for number in range(2):
        noise(number).save(root / "set" / f"ID{number}_prompt {number}_0.jpg")
    return root / "set"


def make_geneval(root: Path) -> Path:
    for number in range(2):
        folder = root / "set" / f"{number:05d}"
        (folder / "samples").mkdir(parents=True)
        row = {"tag": "single_object", "include": [{"class": "cube", "count": 1}], "prompt": f"prompt {number}"}
        (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
        noise(number).save(folder / "samples" / "0000.png")
        noise(number).save(folder / "grid.png")
    return root / "set"


def make_generated(root: Path) -> Path:
    """File names and the tree say other things than samples.jsonl, which has the last word."""
    folder = root / "set"
    (folder / "00000" / "samples").mkdir(parents=True)
    (folder / "generation.json").write_text("{}")
    (folder / "00000" / "metadata.jsonl").write_text('{"prompt": "cut short"}\n')
    rows = [{"id": f"7_{n}", "image": f"00000/samples/{n:05d}.png", "prompt": f"prompt {n}"} for n in range(2)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        noise(0).save(folder / row["image"])
    return folder


SETS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "jsonl": ("jsonl", make_jsonl),
    "parquet of paths": ("parquet", make_parquet_of_paths),
    "parquet of bytes": ("parquet", make_parquet_of_bytes),
    "parquet of structs": ("parquet", make_parquet_of_structs),
    "datasets": ("datasets", make_datasets),
    "id-prompt": ("id-prompt", make_id_prompt),
    "geneval": ("geneval", make_geneval),
    "generated": ("generated", make_generated),
}


@pytest.mark.parametrize("case", SETS)
def test_a_set_is_recognised_and_gives_its_images_with_their_prompts(case: str, tmp_path: Path) -> None:
    layout, make = SETS[case]
    images = open_image_set(make(tmp_path))
    assert images.layout == layout
    assert survey(images) == 2
    for items in (list(images.items()), list(images.items())):
        assert [item.prompt.text for item in items] == ["prompt 0", "prompt 1"]
        assert all(isinstance(read_image_file(item.source), Readable) for item in items if item.source is not None)
        assert None not in [item.source for item in items]


@pytest.mark.parametrize("case", SETS)
def test_going_through_a_set_without_images_gives_the_same_ids_and_prompts(case: str, tmp_path: Path) -> None:
    images = open_image_set(SETS[case][1](tmp_path))
    whole, cheap = list(images.items()), list(images.items(with_bytes=False))
    assert [(item.id, item.prompt) for item in cheap] == [(item.id, item.prompt) for item in whole]
    assert not any(isinstance(item.source, bytes) for item in cheap)


def test_every_layout_is_tried() -> None:
    assert {layout for layout, _ in SETS.values()} | {"folder"} == set(LAYOUTS)


def test_a_folder_is_gone_through_in_the_order_of_its_paths_and_only_images_count(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", 3)
    (folder / "deep").mkdir()
    noise(9).save(folder / "deep" / "b.JPEG")
    (folder / "notes.txt").write_text("no image")
    images = open_image_set(folder, prompt="a red cube", limit=3)
    assert list(images.items()) == [
        Item(name, folder / name, Prompt("a red cube")) for name in ("000.png", "001.png", "002.png")
    ]
    assert [item.id for item in open_image_set(folder).items()][-1] == "deep/b.JPEG"


def test_one_image_is_a_set(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", 1)
    assert [item.id for item in open_image_set(folder / "000.png").items()] == ["000.png"]


def test_the_prompt_given_is_for_items_without_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"image": "a.png"}\n{"image": "b.png", "prompt": "mine"}\n')
    items = list(open_image_set(tmp_path / "a.jsonl", prompt="given").items())
    assert [item.prompt.text for item in items] == ["given", "mine"]


def test_file_names_may_hold_underscores_and_unicode(tmp_path: Path) -> None:
    noise(0).save(tmp_path / "ID12_a_red — cube, 2_3_4.png")
    (item,) = open_image_set(tmp_path).items()
    assert item.prompt == Prompt("a_red — cube, 2_3", id="12")


def test_a_row_without_an_image_is_a_reason_for_that_row_alone(tmp_path: Path) -> None:
    items = list(open_image_set(_write_parquet(tmp_path, {"bytes": [None, png(0)]})).items())
    assert read_image_file(items[0].source) == "there is no image in the row"
    assert isinstance(read_image_file(items[1].source), Readable)


def test_what_a_line_says_of_its_prompt_is_kept(tmp_path: Path) -> None:
    (item, _) = open_image_set(make_jsonl(tmp_path)).items()
    assert item.prompt.nouns == ("cube",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"image": "a.png"}\n{"image"\n', r"line 2 is not JSON.*Repair that line"),
        ("[1]\n", r"line 1 is list, not an object\. Write lines such as"),
        ('{"prompt": "a"}\n', r"object 1 has the keys \['prompt'\], and no path under image, image_path"),
        ('{"image": "a.png", "prompt": 3}\n', r"object 1: the prompt is 3, which is no text"),
        ('{"image": "a.png", "id": 1}\n{"image": "b.png", "id": "1"}\n', r"two images have the id '1'"),
        ('{"image": "a.png", "prompt": "a", "nouns": 3}\n', r"what it says about its prompt cannot be read"),
        ('{"image": "\xff"}\n', r"line 1 is not JSON"),
        ("\n", r"no image was found in the layout 'jsonl'"),
    ],
    ids=["not json", "not object", "no image", "prompt no text", "id twice", "nouns no list", "not utf-8", "empty"],
)
def test_a_bad_line_is_told_before_anything_is_scored(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(ImageSetError, match=told):
        survey(open_image_set(tmp_path / "a.jsonl"))


def _two_splits(root: Path) -> Path:
    import datasets

    one = datasets.Dataset.from_dict({"image": ["a.png"]})
    datasets.DatasetDict({"test": one, "train": one}).save_to_disk(str(root / "set"))
    return root / "set"


def _some_named(root: Path) -> Path:
    folder = make_folder(root / "set", 1)
    noise(0).save(folder / "ID1_a cube_0.png")
    return folder


def _two_lines_of_metadata(root: Path) -> Path:
    folder = make_geneval(root)
    (folder / "00001" / "metadata.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    return folder


def _file(name: str, text: str = "") -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / name).write_text(text)
        return root / name

    return make


@pytest.mark.parametrize(
    ("make", "options", "told"),
    [
        (lambda root: root / "nowhere", {}, r"there is nothing at .*Give a folder of images, a JSON-lines file"),
        (lambda root: root, {}, r"no image was found in the layout 'folder'.*\.png.*--layout folder\|jsonl"),
        (lambda root: root, {"layout": "coco"}, r"there is no layout 'coco'\. The layouts are: folder, jsonl"),
        (lambda root: root, {"limit": 0}, r"--limit 0 leaves nothing to score"),
        (_file("a.csv"), {}, r"'\.csv' is not one of \.jsonl.*--layout jsonl, or --layout parquet"),
        (_file("a.parquet", "no table"), {}, r"is no Parquet file that can be read"),
        (lambda root: _write_parquet(root, {"picture": [b""]}), {}, r"has the columns picture, and none of them"),
        (_two_splits, {}, r"holds several splits \(test, train\)\. Name one: .*set/test"),
        (_some_named, {}, r"1 of 2 images are called ID..._prompt_n.*--layout id-prompt, or --layout folder"),
        (_some_named, {"layout": "id-prompt"}, r"000.png is not called ID\{prompt_id\}_\{prompt\}_\{n\}"),
        (_two_lines_of_metadata, {}, r"metadata.jsonl has 2 lines, and in GenEval's tree it describes one prompt"),
    ],
    ids=[
        "nothing", "no images", "no such layout", "limit", "csv", "no parquet", "no column", "splits",
        "mixed names", "unnamed", "metadata",
    ],
)  # fmt: skip
def test_a_set_that_is_none_is_refused_with_the_way_out(
    tmp_path: Path, make: Callable[[Path], Path], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ImageSetError, match=told):
        list(open_image_set(make(tmp_path), **options).items()) or survey(open_image_set(tmp_path, **options))

"""Which image is of which prompt: every layout, names as others cut them, and everything that must not be guessed."""

import json
from pathlib import Path

import pytest
from PIL import Image as PILImage

from pyrite.core.errors import ImageSetError
from pyrite.core.types import Prompt
from pyrite.evaluation.benchmarks.images import NO_IMAGE, FoundImages, find_images
from pyrite.evaluation.benchmarks.protocol import Case

LONG = "a very long walk along a river that bends and bends again " * 3
TEXTS = {"1": "a red cube", "2": LONG.strip(), "12": "two blue balls/on a table"}
CASES = [Case(Prompt(text, id=name), "Walks") for name, text in TEXTS.items()]
NAMED = {name: text.replace(" ", "_").replace("/", "_") for name, text in TEXTS.items()}


def image(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.new("RGB", (4, 4), (shade, 0, 0)).save(path)


def found(path: Path, **options: object) -> FoundImages:
    return find_images(path, CASES, **{"per_prompt": 1, **options})  # type: ignore[arg-type]


def names(images: FoundImages) -> dict[str, str]:
    return {work.case.prompt.id: work.path.name for work in images.work}


def test_images_called_by_their_id_are_found_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    for name in TEXTS:
        image(tmp_path / f"{name}.png", int(name))
    images = found(tmp_path)
    assert [(work.case.prompt.id, work.path.name, work.n) for work in images.work] == [
        ("1", "1.png", 0), ("2", "2.png", 0), ("12", "12.png", 0),
    ]  # fmt: skip
    assert len({work.image_sha256 for work in images.work}) == 3
    assert (images.missing, images.notes) == ({}, [])


@pytest.mark.parametrize("num_characters", [100, None], ids=["cut at 100 characters as the reference does", "whole"])
def test_names_with_prompts_are_read_cut_or_whole(num_characters: int | None, tmp_path: Path) -> None:
    for name, text in NAMED.items():
        image(tmp_path / f"ID{name}_{text[:num_characters]}_1.jpg")
    assert set(names(found(tmp_path))) == set(TEXTS)


@pytest.mark.parametrize(
    "text", ["a_red", "a_red_cubes", LONG.replace(" ", "_")[:60]], ids=["less", "more", "cut early"]
)
def test_an_image_of_another_prompt_under_the_id_is_refused(text: str, tmp_path: Path) -> None:
    image(tmp_path / f"ID{'2' if text.startswith('a_very') else '1'}_{text}_1.jpg")
    with pytest.raises(ImageSetError, match=r"1 images were drawn for other prompts(.|\n)*--benchmark"):
        found(tmp_path)


def test_a_list_of_another_version_of_the_benchmark_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "set.jsonl").write_text(json.dumps({"image": "a.png", "prompt": "a green cube", "prompt_id": 1}))
    with pytest.raises(ImageSetError, match="'a green cube', and 1 is 'a red cube'"):
        found(tmp_path / "set.jsonl")


def test_what_pyrite_generate_drew_is_known_by_its_samples(tmp_path: Path) -> None:
    image(tmp_path / "images" / "000000_00.png")
    row = {"id": "12_0", "prompt_id": "12", "prompt": TEXTS["12"], "image": "images/000000_00.png"}
    (tmp_path / "samples.jsonl").write_text(json.dumps(row))
    (tmp_path / "generation.json").write_text("{}")
    images = found(tmp_path)
    assert names(images) == {"12": "000000_00.png"}
    assert images.missing == {"1": NO_IMAGE, "2": NO_IMAGE}
    assert images.notes == []


def test_an_extra_folder_level_is_looked_into_and_said(tmp_path: Path) -> None:
    for name in TEXTS:
        image(tmp_path / "step_100" / "png" / f"{name}.png")
    images = found(tmp_path)
    assert len(images.work) == 3
    assert "the images lie a folder further down" in images.notes[0]


def test_two_images_of_one_prompt_are_refused_unless_one_is_chosen(tmp_path: Path) -> None:
    for n in (1, 2, 10):
        image(tmp_path / f"ID1_a_red_cube_{n}.jpg", n)
    with pytest.raises(ImageSetError, match=r"1 prompts have more images than the 1(.|\n)*_10.jpg(.|\n)*--number 1"):
        found(tmp_path)
    assert names(found(tmp_path, number=1)) == {"1": "ID1_a_red_cube_1.jpg"}
    assert names(found(tmp_path, number=3)) == {"1": "ID1_a_red_cube_10.jpg"}
    assert found(tmp_path, number=4).missing["1"] == NO_IMAGE
    assert [work.n for work in found(tmp_path, per_prompt=None).work] == [0, 1, 2]


def test_the_same_id_in_two_formats_is_two_images(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    image(tmp_path / "sub" / "1.jpg")
    with pytest.raises(ImageSetError, match=r"1: (1.png, sub/1.jpg|sub/1.jpg, 1.png)"):
        found(tmp_path)


def test_images_of_no_prompt_are_left_out_and_counted(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    image(tmp_path / "logo.png")
    assert found(tmp_path).notes == ["1 images belong to none of the prompts and are left out: logo.png"]


def test_a_folder_of_other_names_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "000001.png")
    with pytest.raises(ImageSetError, match=r"none of the 1 images .* the ids are 1 to 12\)"):
        found(tmp_path)


def test_an_image_that_cannot_be_read_is_missing_with_the_reason(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"")
    assert found(tmp_path).missing == {"2": "2.png: the file is empty: 0 bytes", "12": NO_IMAGE}


def test_what_the_evaluation_wrote_beside_the_images_is_none_of_them(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    image(tmp_path / "out" / "1.png")
    assert len(found(tmp_path, leave_out=tmp_path / "out").work) == 1


def test_images_that_lie_in_a_table_are_refused_one_by_one(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    image(tmp_path / "1.png")
    rows = {"image": [(tmp_path / "1.png").read_bytes()], "prompt": ["a red cube"], "id": ["1"]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "set.parquet")
    assert "the image lies in a table" in found(tmp_path / "set.parquet").missing["1"]

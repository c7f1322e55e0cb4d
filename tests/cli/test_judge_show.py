import json
from pathlib import Path

import pytest
from PIL import Image as PILImage
from tests.artifact.pictures import picture_files
from typer.testing import CliRunner

from pyrite.cli.main import app


def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, ["judge", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    picture_files(tmp_path / "clean", 4)
    return tmp_path / "clean"


def test_a_ladder_becomes_a_set_that_can_be_looked_at(clean: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "set", tmp_path / "sheet.png"
    said, told = run("ladder", clean, "--kinds", "smear,flip", "--severities", "0.5,1", "--out", out)
    assert said.strip() == str(out / "curated.jsonl")
    assert "flip-1.png: it is the same image as images/00-" in told
    assert "4 left out in all" in told
    assert "16 images; look at them: pyrite judge show" in told
    said, told = run("show", out / "curated.jsonl", "--out", sheet, "--tile", "64")
    assert said.strip() == str(sheet)
    assert "too few for an interval that can be believed" in told
    with PILImage.open(sheet) as drawn:
        assert drawn.width == 8 + 4 * 72


def test_the_same_command_again_says_the_same_as_json(clean: Path, tmp_path: Path) -> None:
    command = ["ladder", clean, "--kinds", "seam", "--limit", "2", "--json", "--out", tmp_path / "set"]
    first, second = (json.loads(run(*command)[0]) for _ in range(2))
    assert first == second
    assert (first["num_images"], first["kinds"], first["left_out"]) == (10, ["seam"], {})


def test_the_prompts_of_a_set_go_along(clean: Path, tmp_path: Path) -> None:
    (clean / "set.jsonl").write_text('{"image": "00.png", "prompt": "a cube"}\n{"image": "01.png"}\n')
    run("ladder", clean / "set.jsonl", "--kinds", "seam", "--severities", "1", "--out", tmp_path / "set")
    rows = [json.loads(line) for line in (tmp_path / "set" / "curated.jsonl").read_text().splitlines()]
    assert [row.get("prompt") for row in rows] == ["a cube", "a cube", None, None]


def test_images_that_lie_in_a_file_work_too(clean: Path, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"image": [(clean / "00.png").read_bytes(), (clean / "01.png").read_bytes()]})
    pyarrow.parquet.write_table(table, tmp_path / "set.parquet")
    said, _ = run("ladder", tmp_path / "set.parquet", "--kinds", "seam", "--json", "--out", tmp_path / "set")
    assert json.loads(said)["num_images"] == 10
    table = pyarrow.table({"image": [b"no picture"]})
    pyarrow.parquet.write_table(table, tmp_path / "bad.parquet")
    _, told = run("ladder", tmp_path / "bad.parquet", "--out", tmp_path / "other", code=2)
    assert "'1': the file is no image that Pillow knows. Take that row out of the file." in told


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_ladder_of_ones_own_images_is_one_picture(clean: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"ladder{suffix}"
    run("show", clean, "--ladder", "--kinds", "smear,crop", "--severities", "1", "--tile", "64", "--out", out)
    with PILImage.open(out) as drawn:
        assert drawn.width == 8 + 4 * 72


def test_bad_entries_are_refused_or_skipped_and_counted(clean: Path, tmp_path: Path) -> None:
    rows = ['{"image": "00.png", "label": 0}', '{"image": "01.png", "label": 1}', '{"image": "x.png", "label": 1}']
    (clean / "set.jsonl").write_text("\n".join(rows))
    _, told = run("show", clean / "set.jsonl", "--out", tmp_path / "s.jpg", code=2)
    assert "line 3" in told
    assert not (tmp_path / "s.jpg").exists()
    _, told = run("show", clean / "set.jsonl", "--skip-bad", "--out", tmp_path / "s.jpg")
    assert f"left out line 3: image {clean / 'x.png'}: there is no such file" in told
    assert "1 left out in all" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "gone.jsonl"], "there is no file gone.jsonl"),
        (["show", "gone", "--ladder"], "there is nothing at gone"),
        (["show", "clean", "--ladder", "--kinds", "smaer"], "Did you mean 'smear'"),
        (["show", "clean", "--ladder", "--severities", "0,1"], "a severity is a number above 0"),
        (["show", "clean", "--ladder", "--severities", "much"], "a severity is a number above 0"),
        (["show", "clean", "--ladder", "--out", "sheet.txt"], "a sheet is one picture. Give a name that ends in .jpg"),
        (["ladder", "clean", "--severities", ""], "a severity is a number above 0"),
        (["ladder", "gone"], "there is nothing at gone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_said_with_exit_code_2(
    clean: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(clean.parent)
    assert says in run(*arguments, code=2)[1]


def test_a_sheet_that_cannot_be_written_says_so(clean: Path, tmp_path: Path) -> None:
    _, told = run("show", clean, "--ladder", "--kinds", "crop", "--out", tmp_path / "no" / "sheet.jpg", code=3)
    assert "cannot write" in told

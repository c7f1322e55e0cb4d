import json
import math
from pathlib import Path
from typing import Any

import pytest

from pyrite.core.errors import RunFolderError
from pyrite.records.samples import RunFolderWarning, read_metrics, read_samples


def write(folder: Path, *rows: dict[str, Any], name: str = "samples.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_strangers_folder_of_step_prompt_image_and_scores_is_enough(tmp_path: Path) -> None:
    stranger = {"prompt": "a cup", "image": "1.png", "scores": {"theirs": 3}}
    run = write(tmp_path, {"step": 0, **stranger}, {"step": 0, **stranger}, {"step": 1, **stranger})
    rows = read_samples(run)
    assert [(row["step"], row["index"]) for row in rows] == [(0, 0), (0, 1), (1, 0)]
    assert rows[0]["prompt_id"] == "a cup"
    assert (rows[0]["split"], rows[0]["task_type"], rows[0]["reasons"]) == ("eval", "", {})
    assert rows[0]["scores"] == {"theirs": 3.0}
    assert all(math.isnan(rows[0][key]) for key in ("reward", "advantage", "kl"))
    assert read_metrics(run) == []


def test_what_is_missing_is_nan_with_a_reason_and_never_a_number(tmp_path: Path) -> None:
    scores = {"a": None, "b": None, "c": math.inf, "d": math.nan, "e": 0}
    (row,) = read_samples(write(tmp_path, {"step": 0, "prompt": "p", "scores": scores, "reasons": {"a": "too dark"}}))
    assert [name for name, value in row["scores"].items() if math.isnan(value)] == ["a", "b", "c", "d"]
    assert row["reasons"] == {
        "a": "too dark", "b": "no reason recorded", "c": "inf in the file", "d": "nan in the file",
    }  # fmt: skip
    assert row["image"] is None


def test_metrics_have_nan_where_the_file_has_null(tmp_path: Path) -> None:
    run = write(tmp_path, {"step": 1, "split": "train", "loss": None, "kl": 0.5}, name="metrics.jsonl")
    (row,) = read_metrics(run)
    assert math.isnan(row["loss"])
    assert (row["step"], row["split"], row["kl"]) == (1, "train", 0.5)


def test_a_torn_last_line_is_warned_about_and_the_rest_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"step": 0, "prompt": "p", "scores": {}})
    with (tmp_path / "samples.jsonl").open("a") as file:
        file.write('{"step": 1, "pro')
    with pytest.warns(RunFolderWarning, match="is incomplete and was left out: the run was killed while writing"):
        assert [row["step"] for row in read_samples(tmp_path)] == [0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "p", "scores": {}}, "sample 1 of .* has step = None, among the keys .*Every line needs"),
        ({"step": "1", "prompt": "p", "scores": {}}, "has step = '1'"),
        ({"step": 1, "prompt": None, "scores": {}}, "has prompt = None"),
        ({"step": 1, "prompt": "p", "scores": [1]}, r"has scores = \[1\]"),
        ({"step": 1, "prompt": "p", "scores": {"a": "0.5"}}, "score a is '0.5', which is no number"),
        ({"step": 1, "prompt": "p", "scores": {"a": True}}, "score a is True, which is no number"),
        ({"step": 1, "prompt": "p", "scores": {}, "kl": []}, r"kl is \[\], which is no number"),
    ],
    ids=["no step", "step as text", "no prompt", "list of scores", "score as text", "score as truth", "kl as list"],
)
def test_a_row_that_cannot_be_a_sample_is_refused(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(RunFolderError, match=said):
        read_samples(write(tmp_path, row))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for read in (read_samples, read_metrics):
        with pytest.raises(RunFolderError, match=r"cannot read .*Give the folder of a run"):
            read(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"cannot read .*samples.jsonl"):
        read_samples(tmp_path)

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pyrite.audit.pairs.images import pair_up
from pyrite.audit.pairs.reading import choose_rewards, read_scored
from pyrite.audit.pairs.tables import read_table
from pyrite.core.errors import ImageSetError, RunFolderError, UnknownNameError

LABELS = [
    {"id": "one", "image": "images/a.png", "label": 0, "pair_id": "a"},
    {"id": "two", "image": "images/a_smear.png", "label": 1, "pair_id": "a", "kind": "smear", "severity": 0.5},
]


def write_lines(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored_row(name: str, image: str | None, **scores: float | None) -> dict:
    reasons = {reward: "too dark" for reward, value in scores.items() if value is None}
    return {"id": name, "image": image, "image_sha256": "0", "prompt": "", "scores": scores, "reasons": reasons}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "set.jsonl", LABELS)


def scores_of(tmp_path: Path, *rows: dict) -> Path:
    return write_lines(tmp_path / "scores" / "samples.jsonl", list(rows)).parent


def test_scores_are_joined_by_path_whatever_the_ids(tmp_path: Path, labels: Path) -> None:
    folder = scores_of(
        tmp_path,
        scored_row("2", str(tmp_path / "images/a.png"), r=3.0),
        scored_row("1", str(tmp_path / "images/a_smear.png"), r=1.0),
    )
    found = read_scored(folder, labels)
    assert found.ids.tolist() == ["one", "two"]
    assert found.scores["r"].tolist() == [3, 1]
    assert found.severities.tolist()[1] == 0.5
    assert pair_up(found).damaged.margin("r").tolist() == [2]


@pytest.mark.parametrize("image", [None, "/elsewhere/images/{}"], ids=["no path", "another machine"])
def test_scores_are_joined_by_id_where_paths_do_not_lead_there(tmp_path: Path, labels: Path, image) -> None:
    rows = [scored_row(row["id"], image and image.format(Path(row["image"]).name), r=1.0) for row in LABELS]
    assert len(read_scored(scores_of(tmp_path, *rows) / "samples.jsonl", labels)) == 2


def test_an_id_that_means_another_image_is_no_match(tmp_path: Path, labels: Path) -> None:
    rows = [scored_row("one", "/else/b.png", r=1.0), scored_row("two", "/else/a_smear.png", r=1.0)]
    with pytest.raises(ImageSetError, match=r"(?s)1 entries cannot be joined.*the scores under this id are of /else/b"):
        read_scored(scores_of(tmp_path, *rows), labels)


def test_entries_without_scores_are_listed_with_the_nearest_id(tmp_path: Path, labels: Path) -> None:
    folder = scores_of(tmp_path, scored_row("one", None, r=1.0), scored_row("twoo", None, r=1.0))
    with pytest.raises(ImageSetError, match="'two': no scores under this id; the nearest is 'twoo'"):
        read_scored(folder, labels)
    found = read_scored(folder, labels, skip_bad=True)
    assert len(found) == 1
    assert list(found.skipped) == ["'two'"]
    assert found.notes == ("1 of the 2 scored images are not in set.jsonl and were ignored.",)


def test_an_unscored_image_keeps_its_reason(tmp_path: Path, labels: Path) -> None:
    folder = scores_of(tmp_path, scored_row("one", None, r=1.0, s=None), scored_row("two", None, r=None, s=2.0))
    found = read_scored(folder, labels)
    assert np.isnan(found.scores["r"][1])
    assert dict(found.reasons["r"]) == {1: "too dark"}


def test_bad_entries_of_the_set_are_listed_with_the_rest(tmp_path: Path) -> None:
    labels = write_lines(tmp_path / "set.jsonl", [*LABELS, {"image": "c.png", "label": 2}, LABELS[0]])
    folder = scores_of(tmp_path, scored_row("one", None, r=1.0), scored_row("two", None, r=0.0))
    with pytest.raises(
        ImageSetError, match=r"(?s)line 3: label is 2.*line 4: the id 'one' was given in line 1 already"
    ):
        read_scored(folder, labels)
    assert len(read_scored(folder, labels, skip_bad=True).skipped) == 2


def test_a_file_that_pyrite_score_did_not_write_is_refused(tmp_path: Path, labels: Path) -> None:
    with pytest.raises(ImageSetError, match=r"a row with the keys \['id', 'r'\].*is read without --set"):
        read_scored(write_lines(tmp_path / "own.jsonl", [{"id": "one", "r": 1}]), labels)
    with pytest.raises(RunFolderError, match=r"cannot read .*samples.jsonl"):
        read_scored(tmp_path, labels)


def test_rewards_are_chosen_by_name(tmp_path: Path, labels: Path) -> None:
    folder = scores_of(tmp_path, scored_row("one", None, r=1.0, s=2.0), scored_row("two", None, r=1.0, s=1.0))
    found = read_scored(folder, labels)
    assert list(choose_rewards(found, ["s"]).scores) == ["s"]
    assert choose_rewards(found, []) is found
    with pytest.raises(UnknownNameError, match=r"has no scores of 'rr', only of r, s\. Did you mean 'r'\?"):
        choose_rewards(found, ["rr"])


ROWS = [
    {"pair_id": "a", "label": 0, "kind": "", "severity": None, "hps": 0.3, "note": "fine"},
    {"pair_id": "a", "label": 1, "kind": "smear", "severity": 0.5, "hps": 0.2, "note": "bad"},
    {"pair_id": "7", "label": 0, "kind": "", "severity": None, "hps": None, "note": ""},
    {"pair_id": "7", "label": 1, "kind": "ghost", "severity": 1, "hps": 0.2, "note": ""},
]


def write_table(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".jsonl":
        return write_lines(path, rows)
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet as parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_of_ones_own_needs_no_set(tmp_path: Path, suffix: str) -> None:
    found = read_table(write_table(tmp_path / f"own{suffix}", ROWS))
    assert list(found.scores) == ["hps"]
    assert found.pair_ids.tolist() == ["a", "a", "7", "7"]
    assert found.has_artifact.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(found.scores["hps"], [0.3, 0.2, np.nan, 0.2])
    assert dict(found.reasons["hps"]) == {2: "the file gives no score"}
    np.testing.assert_array_equal(found.severities, [np.nan, 0.5, np.nan, 1])
    assert pair_up(found).damaged.kind_names == ["smear", "ghost"]


def test_scores_may_stand_in_an_object(tmp_path: Path) -> None:
    rows = [{"pair_id": 1, "label": k, "scores": {"a": 1 - k, "b": None}, "width": 64} for k in range(2)]
    found = read_table(write_lines(tmp_path / "own.jsonl", rows))
    assert found.scores["a"].tolist() == [1, 0]
    assert np.isnan(found.scores["b"]).all()


def test_all_bad_rows_are_named_at_once_or_left_out(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        {**ROWS[0], "label": "yes"},
        {**ROWS[0], "pair_id": None},
        {**ROWS[0], "severity": 3},
        {**ROWS[0], "hps": "high"},
    ]
    path = write_lines(tmp_path / "own.jsonl", rows)
    with pytest.raises(ImageSetError, match="4 of 8 rows cannot be used") as refused:
        read_table(path)
    for words in (
        "row 5: label: input should be 0 or 1, got 'yes'",
        "row 6: pair_id: field required",
        "row 7: severity: input should be less than or equal to 1, got 3",
        "row 8: the score of hps is 'high', which is no number; leave it empty if there is none",
    ):
        assert words in str(refused.value)
    assert len(read_table(path, skip_bad=True).skipped) == 4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("own.txt", "x", r"'.txt' is not one of .csv, .jsonl, .parquet"),
        ("own.csv", "pair_id,label\n", "has no rows"),
        ("own.csv", "pair_id,label,note\na,1,fine\n", "has no column of scores among pair_id, label, note.*--set"),
        ("own.parquet", "no parquet", "is no Parquet file that can be read"),
        ("own.csv", "pair_id,label,r\na,1,inf\na,0,1\n", "the score of 'r' for '1' is infinite"),
    ],
    ids=["another kind of file", "empty", "no scores", "not parquet", "infinite"],
)
def test_what_is_no_table_of_scores_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ImageSetError, match=message):
        read_table(tmp_path / name)


def test_a_torn_last_line_is_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "own.jsonl", ROWS)
    path.write_text(path.read_text() + '{"pair_id": "b", "la')
    [note] = read_table(path).notes
    assert "is incomplete and was left out" in note

"""A table of one's own as `ScoredImages`: labels, pairs and scores in one file, from whatever scored them."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pyrite.artifact.curated_rows import Example
from pyrite.audit.pairs.images import ScoredImages, listed
from pyrite.audit.pairs.reading import scored_images
from pyrite.core.errors import ImageSetError
from pyrite.records.jsonl import read_jsonl, teaching_os_errors

_TEXTS = frozenset({"id", "image", "image_sha256", "prompt", "pair_id", "label", "kind", "severity"})


class _Labels(BaseModel):
    """What a row says besides its scores."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    pair_id: str = Field(min_length=1)
    label: Literal[0, 1]
    id: str = ""
    kind: str = ""
    severity: float | None = Field(default=None, ge=0, le=1)
    image: str = ""


def read_table(path: Path, *, skip_bad: bool = False) -> ScoredImages:
    """Read a .csv, .jsonl or .parquet with a row per image.

    Needed are `pair_id` and `label` (1 artifact, 0 clean). Scores stand in an object `scores`, or every column that is
    not one of ours and holds numbers is a reward; an empty cell, null or NaN is unscored. Columns of text are ignored.

    Args:
        path: of the table.
        skip_bad: leave out rows that cannot be used and list them in `skipped`, instead of refusing the table.

    Raises:
        ImageSetError: another kind of file, rows that cannot be used (all of them at once), or no column of scores.
        RunFolderError: the file cannot be read.
    """
    rows, note = _rows(path)
    examples: list[Example] = []
    kept: list[Mapping[str, float | None]] = []
    problems: dict[str, str] = {}
    names = _reward_names(path, rows)
    for number, row in enumerate(rows, 1):
        labels, wrong = _labels(row)
        values, bad = _scores(row, names)
        if labels is None or wrong or bad:
            problems[f"row {number}"] = "; ".join([*wrong, *bad])
            continue
        examples.append(
            Example(
                id=labels.id or labels.image or str(number),
                image=path.parent / labels.image if labels.image else Path(),
                has_artifact=labels.label == 1,
                pair_id=labels.pair_id,
                kind=labels.kind,
                severity=labels.severity,
            )
        )
        kept.append(values)
    if problems and not (skip_bad and examples):
        raise ImageSetError(
            f"{path}: {len(problems)} of {len(rows)} rows cannot be used, and a test on part of a set is a test on "
            f"another set. Repair them, or leave them out with --skip-bad:{listed(problems)}"
        )
    columns = {name: [values[name] for values in kept] for name in names}
    return scored_images(path, path.parent, examples, columns, {}, skipped=problems, notes=[note] if note else [])


def _rows(path: Path) -> tuple[Sequence[Mapping[str, Any]], str]:
    """The rows, and a note if the last one was torn off."""
    suffix, note = path.suffix.lower(), ""
    rows: Sequence[Mapping[str, Any]]
    if suffix in {".jsonl", ".ndjson"}:
        rows, note = read_jsonl(path)
    elif suffix == ".csv":
        with teaching_os_errors(f"read {path}"), path.open(newline="", encoding="utf-8-sig") as file:
            try:
                rows = [{key: value or None for key, value in row.items() if key} for row in csv.DictReader(file)]
            except (csv.Error, UnicodeDecodeError) as error:
                raise ImageSetError(f"{path} is no CSV that can be read: {error}. Write it as UTF-8.") from error
    elif suffix == ".parquet":
        rows = _parquet_rows(path)
    else:
        raise ImageSetError(
            f"{path} is no table of scores: '{suffix}' is not one of .csv, .jsonl, .parquet. Give one of those with "
            "pair_id, label and a column per reward, or a folder of `pyrite score` with --set LABELS.jsonl."
        )
    if not rows:
        raise ImageSetError(f"{path} has no rows. Write one per image, with pair_id, label and a column per reward.")
    return rows, note


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with teaching_os_errors(f"read {path}"):
            rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ImageSetError(f"{path} is no Parquet file that can be read: {error}. Copy it again.") from error
    return rows


def _labels(row: Mapping[str, Any]) -> tuple[_Labels | None, list[str]]:
    # CSV knows only texts: the label "1" is the number.
    label = {"0": 0, "1": 1}.get(str(row.get("label")), row.get("label"))
    given = {key: value for key, value in {**row, "label": label}.items() if value is not None}
    try:
        return _Labels.model_validate(given), []
    except ValidationError as error:
        return None, [
            f"{problem['loc'][0]}: {problem['msg'].lower()}"
            + ("" if problem["type"] == "missing" else f", got {problem['input']!r}")
            for problem in error.errors()
        ]


def _reward_names(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if any(isinstance(row.get("scores"), Mapping) for row in rows):
        return list(dict.fromkeys(name for row in rows for name in (row.get("scores") or {})))
    columns = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in _TEXTS]
    names = [name for name in columns if any(_number(row.get(name)) is not None for row in rows)]
    if not names:
        raise ImageSetError(
            f"{path} has no column of scores among {', '.join(map(str, rows[0]))}: write one per reward, named for "
            "it. If the labels are in a file of their own, name it: --set LABELS.jsonl."
        )
    return names


def _scores(row: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, float | None], list[str]]:
    given = row["scores"] if isinstance(row.get("scores"), Mapping) else row
    values: dict[str, float | None] = {}
    problems = []
    for name in names:
        value = given.get(name)
        number = _number(value)
        if value is not None and number is None:
            problems.append(f"the score of {name} is {value!r}, which is no number; leave it empty if there is none")
        values[name] = number
    return values, problems


def _number(value: Any) -> float | None:
    """The number in a cell, NaN as no number but accepted; None where there is none."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if not math.isnan(number) else math.nan

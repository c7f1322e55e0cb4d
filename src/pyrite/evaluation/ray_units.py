"""The units that Ray hands out: whole batches of an image set, a Parquet file each with a row per image."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pyrite.core.types import Prompt
from pyrite.evaluation.image_sets import ImageSet, Item
from pyrite.records.jsonl import teaching_os_errors

_UNITS = ".ray-units"
_MOST_UNITS = 20_000  # a unit is a task of Ray and a file: beyond some ten thousand their bookkeeping is the work


@dataclass(frozen=True)
class Units:
    """The units of a run, a Parquet file each with a row per image; gone when the run is over."""

    folder: Path
    num: int

    def __enter__(self) -> "Units":
        return self

    def __exit__(self, *_: object) -> None:
        _remove(self.folder)

    @classmethod
    def write(cls, images: ImageSet, total: int, out: Path, batch_size: int) -> "Units":
        """Cut a set of `total` images into units of whole batches, beside what will be its results.

        Raises:
            RunFolderError: they cannot be written.
        """
        size = batch_size * math.ceil(total / batch_size / _MOST_UNITS)
        folder = out.absolute() / _UNITS
        with teaching_os_errors(f"write the units of work into {folder}"):
            _remove(folder)
            folder.mkdir()
            items = images.items()
            num = 0
            while unit := list(islice(items, size)):
                _write_unit(unit_file(folder, num), unit)
                num += 1
        return cls(folder, num)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        for file in folder.glob("*.parquet"):
            file.unlink()
        folder.rmdir()


def unit_file(folder: str | Path, number: int) -> Path:
    """Where a unit lies."""
    return Path(folder) / f"{number:08d}.parquet"


def _write_unit(path: Path, unit: Sequence[Item]) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    text = pyarrow.string()
    schema = pyarrow.schema([("id", text), ("path", text), ("bytes", pyarrow.large_binary()), ("prompt", text)])
    parquet.write_table(pyarrow.Table.from_pylist([_row(item) for item in unit], schema=schema), path)


def read_unit(path: Path) -> list[Item]:
    """The images of a unit."""
    import pyarrow.parquet as parquet

    return [_item(row) for row in parquet.read_table(path).to_pylist()]


def _row(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "path": str(item.source.absolute()) if isinstance(item.source, Path) else None,
        "bytes": item.source if isinstance(item.source, bytes) else None,
        "prompt": json.dumps(item.prompt.to_json()),
    }


def _item(row: Mapping[str, Any]) -> Item:
    described = json.loads(row["prompt"])
    prompt = Prompt.from_json(described) if described["prompt"].strip() else Prompt(described["prompt"])
    return Item(row["id"], Path(row["path"]) if row["path"] is not None else row["bytes"], prompt)

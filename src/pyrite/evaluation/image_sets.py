"""Image sets as they come: which files, in which order, for which prompts.

| layout | what it is |
|---|---|
| `folder` | images anywhere below a folder, or one image file; without prompts |
| `jsonl` | JSON lines with an image path and, for rewards that read it, a prompt |
| `parquet` | a Parquet file with a column of paths or of encoded images, and one of prompts |
| `datasets` | a folder that `datasets` wrote with `save_to_disk` |
| `id-prompt` | files called `ID{prompt_id}_{prompt}_{n}.jpg`, as ArtifactReward's sampler writes them |
| `geneval` | GenEval's tree: `00000/metadata.jsonl` and `00000/samples/0000.png` |
| `generated` | a folder of `pyrite generate`, whatever the layout of its images |

A layout is a function from a path to `Item`s: another one is another line in `LAYOUTS`. Nothing here opens an image.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from pyrite.core.errors import ImageSetError
from pyrite.core.types import Prompt
from pyrite.records.jsonl import teaching_os_errors

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
IMAGE_KEYS = ("image", "image_path", "path", "file_name", "bytes")
PROMPT_KEYS = ("prompt", "caption", "text")

_ROWS_AT_A_TIME = 64
_ID_PROMPT = re.compile(r"ID(?P<id>[^_]+)_(?P<prompt>.*)_(?P<n>\d+)", re.DOTALL)
_GENERATED = "generation.json"
_GENEVAL_FOLDER = re.compile(r"\d{5,}")


@dataclass(frozen=True)
class Item:
    """One image of a set.

    Args:
        id: names it within the set.
        source: where the image file is, or its bytes; None where there is none, or only the rest was asked for.
        prompt: its text is empty if the set has none for it.
    """

    id: str
    source: Path | bytes | None
    prompt: Prompt


Layout = Callable[[Path, bool], Iterator[Item]]
"""A path, and whether images that lie in it as bytes are wanted -> items in a stable order."""


@dataclass(frozen=True)
class ImageSet:
    """A set that was found at a path; can be gone through any number of times.

    Args:
        path: as given.
        layout: name of its layout.
        prompt: for items that bring none; may be empty.
        limit: go no further than this many items.
    """

    path: Path
    layout: str
    prompt: str = ""
    limit: int | None = None

    def items(self, *, with_bytes: bool = True) -> Iterator[Item]:
        """The items, one after the other.

        Args:
            with_bytes: False leaves out images that lie in the file itself, which makes going through it cheap.

        Raises:
            ImageSetError: a line or row is not an item.
        """
        fallback = Prompt(self.prompt)
        for item in islice(LAYOUTS[self.layout](self.path, with_bytes), self.limit):
            yield item if item.prompt.text else replace(item, prompt=fallback)


class Items(Protocol):
    """What can be gone through like an `ImageSet`, such as a part of one."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def layout(self) -> str:
        """Name of its layout."""
        ...

    def items(self, *, with_bytes: bool = True) -> Iterator[Item]:
        """See `ImageSet.items`."""
        ...


def open_image_set(path: Path, *, layout: str | None = None, prompt: str = "", limit: int | None = None) -> ImageSet:
    """The set at a path, in the layout given or found.

    Raises:
        ImageSetError: there is nothing there, no such layout, or it is not clear which one it is.
    """
    if not path.exists():
        raise ImageSetError(
            f"there is nothing at {path}. Give a folder of images, a JSON-lines file or a Parquet file with the keys "
            "'image' and 'prompt', or a folder written by datasets.save_to_disk."
        )
    if layout is not None and layout not in LAYOUTS:
        raise ImageSetError(f"there is no layout '{layout}'. The layouts are: {', '.join(LAYOUTS)}.")
    if limit is not None and limit < 1:
        raise ImageSetError(f"--limit {limit} leaves nothing to score. Give 1 or more, or leave it out.")
    return ImageSet(path, layout or find_layout(path), prompt, limit)


def survey(images: Items) -> int:
    """Go through a set once, without its images, and count it.

    Raises:
        ImageSetError: it is empty, a line of it is no item, or two items have the same id.
    """
    seen: set[str] = set()
    for item in images.items(with_bytes=False):
        if item.id in seen:
            raise ImageSetError(
                f"{images.path}: two images have the id '{item.id}', so their scores could not be told apart. "
                "Give each its own id, or leave the ids out: then they are counted."
            )
        seen.add(item.id)
    if not seen:
        raise ImageSetError(
            f"{images.path}: no image was found in the layout '{images.layout}'. Files count as images by their "
            f"suffix ({', '.join(sorted(IMAGE_SUFFIXES))}). Another layout: --layout {'|'.join(LAYOUTS)}."
        )
    return len(seen)


def find_layout(path: Path) -> str:
    """The layout of what lies at a path, by names of files alone.

    Raises:
        ImageSetError: it is not clear.
    """
    if path.is_file():
        return _layout_of_file(path)
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8")).get("splits", [])
        raise ImageSetError(
            f"{path} holds several splits ({', '.join(splits)}). Name one: {path / (splits or ['?'])[0]}"
        )
    if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        return "datasets"
    if (path / _GENERATED).is_file():
        return "generated"
    if any(_GENEVAL_FOLDER.fullmatch(file.parent.name) for file in path.glob("*/metadata.jsonl")):
        return "geneval"
    below = [file.parent for file in path.glob("*/*/metadata.jsonl")]
    if trees := sorted({folder.parent for folder in below if _GENEVAL_FOLDER.fullmatch(folder.name)}):
        raise ImageSetError(
            f"{path} is no tree of GenEval's, but {trees[0]} in it is one: read from here, its images would pass for "
            "those of other prompts. Give that folder, or, to leave prompts out, --layout folder."
        )
    named = [_ID_PROMPT.fullmatch(file.stem) is not None for file in _image_files(path)]
    if any(named) and not all(named):
        raise ImageSetError(
            f"{path}: {sum(named)} of {len(named)} images are called ID..._prompt_n, so it is not clear whether file "
            "names hold prompts. Say which: --layout id-prompt, or --layout folder."
        )
    return "id-prompt" if any(named) else "folder"


def _layout_of_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "folder"
    by_suffix = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
    if suffix not in by_suffix:
        raise ImageSetError(
            f"{path} is neither an image nor a list of images: '{suffix}' is not one of "
            f"{', '.join(by_suffix)}. Say what it is: --layout jsonl, or --layout parquet."
        )
    return by_suffix[suffix]


def _image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _folder(path: Path, with_bytes: bool) -> Iterator[Item]:
    if path.is_file():
        yield Item(path.name, path, Prompt(""))
        return
    for file in _image_files(path):
        yield Item(str(file.relative_to(path)), file, Prompt(""))


def _id_prompt(path: Path, with_bytes: bool) -> Iterator[Item]:
    for file in _image_files(path):
        name = _ID_PROMPT.fullmatch(file.stem)
        if name is None:
            raise ImageSetError(
                f"{file} is not called ID{{prompt_id}}_{{prompt}}_{{n}}, so its prompt is not known. "
                "Rename it, or score the folder without prompts: --layout folder."
            )
        yield Item(str(file.relative_to(path)), file, Prompt(name["prompt"], id=name["id"]))


def _geneval(path: Path, with_bytes: bool) -> Iterator[Item]:
    for folder in sorted(file.parent for file in path.glob("*/metadata.jsonl")):
        rows = list(_json_rows(folder / "metadata.jsonl"))
        if len(rows) != 1:
            raise ImageSetError(
                f"{folder / 'metadata.jsonl'} has {len(rows)} lines, and in GenEval's tree it describes one prompt. "
                "Repair it, or choose another --layout."
            )
        prompt = _prompt_of({"id": folder.name, "task_type": rows[0].get("tag", ""), **rows[0]}, str(folder))
        for file in _image_files(folder / "samples"):
            yield Item(str(file.relative_to(path)), file, prompt)


def _generated(path: Path, with_bytes: bool) -> Iterator[Item]:
    """What `pyrite generate` drew: file names cut prompts short, and samples.jsonl has them whole."""
    if not (path / "samples.jsonl").is_file():
        raise ImageSetError(
            f"{path} is not complete: `pyrite generate` writes samples.jsonl when the last image is there. Give its "
            "command again, or score what there is without prompts: --layout folder."
        )
    yield from _jsonl(path / "samples.jsonl", with_bytes)


def _jsonl(path: Path, with_bytes: bool) -> Iterator[Item]:
    for number, row in enumerate(_json_rows(path), 1):
        where = f"{path}, object {number}"
        name = _string_under(row, tuple(key for key in IMAGE_KEYS if key != "bytes"), where)
        item_id = str(row["id"]) if row.get("id") not in (None, "") else str(number)
        yield Item(item_id, path.parent / name, _prompt_of(row, where))


def _parquet(path: Path, with_bytes: bool) -> Iterator[Item]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            image_key = _image_column(file.schema_arrow.names, path)
            inline = not pyarrow.types.is_string(file.schema_arrow.field(image_key).type)
            columns = [name for name in file.schema_arrow.names if with_bytes or not inline or name != image_key]
            batches = file.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=columns)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield _tabular(row, number, image_key, path.parent, f"{path}, row {number}")
    except pyarrow.ArrowInvalid as error:
        raise ImageSetError(f"{path} is no Parquet file that can be read: {error}. Copy it again.") from error


def _datasets(path: Path, with_bytes: bool) -> Iterator[Item]:
    import datasets

    table = datasets.load_from_disk(str(path))
    image_key = _image_column(table.column_names, path)
    if isinstance(table.features[image_key], datasets.Image):
        table = table.cast_column(image_key, datasets.Image(decode=False))
        table = table if with_bytes else table.remove_columns(image_key)
    for number, row in enumerate(table, 1):
        yield _tabular(row, number, image_key, path, f"{path}, row {number}")


LAYOUTS: Mapping[str, Layout] = {
    "folder": _folder,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "datasets": _datasets,
    "id-prompt": _id_prompt,
    "geneval": _geneval,
    "generated": _generated,
}


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with teaching_os_errors(f"read {path}"), path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ImageSetError(f"{path}, line {number} is not JSON: {error}. Repair that line.") from error
            if not isinstance(row, dict):
                raise ImageSetError(
                    f"{path}, line {number} is {type(row).__name__}, not an object. Write lines such as "
                    '{"image": "a.png", "prompt": "a red cube"}.'
                )
            yield row


def _tabular(row: Mapping[str, Any], number: int, image_key: str, beside: Path, where: str) -> Item:
    image = row.get(image_key)
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    item_id = str(row["id"]) if row.get("id") not in (None, "") else str(number)
    return Item(item_id, beside / image if isinstance(image, str) else image, _prompt_of(row, where))


def _image_column(names: list[str], path: Path) -> str:
    for key in IMAGE_KEYS:
        if key in names:
            return key
    raise ImageSetError(
        f"{path} has the columns {', '.join(names)}, and none of them is called {', '.join(IMAGE_KEYS)}: it is not "
        "clear where the images are. Rename the column that holds paths or encoded images."
    )


def _string_under(row: Mapping[str, Any], keys: tuple[str, ...], where: str) -> str:
    for key in keys:
        if isinstance(row.get(key), str) and row[key]:
            return str(row[key])
    raise ImageSetError(
        f"{where} has the keys {sorted(row)}, and no path under {', '.join(keys)}. Every line names its image by a "
        "path from the folder the file is in."
    )


def _prompt_of(row: Mapping[str, Any], where: str) -> Prompt:
    text = next((row[key] for key in PROMPT_KEYS if row.get(key) is not None), "")
    if not isinstance(text, str):
        raise ImageSetError(f"{where}: the prompt is {text!r}, which is no text. Write it in quotes.")
    if not text.strip():
        return Prompt("")
    described = {**row, "prompt": text, "id": row.get("prompt_id", row.get("id")) or ""}
    try:
        return Prompt.from_json(described)
    except (TypeError, ValueError) as error:
        raise ImageSetError(f"{where}: what it says about its prompt cannot be read ({error}). Repair it.") from error

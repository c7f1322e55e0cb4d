"""The entries of a file of labelled images, one by one: an example, or what is wrong with the entry and what to do."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrite.core.errors import ImageSetError
from pyrite.records.jsonl import teaching_os_errors

IMAGE_KEYS = ("image", "image_path", "img_path", "path", "file_name", "filename", "file")
LABEL_KEYS = ("label", "has_artifact", "has_artifacts", "artifact", "artifacts")
PROMPT_KEYS = ("prompt", "caption", "text")

_LABEL_ADVICE = "write 1 where the image has artifacts and 0 where it has none"


@dataclass(frozen=True)
class Example:
    """One labelled image.

    Args:
        id: names it within its set.
        image: path of the file.
        has_artifact: the label.
        prompt: what it was drawn from; empty if not known.
        pair_id: what it shares with the other versions of the same picture; empty if there are none.
        kind: of the artifact or neutral change, as in `ladder.ARTIFACTS` and `ladder.NEUTRAL`; empty if not known.
        severity: of that change in [0, 1], None if not known.
    """

    id: str
    image: Path
    has_artifact: bool
    prompt: str = ""
    pair_id: str = ""
    kind: str = ""
    severity: float | None = None

    @property
    def group(self) -> str:
        """What is never separated: the pair, or the image on its own."""
        return f"pair {self.pair_id}" if self.pair_id else f"image {self.id}"


@dataclass(frozen=True)
class Entry:
    """One entry as it stands in the file.

    Args:
        where: "line 3" or "entry 'a'".
        value: what stands there, or None if it is no JSON.
        problem: why there is no value.
        key: in a JSON object of entries, the key of this one.
    """

    where: str
    value: Any = None
    problem: str = ""
    key: str = ""


def read_entries(path: Path) -> Iterator[Entry]:
    """Every entry of a JSON-lines file, a JSON list, or a JSON object of entries, told apart by the file's suffix.

    Raises:
        ImageSetError: there is no such file, or it is none of the three.
        RunFolderError: it cannot be read.
    """
    if not path.is_file():
        raise ImageSetError(
            f"there is no file {path}. Give JSON lines such as "
            '{"image": "a.png", "label": 1}, or make a set of clean images: `pyrite judge ladder IMAGES`.'
        )
    with teaching_os_errors(f"read {path}"):
        data = path.read_bytes()
    return _from_lines(data) if path.suffix.lower() in {".jsonl", ".ndjson"} else _from_document(data, path)


def read_example(entry: Entry, folder: Path) -> Example | str:
    """The example an entry describes, or everything that is wrong with it.

    Args:
        entry: as read.
        folder: from which relative image paths lead.
    """
    if entry.problem:
        return entry.problem
    row = entry.value
    if not isinstance(row, Mapping):
        return f'it is {json.dumps(row)[:60]}, not an object; write entries such as {{"image": "a.png", "label": 1}}'
    image, label = _first(row, IMAGE_KEYS, entry.key), _first(row, LABEL_KEYS, None)
    severity = row.get("severity")
    problems = [
        problem
        for problem in (_image_problem(image, row), _label_problem(label, row), _severity_problem(severity))
        if problem
    ]
    texts = {"id": row.get("id"), "pair_id": row.get("pair_id"), "kind": row.get("kind")}
    for name, value in {**texts, "prompt": _first(row, PROMPT_KEYS, None)}.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            problems.append(f"{name} is {json.dumps(value)[:60]}, which is no text; write it in quotes")
    if problems:
        return "; ".join(problems)
    return Example(
        id=_text(texts["id"]) or entry.key or str(image),
        image=folder / str(image),
        has_artifact=bool(label),
        prompt=_text(_first(row, PROMPT_KEYS, None)),
        pair_id=_text(texts["pair_id"]),
        kind=_text(texts["kind"]),
        severity=None if severity is None else float(severity),
    )


def _from_lines(data: bytes) -> Iterator[Entry]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield Entry(f"line {number}", _parsed(line))
        except (ValueError, RecursionError) as error:
            yield Entry(f"line {number}", problem=f"it cannot be read as JSON ({error}); repair the line")


def _from_document(data: bytes, path: Path) -> Iterator[Entry]:
    try:
        document = _parsed(data)
    except (ValueError, RecursionError) as error:
        raise ImageSetError(
            f"{path} cannot be read as JSON: {error}. Repair it; if it has one object per line, call it "
            f"{path.stem}.jsonl."
        ) from error
    if isinstance(document, list):
        return (Entry(f"entry {number}", value) for number, value in enumerate(document, start=1))
    if isinstance(document, dict):
        return (Entry(f"entry '{key}'", value, key=key) for key, value in document.items())
    raise ImageSetError(
        f"{path} holds {json.dumps(document)[:60]}, and a set is a list of objects or an object of objects. Write "
        'entries such as {"image": "a.png", "label": 1}.'
    )


def _parsed(data: bytes) -> Any:
    """JSON in which no key stands twice: of two labels for one image, the parser would quietly keep the last."""
    return json.loads(data, object_pairs_hook=_without_repeats)


def _without_repeats(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in members:
        if key in found:
            raise ValueError(f"the key '{key}' stands twice in one object")
        found[key] = value
    return found


def _first(row: Mapping[str, Any], keys: tuple[str, ...], default: Any) -> Any:
    return next((row[key] for key in keys if row.get(key) not in (None, "")), default)


def _image_problem(image: Any, row: Mapping[str, Any]) -> str:
    if isinstance(image, str) and image:
        return ""
    if image in (None, ""):
        return f"no image among the keys {sorted(row)}; write its path from the file's folder under 'image'"
    return f"image is {json.dumps(image)[:60]}, which is no path; write it in quotes"


def _label_problem(label: Any, row: Mapping[str, Any]) -> str:
    if label is None:
        return f"no label among the keys {sorted(row)}; {_LABEL_ADVICE} under 'label'"
    if isinstance(label, bool) or (isinstance(label, int | float) and label in (0, 1)):
        return ""
    return f"label is {json.dumps(label)[:60]}, not 0 or 1; {_LABEL_ADVICE}"


def _severity_problem(severity: Any) -> str:
    is_number = isinstance(severity, int | float) and not isinstance(severity, bool)
    if severity is None or (is_number and 0 <= severity <= 1):
        return ""
    return f"severity is {json.dumps(severity)[:60]}, not a number from 0 to 1; leave it out if it is not known"


def _text(value: str | int | None) -> str:
    return "" if value is None else str(value)

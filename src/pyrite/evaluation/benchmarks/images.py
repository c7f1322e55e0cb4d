"""Which image belongs to which prompt of a benchmark, in whatever layout the images came.

`image_sets.py` says what there is and for which prompt; here it is matched with a benchmark's own ids. Names and
prompts are checked against each other where both are known: two versions of a benchmark may use the same ids for other
prompts.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pyrite.core.errors import ImageSetError
from pyrite.evaluation.benchmarks.protocol import Case, Work
from pyrite.evaluation.image_sets import Item, open_image_set
from pyrite.records.image_files import Readable, bombs_are_errors, read_image_file

NO_IMAGE = "there is no image of this prompt"

_MOST_LISTED = 10
_MAX_THREADS = 8
_AHEAD = 64
_PROMPT_CHARACTERS = 100
_LAST_NUMBER = re.compile(r"(\d+)\D*$")
_NOT_IN_NAMES = re.compile(r"[ /\0\n\r]")


@dataclass(frozen=True)
class FoundImages:
    """The images of a benchmark's prompts.

    Args:
        work: in the order of the prompts.
        missing: id -> why there is no image to look at.
        notes: what has to be said about the rest.
    """

    work: Sequence[Work]
    missing: Mapping[str, str]
    notes: Sequence[str] = ()


def find_images(
    path: Path,
    cases: Sequence[Case],
    *,
    per_prompt: int | None,
    number: int | None = None,
    layout: str | None = None,
    leave_out: Path | None = None,
) -> FoundImages:
    """The images at a path, each with its prompt.

    Args:
        path: as `pyrite score` takes it; in a folder without prompts, files are called by the id: `12.png`.
        cases: the prompts.
        per_prompt: how many images the benchmark wants of each; None for any number.
        number: take only this one of each prompt's images, from 1.
        layout: a name of `image_sets.LAYOUTS`; found out if left out.
        leave_out: a folder below the path that holds something else.

    Raises:
        ImageSetError: nothing is there, no image is of any prompt, prompts have too many images, or an image is of
            another prompt than its id says.
    """
    by_id: dict[str, list[Item]] = {case.prompt.id: [] for case in cases}
    text_of = {case.prompt.id: case.prompt.text for case in cases}
    images = open_image_set(path, layout=layout)
    strays, others = [], []
    num = 0
    for item in images.items(with_bytes=False):
        if leave_out is not None and isinstance(item.source, Path) and item.source.is_relative_to(leave_out):
            continue
        num += 1
        prompt_id = item.prompt.id or (item.source.stem if isinstance(item.source, Path) else "")
        if prompt_id not in by_id:
            strays.append(item.id)
        elif item.prompt.text and not _is_of(item.prompt.text, text_of[prompt_id], images.layout):
            others.append(f"{item.id}: '{item.prompt.text[:60]}', and {prompt_id} is '{text_of[prompt_id][:60]}'")
        else:
            by_id[prompt_id].append(item)
    if not num:
        raise ImageSetError(f"{path} is empty: there is no image in it. Check the path.")
    _refuse_others(path, others)
    if len(strays) == num:
        raise ImageSetError(
            f"none of the {num} images in {path} is called by the id of a prompt (the first is {strays[0]}, the ids "
            "are "
            f"{cases[0].prompt.id} to {cases[-1].prompt.id}), so it is not known what they show. Call them {{id}}.png, "
            "or "
            "draw them with `pyrite generate` from the benchmark's prompts."
        )
    chosen = _choose(path, by_id, per_prompt, number)
    work, unread = _read(cases, chosen)
    missing = {prompt_id: NO_IMAGE for prompt_id, items in chosen.items() if not items} | unread
    return FoundImages(work, missing, _notes(path, chosen, strays))


def _is_of(told: str, text: str, layout: str) -> bool:
    """Whether what is said about an image is its prompt; file names may have cut it, in characters or in bytes."""
    if layout != "id-prompt":
        return told == text
    whole = _NOT_IN_NAMES.sub("_", text)
    told = _NOT_IN_NAMES.sub("_", told)
    return told == whole or (whole.startswith(told) and len(told.encode()) >= _PROMPT_CHARACTERS)


def _refuse_others(path: Path, others: Sequence[str]) -> None:
    if others:
        listed = "".join(f"\n  - {one}" for one in others[:_MOST_LISTED])
        raise ImageSetError(
            f"{path}: {len(others)} images were drawn for other prompts than the benchmark has under their ids, and "
            "would "
            f"be judged by what they do not show:{listed}\nGive the prompts they were drawn for (--source), or the "
            "other "
            "version of the benchmark (--benchmark)."
        )


def _choose(
    path: Path, by_id: Mapping[str, Sequence[Item]], per_prompt: int | None, number: int | None
) -> dict[str, list[Item]]:
    ordered = {prompt_id: sorted(items, key=_order) for prompt_id, items in by_id.items()}
    if number is not None:
        return {prompt_id: items[number - 1 : number] for prompt_id, items in ordered.items()}
    if per_prompt is None:
        return ordered
    if many := [(prompt_id, items) for prompt_id, items in ordered.items() if len(items) > per_prompt]:
        listed = "".join(f"\n  - {name}: {', '.join(item.id for item in items)}" for name, items in many[:_MOST_LISTED])
        raise ImageSetError(
            f"{path}: {len(many)} prompts have more images than the {per_prompt} that the benchmark judges, and which "
            "is "
            f"meant is not known:{listed}\nTake the others away, or say which one of each counts: --number 1."
        )
    return ordered


def _order(item: Item) -> tuple[int, str]:
    found = _LAST_NUMBER.search(Path(item.id).stem)
    return int(found[1]) if found else 0, item.id


def _read(cases: Sequence[Case], chosen: Mapping[str, Sequence[Item]]) -> tuple[list[Work], dict[str, str]]:
    """What can be looked at, and why the rest cannot."""
    wanted = [(case, n, item) for case in cases for n, item in enumerate(chosen[case.prompt.id])]
    work: list[Work] = []
    unread: dict[str, str] = {}
    with bombs_are_errors(), ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for part in _parts(wanted):
            keys = pool.map(lambda one: _key(one[2]), part)
            for (case, n, item), (key, why) in zip(part, keys, strict=True):
                if why:
                    unread[case.prompt.id] = f"{item.id}: {why}"
                else:
                    assert isinstance(item.source, Path)
                    work.append(Work(case, item.source, key, n))
    return work, unread


def _key(item: Item) -> tuple[str, str]:
    """Key of the file, and why it cannot be looked at: empty if it can. The bytes themselves are let go."""
    if not isinstance(item.source, Path):
        return "", "the image lies in a table, and the page and the official files name files; write it to one"
    file = read_image_file(item.source)
    return (file.key, "") if isinstance(file, Readable) else ("", file)


def _parts(items: Sequence[tuple[Case, int, Item]]) -> Iterator[list[tuple[Case, int, Item]]]:
    left = iter(items)
    while part := list(islice(left, _AHEAD)):
        yield part


def _notes(path: Path, chosen: Mapping[str, Sequence[Item]], strays: Sequence[str]) -> list[str]:
    notes = []
    if strays:
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        notes.append(
            f"{len(strays)} images belong to none of the prompts and are left out: {', '.join(strays[:3])}{more}"
        )
    folders = {item.source.parent for items in chosen.values() for item in items if isinstance(item.source, Path)} - {
        path
    }
    if path.is_dir() and len(folders) == 1 and not (path / "generation.json").is_file():
        notes.append(
            f"the images lie a folder further down, in {next(iter(folders))}; the official code would not find them"
        )
    return notes

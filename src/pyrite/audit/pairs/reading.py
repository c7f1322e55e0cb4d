"""Stored scores as `ScoredImages`: what `pyrite score` wrote joined with a labelled set, or a table of one's own.

| given | read as |
|---|---|
| a folder of `pyrite score`, or a samples.jsonl | its scores; labels and pairs from the set (`read_scored`) |
| .csv, .jsonl or .parquet without a set | labels, pairs and scores, all from it (`pyrite.audit.pairs.tables`) |
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.artifact.curated_rows import Example, read_entries, read_example
from pyrite.audit.pairs.images import ScoredImages, listed
from pyrite.core.errors import ImageSetError, UnknownNameError
from pyrite.records.jsonl import read_jsonl

SAMPLES = "samples.jsonl"
_NO_REASON = "the file gives no score"


def read_scored(scored: Path, labels: Path, *, skip_bad: bool = False) -> ScoredImages:
    """The scores of a labelled set, by image path, or else by id; images of the file that the set lacks are ignored.

    Args:
        scored: folder of `pyrite score`, or its samples.jsonl.
        labels: the set, as `pyrite.artifact.data` describes it; its images need not be there.
        skip_bad: leave out entries that are none or have no scores, and list them in `skipped`, instead of refusing.

    Raises:
        ImageSetError: entries of the set that cannot be used or have no scores, all of them at once, with the nearest
            ids; a file that is not what `pyrite score` writes.
        RunFolderError: a file that cannot be read.
    """
    path = scored / SAMPLES if scored.is_dir() else scored
    rows, note = read_jsonl(path)
    _refuse_other_files(path, rows)
    examples, problems = _examples(labels)
    by_id = {str(row["id"]): row for row in rows}
    by_image = {str(Path(row["image"]).absolute()): row for row in rows if row.get("image")}
    found: list[tuple[Example, Mapping[str, Any]]] = []
    for example in examples:
        row = by_image.get(str(example.image.absolute())) or by_id.get(example.id)
        problem = _mismatch(example, row, by_id)
        if problem or row is None:
            problems[f"'{example.id}'"] = problem
        else:
            found.append((example, row))
    if problems and not (skip_bad and found):
        raise ImageSetError(_all_problems(path, labels, problems, len(found)))
    notes = [note] if note else []
    if (others := len(rows) - len(found)) > 0:
        notes.append(f"{others} of the {len(rows)} scored images are not in {labels.name} and were ignored.")
    return _columns(path, labels.parent, found, problems, notes)


def choose_rewards(images: ScoredImages, names: Sequence[str]) -> ScoredImages:
    """The set with the scores of some rewards only, in the order given; all of them if none is named.

    Raises:
        UnknownNameError: a reward without a column of scores.
    """
    for name in names:
        if name not in images.scores:
            near = difflib.get_close_matches(name, images.scores, n=1, cutoff=0.5)
            raise UnknownNameError(
                f"{images.path} has no scores of '{name}', only of {', '.join(images.scores)}."
                f"{f' Did you mean {near[0]!r}?' if near else ''} Score the set with it: `pyrite score SET --rewards "
                f"{name}`."
            )
    if not names:
        return images
    scores = {name: images.scores[name] for name in names}
    return ScoredImages(**{**vars(images), "scores": scores})


def scored_images(
    path: Path,
    folder: Path,
    examples: Sequence[Example],
    scores: Mapping[str, Iterable[float | None]],
    reasons: Mapping[str, Mapping[int, str]],
    *,
    skipped: Mapping[str, str],
    notes: Sequence[str] = (),
) -> ScoredImages:
    """Columns from examples and their scores in the same order; None is unscored, and so is NaN.

    Raises:
        ImageSetError: an infinite score.
    """
    columns = {
        name: np.array([np.nan if value is None else value for value in column], dtype=np.float64)
        for name, column in scores.items()
    }
    for name, column in columns.items():
        if np.isinf(column).any():
            where = examples[int(np.flatnonzero(np.isinf(column))[0])].id
            raise ImageSetError(
                f"{path}: the score of '{name}' for '{where}' is infinite, which is no score: every difference to it "
                "would be infinite or undefined. Leave it empty where there is no score."
            )
    silent = {
        name: {int(row): reasons.get(name, {}).get(int(row), _NO_REASON) for row in np.flatnonzero(np.isnan(column))}
        for name, column in columns.items()
    }
    return ScoredImages(
        path=path,
        ids=np.array([example.id for example in examples]),
        pair_ids=np.array([example.pair_id for example in examples]),
        has_artifact=np.array([example.has_artifact for example in examples]),
        kinds=np.array([example.kind for example in examples]),
        severities=np.array([np.nan if e.severity is None else e.severity for e in examples], dtype=np.float64),
        images=np.array(["" if example.image == Path() else str(example.image) for example in examples]),
        folder=folder,
        scores=columns,
        reasons=silent,
        skipped=dict(skipped),
        notes=tuple(notes),
    )


def _columns(
    path: Path,
    folder: Path,
    found: Sequence[tuple[Example, Mapping[str, Any]]],
    skipped: Mapping[str, str],
    notes: Sequence[str],
) -> ScoredImages:
    names = list(dict.fromkeys(name for _, row in found for name in row["scores"]))
    scores = {name: [row["scores"].get(name) for _, row in found] for name in names}
    reasons = {
        name: {k: row["reasons"][name] for k, (_, row) in enumerate(found) if name in row.get("reasons", {})}
        for name in names
    }
    return scored_images(path, folder, [item for item, _ in found], scores, reasons, skipped=skipped, notes=notes)


def _examples(labels: Path) -> tuple[list[Example], dict[str, str]]:
    """The usable entries of a set, and what is wrong with the others."""
    examples: list[Example] = []
    problems: dict[str, str] = {}
    seen: dict[str, str] = {}
    for entry in read_entries(labels):
        found = read_example(entry, labels.parent)
        if isinstance(found, str):
            problems[entry.where] = found
        elif found.id in seen:
            problems[entry.where] = f"the id '{found.id}' was given in {seen[found.id]} already; give each its own"
        else:
            seen[found.id] = entry.where
            examples.append(found)
    return examples, problems


def _mismatch(example: Example, row: Mapping[str, Any] | None, by_id: Mapping[str, Any]) -> str:
    """Why an example has no row of scores; empty if it has."""
    if row is None:
        near = difflib.get_close_matches(example.id, by_id, n=1, cutoff=0.5)
        return f"no scores under this id{f'; the nearest is {near[0]!r}' if near else ''}"
    # A list without ids is numbered when it is scored, and the id of another list may be such a number.
    if row.get("image") and Path(row["image"]).name != example.image.name:
        return f"the scores under this id are of {row['image']}, and the set means {example.image}"
    return ""


def _all_problems(path: Path, labels: Path, problems: Mapping[str, str], num: int) -> str:
    return (
        f"{labels}: {len(problems)} entries cannot be joined with the scores in {path}, {num} can. A test on part of a "
        f"set is a test on another set. Score the set itself (`pyrite score {labels} --rewards ...`), or leave them "
        f"out with --skip-bad:{listed(problems)}"
    )


def _refuse_other_files(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    strange = next((row for row in rows if not isinstance(row.get("scores"), dict) or "id" not in row), None)
    if strange is not None or not rows:
        keys = "no rows" if strange is None else f"a row with the keys {sorted(strange)}"
        raise ImageSetError(
            f"{path} has {keys}, and `pyrite score` writes an id and an object of scores in every row. Give the folder "
            "it wrote; a table of your own holds the labels itself and is read without --set."
        )

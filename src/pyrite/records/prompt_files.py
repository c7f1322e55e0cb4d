"""Prompt files of every kind in use: JSON lines, a prompt per line, GenEval's metadata, WISE's questions.

    .jsonl .ndjson   an object per line with a text under 'prompt'; T2I-R1's training data and GenEval's
                     evaluation_metadata.jsonl are such files
    .json            a list of such objects, or of texts; WISE's files, whose keys are 'Prompt' and 'prompt_id'
    .txt             a prompt per line; empty lines are left out

A prompt without an id is called by its line or place in the list, from 1; one of GenEval by its folder, from 00000.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyrite.core.errors import PromptFileError
from pyrite.core.types import Prompt

_KINDS = (".jsonl", ".ndjson", ".json", ".txt")
_MOST_LISTED = 20


@dataclass(frozen=True)
class PromptRow:
    """One prompt of a file.

    Args:
        prompt: as rewards and policies read it.
        row: the object as it stands in the file, for benchmarks that want it back.
    """

    prompt: Prompt
    row: Mapping[str, Any]


def read_prompt_file(path: Path) -> list[PromptRow]:
    """Every prompt of a file, in its order; no two have the same id.

    Raises:
        PromptFileError: it is missing, of no known kind, empty, or something in it is no prompt; all of it is named.
    """
    if path.suffix.lower() not in _KINDS:
        raise PromptFileError(
            f"{path} is no prompt file: '{path.suffix}' is not one of {', '.join(_KINDS)}. Give JSON lines with a "
            "text under 'prompt', a JSON list of such objects, or a text file with a prompt per line."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PromptFileError(f"the prompt file {path.absolute()} cannot be read: {why}. Check --prompts.") from error
    found: list[PromptRow] = []
    problems: list[str] = []
    places: dict[str, str] = {}
    for place, value in _objects(path, text):
        try:
            item = _prompt_row(value, place, len(found))
        except (ValueError, TypeError) as error:
            problems.append(f"{place}: {error}")
            continue
        if (first := places.setdefault(item.prompt.id, place)) != place:
            problems.append(f"{place}: the id '{item.prompt.id}' is that of {first} already")
        found.append(item)
    if problems or not found:
        _refuse(path, problems)
    return found


def _objects(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Place and value of each thing in the file; a line that is no JSON comes as the error it gave."""
    kind = path.suffix.lower()
    if kind == ".json":
        try:
            values = json.loads(text)
        except ValueError as error:
            if text.lstrip().startswith("{"):  # JSON lines under another name, as T2I-R1's are
                yield from _json_lines(text)
                return
            raise PromptFileError(f"{path} is no JSON: {error}. Repair it.") from error
        if not isinstance(values, list):
            values = [values]
        yield from ((f"object {number}", value) for number, value in enumerate(values, 1))
    elif kind == ".txt":
        yield from ((f"line {number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    else:
        yield from _json_lines(text)


def _json_lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except ValueError as error:
                yield f"line {number}", error


def _prompt_row(value: Any, place: str, position: int) -> PromptRow:
    if isinstance(value, ValueError):
        raise ValueError(f"is no JSON: {value}")
    row = {"prompt": value.strip()} if isinstance(value, str) else value
    if not isinstance(row, Mapping):
        raise TypeError(f"is {type(value).__name__}, and a prompt is an object or a text")
    described = dict(row)
    if "prompt" not in row and "Prompt" in row:
        described |= {"prompt": row["Prompt"], "explanation": row.get("Explanation", "")}
        described["task_type"] = row.get("Category", "")
    known = row.get("prompt_id", row.get("id"))
    if known in (None, ""):
        known = f"{position:05d}" if "include" in row else place.split()[-1]
    if "include" in row:
        described["task_type"] = row.get("tag", "")
    return PromptRow(replace(Prompt.from_json(described), id=str(known)), row)


def _refuse(path: Path, problems: list[str]) -> None:
    if not problems:
        raise PromptFileError(f"{path} holds no prompt. Write one per line.")
    listed = "".join(f"\n  - {problem}" for problem in problems[:_MOST_LISTED])
    more = f"\n  - and {len(problems) - _MOST_LISTED} more" if len(problems) > _MOST_LISTED else ""
    raise PromptFileError(
        f"{path}: {len(problems)} of its entries are no prompts of their own, and what is drawn for the others would "
        f"shift:{listed}{more}\nRepair them, or take them out."
    )

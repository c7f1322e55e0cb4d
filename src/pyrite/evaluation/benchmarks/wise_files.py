"""The files of WISE: prompts in, results out and in again.

Prompts stand in `cultural_common_sense.json`, `natural_science.json` and `spatio-temporal_reasoning.json`, or in the
same with `_verified`; results in `<part>_scores_results.jsonl`, one object with `prompt_id` per image, and
`<part>_full_results.json`, a list with the judge's words.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyrite.core.errors import ImageSetError, PromptFileError
from pyrite.evaluation.benchmarks.protocol import Case
from pyrite.evaluation.benchmarks.wise_protocols import PARTS, Category, WiseProtocol
from pyrite.evaluation.benchmarks.wise_question import REPOSITORY
from pyrite.records.jsonl import teaching_os_errors
from pyrite.records.prompt_files import PromptRow, read_prompt_file

_SCORES, _FULL = "_scores_results.jsonl", "_full_results.json"
_BELOW = ("", "data", "WISE_legacy", "WISE_legacy/data", "data_verified")
_MOST_LISTED = 10


def prompt_files(protocol: WiseProtocol, source: Sequence[Path]) -> list[Path]:
    """The official prompt files among what a user named: files, or folders such as a copy of the WISE repository.

    Raises:
        PromptFileError: a folder holds none of them, or nothing was named.
    """
    found: list[Path] = []
    names = [f"{part}{protocol.suffix}.json" for part in PARTS]
    for path in source:
        if not path.is_dir():
            found.append(path)
            continue
        here = [path / below / name for name in names for below in _BELOW if (path / below / name).is_file()]
        if not here:
            raise PromptFileError(
                f"{path} holds none of the prompts of '{protocol.name}': {', '.join(names)}, nor do "
                f"{', '.join(filter(None, _BELOW))} below it. git clone {REPOSITORY}, and give its folder: "
                "--source WISE."
            )
        found += here
    if not found:
        raise PromptFileError(
            f"'{protocol.name}' needs its prompts, which are not part of Pyrite. git clone {REPOSITORY}, and give its "
            "folder: --source WISE."
        )
    return found


def question_file(protocol: WiseProtocol, source: Sequence[Path]) -> Path:
    """The published question of the judge among what a user named.

    Raises:
        PromptFileError: it is not there.
    """
    folders = [path if path.is_dir() else path.parent for path in source]
    for folder in [*folders, *(folder.parent for folder in folders)]:
        for below in ("", "WISE_legacy"):
            if (path := folder / below / protocol.question_file).is_file():
                return path
    raise PromptFileError(
        f"the question that '{protocol.name}' puts to its judge is not there: scores depend on it to the letter, and "
        f"WISE has no licence under which Pyrite could bring it. It stands in {protocol.question_file} of "
        f"{REPOSITORY}: "
        f"give its folder (--source WISE) or the file itself (--set question=WISE/{protocol.question_file})."
    )


def read_cases(protocol: WiseProtocol, source: Sequence[Path]) -> list[Case]:
    """The prompts of all files, by id.

    Raises:
        PromptFileError: a file cannot be read, an id comes twice, or prompts are not where the protocol has them.
    """
    rows: dict[int, tuple[PromptRow, Path]] = {}
    problems: list[str] = []
    for path in prompt_files(protocol, source):
        for row in read_prompt_file(path):
            number = _number(row.prompt.id)
            if number is None or protocol.category_of(number) is None:
                problems.append(f"{path}: the id '{row.prompt.id}' is none of 1 to 1000")
            elif number in rows:
                problems.append(f"{path}: the id {number} stands in {rows[number][1]} already")
            else:
                rows[number] = row, path
                problems += _misplaced(protocol, number, row, path)
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems[:_MOST_LISTED])
        more = f"\n  - and {len(problems) - _MOST_LISTED} more" if len(problems) > _MOST_LISTED else ""
        raise PromptFileError(
            f"these are not the prompts of '{protocol.name}', and its score weighs categories by id:{listed}{more}\n"
            f"Give its own files (--source WISE), or judge by the other protocol: --benchmark {protocol.other}."
        )
    return [
        Case(rows[number][0].prompt, _category(protocol, number).name, rows[number][0].row) for number in sorted(rows)
    ]


def prompts_digest(cases: Iterable[Case]) -> str:
    """12 hexadecimal digits of ids, prompts and explanations."""
    facts = [[case.prompt.id, case.prompt.text, case.prompt.explanation] for case in cases]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def scores_file(category: Category) -> str:
    """Name of the official file with the scores of a category."""
    return f"{category.part}{_SCORES}"


def full_file(category: Category) -> str:
    """Name of the official file with the judge's words about a category."""
    return f"{category.part}{_FULL}"


def read_official(protocol: WiseProtocol, path: Path) -> dict[int, dict[str, Any]] | None:
    """Id -> row of official result files, each with the judge's words under "evaluation" where they are kept.

    Returns:
        None if the path is no such file and no folder that holds one.

    Raises:
        ImageSetError: a file is of the other protocol, damaged, or has an id twice or a mark that is none.
    """
    files = sorted(path.rglob(f"*{_SCORES}")) if path.is_dir() else [path] * path.name.endswith(_SCORES)
    if path.is_dir():  # the README's own commands call one of the files otherwise
        files += [one for one in sorted(path.rglob("*_results.jsonl")) if one not in files]
    if not files:
        return None
    rows: dict[int, dict[str, Any]] = {}
    for file in files:
        for number, row in enumerate(_objects(file), 1):
            where = f"{file}, object {number}"
            found = row.get("prompt_id")
            if not isinstance(found, int) or protocol.category_of(found) is None:
                raise ImageSetError(f"{where}: prompt_id is {found!r}, none of 1 to 1000. Repair that line.")
            if found in rows:
                raise ImageSetError(
                    f"{where}: the id {found} was there before, in another line or file, and both cannot count. Keep "
                    "one."
                )
            _check_marks(protocol, row, where)
            rows[found] = dict(row)
    for file in {one.with_name(one.name.replace(_SCORES, _FULL)) for one in files}:
        for row in _objects(file) if file.is_file() and file.name.endswith(".json") else ():
            if (known := rows.get(row.get("prompt_id"))) is not None:  # type: ignore[arg-type]
                known |= {key: row[key] for key in ("evaluation", "image_path") if key in row}
    return rows


def _check_marks(protocol: WiseProtocol, row: Mapping[str, Any], where: str) -> None:
    for name, _ in protocol.axes.values():
        mark = row.get(name)
        if isinstance(mark, bool) or not isinstance(mark, int | float) or mark not in range(protocol.highest + 1):
            menu = ", ".join(str(one) for one in range(protocol.highest + 1))
            other = f" It may be a file of '{protocol.other}': give that as --benchmark." if name not in row else ""
            raise ImageSetError(
                f"{where}: {name} is {mark!r}, and '{protocol.name}' knows only {menu}. Repair that line.{other}"
            )


def _objects(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list or of JSON lines, whatever the file is called."""
    with teaching_os_errors(f"read {file}"):
        text = file.read_bytes().decode("utf-8-sig", "replace")
    try:
        whole = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(one) for one in text.splitlines() if one.strip()]
        )
    except ValueError as error:
        raise ImageSetError(f"{file} cannot be read as JSON or JSON lines: {error}. Repair it.") from error
    if not all(isinstance(one, dict) for one in whole):
        raise ImageSetError(f"{file} holds something else than objects with 'prompt_id'. Repair it.")
    return list(whole)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else None


def _category(protocol: WiseProtocol, number: int) -> Category:
    found = protocol.category_of(number)
    assert found is not None
    return found


def _misplaced(protocol: WiseProtocol, number: int, row: PromptRow, path: Path) -> list[str]:
    called = str(row.row.get("Category", "")).strip().lower()
    expected = _category(protocol, number).called
    if not called or called == expected:
        return []
    return [f"{path}: the prompt {number} is of the category '{called}', and '{protocol.name}' has '{expected}' there"]


def mean(values: Sequence[float]) -> float:
    """NaN without values."""
    return sum(values) / len(values) if values else math.nan

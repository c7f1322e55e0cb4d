"""GenEval's prompts: the lines of evaluation_metadata.jsonl, each called by the folder of its images."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pyrite.core.errors import ImageSetError, PromptFileError
from pyrite.evaluation.benchmarks.protocol import Case, Work
from pyrite.evaluation.geneval.rules import Task
from pyrite.records.prompt_files import read_prompt_file

FILE = "evaluation_metadata.jsonl"
NUM_PUBLISHED = 553
PUBLISHED_DIGEST = "c8fa1d631e48"
"""Of djghosh13/geneval@af4902f, prompts/evaluation_metadata.jsonl."""

_BELOW = ("", "prompts")
_MOST_LISTED = 10
_HOW = (
    f"git clone https://github.com/djghosh13/geneval, and give its folder or the file: --source geneval/prompts/{FILE}"
)


def read_cases(source: Sequence[Path]) -> list[Case]:
    """The prompts, in the order of the file.

    Args:
        source: the file, or a folder that holds it, such as a copy of GenEval's repository.

    Raises:
        PromptFileError: it is not there, or its lines are not GenEval's metadata.
    """
    if len(source) != 1:
        raise PromptFileError(
            f"GenEval has one file of prompts, which is not part of Pyrite, and {len(source)} were given. {_HOW}."
        )
    path = _file_at(source[0])
    cases, problems = [], []
    lines: dict[str, str] = {}
    for row in read_prompt_file(path):
        try:
            task = Task.from_json(row.row)
        except ValueError as error:
            problems.append(f"{row.prompt.id}: {error}")
            continue
        if (first := lines.setdefault(task.prompt, row.prompt.id)) != row.prompt.id:
            problems.append(f"{row.prompt.id}: '{task.prompt}' is the prompt {first} already")
        cases.append(Case(row.prompt, task.tag, dict(row.row)))
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems[:_MOST_LISTED])
        more = f"\n  - and {len(problems) - _MOST_LISTED} more" if len(problems) > _MOST_LISTED else ""
        raise PromptFileError(
            f"{path}: {len(problems)} lines are not GenEval's metadata, and its rules cannot be read from them:{listed}"
            f"{more}\nRepair them, or take the published file: {_HOW}."
        )
    return cases


def rows_digest(cases: Iterable[Case]) -> str:
    """12 hexadecimal digits that change when anything about any prompt does."""
    return hashlib.sha256(json.dumps([dict(case.row) for case in cases], sort_keys=True).encode()).hexdigest()[:12]


def refuse_other_metadata(work: Iterable[Work]) -> None:
    """Check that folders of GenEval's tree ask what the benchmark asks; images elsewhere bring nothing to check.

    Raises:
        ImageSetError: a metadata.jsonl asks something else, or cannot be read; all of them are named.
    """
    problems: dict[Path, str] = {}
    seen: set[Path] = set()
    for one in work:
        file = one.path.parent.parent / "metadata.jsonl"
        if one.path.parent.name != "samples" or file in seen or not file.is_file():
            continue
        seen.add(file)
        try:
            told = Task.from_json(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            problems[file] = f"cannot be read: {error}"
            continue
        if told != Task.from_json(one.case.row):
            problems[file] = f"asks something else than the benchmark's {one.case.prompt.id}"
    if problems:
        listed = "".join(f"\n  - {file} {why}" for file, why in list(problems.items())[:_MOST_LISTED])
        raise ImageSetError(
            f"{len(problems)} folders do not match the benchmark's metadata, and their images would be judged by what "
            f"they were not drawn for:{listed}\nGive the metadata they were drawn for: --source."
        )


def _file_at(path: Path) -> Path:
    if not path.is_dir():
        return path
    for below in _BELOW:
        if (path / below / FILE).is_file():
            return path / below / FILE
    raise PromptFileError(f"{path} holds no {FILE}, nor does {path / 'prompts'}. {_HOW}.")

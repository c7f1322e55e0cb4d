"""The folder that `pyrite evaluate --benchmark` leaves behind.

    OUT/
      evaluation.json   who looked at the images, with which settings: another judge needs another folder
      evidence.jsonl    what was seen, one line per reply, from the moment it came; nothing in it is asked again
      results.json      the official table with intervals, what is missing and why
      samples.jsonl     one object per image: score, marks, the judge's words
      official/         the files that the official code would have left
      table.md, table.tex
      report.html       all of it as one page
      images/           where the images were drawn by the same command, and prompts.jsonl what for

All but the evidence is made from it anew each time, holds no times and nothing of the machine.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pyrite.core.errors import RunFolderError
from pyrite.evaluation.benchmarks.protocol import Evidence, Work
from pyrite.records.jsonl import JsonLines, read_jsonl, teaching_os_errors, write_json
from pyrite.records.sole_use import hold_file

FACTS, EVIDENCE, RESULTS, SAMPLES = "evaluation.json", "evidence.jsonl", "results.json", "samples.jsonl"
OFFICIAL, IMAGES, PROMPTS, PAGE = "official", "images", "prompts.jsonl", "report.html"
MARKDOWN, LATEX = "table.md", "table.tex"


class EvaluationFolder:
    """An output folder with its evidence open for appending; get one from `open_folder`.

    Args:
        path: of the folder.
        evidence: what is there: key of a piece of work -> in the order it came.
        journal: takes more.
    """

    def __init__(self, path: Path, evidence: Mapping[str, Sequence[Evidence]], journal: JsonLines) -> None:
        self.path = path
        self._evidence: defaultdict[str, list[Evidence]] = defaultdict(list, {k: list(v) for k, v in evidence.items()})
        self._journal = journal
        self._lock = threading.Lock()
        self.num_new = 0

    def evidence(self, work: Work) -> list[Evidence]:
        """What was seen of a piece of work so far."""
        return list(self._evidence.get(work.key, ()))

    def keep(self, work: Work, evidence: Evidence) -> None:
        """Write down what was seen, before anything else happens.

        Raises:
            RunFolderError: it cannot be written.
        """
        place = {"key": work.key, "id": work.case.prompt.id, "n": work.n, "repeat": work.repeat}
        with self._lock:
            self._journal.append([{**place, **evidence}])
            self._evidence[work.key].append(evidence)
            self.num_new += 1


@contextmanager
def open_folder(path: Path, facts: Mapping[str, Any]) -> Iterator[EvaluationFolder]:
    """The folder of an evaluation, held by this process alone: a new one, or one of the same judge.

    Args:
        path: made if it is not there.
        facts: what decides about the evidence.

    Raises:
        RunFolderError: it cannot be written, is in use, or holds another evaluation or something else.
    """
    with ExitStack() as stack:
        refuse_other(path, facts)
        with teaching_os_errors(f"write into {path}"):
            path.mkdir(parents=True, exist_ok=True)
        journal = JsonLines(path / EVIDENCE)
        stack.callback(journal.close)
        hold_file(
            stack.enter_context(journal.path.open("rb")),
            path,
            "another `pyrite evaluate`: both would ask the same questions",
        )
        if not (path / FACTS).exists():
            write_json(path / FACTS, facts)
        with teaching_os_errors(f"read {journal.path}"):
            journal.truncate_to(journal.path.read_bytes().rfind(b"\n") + 1)  # a kill may have torn the last line
        yield EvaluationFolder(path, read_evidence(path), journal)


def read_facts(path: Path) -> dict[str, Any]:
    """What `evaluation.json` of a folder says.

    Raises:
        RunFolderError: there is none, or it cannot be read.
    """
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{path} holds no evaluation yet: it has no {FACTS}, so there is nothing to add up. Judge the images "
            "first: "
            "leave --step out, or give --step judge."
        ) from error
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path / FACTS} cannot be read ({error}). Restore it, or choose another --out."
        ) from error
    return dict(facts)


def read_evidence(path: Path) -> dict[str, list[Evidence]]:
    """Key of a piece of work -> what was seen of it, in the order it came.

    Raises:
        RunFolderError: a line cannot be read.
    """
    found: defaultdict[str, list[Evidence]] = defaultdict(list)
    for row in read_jsonl(path / EVIDENCE)[0] if (path / EVIDENCE).exists() else ():
        key = str(row.pop("key", ""))
        found[key].append({name: value for name, value in row.items() if name not in ("id", "n", "repeat")})
    return dict(found)


def refuse_other(path: Path, facts: Mapping[str, Any]) -> None:
    """Check that a folder is new, or of the same benchmark and the same judge.

    Raises:
        RunFolderError: it holds something else; what differs is named.
    """
    if not (path / FACTS).exists():
        foreign = (
            sorted(item.name for item in path.iterdir() if item.name not in (IMAGES, PROMPTS, EVIDENCE))
            if path.is_dir()
            else []
        )
        if foreign:
            raise RunFolderError(
                f"{path} is not empty ({', '.join(foreign[:5])}) and has no {FACTS}, so results would mix with what is "
                "there. Choose another folder: --out FOLDER."
            )
        return
    before = read_facts(path)
    plain = json.loads(json.dumps(facts))
    different = [f"\n  - {name}: was {old!r}, is {new!r}" for name, old, new in _differences(before, plain)]
    if different:
        raise RunFolderError(
            f"{path} holds what another judge saw, and one result has one judge:{''.join(different)}\nChoose another "
            "folder (--out FOLDER), and compare the two: --against."
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new)
        elif old != new:
            yield name, old, new

"""The folder that `pyrite generate` leaves behind, which several processes may fill at once.

    OUT/
      generation.json     what decides about the images: policy and weights, prompts, seed, layout
      samples.jsonl       one object per image, in the order of the prompts; written when all are there
      images/ ...         as the layout has them
      .pyrite-generate/   a journal per process: an image counts from its line on

Nothing in it tells when or by how many processes it was made, so a set that was killed and continued equals one that
never was. `pyrite score OUT` reads samples.jsonl.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from pyrite.core.errors import RunFolderError
from pyrite.core.types import Image
from pyrite.records.jsonl import JsonLines, Row, read_jsonl, teaching_os_errors, write_atomically, write_json
from pyrite.records.prompt_files import PromptRow
from pyrite.records.sole_use import hold_file

FACTS, SAMPLES = "generation.json", "samples.jsonl"
_INSIDE = ".pyrite-generate"

Place = tuple[int, int]
"""Position of a prompt in its file and number of the image, both from 0."""


class GenerationFolder:
    """An output folder with this process's journal open; get one from `open`.

    Args:
        path: of the folder.
        known: the images that are there: place -> row of samples.jsonl.
        journal: of this process.
    """

    def __init__(self, path: Path, known: dict[Place, Row], journal: JsonLines) -> None:
        self.path = path
        self.known = known
        self._journal = journal

    @classmethod
    @contextmanager
    def open(cls, path: Path, facts: Mapping[str, Any], *, rank: int = 0) -> Iterator[Self]:
        """Open the folder of a job for this process: a new one, or one of the same job.

        Args:
            path: made if it is not there.
            facts: what decides about the images.
            rank: of this process among those that share the job.

        Raises:
            RunFolderError: it cannot be written, is in use, or holds another job or something else.
        """
        inside = path / _INSIDE
        with ExitStack() as stack:
            with teaching_os_errors(f"write into {path}"):
                path.mkdir(parents=True, exist_ok=True)
            refuse_another_job(path, facts)
            with teaching_os_errors(f"write into {path}"):
                inside.mkdir(exist_ok=True)
            with _locked(inside):
                refuse_another_job(path, facts)  # again: another process may have been faster
                if not (path / FACTS).exists():
                    write_json(path / FACTS, facts)
            journal = JsonLines(inside / f"journal_{rank}.jsonl")
            stack.callback(journal.close)
            hold_file(
                stack.enter_context(journal.path.open("rb")),
                path,
                "another `pyrite generate`: both would draw the same images",
            )
            _cut_torn_line(journal)
            yield cls(path, known_images(path), journal)

    def keep(self, images: Mapping[str, Image], rows: Mapping[Place, Row], save_options: Mapping[str, Any]) -> None:
        """Write images and then their lines; after a kill in between they are drawn again, to the same bytes.

        Args:
            images: path within the folder -> image.
            rows: their lines of samples.jsonl.
            save_options: for Pillow: format, quality.

        Raises:
            RunFolderError: they cannot be written.
        """
        temporary = self._journal.path.with_suffix(".tmp")  # where a kill leaves nothing among the images
        for name, image in images.items():
            final = self.path / name
            with teaching_os_errors(f"write the image {final}"):
                final.parent.mkdir(parents=True, exist_ok=True)
                image.save(temporary, **save_options)
                os.replace(temporary, final)
        self._journal.append(rows.values())
        self.known |= rows

    def describe(self, name: str, row: Row) -> None:
        """Write one object to a metadata.jsonl, as GenEval has it beside the images of a prompt.

        Raises:
            RunFolderError: it cannot be written.
        """
        path = self.path / name
        if not path.exists():
            with teaching_os_errors(f"write {path}"):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(row))

    def finish(self, places: Sequence[Place]) -> bool:
        """Write samples.jsonl if every image of the job is there, whoever drew it; whether it is.

        Raises:
            RunFolderError: it cannot be written.
        """
        with _locked(self.path / _INSIDE):
            known = known_images(self.path)
            if not all(place in known for place in places):
                return False
            unfinished = self.path / _INSIDE / SAMPLES
            with teaching_os_errors(f"write {self.path / SAMPLES}"):
                unfinished.unlink(missing_ok=True)
                samples = JsonLines(unfinished)
                samples.append(known[place] for place in sorted(known))
                samples.sync()
                samples.close()
                os.replace(unfinished, self.path / SAMPLES)
        return True


def known_images(path: Path) -> dict[Place, Row]:
    """Place -> row of every image of a folder that was written down and is still there."""
    rows: dict[Place, Row] = {}
    for journal in sorted((path / _INSIDE).glob("journal_*.jsonl")):
        for row in read_jsonl(journal)[0]:
            rows[row["position"], row["n"]] = row
    return {place: row for place, row in rows.items() if _has_bytes(path / str(row["image"]))}


def prompts_digest(rows: Sequence[PromptRow]) -> str:
    """12 hexadecimal digits that change when a prompt, its id or anything said about it does."""
    canonical = json.dumps([[row.prompt.id, dict(row.row)] for row in rows], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def refuse_another_job(path: Path, facts: Mapping[str, Any]) -> None:
    """Check that a folder is empty or of this job, as far as `facts` go.

    Raises:
        RunFolderError: it holds something else, or images of another policy, seed, prompt file or form.
    """
    if not (path / FACTS).exists():
        foreign = sorted(item.name for item in path.iterdir() if item.name[0] != ".") if path.is_dir() else []
        if foreign and not (path / FACTS).exists():
            raise RunFolderError(
                f"{path} is not empty ({', '.join(foreign[:5])}) and has no {FACTS}, so it was not made by `pyrite "
                "generate`, and images would mix with what is there. Choose another folder: --out FOLDER."
            )
        return
    try:
        before = json.loads((path / FACTS).read_text(encoding="utf-8"))
        different = [
            f"\n  - {key}: was {before.get(key)!r}, is {value!r}"
            for key, value in facts.items()
            if before.get(key) != json.loads(json.dumps(value))
        ]
    except (OSError, ValueError, AttributeError) as error:
        raise RunFolderError(
            f"{path / FACTS} cannot be read ({error}), so it is not known what this folder holds. Restore it, or "
            "choose another folder: --out FOLDER."
        ) from error
    if different:
        raise RunFolderError(
            f"{path} holds another job, and one set of images has one origin:{''.join(different)}\nChoose another "
            "folder (--out FOLDER), or give the command that it was made with."
        )


def _has_bytes(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False


@contextmanager
def _locked(inside: Path) -> Iterator[None]:
    """Alone among the processes of a job for a moment."""
    with teaching_os_errors(f"write into {inside}"), (inside / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _cut_torn_line(journal: JsonLines) -> None:
    with teaching_os_errors(f"read {journal.path}"):
        whole = journal.path.read_bytes().rfind(b"\n") + 1
    journal.truncate_to(whole)

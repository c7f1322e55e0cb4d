"""How drawn images are named: this project's plain form, the reference's file names, GenEval's tree.

plain       images/000012_03.png: position in the prompt file, number of the image, both from 0
id-prompt   ID7_a_red_cube_4.jpg: as ArtifactReward's generate_inference.py: blanks become underscores, the prompt
            ends after 100 characters, images count from 1. What no file name can hold ("/", NUL, more than 255
            bytes) becomes an underscore or is cut; the reference fails there.
geneval     00012/samples/00003.png beside 00012/metadata.jsonl, as GenEval's diffusers_generate.py
wise        12.png: the id of the prompt, as WISE's scripts read it; further images are 12_2.png, 12_3.png
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyrite.core.errors import PromptFileError
from pyrite.records.prompt_files import PromptRow

_PROMPT_CHARACTERS = 100
_FILE_NAME_BYTES = 255  # of ext4, XFS, APFS and most others
_ID_IN_NAME = re.compile(r"[^_/\0]{1,100}")
_NAMED_BY_ID = {"id-prompt": "ID{id}_{prompt}_{n}", "wise": "{id}_{n}"}
_MOST_LISTED = 20


@dataclass(frozen=True)
class GenerationLayout:
    """Where images go, and as what.

    Args:
        path: prompt, its position, number of the image, both from 0 -> path within the output folder, no suffix.
        format: "png" or "jpeg" where none is asked for.
        has_metadata: each prompt has a folder with its object in metadata.jsonl.
    """

    path: Callable[[PromptRow, int, int], str]
    format: str = "png"
    has_metadata: bool = False


def _plain(row: PromptRow, position: int, n: int) -> str:
    return f"images/{position:06d}_{n:02d}"


def _id_prompt(row: PromptRow, position: int, n: int) -> str:
    start, end = f"ID{row.prompt.id}_", f"_{n + 1}"
    text = re.sub(r"[ /\0\n\r]", "_", row.prompt.text)[:_PROMPT_CHARACTERS]
    room = _FILE_NAME_BYTES - len(".jpeg") - len((start + end).encode())
    return start + text.encode()[:room].decode(errors="ignore") + end


def _geneval(row: PromptRow, position: int, n: int) -> str:
    return f"{position:05d}/samples/{n:05d}"


def _wise(row: PromptRow, position: int, n: int) -> str:
    return row.prompt.id + (f"_{n + 1}" if n else "")


LAYOUTS: Mapping[str, GenerationLayout] = {
    "plain": GenerationLayout(_plain),
    "id-prompt": GenerationLayout(_id_prompt, format="jpeg"),
    "geneval": GenerationLayout(_geneval, has_metadata=True),
    "wise": GenerationLayout(_wise),
}


def refuse_unfit_ids(layout: str, rows: Sequence[PromptRow]) -> None:
    """Check that every id can be read back from a file name, where it becomes part of one.

    Raises:
        PromptFileError: some cannot; all of them are named.
    """
    if layout not in _NAMED_BY_ID:
        return
    if unfit := [row.prompt.id for row in rows if not _ID_IN_NAME.fullmatch(row.prompt.id)]:
        listed = ", ".join(f"'{name[:40]}'" for name in unfit[:_MOST_LISTED])
        raise PromptFileError(
            f"{len(unfit)} ids cannot stand in a file name {_NAMED_BY_ID[layout]}, where an id ends at the first "
            f"underscore: {listed}. Use ids without '_' and '/', at most 100 characters long, or choose another "
            "--layout."
        )

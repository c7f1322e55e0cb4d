"""The images of a benchmark under their official names, for the official code to read."""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from pyrite.core.errors import ImageSetError
from pyrite.evaluation.benchmarks.images import FoundImages
from pyrite.evaluation.benchmarks.protocol import Benchmark, Case, Work
from pyrite.evaluation.generation_layouts import LAYOUTS, refuse_unfit_ids
from pyrite.records.image_files import Readable, decode, read_image_file
from pyrite.records.jsonl import teaching_os_errors, write_atomically
from pyrite.records.prompt_files import PromptRow

_PNG = b"\x89PNG\r\n\x1a\n"


def export_images(benchmark: Benchmark, cases: Sequence[Case], found: FoundImages, out: Path) -> int:
    """Write every image that was found as PNG in the layout of the benchmark.

    A PNG file is copied to the byte, anything else is encoded anew without loss. Files that are there already stay, so
    the same call continues one that was killed.

    Returns:
        How many images the folder has of this benchmark.

    Raises:
        ImageSetError: an image cannot be decoded.
        PromptFileError: an id cannot stand in a file name.
        RunFolderError: the folder cannot be written.
    """
    layout = LAYOUTS[benchmark.layout]
    rows = {case.prompt.id: (position, PromptRow(case.prompt, case.row)) for position, case in enumerate(cases)}
    refuse_unfit_ids(benchmark.layout, [row for _, row in rows.values()])
    for work in found.work:
        position, row = rows[work.case.prompt.id]
        path = out / f"{layout.path(row, position, work.n)}.png"
        with teaching_os_errors(f"write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                temporary = path.with_name(f".{path.name}.tmp")
                temporary.write_bytes(_as_png(work))
                os.replace(temporary, path)
        if layout.has_metadata and work.n == 0:
            write_atomically(path.parents[1] / "metadata.jsonl", json.dumps(dict(row.row)))
    return len(found.work)


def _as_png(work: Work) -> bytes:
    file = read_image_file(work.path)
    image = decode(file) if isinstance(file, Readable) else file
    if isinstance(file, str) or isinstance(image, str):
        raise ImageSetError(f"{work.path} cannot be exported: {image}. Repair it, then give the same command again.")
    if file.data.startswith(_PNG):
        return file.data
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()

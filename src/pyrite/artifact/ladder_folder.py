"""The folder of a ladder: which clean images go in, what was made already, and the labelled set at the end.

    OUT/
      curated.jsonl            one line per image, as `data.load_curated` reads them; written last
      ladder.json              settings, and what was left out and why
      images/NAME/clean.png    the clean image
      images/NAME/smear-0.5.png

NAME is the name of the image's file and the beginning of the hash of its pixels: what is made of an image depends on
its pixels, the settings and nothing else, so a continued build equals an undisturbed one.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrite.artifact.ladder_neutral import SMALLEST_PX
from pyrite.core.errors import ImageSetError, RunFolderError
from pyrite.core.types import Image
from pyrite.records.image_files import bombs_are_errors, open_image
from pyrite.records.jsonl import Row, teaching_os_errors, write_atomically, write_json
from pyrite.records.stored import file_key, image_key

CURATED, LADDER = "curated.jsonl", "ladder.json"
FORMAT = "pyrite corruption ladder"

_MOST_LINES = 60


@dataclass(frozen=True)
class Source:
    """A clean image that was decoded once.

    Args:
        pair_id: what all versions of it share.
        image: the image, or where it is.
        prompt: what it was drawn from; empty if not known.
    """

    pair_id: str
    image: Path | Image
    prompt: str

    def open(self) -> Image:
        """The image.

        Raises:
            ImageSetError: the file was there before and cannot be read now.
        """
        image = open_image(self.image) if isinstance(self.image, Path) else self.image
        if isinstance(image, str):
            raise ImageSetError(f"{self.image} could be read before, and now: {image}. Give the same command again.")
        return image

    def seed(self, seed: int) -> int:
        """The seed of its operations."""
        return int.from_bytes(hashlib.sha256(f"{seed} {self.pair_id}".encode()).digest()[:6], "big")

    def file_name(self, kind: str, severity: float) -> str:
        """Of a version, from the ladder's folder; the empty kind is the clean image."""
        return f"images/{self.pair_id}/{f'{kind}-{severity:g}' if kind else 'clean'}.png"

    def row(self, kind: str, severity: float, *, has_artifact: bool) -> Row:
        """The line of the set for a version."""
        row: dict[str, Any] = {"image": self.file_name(kind, severity), "label": int(has_artifact)}
        row |= {"pair_id": self.pair_id}
        row |= {"prompt": self.prompt} if self.prompt else {}
        return row | ({"kind": kind, "severity": severity} if kind else {})


def as_png(image: Image) -> bytes:
    """The image without loss; the fastest compression, since at 1024 pixels the best takes longer than all the rest."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def find_sources(
    images: Sequence[Path | Image], prompts: Sequence[str], *, skip_bad: bool
) -> tuple[list[Source], dict[str, str]]:
    """The images that a ladder can be built from, and which cannot and why.

    Raises:
        ImageSetError: there are none, or some cannot be used and `skip_bad` is False.
    """
    sources: dict[str, Source] = {}
    names: dict[str, str] = {}
    left_out: dict[str, str] = {}
    with bombs_are_errors():
        for number, (item, prompt) in enumerate(zip(images, prompts, strict=True), start=1):
            name = str(item) if isinstance(item, Path) else f"image {number}"
            image = open_image(item) if isinstance(item, Path) else item
            if reason := _why_not(image):
                left_out[name] = reason
                continue
            assert not isinstance(image, str)
            key = image_key(image)
            if key in names:
                left_out[name] = f"it is the same picture as {names[key]}; give it once"
                continue
            names[key] = name
            stem = re.sub(r"[^\w-]+", "_", Path(name).stem)[:40]
            sources[key] = Source(f"{stem}-{key[:8]}", item, prompt)
    if left_out and not skip_bad:
        lines = [f"  {name}: {reason}" for name, reason in left_out.items()]
        rest = [f"  and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
        raise ImageSetError(
            f"{len(left_out)} of {len(images)} images cannot be used. Repair them, or leave them out with --skip-bad:\n"
            + "\n".join(lines[:_MOST_LINES] + rest)
        )
    if not sources:
        raise ImageSetError(
            f"none of {len(images)} images can be used, so there is nothing to damage. Give clean ones."
        )
    return list(sources.values()), left_out


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder that of these settings, or refuse.

    Raises:
        RunFolderError: it holds something else or a ladder of other settings, or cannot be written.
    """
    path = out / LADDER
    if not path.exists():
        if (out / CURATED).exists():
            raise RunFolderError(f"{out} holds a {CURATED} that no ladder made. Choose another folder: --out FOLDER.")
        with teaching_os_errors(f"write into {out}"):
            out.mkdir(parents=True, exist_ok=True)
        write_json(path, {"format": FORMAT, **settings})
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        is_ours = before["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours:
        raise RunFolderError(f"{path} describes no ladder. Choose another folder: --out FOLDER.")
    changed = [
        f"{name} was {before.get(name)}, now {value}" for name, value in settings.items() if before.get(name) != value
    ]
    if changed:
        raise RunFolderError(
            f"{out} holds a ladder of other settings, and one set has one: {'; '.join(changed)}. Choose another folder "
            "(--out FOLDER), or repeat the old settings."
        )


def finish(out: Path, settings: Mapping[str, Any], rows: Sequence[Row], left_out: Mapping[str, str]) -> Path:
    """Write the labelled set and what was left out of it; returns the path of the set."""
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    write_json(out / LADDER, {"format": FORMAT, **settings, "num_images": len(rows), "left_out": left_out})
    write_atomically(out / CURATED, "".join(f"{line}\n" for line in lines))
    return out / CURATED


class Kept:
    """The image files of a ladder and the pixels they hold, so that none gets two labels.

    Args:
        out: the folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._first: dict[str, str] = {}

    def find(self, name: str) -> bytes | None:
        """The file as an earlier, perhaps killed, build made it; None if it did not get there."""
        try:
            return (self._out / name).read_bytes()
        except FileNotFoundError:
            return None

    def add(self, name: str, data: bytes) -> str:
        """Keep a file, or say why not: there are no bytes, or another file holds the same image."""
        if not data:
            return "it changed nothing: there was nothing to work on"
        first = self._first.setdefault(file_key(data), name)
        if first != name:
            return f"it is the same image as {first}"
        path = self._out / name
        if not path.exists():
            temporary = path.with_name(f".{path.name}.tmp")
            with teaching_os_errors(f"write {path}"):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(data)
                os.replace(temporary, path)
        return ""


def _why_not(image: Image | str) -> str:
    if isinstance(image, str):
        return image
    if min(image.size) < SMALLEST_PX:
        return f"it has {image.width} x {image.height} pixels, and below {SMALLEST_PX} there is no structure to break"
    return ""


def as_list(images: Iterable[Path | Image], prompts: Sequence[str] | None) -> tuple[list[Path | Image], list[str]]:
    """Images and as many prompts.

    Raises:
        ValueError: the numbers differ.
    """
    listed = list(images)
    if prompts is not None and len(prompts) != len(listed):
        raise ValueError(f"{len(listed)} images and {len(prompts)} prompts: give one prompt per image, or none at all")
    return listed, list(prompts or [""] * len(listed))

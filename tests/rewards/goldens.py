"""The golden fixtures: what the official code of a published reward gave for tiny weights in its own file format."""

import io
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from pyrite.core.types import Image, Prompt

COMMITTED = Path(__file__).parents[1] / "goldens"
SHARED = Path(os.environ.get("PYRITE_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


@dataclass(frozen=True)
class Golden:
    """One fixture, by the name of its folder."""

    name: str

    @property
    def folder(self) -> Path:
        return COMMITTED / self.name

    @cached_property
    def said(self) -> dict[str, Any]:
        return json.loads((self.folder / "scores.json").read_text())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Per image, those the official code could score."""
        return [row for row in self.said["per_image"] if "official_error" not in row]

    @property
    def config(self) -> dict[str, Any]:
        return json.loads((self.folder / "config.json").read_text())

    @property
    def tolerance(self) -> dict[str, Any]:
        return self.said["tolerance"]

    @property
    def prompts(self) -> list[Prompt]:
        return [Prompt(text) for text in json.loads((self.folder / "prompts.json").read_text())]

    def image(self, row: dict[str, Any]) -> Image:
        return PILImage.open(io.BytesIO((self.folder / "images" / row["image"]).read_bytes()))

    def images(self) -> list[Image]:
        return [self.image(row) for row in self.rows]


def vocabulary(folder: str) -> Path:
    """A vocabulary that belongs to others, from outside the repository; skips the test where there is none."""
    path = SHARED / "goldens" / folder
    if not path.is_dir():
        pytest.skip(f"the vocabulary in {path} is not there (PYRITE_SHARED_DATA names its home)")
    return path


def shared(path: str) -> Path:
    """A file of the shared data; skips the test where it is not there."""
    if not (SHARED / path).exists():
        pytest.skip(f"{SHARED / path} is not there (PYRITE_SHARED_DATA names its home)")
    return SHARED / path

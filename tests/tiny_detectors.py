"""Tiny checkpoints of GroundingDINO and GIT with a vocabulary that is nobody's, and prompts with metadata."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from pyrite.core.types import Prompt
from pyrite.rewards.loading import read_tensors

GOLDENS = Path(__file__).parent / "goldens"
SMALL = {"short": 64, "max": 128}
"""Sides of the images that the tiny detector sees, so that a test takes milliseconds."""


def write_detector_vocabulary(folder: Path) -> Path:
    """A vocabulary of BERT's size that knows letters, yes and no, with the full stop where BERT has it."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,'-[]"
    words = ["[PAD]", *(f"[unused{index}]" for index in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += ["yes", "no", *letters, *(f"##{letter}" for letter in letters)]
    places = {1012: ".", 1029: "?"}
    words += [places.get(index, f"[filler{index}]") for index in range(len(words), 30522)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


def gdino_dimensions(**resize: int) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((GOLDENS / "groundingdino" / "config.json").read_text())
    return {**config, "resize": {**SMALL, **resize}}


def write_gdino(folder: Path) -> dict[str, Any]:
    """Options of `load_gdino` for the fixture's weights, without their outer table, on small images."""
    words = write_detector_vocabulary(folder)
    file = folder / "groundingdino_swint_ogc.pth"
    torch.save(read_tensors(GOLDENS / "groundingdino" / file.name), file)
    # A random detector is sure of everything; at this threshold images and prompts differ, and none is close to it.
    return {"weights": file, "config": gdino_dimensions(), "tokenizer": words, "box_threshold": 0.63}


def write_git(folder: Path) -> dict[str, Any]:
    """Options of `load_git` for the fixture's weights."""
    words = write_detector_vocabulary(folder)
    for name in ("pytorch_model.bin", "config.json", "preprocessor_config.json"):
        shutil.copyfile(GOLDENS / "git" / name, folder / name)
    return {"weights": folder / "pytorch_model.bin", "tokenizer": words}


def described(text: str, prompt_id: str = "") -> Prompt:
    """A prompt whose things and their attributes are the halves of its text."""
    words = text.split()
    parts = [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])]
    nouns = tuple(part for part in parts if part.strip())
    return Prompt(text, id=prompt_id, nouns=nouns, attr_nouns=nouns)

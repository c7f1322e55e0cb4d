"""A small labelled set for the simulated judge: coloured blocks, one clean and one damaged picture per pair."""

import json
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from pyrite.artifact.ladder import ARTIFACTS, NEUTRAL


def write_set(folder: Path, num_pairs: int, seed: int = 0) -> Path:
    """A curated set of two images per pair; every third clean image went through a harmless change.

    The pixels do not matter: the simulated judge recognises them and looks up what the set says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for pair in range(num_pairs):
        kind, harmless = (list(names)[rng.integers(len(names))] for names in (ARTIFACTS, NEUTRAL))
        for label in (0, 1):
            pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            name = f"{pair:04}_{label}.png"
            PILImage.fromarray(pixels).save(folder / name)
            changed = {"kind": kind, "severity": round(float(rng.uniform(0.2, 1)), 3)} if label else {}
            if not label and pair % 3 == 0:
                changed = {"kind": harmless, "severity": 0.5}
            rows.append({"image": name, "label": label, "pair_id": str(pair), **changed})
    path = folder / "set.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path

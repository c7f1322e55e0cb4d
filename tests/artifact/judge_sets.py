"""A labelled set of tiny images, and a judge on a socket that knows them by their first pixel."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from tests.judge_server import Body, chat, parts_of


def write_set(folder: Path, pairs: int = 60) -> Path:
    """`pairs` pictures with and without an artifact; the red of the first pixel of the damaged one is odd."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(pairs):
        pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        for label in (0, 1):
            pixels[0, 0] = (2 * number + label) % 256, number % 256, 255 * label
            name = f"{number}-{label}.png"
            PILImage.fromarray(pixels).save(folder / name)
            kind = {"kind": ("smear", "seam")[number % 2]} if label else {}
            rows.append({"image": name, "label": label, "pair_id": str(number), **kind})
    (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "set.jsonl"


def first_pixel(body: Body) -> tuple[int, int, int]:
    """Of the picture of a request."""
    _, (picture,) = parts_of(body)
    pixel = PILImage.open(io.BytesIO(picture)).convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel[0], pixel[1], pixel[2]


def says(prob_yes: float) -> Body:
    """A reply with that P(yes)."""
    prob = min(max(prob_yes, 1e-9), 1 - 1e-9)
    return chat("YES" if prob > 0.5 else "NO", tokens={"YES": math.log(prob), "NO": math.log1p(-prob)})


def knowing(right: float = 0.8, of_question: Callable[[str], float] = lambda text: 1.0) -> Callable[[Body], Body]:
    """A judge that sees the blue of the first pixel, is right with that share of the pictures, and too sure of it."""

    def answer(body: Body) -> Body:
        _, number, blue = first_pixel(body)
        has_artifact = blue > 127
        is_right = (number * 7) % 10 < 10 * right * of_question(parts_of(body)[0])
        return says(0.97 - 0.01 * (number % 5) if has_artifact == is_right else 0.03 + 0.01 * (number % 5))

    return answer

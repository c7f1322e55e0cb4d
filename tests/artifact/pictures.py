"""Small pictures with things in them, for operations that look for things."""

from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw

from pyrite.core.types import Image


def picture(width: int = 96, height: int = 64, mode: str = "RGB", seed: int = 0) -> Image:
    """Coloured shapes on a shaded ground, with a little grain, so that no two parts are alike."""
    rng = np.random.default_rng(seed)
    ground = np.linspace(150, 220, width)[None, :, None] + rng.normal(0, 4, (height, width, 3))
    image = PILImage.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.85) * height
        radius = rng.uniform(0.08, 0.2) * min(width, height)
        colour = tuple(rng.integers(0, 255, 3).tolist())
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)((x - radius, y - radius, x + radius, y + radius), colour)
    if mode in ("LA", "RGBA"):
        cover = PILImage.fromarray(np.linspace(0, 255, width * height).reshape(height, width).astype(np.uint8))
        image.putalpha(cover)
    return image.convert(mode)


def picture_files(folder: Path, num: int) -> list[Path]:
    """`num` pictures as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:02d}.png" for number in range(num)]
    for number, file in enumerate(files):
        picture(48, 40, seed=number).save(file)
    return files

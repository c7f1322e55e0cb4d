"""The corruption ladder: artifacts planted in clean pictures at graded severity, and changes that are no artifacts.

    ARTIFACTS["smear"](image, 0.5, seed=0)   # a Change: the image, and which pixels of it were touched
    NEUTRAL["crop"](image, 0.5, seed=0)

Severity is in [0, 1]: 0 changes nothing, and the damage grows with it. The same image, severity and seed give the same
bytes. Artifacts leave every pixel outside their mask as it is; `docs/reference/corruption-ladder.md` shows them all.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType

from pyrite.artifact import ladder_artifacts, ladder_neutral
from pyrite.artifact.ladder_change import Artifact, Change, Neutral, Operation
from pyrite.artifact.ladder_folder import Kept, Source, as_list, as_png, claim, find_sources, finish
from pyrite.core.errors import UnknownNameError
from pyrite.core.types import Image
from pyrite.records.jsonl import Row

__all__ = ["ARTIFACTS", "NEUTRAL", "Change", "Operation", "build_ladder", "operations"]

ARTIFACTS: Mapping[str, Operation] = MappingProxyType(
    {
        "patch_swap": Artifact(
            "parts in the wrong place", "size, then a second and third pair", ladder_artifacts.patch_swap
        ),
        "duplicated_part": Artifact(
            "extra limbs, heads, handles", "size and number of copies", ladder_artifacts.duplicated_part
        ),
        "local_warp": Artifact(
            "twisted faces and hands", "turn and pinch, then a second place", ladder_artifacts.local_warp
        ),
        "melted_edges": Artifact(
            "outlines that run", "length of the drips and number of places", ladder_artifacts.melted_edges
        ),
        "seam": Artifact(
            "badly blended inpainting, tiles that do not continue",
            "size, shift and difference in tone",
            ladder_artifacts.seam,
        ),
        "inconsistent_lighting": Artifact(
            "light from two sides, shadows of nothing",
            "strength of light and shadow",
            ladder_artifacts.inconsistent_lighting,
        ),
        "grid_pattern": Artifact(
            "the squares of a decoder or of upsampling", "contrast of the grid", ladder_artifacts.grid_pattern
        ),
        "smear": Artifact("content drawn out in streaks", "length and number of streaks", ladder_artifacts.smear),
        "texture_noise": Artifact(
            "crawling false texture on surfaces", "contrast, size and number of places", ladder_artifacts.texture_noise
        ),
        "chopped_object": Artifact(
            "objects that end where they should go on", "size of what is missing", ladder_artifacts.chopped_object
        ),
        "ghost": Artifact(
            "things that show through twice", "opacity and distance of the second one", ladder_artifacts.ghost
        ),
        "scrambled_detail": Artifact(
            "garbled text, patterns and distant faces",
            "distance of the pieces, then a second place",
            ladder_artifacts.scrambled_detail,
        ),
    }
)
"""Name -> operation. What it makes is labelled "has artifacts"."""

NEUTRAL: Mapping[str, Operation] = MappingProxyType(
    {
        "resize": Neutral("a smaller copy", "down to half the sides", ladder_neutral.resize, moves=True),
        "crop": Neutral("a tighter frame", "down to 85 % of the sides", ladder_neutral.crop, moves=True),
        "flip": Neutral("a mirror image", "nothing: mirrored at any severity above 0", ladder_neutral.flip, moves=True),
        "jpeg": Neutral("one save as JPEG", "quality from 95 down to 75", ladder_neutral.jpeg),
        "colour": Neutral(
            "white balance and saturation", "up to 8 % warmth and 30 % saturation", ladder_neutral.colour
        ),
        "brightness": Neutral("exposure and contrast", "up to 15 % of each", ladder_neutral.brightness),
        "sepia": Neutral("an old photograph", "opacity of the style", ladder_neutral.sepia),
        "monochrome": Neutral("black and white", "opacity of the style", ladder_neutral.monochrome),
        "vignette": Neutral(
            "dark corners of an old lens", "darkness, up to 30 % in the corners", ladder_neutral.vignette
        ),
        "painting": Neutral("flat strokes of a brush", "opacity of the style, up to 70 %", ladder_neutral.painting),
    }
)
"""Name -> operation. What it makes of a clean image is labelled "no artifacts"."""


SEVERITIES = (0.25, 0.5, 0.75, 1.0)

_VERSION = 1
"""Of the operations: another one makes other bytes, so a folder of the old one is not continued."""


def build_ladder(
    images: Iterable[Path | Image],
    out: Path,
    *,
    kinds: Sequence[str] = (),
    severities: Sequence[float] = SEVERITIES,
    seed: int = 0,
    prompts: Sequence[str] | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Make a labelled set of clean images: each with its damaged and its neutrally changed versions, as one pair.

    Killed? The same call continues, and ends with the same files. A version that is left out, and why, is in
    `ladder.json`: an operation that found nothing to change is no artifact, and one image cannot have two labels.

    Args:
        images: clean ones, as files or in memory.
        out: the folder; see `ladder_folder`.
        kinds: names of operations; all of `ARTIFACTS` and `NEUTRAL` if empty.
        severities: above 0, at most 1.
        seed: another one gives other places and directions.
        prompts: one per image, for judges that read them.
        skip_bad: leave out images that cannot be read, are too small or occur twice, instead of refusing them all.
        progress: called with how many versions are done, and of how many.

    Returns:
        The path of the set, for `data.load_curated`: label 1 for artifacts, 0 for neutral and clean.

    Raises:
        UnknownNameError: a kind that is none.
        ValueError: a severity out of range, or another number of prompts than of images.
        ImageSetError: images that cannot be used; all are named.
        RunFolderError: the folder holds something else, or cannot be written.
    """
    chosen = operations(kinds)
    if not severities or not all(0 < severity <= 1 for severity in severities):
        raise ValueError(f"severities are {tuple(severities)}; give one or more above 0 and at most 1")
    sources, left_out = find_sources(*as_list(images, prompts), skip_bad=skip_bad)
    levels = sorted({float(severity) for severity in severities})
    settings = {"version": _VERSION, "seed": seed, "kinds": list(chosen), "severities": levels}
    claim(out, settings)
    kept = Kept(out)
    steps = [("", 0.0), *((kind, severity) for kind in chosen for severity in levels)]
    rows: list[Row] = []
    with ThreadPoolExecutor(workers := os.cpu_count() or 1) as pool:
        for number, source in enumerate(sources):
            make = partial(_version, source, source.open(), chosen, seed, kept)
            # In batches: all versions of a large picture at once would fill the memory.
            for start in range(0, len(steps), 2 * workers):
                batch = steps[start : start + 2 * workers]
                for (kind, severity), data in zip(batch, pool.map(make, batch), strict=True):
                    name = source.file_name(kind, severity)
                    if reason := kept.add(name, data):
                        left_out[name] = reason
                    else:
                        rows.append(source.row(kind, severity, has_artifact=kind in ARTIFACTS))
                progress(number * len(steps) + start + len(batch), len(sources) * len(steps))
    return finish(out, settings, rows, left_out)


def _version(
    source: Source, image: Image, chosen: Mapping[str, Operation], seed: int, kept: Kept, step: tuple[str, float]
) -> bytes:
    """A version as a PNG file; no bytes where the operation changed nothing."""
    kind, severity = step
    if (data := kept.find(source.file_name(kind, severity))) is not None:
        return data
    if not kind:
        return as_png(image)
    change = chosen[kind](image, severity, source.seed(seed))
    return as_png(change.image) if change.mask.any() else b""


def operations(kinds: Sequence[str]) -> dict[str, Operation]:
    """Name -> operation for some kinds, or for all if none are named; artifacts first.

    Raises:
        UnknownNameError: a kind that is none.
    """
    known = {**ARTIFACTS, **NEUTRAL}
    for kind in kinds:
        if kind not in known:
            nearest = difflib.get_close_matches(kind, known, n=3, cutoff=0.4)
            offer = f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
            raise UnknownNameError(f"no change is called '{kind}'.{offer} There are: {', '.join(known)}.")
    return {kind: known[kind] for kind in known if not kinds or kind in kinds}

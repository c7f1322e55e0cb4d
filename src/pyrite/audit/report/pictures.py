"""Images from run folders, small and inlined: the grid over training and the worst offenders."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pyrite.audit.curves import Run, SampleTable
from pyrite.core.types import FloatArray

LARGEST_SIDE_PX = 112
NATIVE_SIDE_PX = 72


@dataclass(frozen=True)
class Picture:
    """One image on the page; `source` is empty when there is nothing to show and `note` says why."""

    source: str
    note: str
    gold: float = float("nan")
    proxy: float = float("nan")


@dataclass(frozen=True)
class GridRow:
    """One prompt and seed: for each run the pictures of the chosen steps."""

    prompt: str
    task_type: str
    pictures: tuple[tuple[Picture, ...], ...]


@dataclass(frozen=True)
class Offender:
    """A sample that the proxy likes and gold does not, beside the same prompt and seed at the first step."""

    prompt: str
    before: Picture
    after: Picture
    scores: tuple[tuple[str, float, float], ...]


def inline(folder: Path, name: str) -> Picture:
    """An image of a run folder as a data URL: native pixels if small, else a thumbnail of 256 colours.

    Paths come from a file that anyone may have written: one that leads out of the folder is not followed.
    """
    if not name:
        return Picture("", "not kept")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        return Picture("", "path leads out of the run folder")
    return thumbnail(path)


def thumbnail(path: Path, largest_px: int = LARGEST_SIDE_PX) -> Picture:
    """An image file as a data URL, like `inline`; whoever names the file answers for showing it."""
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (2 * largest_px, 2 * largest_px))
            image = opened.convert("RGB")
    except FileNotFoundError:
        return Picture("", "file is missing")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Picture("", "cannot be read")
    if max(image.size) > NATIVE_SIDE_PX:
        image.thumbnail((largest_px, largest_px), Image.Resampling.LANCZOS)
        image = image.quantize(256)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return Picture("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), "")


def spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values, evenly spaced, first and last included."""
    if len(values) <= count:
        return list(values)
    places = np.unique(np.linspace(0, len(values) - 1, count).round().astype(int))
    return [values[place] for place in places]


def grid(
    runs: Sequence[Run], proxies: Sequence[FloatArray], *, num_rows: int, num_columns: int
) -> tuple[list[list[int]], list[GridRow]]:
    """The steps shown for each run, and one row per prompt and seed that every run kept at all of them.

    The rows are spread evenly over what was kept, one per prompt where possible: nobody picked them for their looks.
    """
    steps = [spread(steps_with_images(run.samples), num_columns) for run in runs]
    if not steps or not all(steps):
        return [], []
    kept = [_kept_at_all(run.samples, chosen) for run, chosen in zip(runs, steps, strict=True)]
    first = kept[0]
    shared = [index for index in sorted(first) if all(table.get(index) == first[index] for table in kept)]
    one_each = list({first[index]: index for index in reversed(shared)}.values())[::-1]
    rows = []
    for index in spread(one_each if len(one_each) >= num_rows else shared, num_rows):
        samples = runs[0].samples
        place = int(np.flatnonzero(samples.index == index)[0])
        pictures = tuple(
            tuple(_picture(run, proxy, step, index) for step in chosen)
            for run, proxy, chosen in zip(runs, proxies, steps, strict=True)
        )
        rows.append(GridRow(str(samples.prompts[place]), str(samples.task_types[place]), pictures))
    return steps, rows


def worst_offenders(run: Run, proxy: FloatArray, count: int) -> list[Offender]:
    """The last step's samples whose proxy rank lies furthest above their gold rank: image kept, one per prompt."""
    samples = run.samples
    gold = samples.scores["gold"]
    first, last = samples.step_values[0], samples.step_values[-1]
    rows = np.flatnonzero((samples.steps == last) & np.isfinite(gold) & np.isfinite(proxy))
    gap = proxy[rows].argsort().argsort() - gold[rows].argsort().argsort()
    names = [name for name in samples.scores if np.isfinite(samples.scores[name][rows]).any()]
    found: list[Offender] = []
    for row in rows[np.argsort(-gap, kind="stable")]:
        if len(found) == count:
            break
        if samples.prompts[row] in {offender.prompt for offender in found}:
            continue
        after = _picture(run, proxy, last, int(samples.index[row]))
        if not after.source:
            continue
        start = np.flatnonzero((samples.steps == first) & (samples.index == samples.index[row]))
        scores = tuple(
            (
                name,
                float(samples.scores[name][start[0]]) if len(start) else float("nan"),
                float(samples.scores[name][row]),
            )
            for name in names
        )
        before = _picture(run, proxy, first, int(samples.index[row]))
        found.append(Offender(str(samples.prompts[row]), before, after, scores))
    return found


def steps_with_images(samples: SampleTable) -> list[int]:
    """The steps of which at least one image was kept."""
    return [int(step) for step in np.unique(samples.steps[samples.images != ""])]


def _kept_at_all(samples: SampleTable, steps: Sequence[int]) -> dict[int, str]:
    """Index -> prompt for the samples whose image was kept at every one of `steps`."""
    kept = samples.select((samples.images != "") & np.isin(samples.steps, steps))
    counts: dict[tuple[int, str], set[int]] = {}
    for step, index, prompt in zip(kept.steps, kept.index, kept.prompts, strict=True):
        counts.setdefault((int(index), str(prompt)), set()).add(int(step))
    return {index: prompt for (index, prompt), seen in counts.items() if len(seen) == len(steps)}


def _picture(run: Run, proxy: FloatArray, step: int, index: int) -> Picture:
    samples = run.samples
    rows = np.flatnonzero((samples.steps == step) & (samples.index == index))
    if len(rows) == 0:
        return Picture("", "not kept")
    row = int(rows[0])
    found = inline(run.folder, str(samples.images[row]))
    gold = samples.scores.get("gold")
    return Picture(found.source, found.note, float(gold[row]) if gold is not None else float("nan"), float(proxy[row]))

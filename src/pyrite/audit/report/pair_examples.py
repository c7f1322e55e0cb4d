"""Example pairs for the page: what a kind of damage looks like, and what each reward says of both sides."""

from dataclasses import dataclass

import numpy as np

from pyrite.audit.pairs.images import Pairs
from pyrite.audit.report.pictures import Picture, inline


@dataclass(frozen=True)
class Example:
    """One pair.

    Args:
        kind: of the change.
        source: the picture's name.
        severity: of the change; NaN where not known.
        clean, changed: the images.
        scores: (reward, score of the clean side, of the changed side, whether the changed side is liked better).
    """

    kind: str
    source: str
    severity: float
    clean: Picture
    changed: Picture
    scores: tuple[tuple[str, float, float, bool], ...]


def examples(pairs: Pairs) -> list[Example]:
    """One pair per kind at its highest severity, each of another picture as far as there are: chosen by place alone."""
    found = []
    for place, kind in enumerate(pairs.kind_names or [""]):
        rows = np.flatnonzero(pairs.kinds == kind)
        severities = pairs.severities[rows]
        if np.isfinite(severities).any():
            rows = rows[severities == np.nanmax(severities)]
        if len(rows):
            found.append(_example(pairs, int(rows[place % len(rows)]), kind))
    return found


def _example(pairs: Pairs, row: int, kind: str) -> Example:
    images, clean, changed = pairs.images, int(pairs.clean[row]), int(pairs.changed[row])
    scores = tuple(
        (name, float(column[clean]), float(column[changed]), bool(column[changed] > column[clean]))
        for name, column in images.scores.items()
    )
    before, after = (inline(images.folder, str(images.images[side])) for side in (clean, changed))
    return Example(kind, str(pairs.sources[row]), float(pairs.severities[row]), before, after, scores)

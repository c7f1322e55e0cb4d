"""Images that were scored, as columns, and which of them make a pair.

The images of one pair id are versions of one picture. The one with label 0 is its clean side; where several have label
0, it is the one without a kind, and the others are neutral changes. Every image with label 1 makes a pair with the
clean side, every neutral change makes a pair of its own sort, in which neither side is the right answer.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pyrite.core.errors import ImageSetError
from pyrite.core.types import FloatArray

IntArray = npt.NDArray[np.int64]
TextArray = npt.NDArray[np.str_]

_MOST_LINES = 20


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class ScoredImages:
    """M labelled images with what rewards say of them.

    Args:
        path: the file the scores come from, for messages.
        ids: (M,) as the set calls them.
        pair_ids: (M,) what versions of one picture share; empty where there is none.
        has_artifact: (M,) the labels.
        kinds: (M,) of artifact or neutral change; empty where not known.
        severities: (M,) in [0, 1], NaN where not known.
        images: (M,) paths, empty where not known.
        folder: that the paths may not lead out of when an image is shown.
        scores: reward -> (M,), NaN where unscored.
        reasons: reward -> row -> why it is unscored.
        skipped: what was left out -> why.
        notes: what a reader should know about how the scores were found.
    """

    path: Path
    ids: TextArray
    pair_ids: TextArray
    has_artifact: npt.NDArray[np.bool_]
    kinds: TextArray
    severities: FloatArray
    images: TextArray
    folder: Path
    scores: Mapping[str, FloatArray]
    reasons: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def spread(self, reward: str) -> float:
        """Standard deviation of a reward's scores over all images; NaN with fewer than two scores or without spread.

        The unit of every "sd" about this set: rewards have scales of their own, and this puts them on one.
        """
        known = self.scores[reward][np.isfinite(self.scores[reward])]
        return float(known.std(ddof=1)) if len(known) > 1 and np.ptp(known) > 0 else np.nan


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Pairs:
    """N pairs of images of one set: the clean side, and a changed version of it.

    Args:
        images: the set.
        clean: (N,) rows of the clean sides.
        changed: (N,) rows of the changed versions.
    """

    images: ScoredImages
    clean: IntArray
    changed: IntArray

    def __len__(self) -> int:
        return len(self.clean)

    @property
    def sources(self) -> TextArray:
        """(N,) the picture each pair is of: pairs of one picture are alike, so this is the unit of resampling."""
        return self.images.pair_ids[self.clean]

    @property
    def kinds(self) -> TextArray:
        """(N,) what was done to the changed side; empty where not known."""
        return self.images.kinds[self.changed]

    @property
    def severities(self) -> FloatArray:
        """(N,) how much of it, in [0, 1]; NaN where not known."""
        return self.images.severities[self.changed]

    @property
    def kind_names(self) -> list[str]:
        """The kinds in the order the set brings them, without the empty one."""
        return [name for name in dict.fromkeys(map(str, self.kinds)) if name]

    def margin(self, reward: str) -> FloatArray:
        """(N,) score of the clean side minus that of the changed one; NaN where either is unscored."""
        scores = self.images.scores[reward]
        found: FloatArray = scores[self.clean] - scores[self.changed]
        return found

    def of_kind(self, kind: str) -> "Pairs":
        """The pairs of one kind."""
        rows = self.kinds == kind
        return Pairs(self.images, self.clean[rows], self.changed[rows])


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class PairedSet:
    """A set as pairs.

    Args:
        images: what was scored.
        damaged: clean against artifact.
        neutral: clean against a change that is no artifact; may be empty.
        skipped: what was left out -> why, reading included.
    """

    images: ScoredImages
    damaged: Pairs
    neutral: Pairs
    skipped: Mapping[str, str]

    @property
    def rewards(self) -> list[str]:
        """The rewards, in the order of the scores."""
        return list(self.images.scores)


def pair_up(images: ScoredImages, *, skip_bad: bool = False) -> PairedSet:
    """Which images make pairs.

    Args:
        images: of one set.
        skip_bad: leave out what is in no pair and list it in `skipped`, instead of refusing the set.

    Raises:
        ImageSetError: images without a pair id, pairs without two sides or with two clean ones (all of them are
            named), no pair at all, or a reward without a score for any pair.
    """
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(images.pair_ids):
        rows_of[str(name)].append(row)
    problems: dict[str, str] = {}
    if alone := rows_of.pop("", []):
        problems[f"{len(alone)} images"] = f"they have no pair_id, the first is '{images.ids[alone[0]]}'"
    damaged: list[tuple[int, int]] = []
    neutral: list[tuple[int, int]] = []
    for name, rows in rows_of.items():
        clean = _clean_side(images, rows)
        if isinstance(clean, str):
            problems[f"pair '{name}'"] = clean
            continue
        damaged += [(clean, row) for row in rows if images.has_artifact[row]]
        neutral += [(clean, row) for row in rows if not images.has_artifact[row] and row != clean]
    if problems and not (skip_bad and damaged):
        raise ImageSetError(_all_problems(images, problems, num_pairs=len(damaged)))
    found = PairedSet(images, _pairs(images, damaged), _pairs(images, neutral), {**images.skipped, **problems})
    _refuse_silent_rewards(found)
    return found


def listed(problems: Mapping[str, str]) -> str:
    """Problems as indented lines below a message; beyond twenty their number."""
    lines = [f"\n  {where}: {problem}" for where, problem in problems.items()]
    rest = len(lines) - _MOST_LINES
    return "".join(lines[:_MOST_LINES]) + (f"\n  and {rest} more" if rest > 0 else "")


def _clean_side(images: ScoredImages, rows: Sequence[int]) -> int | str:
    """The row of a pair's clean side, or what is wrong with the pair."""
    clean = [row for row in rows if not images.has_artifact[row]]
    if len(clean) == len(rows):
        return f"it has no image with label 1 (an artifact), only '{images.ids[rows[0]]}' and others with label 0"
    if not clean:
        return f"it has no image with label 0 (clean), only '{images.ids[rows[0]]}' and others with label 1"
    if len(clean) == 1:
        return clean[0]
    plain = [row for row in clean if not images.kinds[row]]
    if len(plain) == 1:
        return plain[0]
    which = " and ".join(f"'{images.ids[row]}'" for row in (plain or clean)[:3])
    return f"it has {len(plain or clean)} clean sides, {which}: give the neutral changes among them a kind"


def _pairs(images: ScoredImages, rows: Sequence[tuple[int, int]]) -> Pairs:
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return Pairs(images, table[:, 0], table[:, 1])


def _all_problems(images: ScoredImages, problems: Mapping[str, str], num_pairs: int) -> str:
    labels = set(images.has_artifact.tolist())
    if len(labels) == 1:
        has, lacks = ("1 (artifacts)", "0 (clean)") if labels == {True} else ("0 (clean)", "1 (artifacts)")
        return (
            f"{images.path}: all {len(images)} images have label {has}, and a pair test asks which of two images a "
            f"reward prefers. Add the other sides with label {lacks} and the same pair_id, or plant artifacts in clean "
            "images: `pyrite audit probe IMAGES --rewards ...`."
        )
    way_out = "Repair them, or leave them out with --skip-bad" if num_pairs else "Repair them"
    return (
        f"{images.path}: {len(problems)} problems, and {num_pairs} pairs that are whole. A pair is one image with "
        f"label 0 and one or more with label 1 under the same pair_id. {way_out}:"
        f"{listed(problems)}"
    )


def _refuse_silent_rewards(found: PairedSet) -> None:
    for name in found.rewards:
        if np.isfinite(found.damaged.margin(name)).any():
            continue
        reasons = found.images.reasons.get(name, {})
        why = f" (the first reason: {next(iter(reasons.values()))})" if reasons else ""
        others = [other for other in found.rewards if other != name]
        raise ImageSetError(
            f"{found.images.path}: '{name}' has no score for both sides of any of the {len(found.damaged)} pairs{why}, "
            f"so nothing can be said about it. Score the set with it, or leave it out: --rewards "
            f'"{",".join(others) or "..."}".'
        )

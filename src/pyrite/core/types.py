"""The values that travel between rooms: prompts, scores, rollouts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as _pil

Image = _pil.Image
FloatArray = npt.NDArray[np.float64]

REQUEST = "request"
"""The detail of a reward that asks a judge: the number under which the judge's reply is kept, as a whole float."""


@dataclass(frozen=True)
class Prompt:
    """The text an image is drawn from, with what benchmarks and detectors need to know about it.

    The field names are those of the T2I-R1 training data (CaraJ7/T2I-R1), so its JSON lines load as they are;
    there the text itself is called `prompt`.
    """

    text: str
    id: str = ""
    task_type: str = ""
    nouns: tuple[str, ...] = ()
    attr_nouns: tuple[str, ...] = ()
    spatial_info: Mapping[str, str] | None = None
    numeracy_info: tuple[Mapping[str, Any], ...] = ()
    explanation: str = ""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Prompt":
        """Read one JSON object; keys that belong to others are ignored.

        Raises:
            ValueError: the object has no text under `prompt`.
        """
        if not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
            raise ValueError(f"a prompt object needs a text under the key 'prompt'; its keys are {sorted(row)}")
        return cls(
            text=row["prompt"],
            id=str(row.get("id", "")),
            task_type=row.get("task_type", ""),
            nouns=tuple(row.get("nouns") or ()),
            attr_nouns=tuple(row.get("attr_nouns") or ()),
            spatial_info=row.get("spatial_info"),
            numeracy_info=tuple(row.get("numeracy_info") or ()),
            explanation=str(row.get("explanation") or ""),
        )

    def to_json(self) -> dict[str, Any]:
        """The object `from_json` reads back; empty fields are left out."""
        row: dict[str, Any] = {"prompt": self.text}
        for item in fields(self)[1:]:
            value = getattr(self, item.name)
            if value:
                row[item.name] = list(value) if isinstance(value, tuple) else value
        return row


@dataclass(frozen=True)
class Scores:
    """What a reward says of N images: higher is better, always; NaN means *unscored* and has a reason.

    Args:
        values: (N,) float64, on the reward's own scale.
        reasons: row -> why it is unscored; exactly the rows whose value is NaN.
        details: name -> (N,) further numbers per image (per question, per part); NaN where there is none.
        transient: those of the unscored rows whose reason is the machine's or the network's and not the image's: asked
            again, they may have a score, so no store keeps them.

    Raises:
        ValueError: a NaN without a reason, a reason without a NaN, an infinite value, a transient row that has a
            score, or a length that differs.
    """

    values: FloatArray
    reasons: Mapping[int, str] = field(default_factory=dict)
    details: Mapping[str, FloatArray] = field(default_factory=dict)
    transient: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)  # a copy: frozen must mean frozen
        if values.ndim != 1:
            raise ValueError(f"scores are one number per image, shape (N,); got shape {values.shape}")
        if np.isinf(values).any():
            raise ValueError(f"infinite score in rows {np.flatnonzero(np.isinf(values)).tolist()}: say NaN and why")
        unscored = set(np.flatnonzero(np.isnan(values)).tolist())
        if unscored != set(self.reasons):
            silent = sorted(unscored - set(self.reasons))
            idle = sorted(set(self.reasons) - unscored)
            raise ValueError(
                f"every NaN needs a reason and every reason a NaN: rows {silent} are NaN without one, "
                f"rows {idle} have a reason and a number"
            )
        if scored := sorted(self.transient - unscored):
            raise ValueError(f"rows {scored} are marked transient, which says why a row is unscored, and have a score")
        for name, column in self.details.items():
            if np.shape(column) != values.shape:
                raise ValueError(f"detail '{name}' has shape {np.shape(column)}, the scores have {values.shape}")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def unscored(cls, num: int, reason: str) -> "Scores":
        """`num` rows that all failed for the same reason."""
        return cls(np.full(num, np.nan), dict.fromkeys(range(num), reason))

    @classmethod
    def concatenate(cls, parts: Sequence["Scores"]) -> "Scores":
        """Join batches in order; a detail that only some parts have is NaN in the others."""
        starts = np.cumsum([0, *(len(part) for part in parts)])
        names = {name: None for part in parts for name in part.details}
        return cls(
            np.concatenate([part.values for part in parts]) if parts else np.empty(0),
            {
                int(start) + row: why
                for start, part in zip(starts, parts, strict=False)
                for row, why in part.reasons.items()
            },
            {
                name: np.concatenate([part.details.get(name, np.full(len(part), np.nan)) for part in parts])
                for name in names
            },
            frozenset(int(start) + row for start, part in zip(starts, parts, strict=False) for row in part.transient),
        )


@dataclass(frozen=True)
class Rollouts:
    """G images for each of P prompts, with what the policy needs to recompute their log-probabilities.

    Rows are grouped: row `p * group_size + g` is image g of prompt p, so R = P * G.

    Args:
        prompts: R prompts, each repeated G times.
        group_size: G.
        images: R decoded images.
        tokens: (R, T) the sampled tokens: every action the policy took, in the order it took them.
        behaviour_logp: (R, T) log-probability of each token under the distribution it was drawn from (with guidance
            and temperature). Equal to `Policy.logp` before any update only if sampling was unguided
            (trap 1 of section 0.1 in the methods specification).
        mask: (R, T) which tokens are actions: False for padding.
        unguided_logp: (R, T) log-probability of each token under the policy itself when the batch was drawn: at its
            temperature, without guidance and without top-k or top-p. What `Policy.logp` gave before any update, noted
            in passing; None from a policy that does not note it.
    """

    prompts: Sequence[Prompt]
    group_size: int
    images: Sequence[Image]
    tokens: npt.NDArray[np.int64]
    behaviour_logp: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    unguided_logp: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        num = len(self.prompts)
        if self.group_size < 1 or num % self.group_size:
            raise ValueError(f"{num} rollouts do not divide into groups of {self.group_size}")
        shapes = {self.tokens.shape, self.behaviour_logp.shape, self.mask.shape}
        if self.unguided_logp is not None:
            shapes.add(self.unguided_logp.shape)
        if len(shapes) != 1 or self.tokens.ndim != 2 or len(self.tokens) != num or len(self.images) != num:
            raise ValueError(f"{num} prompts, {len(self.images)} images and arrays of shapes {sorted(shapes)} disagree")

    def __len__(self) -> int:
        return len(self.prompts)

"""The images of one update with all that its loss is computed from; some rows of them, and how they are saved."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pyrite.core.types import Prompt, Rollouts


@dataclass(frozen=True)
class Batch:
    """What stays the same over the gradient steps of one batch."""

    rollouts: Rollouts
    ref_logp_RT: Tensor
    advantages_R: Tensor
    mask_RT: Tensor
    num_tokens: float
    weight_T: Tensor | None = None

    @property
    def prompts(self) -> Sequence[Prompt]:
        """One per group."""
        return self.rollouts.prompts[:: self.rollouts.group_size]

    @property
    def prompt_ids(self) -> list[str]:
        """Of each; its text where it has no id."""
        return [prompt.id or prompt.text for prompt in self.prompts]

    def save(self, path: Path, **logp_RT: Tensor) -> Path:
        """Write everything the loss was computed from: arrays, and the prompts as JSON beside them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {**logp_RT, "ref_logp": self.ref_logp_RT, "advantages": self.advantages_R, "mask": self.mask_RT}
        arrays: dict[str, Any] = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
        np.savez(path, tokens=self.rollouts.tokens, behaviour_logp=self.rollouts.behaviour_logp, **arrays)
        about = {"group_size": self.rollouts.group_size, "prompts": [prompt.to_json() for prompt in self.prompts]}
        path.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return path


def rows_of(rollouts: Rollouts, rows: slice) -> Rollouts:
    """Some rows of a batch, each of them a group of its own; the batch itself if that is all of them."""
    if len(rollouts.prompts[rows]) == len(rollouts):
        return rollouts
    per_row = {item.name: getattr(rollouts, item.name) for item in fields(rollouts) if item.name != "group_size"}
    return replace(
        rollouts, group_size=1, **{name: value[rows] for name, value in per_row.items() if value is not None}
    )

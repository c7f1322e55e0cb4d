"""A small search on the simulated judge, shared by the tests of this folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from examples.simulated.server import MODEL, SimulatedJudge

from pyrite.artifact.data import Example
from pyrite.artifact.judges import Judged
from pyrite.artifact.optimise.config import OptimiseConfig, load_optimise_config
from pyrite.core.types import Image

QUICK = (
    "shares=[0.5, 0.25, 0.25]",
    "protegi={rounds: 2, beam: 2, minibatch: 20, gradients: 2, errors_per_gradient: 2, expansion_cap: 3}",
    "gepa={proposals: 4, minibatch: 8}",
    "allocation.first_share=0.25",
    "judge.options.audit=''",
    "judge.options.backoff_s=0.001",
)


def quick_config(simulated: SimulatedJudge, *overrides: str, **given: Any) -> OptimiseConfig:
    """A search of a few hundred calls."""
    server = (f"judge.options.base_url={simulated.url}", f"judge.options.model={MODEL}")
    return load_optimise_config(None, [*server, *QUICK, *overrides], **given)


def example(number: int, label: bool, pair: str = "", kind: str = "") -> Example:
    """An example whose image is never read."""
    return Example(str(number), Path(f"{number}.png"), label, pair_id=pair, kind=kind)


class TableJudge:
    """Says of every image what a table says of its id; NaN is a failure. Images are one pixel, whose red is the id."""

    name, asks = "table", True

    def __init__(self, table: Sequence[float], cost_usd: float = 0.0) -> None:
        self.table = list(table)
        self.cost_usd = cost_usd
        self.calls: list[tuple[str, int]] = []

    def judge(self, question: str, images: Sequence[Image]) -> Judged:
        rows = [image.convert("RGB").getpixel((0, 0))[0] for image in images]  # type: ignore[index]
        self.calls += [(question, row) for row in rows]
        prob = np.array([self.table[row] for row in rows])
        reasons = dict.fromkeys(np.flatnonzero(np.isnan(prob)).tolist(), "the server answered 503")
        return Judged(prob, reasons, len(images), cost_usd=self.cost_usd * len(images))

"""What a run trains on, computed alike for every run so that their curves share an axis."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pyrite.audit.curves import GOLD_NAMES, Run, SampleTable
from pyrite.core.types import FloatArray


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of a score over the base policy's samples (the first evaluated step)."""

    mean: float
    sd: float

    @classmethod
    def of(cls, samples: SampleTable, values: FloatArray) -> "Scale":
        """Measured over the scored samples of the first step; NaN when fewer than two are scored or all are equal."""
        base = values[(samples.steps == samples.steps.min()) & np.isfinite(values)]
        sd = float(np.std(base, ddof=1)) if len(base) > 1 else float("nan")
        return cls(float(np.mean(base)), sd) if sd > 0 else cls(float("nan"), float("nan"))

    def __call__(self, values: FloatArray) -> FloatArray:
        """Change from the base mean, in base-sample standard deviations."""
        standardised: FloatArray = (values - self.mean) / self.sd
        return standardised


AGGREGATES = {"sum": np.sum, "mean": np.mean, "min": np.min}
# A formula that orders the recorded rewards differently than this is not the formula that trained.
SAME_REWARD_CORRELATION = 0.999


@dataclass(frozen=True)
class Proxy:
    """The first run's training reward, as something that can be computed for every run.

    Args:
        weights: score name -> weight, the scores that train.
        aggregate: sum, mean or min over the weighted scores.
        scales: score name -> base-sample scale, for scores that are standardised before they are weighted.
        reward_scale: of the recorded reward; None if the first run records none.
        formula_scale: of the formula.
        is_faithful: the formula reproduces the recorded reward, so it may stand in for it in other runs.
    """

    weights: Mapping[str, float]
    aggregate: str
    scales: Mapping[str, Scale]
    reward_scale: Scale | None
    formula_scale: Scale
    is_faithful: bool

    @property
    def label(self) -> str:
        """The formula in words, such as "1 × hps-pocket + 0.3 × aesthetic-pocket"."""
        if not self.weights:
            return "the recorded reward"
        if len(self.weights) == 1:
            return next(iter(self.weights))
        parts = [f"{weight:g} × {name}" for name, weight in self.weights.items()]
        return " + ".join(parts) if self.aggregate == "sum" else f"{self.aggregate} of {', '.join(parts)}"

    @classmethod
    def of(cls, run: Run, names: tuple[str, ...] = ()) -> "Proxy | None":
        """The proxy of a run: what its recipe trains on, else `names`, else its only score; None if nobody can tell."""
        samples = run.samples
        candidates = [name for name in samples.scores if name not in GOLD_NAMES]
        items = list(run.recipe.get("rewards") or ()) or [{"name": name} for name in names]
        has_reward = bool(np.isfinite(samples.reward).any())
        if not items and not has_reward:
            if len(candidates) != 1:
                return None
            items = [{"name": candidates[0]}]
        weights = {str(item["name"]): float(item.get("weight", 1.0)) for item in items}
        # Without a recipe nothing says how several scores were added up: standardised is the even-handed reading.
        shaped = [str(item["name"]) for item in items if "standardise" in str(item.get("transform", "standardise"))]
        scales = {name: Scale.of(samples, samples.scores[name]) for name in shaped if name in samples.scores}
        draft = cls(weights, str(run.recipe.get("aggregate", "sum")), scales, None, Scale(0.0, 1.0), True)
        formula = draft.formula(samples)
        return cls(
            weights, draft.aggregate, scales,
            Scale.of(samples, samples.reward) if has_reward else None,
            Scale.of(samples, formula),
            not has_reward or _correlation(formula, samples.reward) >= SAME_REWARD_CORRELATION,
        )  # fmt: skip

    def formula(self, samples: SampleTable) -> FloatArray:
        """(N,) the weighted and aggregated scores, NaN where a part is unscored or the run does not have it."""
        if not self.weights or any(name not in samples.scores for name in self.weights):
            return np.full(len(samples), np.nan)
        parts = []
        for name, weight in self.weights.items():
            values = samples.scores[name]
            parts.append(weight * (self.scales[name](values) if name in self.scales else values))
        combined: FloatArray = AGGREGATES[self.aggregate](np.stack(parts), axis=0)
        return combined

    def values(self, samples: SampleTable, *, trains_on_it: bool) -> FloatArray:
        """(N,) the proxy in base-sample standard deviations of the first run; NaN where it cannot be had.

        Args:
            samples: of any run.
            trains_on_it: the run's recorded reward is this proxy; otherwise it is recomputed from the scores.
        """
        if trains_on_it and self.reward_scale is not None:
            return self.reward_scale(samples.reward)
        if not self.is_faithful:
            return np.full(len(samples), np.nan)
        return self.formula_scale(self.formula(samples))


def _correlation(a: FloatArray, b: FloatArray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 3 or np.std(a[known]) == 0 or np.std(b[known]) == 0:
        return float("nan")
    return float(np.corrcoef(a[known], b[known])[0, 1])


def own_reward(run: Run) -> FloatArray:
    """(N,) what this run trained on, in standard deviations of its own base samples; NaN if it records none."""
    samples = run.samples
    return Scale.of(samples, samples.reward)(samples.reward)

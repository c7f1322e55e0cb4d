"""What a run trains on, computed alike for every run so that their curves share an axis."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pyrite.audit.curves import GOLD_NAMES, Run, SampleTable
from pyrite.core.errors import PyriteError
from pyrite.core.types import FloatArray
from pyrite.mitigation.ensembles import aggregate
from pyrite.mitigation.transforms import Chain, parse_transform
from pyrite.stats.ranks import pearson

# A formula that agrees with the recorded rewards less than this is not the formula that trained.
SAME_REWARD_CORRELATION = 0.999


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


@dataclass(frozen=True)
class Proxy:
    """The first run's training reward, as something that can be computed for every run.

    Args:
        weights: score name -> weight, the scores that train; empty if only the recorded reward is known.
        how: sum, mean or min over the weighted scores.
        chains: score name -> its transform, fitted to the first run's base samples; empty if they cannot be applied.
        reward_scale: of the recorded reward; None if the first run records none.
        formula_scale: of the formula; NaN where the formula does not reproduce the recorded reward, so that it cannot
            stand in for it in other runs.
    """

    weights: Mapping[str, float]
    how: str
    chains: Mapping[str, Chain]
    reward_scale: Scale | None
    formula_scale: Scale

    @property
    def label(self) -> str:
        """The formula in words, such as "1 × hps-pocket + 0.3 × aesthetic-pocket"."""
        if not self.weights:
            return "the recorded reward"
        if len(self.weights) == 1:
            return next(iter(self.weights))
        parts = [f"{weight:g} × {name}" for name, weight in self.weights.items()]
        return " + ".join(parts) if self.how == "sum" else f"{self.how} of {', '.join(parts)}"

    @classmethod
    def of(cls, run: Run, names: tuple[str, ...] = ()) -> "Proxy | None":
        """The proxy of a run: what its recipe trains on, else `names`, else its only score; None if nobody can tell.

        Raises:
            ValueError: the run has no score of one of the `names`.
        """
        samples = run.samples
        if unheard := [name for name in names if name not in samples.scores]:
            raise ValueError(
                f"{run.name} has no score called {' or '.join(unheard)}, so it cannot be the proxy. "
                f"Its scores are {', '.join(samples.scores)}."
            )
        has_reward = bool(np.isfinite(samples.reward).any())
        weights, how, specs = _reward_of(run, names, has_reward=has_reward)
        if not weights and not has_reward:
            return None
        reward_scale = Scale.of(samples, samples.reward) if has_reward else None
        draft = cls(weights, how, _fit(samples, specs), reward_scale, Scale(0.0, 1.0))
        formula = draft.formula(samples)
        is_faithful = not has_reward or pearson(formula, samples.reward) >= SAME_REWARD_CORRELATION
        scale = Scale.of(samples, formula) if is_faithful else Scale(float("nan"), float("nan"))
        return cls(weights, how, draft.chains, reward_scale, scale)

    def formula(self, samples: SampleTable) -> FloatArray:
        """(N,) the transformed and aggregated scores, NaN where a part is unscored or the run does not have it."""
        nothing = np.full(len(samples), np.nan)
        if not self.weights or any(name not in samples.scores or name not in self.chains for name in self.weights):
            return nothing
        scores_NK = np.stack([self.chains[name](samples.scores[name]) for name in self.weights], axis=1)
        try:
            return aggregate(scores_NK, np.array(list(self.weights.values())), self.how)
        except ValueError:  # another trainer's aggregate, or weights it has no use for: not reproducible here
            return nothing

    def values(self, samples: SampleTable, *, trains_on_it: bool) -> FloatArray:
        """(N,) the proxy in base-sample standard deviations of the first run; NaN where it cannot be had.

        Args:
            samples: of any run.
            trains_on_it: the run's recorded reward is this proxy; otherwise it is recomputed from the scores.
        """
        if trains_on_it and self.reward_scale is not None:
            return self.reward_scale(samples.reward)
        return self.formula_scale(self.formula(samples))


def own_reward(run: Run) -> FloatArray:
    """(N,) what this run trained on, in standard deviations of its own base samples; NaN if it records none."""
    return Scale.of(run.samples, run.samples.reward)(run.samples.reward)


def _reward_of(
    run: Run, names: tuple[str, ...], *, has_reward: bool
) -> tuple[dict[str, float], str, dict[str, str | None]]:
    """Weights, aggregate and transforms: from the recipe, from the caller's names, or from a folder with one score."""
    if run.reward_items:
        weights = {str(item["name"]): float(item.get("weight", 1.0)) for item in run.reward_items}
        specs = {str(item["name"]): item.get("transform") for item in run.reward_items}
        return weights, str(run.recipe.get("aggregate", "sum")), specs
    scores = [name for name in run.samples.scores if name not in GOLD_NAMES]
    chosen = names or (tuple(scores) if len(scores) == 1 and not has_reward else ())
    # Nothing says how several scores were added up: standardised is the even-handed reading.
    return dict.fromkeys(chosen, 1.0), "sum", dict.fromkeys(chosen, "standardise")


def _fit(samples: SampleTable, specs: Mapping[str, str | None]) -> dict[str, Chain]:
    base = samples.at(samples.step_values[0])
    chains = {}
    for name, spec in specs.items():
        if name in base.scores:
            try:
                chains[name] = parse_transform(spec).fit(base.scores[name], name)
            except PyriteError:  # a transform of another trainer, or a score that is constant: not reproducible here
                return {}
    return chains

"""Several runs on one scale: the curves and the verdict of each, computed once and shown in many places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrite.audit.curves import Curve, Run, SampleTable, curve
from pyrite.audit.proxy import Proxy, Scale, own_reward
from pyrite.audit.verdict import Verdict, judge, unknown
from pyrite.core.types import FloatArray
from pyrite.stats.change_points import Parting, cell_means, find_parting


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Audited:
    """One run with everything that is computed from its samples.

    Args:
        run: as read.
        proxy: (N,) the first run's proxy on this run's samples, in base-sample standard deviations; NaN if unavailable.
        proxy_curve: its mean over steps.
        own_curve: what this run itself trained on, in standard deviations of its own base samples; equal to
            `proxy_curve` for the first run.
        is_own_proxy: this run trains on the proxy itself.
        gold_curve: on gold's own scale, None without gold.
        kl_curve: nats per image, None where not recorded.
        verdict: on `own_curve` and gold.
        parting: where this run's own reward and gold part; None without one of them.
    """

    run: Run
    proxy: FloatArray
    proxy_curve: Curve
    own_curve: Curve
    is_own_proxy: bool
    gold_curve: Curve | None
    kl_curve: Curve | None
    verdict: Verdict
    parting: Parting | None

    @property
    def name(self) -> str:
        """What the report calls the run."""
        return self.run.name

    @property
    def has_proxy(self) -> bool:
        """The first run's proxy can be computed here."""
        return bool(np.isfinite(self.proxy).any())


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Comparison:
    """All runs, the first being the plain one.

    Args:
        runs: in the order given.
        proxy: the formula of the first run's reward; None if nobody can tell what trained.
        scales: score name -> mean and standard deviation over the first run's base samples.
    """

    runs: tuple[Audited, ...]
    proxy: Proxy | None
    scales: Mapping[str, Scale]

    @property
    def first(self) -> Audited:
        """The plain run."""
        return self.runs[0]

    @property
    def has_gold(self) -> bool:
        """At least one run recorded gold."""
        return any(item.gold_curve is not None for item in self.runs)


def compare(runs: Sequence[Run], proxy_names: tuple[str, ...] = ()) -> Comparison:
    """Put runs on the scale of the first one's base samples and judge each.

    Args:
        runs: the plain run first.
        proxy_names: the scores the first run trains on, for folders without a recipe.
    """
    proxy = Proxy.of(runs[0], proxy_names)
    samples = runs[0].samples
    scales = {name: Scale.of(samples, values) for name, values in samples.scores.items()}
    return Comparison(tuple(_audit(run, proxy, is_own=_same_reward(run, runs[0])) for run in runs), proxy, scales)


def _audit(run: Run, proxy: Proxy | None, *, is_own: bool) -> Audited:
    samples = run.samples
    values = np.full(len(samples), np.nan) if proxy is None else proxy.values(samples, trains_on_it=is_own)
    proxy_curve = curve(samples, values)
    own_values = values if is_own or not np.isfinite(samples.reward).any() else own_reward(run)
    own = curve(samples, own_values)
    gold = samples.scores.get("gold")
    gold_curve = curve(samples, gold) if gold is not None and np.isfinite(gold).any() else None
    kl_curve = curve(samples, samples.kl) if np.isfinite(samples.kl).any() else None
    parting = None
    if not np.isfinite(own.mean).any():
        verdict = unknown("nothing says which of its scores it was trained on")
    elif gold_curve is None:
        verdict = unknown("gold was not recorded", proxy=own)
    else:
        verdict = judge(own, gold_curve)
        parting = _parting(samples, own_values, samples.scores["gold"])
    return Audited(run, values, proxy_curve, own, is_own, gold_curve, kl_curve, verdict, parting)


def _parting(samples: SampleTable, reward: FloatArray, gold: FloatArray) -> Parting:
    steps, reward_PS = cell_means(reward, samples.prompt_ids, samples.steps)
    _, gold_PS = cell_means(gold, samples.prompt_ids, samples.steps)
    return find_parting(steps, reward_PS, gold_PS, rng=np.random.default_rng(0))


def _same_reward(run: Run, first: Run) -> bool:
    def recipe(of: Run) -> list[Any]:
        return [of.recipe.get("rewards"), of.recipe.get("aggregate")]

    return run is first or (bool(run.recipe.get("rewards")) and recipe(run) == recipe(first))

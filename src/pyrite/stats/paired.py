"""Two conditions on the same items: how much they differ, and how often which one wins.

What makes an item hard is in both and cancels, so the difference of a pair says more than two means. Pairs of one
prompt are alike, so prompts are what is resampled. Swapping the two sides negates every difference and turns every
rate into one minus itself.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from pyrite.stats.intervals import Interval, bootstrap_mean
from pyrite.stats.proportions import share

FEWEST = 5
"""Below so many prompts, or pairs, there are too few different resamples for the ends of an interval."""


@dataclass(frozen=True)
class Paired:
    """How a side A does beside a side B on the pairs that both sides have a value for.

    Args:
        num_pairs: so many.
        num_missing: pairs of which a side has none.
        mean_a: of A over the pairs.
        mean_b: of B over the pairs.
        difference: mean of A - B, on the scale of the values.
        sd: standard deviation of A - B over the pairs, n - 1 in the denominator; NaN for fewer than two.
        effect: `difference` in units of `sd` (Cohen's d_z), by which quantities on other scales compare; NaN where
            all differences are equal.
        wins: pairs in which A is greater.
        ties: pairs in which both are equal.
        losses: pairs in which B is greater.
        win_rate: wins and half the ties, as a share of the pairs; 0.5 says that neither is ahead.
    """

    num_pairs: int
    num_missing: int
    mean_a: float
    mean_b: float
    difference: Interval
    sd: float
    effect: Interval
    wins: int
    ties: int
    losses: int
    win_rate: Interval


def compare_paired(
    a: Float[np.ndarray, " N"],
    b: Float[np.ndarray, " N"],
    *,
    prompts: Shaped[np.ndarray, " N"] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Paired:
    """Compare N pairs; intervals are 95 % and bias-corrected (`bootstrap_mean`), from `FEWEST` prompts on.

    A win rate of 0 or 1 has Wilson's interval (`proportions.share`).

    Args:
        a: a value per item; NaN where there is none.
        b: of the same items in the same order.
        prompts: label of each pair's prompt; without it, with one prompt alone, or with as many prompts as pairs,
            pairs are resampled.
        seed: of the resampling.
        num_resamples: B.
    """
    known = np.isfinite(a) & np.isfinite(b)
    change = a[known] - b[known]
    labels = None
    if prompts is not None and 1 < len(np.unique(prompts[known])) < len(change):
        labels = prompts[known]

    num_units = len(change) if labels is None else len(np.unique(labels))

    def interval(values: Float[np.ndarray, " M"]) -> Interval:
        if num_units < FEWEST:
            why = f"{num_units} {'pairs' if labels is None else 'prompts'} are too few for an interval"
            return Interval(float(values.mean()) if len(values) else np.nan, np.nan, np.nan, why)
        rng = np.random.default_rng(seed)
        return bootstrap_mean(values, rng=rng, clusters=labels, num_resamples=num_resamples)

    sd = float(change.std(ddof=1)) if len(change) > 1 else np.nan
    difference = interval(change)
    # Values that are all equal but for rounding have no spread to measure by.
    has_spread = len(change) > 1 and sd > 1e-12 * float(np.abs(change).max())
    unit = sd if has_spread else np.nan
    effect = Interval(difference.estimate / unit, difference.low / unit, difference.high / unit)
    outcomes = (np.sign(change) + 1) / 2
    one_sided = num_units >= FEWEST and outcomes.mean() in (0.0, 1.0)
    return Paired(
        num_pairs=len(change),
        num_missing=len(a) - len(change),
        mean_a=float(a[known].mean()) if len(change) else np.nan,
        mean_b=float(b[known].mean()) if len(change) else np.nan,
        difference=difference,
        sd=sd,
        effect=effect,
        wins=int((change > 0).sum()),
        ties=int((change == 0).sum()),
        losses=int((change < 0).sum()),
        # Where one side always wins, no resample says otherwise, and yet ten of ten is no proof of always.
        win_rate=share(outcomes, clusters=labels) if one_sided else interval(outcomes),
    )

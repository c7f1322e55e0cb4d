"""The step from which a rising proxy no longer brings gold: where the two part, or why they do not.

Let g_s and p_s be mean gold and mean proxy of evaluation step s = 1..S at training step t_s. They part when

    gold is lost:       max_s g_s − g_S  > 0   significantly, and
    the proxy gains:    p_S − p_τ        > 0   significantly,

at the knot τ of the broken line  g(t) = a + b min(t − τ, 0) + c max(t − τ, 0)  that fits gold best among those that do
not fall before it and fall after it (b ≥ 0 > c): the peak if gold rises first, the end of the plateau if it stays, the
first step if it only falls. A run in which the proxy falls too does not part: its optimiser collapsed.

The highest of S noisy means lies above the truth, so a plain test of "peak against last" sounds too many alarms. Both
tests therefore compare with the largest difference max_s |…| that noise alone gives around flat curves, in resamples of
the prompts (rows of the tables are whole prompts, because the same prompts are drawn at every step). Among the curves
that never fall, the flat one sounds the most alarms, so the rate stated for it holds for all.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from pyrite.stats.intervals import resample_weights

MIN_STEPS = 3
MIN_PROMPTS = 5


@dataclass(frozen=True)
class Parting:
    """Where proxy and gold part.

    Args:
        step: τ, on the scale of training steps; NaN if they do not part.
        low: lower end of its interval over prompts; NaN if they do not part.
        high: upper end.
        gold_change: mean gold at the last step minus that at τ (or at its highest step, if they do not part).
        proxy_change: the same of the proxy.
        gold_p_value: how often noise alone would lose as much gold as was lost from the highest step.
        proxy_p_value: how often noise alone would gain as much proxy.
        reason: why they do not part, in a sentence; empty if they do.
    """

    step: float
    low: float
    high: float
    gold_change: float
    proxy_change: float
    gold_p_value: float
    proxy_p_value: float
    reason: str = ""

    @property
    def is_found(self) -> bool:
        """They part."""
        return not self.reason


def cell_means(
    values: Float[np.ndarray, " N"], prompts: Shaped[np.ndarray, " N"], steps: Int[np.ndarray, " N"]
) -> tuple[Int[np.ndarray, " S"], Float[np.ndarray, "P S"]]:
    """Mean over the images of each prompt at each step: the tables `find_parting` reads.

    Args:
        values: one score per image, NaN where unscored.
        prompts: label of each image's prompt.
        steps: training step at which it was drawn.

    Returns:
        The steps, ascending, and the means, rows by sorted prompt; NaN where no image was scored.
    """
    labels, row_of = np.unique(prompts, return_inverse=True)
    ticks, column_of = np.unique(steps, return_inverse=True)
    known = np.isfinite(values)
    cells = row_of[known] * len(ticks) + column_of[known]
    counts = np.bincount(cells, minlength=len(labels) * len(ticks))
    sums = np.bincount(cells, weights=values[known], minlength=len(counts))
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return ticks, means.reshape(len(labels), len(ticks))


def find_parting(
    steps: Int[np.ndarray, " S"],
    proxy_PS: Float[np.ndarray, "P S"],
    gold_PS: Float[np.ndarray, "P S"],
    *,
    rng: np.random.Generator,
    alpha: float = 0.05,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> Parting:
    """Find the step where proxy and gold part, as the module defines it.

    Args:
        steps: t, ascending.
        proxy_PS: mean proxy of each prompt's images at each step, NaN where there are none.
        gold_PS: the same of gold, same prompts in the same order.
        rng: draws the resamples of the prompts.
        alpha: rate of false alarms accepted where gold does not fall, and where the proxy does not rise.
        level: coverage of the interval of the step.
        num_resamples: how many.
    """
    missing = _missing(steps, proxy_PS, gold_PS)
    if missing:
        return Parting(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, missing)
    weights_BP = resample_weights(len(gold_PS), num_resamples, rng)
    gold, gold_draws = _means(gold_PS, weights_BP)
    proxy, proxy_draws = _means(proxy_PS, weights_BP)
    highest = int(np.argmax(gold))
    gold_p = _tail(gold[highest] - gold[-1], _noise(gold_draws, gold, len(gold_PS)))
    part, parts_B = highest, np.empty(0, dtype=np.int64)
    if gold_p <= alpha:
        knots, has_fall = _knots(steps, np.vstack([gold[None], gold_draws]))
        part, parts_B = (int(knots[0]), knots[1:][has_fall[1:]]) if has_fall[0] else (highest, parts_B)
    proxy_p = _tail(proxy[-1] - proxy[part], _noise(-proxy_draws, -proxy, len(proxy_PS)))
    changes = (float(gold[-1] - gold[part]), float(proxy[-1] - proxy[part]), gold_p, proxy_p)
    if reason := _reason(steps, part, alpha, *changes, is_bent=len(parts_B) > 0):
        return Parting(np.nan, np.nan, np.nan, *changes, reason)
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(steps[parts_B], tails, method="inverted_cdf")
    return Parting(float(steps[part]), float(low), float(high), *changes)


def _missing(steps: np.ndarray, proxy_PS: np.ndarray, gold_PS: np.ndarray) -> str:
    if len(steps) < MIN_STEPS:
        return f"there are {len(steps)} evaluated steps, and a bend takes at least {MIN_STEPS}"
    if len(gold_PS) < MIN_PROMPTS:
        return f"there are {len(gold_PS)} prompts, too few to know how far chance goes (at least {MIN_PROMPTS})"
    for name, table_PS in (("the proxy", proxy_PS), ("gold", gold_PS)):
        scored = np.isfinite(table_PS).sum(axis=0)
        if scored.min() < MIN_PROMPTS:
            where = f"at step {steps[scored.argmin()]}"
            return f"{name} was scored for {scored.min()} prompts {where}, too few to know how far chance goes"
    return ""


def _reason(
    steps: np.ndarray,
    part: int,
    alpha: float,
    gold: float,
    proxy: float,
    gold_p: float,
    proxy_p: float,
    *,
    is_bent: bool,
) -> str:
    if gold_p > alpha:
        return f"gold did not fall: noise alone loses as much with probability {gold_p:.2g}"
    if not is_bent:
        return "gold fell and came back, so no single step parts it from the proxy"
    if proxy_p > alpha:
        lost = f"gold fell by {-gold:.3g} after step {steps[part]}"
        moved = f"{'fell' if proxy < 0 else 'hardly rose'} ({proxy:+.3g}, p = {proxy_p:.2g})"
        return f"{lost}, but the proxy {moved}: the optimiser gained nothing by it"
    return ""


def _means(
    table_PS: Float[np.ndarray, "P S"], weights_BP: Float[np.ndarray, "B P"]
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, "B S"]]:
    """Means over prompts, of the table and of its resamples, unknown cells left out."""
    known = np.isfinite(table_PS)
    filled = np.where(known, table_PS, 0.0)
    with np.errstate(invalid="ignore"):  # a resample may miss every known prompt of a step: NaN, dropped by its users
        draws = (weights_BP @ filled) / (weights_BP @ known)
    return filled.sum(axis=0) / known.sum(axis=0), draws[np.isfinite(draws).all(axis=1)]


def _noise(
    draws_BS: Float[np.ndarray, "B S"], mean_S: Float[np.ndarray, " S"], num_prompts: int
) -> Float[np.ndarray, " B"]:
    """(B,) largest fall to the last step that flat curves with this noise show."""
    # Resampled means spread by (P - 1)/P too little in variance.
    centred = (draws_BS - mean_S) * np.sqrt(num_prompts / (num_prompts - 1))
    falls: Float[np.ndarray, " B"] = (centred - centred[:, -1:]).max(axis=1)
    return falls


def _tail(found: float, noise_B: Float[np.ndarray, " B"]) -> float:
    """P-value of `found`; never 0, for B resamples cannot show less than 1 / (B + 1)."""
    return float((1 + (noise_B >= found).sum()) / (1 + len(noise_B)))


def _knots(
    steps: Int[np.ndarray, " S"], gold_BS: Float[np.ndarray, "B S"]
) -> tuple[Int[np.ndarray, " B"], Shaped[np.ndarray, " B"]]:
    """(B,) position of the knot of the best broken line with b ≥ 0 > c, and whether there is one."""
    best_B = np.full(len(gold_BS), np.inf)
    knots_B = np.zeros(len(gold_BS), dtype=np.int64)
    for knot in range(len(steps) - 1):
        offset = steps - steps[knot]
        flat = np.stack([np.ones(len(steps)), np.maximum(offset, 0)], axis=1)
        bent = np.column_stack([flat, np.minimum(offset, 0)])
        flat_error_B, flat_fit = _least_squares(flat, gold_BS)
        bent_error_B, bent_fit = _least_squares(bent, gold_BS)
        # Where the best line falls before the knot already, the best one that does not is level there: b = 0.
        is_level = bent_fit[:, 2] <= 0
        error_B = np.where(is_level, flat_error_B, bent_error_B)
        is_better = (np.where(is_level, flat_fit[:, 1], bent_fit[:, 1]) < 0) & (error_B < best_B)
        best_B[is_better], knots_B[is_better] = error_B[is_better], knot
    return knots_B, np.isfinite(best_B)


def _least_squares(
    design_SD: Float[np.ndarray, "S D"], gold_BS: Float[np.ndarray, "B S"]
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, "B D"]]:
    """(B,) squared errors and (B, D) coefficients of the best fit to every row."""
    # A pseudoinverse, because at the first step the branch before the knot is empty.
    coefficients_BD = gold_BS @ np.linalg.pinv(design_SD).T
    return ((gold_BS - coefficients_BD @ design_SD.T) ** 2).sum(axis=1), coefficients_BD

"""Comparisons at equal KL or equal proxy: what gold was when a run first got that far."""

import numpy as np

from pyrite.core.types import FloatArray


def value_on_reaching(level: float, travelled: FloatArray, value: FloatArray) -> FloatArray:
    """`value` at the first moment a run reached `level`, linear between evaluations; NaN if it never did.

    Runs are followed in the order of their steps, not sorted by what they travelled, because KL and proxy can turn
    back: a level that is passed twice counts the first time.

    Args:
        level: how far, in the units of `travelled`.
        travelled: (B, S) KL in nats per image, or proxy in base-sample standard deviations, at each evaluated step;
            one row per run or resample.
        value: (B, S) what is compared, usually gold.

    Returns:
        (B,) NaN where the level was never reached, or lies below the start, or falls next to an unknown number.
    """
    found = np.where(travelled[:, 0] == level, value[:, 0], np.nan)
    steps = np.arange(travelled.shape[1] - 1)
    passes = (travelled[:, :-1] < level) & (level <= travelled[:, 1:])
    first = np.where(passes.any(axis=1), passes.argmax(axis=1), len(steps))
    for step in steps:
        rows = first == step
        start, end = travelled[rows, step], travelled[rows, step + 1]
        share = (level - start) / (end - start)
        found[rows] = value[rows, step] + share * (value[rows, step + 1] - value[rows, step])
    return found


def round_levels(furthest: float, least: int = 5) -> list[float]:
    """At least `least` evenly spaced round numbers in (0, furthest], 1, 2 or 5 times a power of ten apart."""
    if not np.isfinite(furthest) or furthest <= 0:
        return []
    rough = furthest / least
    power = 10.0 ** np.floor(np.log10(rough))
    spacing = float(max(power * factor for factor in (1, 2, 5) if power * factor <= rough * (1 + 1e-9)))
    return [round(spacing * k, 10) for k in range(1, int(furthest / spacing + 1e-9) + 1)]

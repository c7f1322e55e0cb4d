"""Comparisons at equal KL or equal proxy: what gold was when a run first got that far."""

import numpy as np

from pyrite.core.types import FloatArray


def value_on_reaching(level: float, travelled: FloatArray, value: FloatArray) -> float:
    """`value` at the first moment the run reached `level`, linear between evaluations; NaN if it never did.

    Runs are followed in the order of their steps, not sorted by what they travelled, because KL and proxy can turn
    back: a level that is passed twice counts the first time.

    Args:
        level: how far, in the units of `travelled`.
        travelled: (S,) KL in nats per image, or proxy in base-sample standard deviations, at each evaluated step.
        value: (S,) what is compared, usually gold.
    """
    known = np.isfinite(travelled) & np.isfinite(value)
    x, y = travelled[known], value[known]
    if len(x) == 0 or level < x[0]:
        return float("nan")
    if level == x[0]:
        return float(y[0])
    for left in range(len(x) - 1):
        if x[left] < level <= x[left + 1]:
            share = (level - x[left]) / (x[left + 1] - x[left])
            return float(y[left] + share * (y[left + 1] - y[left]))
    return float("nan")


def round_levels(furthest: float, least: int = 5) -> list[float]:
    """At least `least` evenly spaced round numbers in (0, furthest], 1, 2 or 5 times a power of ten apart."""
    if not np.isfinite(furthest) or furthest <= 0:
        return []
    rough = furthest / least
    power = 10.0 ** np.floor(np.log10(rough))
    spacing = float(max(power * factor for factor in (1, 2, 5) if power * factor <= rough * (1 + 1e-9)))
    return [round(spacing * k, 10) for k in range(1, int(furthest / spacing + 1e-9) + 1)]

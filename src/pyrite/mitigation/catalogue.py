"""The mitigations by name; strings only."""

from pyrite.core.registry import Entry, Registry

_HERE = "pyrite.mitigation"

MITIGATIONS = Registry(
    "mitigation",
    {
        "clip": Entry(
            f"{_HERE}.transforms:Clip",
            "transform: clip(low, high) stops paying for scores beyond the bounds.",
        ),
        "identity": Entry(
            f"{_HERE}.transforms:identity",
            "transform: the raw score.",
        ),
        "standardise": Entry(
            f"{_HERE}.transforms:Standardise",
            "transform: the base policy's scores get mean 0 and deviation 1, so that weights compare like with like.",
        ),
        "mean": Entry(
            f"{_HERE}.ensembles:weighted_mean",
            "aggregate: the weighted mean of several rewards.",
        ),
        "min": Entry(
            f"{_HERE}.ensembles:worst_case",
            "aggregate: the smallest of several rewards (worst-case optimisation, arXiv 2310.02743).",
        ),
        "sum": Entry(
            f"{_HERE}.ensembles:weighted_sum",
            "aggregate: the weighted sum of several rewards.",
        ),
    },
    "pyrite.mitigations",
)

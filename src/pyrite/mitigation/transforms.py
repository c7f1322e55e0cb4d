"""Pointwise transforms of a reward's scores: one score in, one score out, NaN in, NaN out.

A chain is written `standardise | clip(-2, 2)`, read from left to right. `standardise` alone is a wish: `Chain.fit`
turns it into `standardise(mean, deviation)` with the base policy's scores, and the text of the fitted chain reads back
as the same chain, so a run stores it as text.
"""

import ast
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from pyrite.core.errors import RecipeError, RewardError
from pyrite.mitigation.catalogue import MITIGATIONS
from pyrite.mitigation.ensembles import AGGREGATES

# Scores are computed in float32, whose spacing is 1.2e-7 of a number: differences below this are rounding.
_ROUNDING = 1e-6


@runtime_checkable
class Transform(Protocol):
    """One stage of a chain. `str` of it is what a recipe would say."""

    @property
    def is_fitted(self) -> bool:
        """It can be applied; False while it still needs the base policy's scores."""
        ...

    def fit(self, base_scores: Float[np.ndarray, " N"], reward: str) -> "Transform":
        """The same transform, made for a reward whose scores of the base policy these are."""
        ...

    def __call__(self, scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Transform each score on its own; NaN stays NaN."""
        ...


@dataclass(frozen=True)
class Standardise:
    """(score - mean) / std: 0 is the base policy's average image, 1 is one of its standard deviations better.

    A fixed affine map, unlike the standardisation within a group that GRPO does: it moves with neither the batch nor
    the policy, so it changes how rewards compare with each other and nothing else. Strictly increasing.

    Args:
        mean: of the base policy's scores; None until fitted.
        std: their standard deviation (ddof 1), above 0.

    Raises:
        ValueError: only one of the two is given, one is not finite, or `std` is not above 0.
    """

    mean: float | None = None
    std: float | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"takes both mean and std or neither, got mean = {self.mean} and std = {self.std}")
        if (
            self.mean is not None
            and self.std is not None
            and not (math.isfinite(self.mean) and 0 < self.std < math.inf)
        ):
            raise ValueError(f"needs a finite mean and a std above 0, got {self.mean:g} and {self.std:g}")

    @property
    def is_fitted(self) -> bool:
        """Mean and standard deviation are known."""
        return self.mean is not None

    def fit(self, base_scores: Float[np.ndarray, " N"], reward: str) -> "Standardise":
        """With mean and standard deviation of `base_scores`, NaN left out; a fitted one stays as it is.

        Raises:
            RewardError: fewer than two scores, or all equal up to rounding.
        """
        if self.is_fitted:
            return self
        known = base_scores[np.isfinite(base_scores)].astype(np.float64)
        if len(known) < 2:
            raise RewardError(
                f"{reward} gave {len(known)} of {len(base_scores)} base-policy images a score, so its scale is unknown "
                "and it cannot be standardised. See the reasons in samples.jsonl, or set its transform to null."
            )
        mean, std = float(known.mean()), float(known.std(ddof=1))
        if std <= _ROUNDING * np.abs(known).max():
            raise RewardError(
                f"{reward} gave all {len(known)} base-policy images the same score, {mean:g}: divided by a deviation "
                f"of {std:.1g}, rounding errors would train. Use a reward that tells these images apart, or set its "
                "transform to null."
            )
        return Standardise(mean, std)

    def __call__(self, scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Scores in base-policy standard deviations from the base policy's mean.

        Raises:
            ValueError: it has not been fitted.
        """
        if self.mean is None or self.std is None:
            raise ValueError(
                "standardise has no mean and deviation yet: call `fit` with the base policy's scores first"
            )
        standardised: Float[np.ndarray, "*shape"] = (scores - self.mean) / self.std
        return standardised

    def __str__(self) -> str:
        return (
            "standardise"
            if self.mean is None or self.std is None
            else f"standardise({_text(self.mean)}, {_text(self.std)})"
        )


@dataclass(frozen=True)
class Clip:
    """Scores below `low` count as `low`, those above `high` as `high`: beyond the bounds nothing is paid.

    Non-decreasing. Between two images beyond the same bound there is no preference left, hence no gradient.

    Raises:
        ValueError: a bound is not finite, or `low` is not below `high`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"needs finite numbers low < high, got {self.low:g} and {self.high:g}")

    @property
    def is_fitted(self) -> bool:
        """Always: its bounds are given."""
        return True

    def fit(self, base_scores: Float[np.ndarray, " N"], reward: str) -> "Clip":
        """Itself."""
        return self

    def __call__(self, scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Scores within [low, high]."""
        clipped: Float[np.ndarray, "*shape"] = np.clip(scores, self.low, self.high)
        return clipped

    def __str__(self) -> str:
        return f"clip({_text(self.low)}, {_text(self.high)})"


@dataclass(frozen=True)
class Chain:
    """Transforms one after the other, left to right; without any it is the identity."""

    stages: tuple[Transform, ...] = ()

    @property
    def is_fitted(self) -> bool:
        """All stages are."""
        return all(stage.is_fitted for stage in self.stages)

    def fit(self, base_scores: Float[np.ndarray, " N"], reward: str) -> "Chain":
        """Each stage fitted with what the stages before it make of the base policy's scores.

        Args:
            base_scores: (N,) raw scores of the base policy's images, NaN where unscored.
            reward: its name, for messages.

        Raises:
            RewardError: those scores cannot give a scale.
        """
        stages: list[Transform] = []
        for stage in self.stages:
            stages.append(stage.fit(base_scores, reward))
            base_scores = stages[-1](base_scores)
        return Chain(tuple(stages))

    def __call__(self, scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Scores after all stages; NaN stays NaN."""
        for stage in self.stages:
            scores = stage(scores)
        return scores

    def __str__(self) -> str:
        return " | ".join(str(stage) for stage in self.stages) or "identity"


def identity() -> Chain:
    """The raw score."""
    return Chain()


def parse_transform(spec: str | None) -> Chain:
    """The chain a text stands for: names, or calls of names with numbers, joined by `|`. Nothing is evaluated.

    `str` of the chain is the canonical text, which reads back as an equal chain:

    >>> str(parse_transform("identity|clip( low=-2, high=2 )"))
    'clip(-2, 2)'

    Args:
        spec: such as "standardise | clip(-2, 2)"; None means the identity.

    Raises:
        RecipeError: it is not of that form, or a stage refuses its arguments.
        UnknownNameError: no mitigation of that name; the message offers the nearest.
    """
    if spec is None:
        return Chain()
    try:
        node = ast.parse(spec.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise _malformed(spec, "it cannot be read") from error
    stages: list[Transform] = []
    for part in _split(node):
        stage = _stage(part, spec)
        stages += stage.stages if isinstance(stage, Chain) else [stage]
    return Chain(tuple(stages))


def _split(node: ast.expr) -> Sequence[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_split(node.left), *_split(node.right)]
    return [node]


def _stage(node: ast.expr, spec: str) -> Transform:
    call = node if isinstance(node, ast.Call) else ast.Call(func=node, args=[], keywords=[])
    if not isinstance(call.func, ast.Name):
        raise _malformed(spec, f"'{ast.unparse(node)}' is not a name or a call of one")
    name = call.func.id
    factory = MITIGATIONS.load(name)
    args = [_number(arg, name, spec) for arg in call.args]
    options = {str(item.arg): _number(item.value, name, spec) for item in call.keywords}
    stage = _build(factory, name, args, options, spec)
    if not isinstance(stage, Transform):
        raise _malformed(spec, f"{name} is no transform of scores")
    return stage


def _number(node: ast.expr, name: str, spec: str) -> float:
    try:
        value = ast.literal_eval(node)
    except ValueError as error:
        raise _malformed(spec, f"the argument {ast.unparse(node)} of {name} is not a plain number") from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _malformed(spec, f"the argument {value!r} of {name} is not a number")
    return float(value)


def _text(number: float) -> str:
    """The shortest text that reads back as this number."""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(float(number))


def _build(factory: Any, name: str, args: Sequence[float], options: dict[str, float], spec: str) -> object:
    """Call the factory, telling arguments that do not fit it from a defect inside it."""
    if name in AGGREGATES:
        raise _malformed(spec, f"{name} joins several rewards: write `aggregate: {name}` in the recipe")
    try:
        inspect.signature(factory).bind(*args, **options)
    except TypeError as error:
        raise _malformed(
            spec, f"{name} does not take these arguments ({error}): {MITIGATIONS.entry(name).summary}"
        ) from error
    try:
        return factory(*args, **options)
    except ValueError as error:
        raise _malformed(spec, f"{name} {error}") from error


def _malformed(spec: str, why: str) -> RecipeError:
    return RecipeError(
        f"transform '{spec}': {why}. Write names joined by |, with numbers as arguments, such as "
        "'standardise | clip(-2, 2)'. What there is: pyrite list mitigations"
    )

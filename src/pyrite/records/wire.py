"""How cards, scores and prompts look as JSON between two machines.

JSON has neither NaN nor infinities, and a reader that meets the bare word NaN may refuse it or make 0 of it. Here NaN
is null, a value that is null has its reason beside it, an infinity is the text "Infinity" or "-Infinity", and every
other number is written with all its digits, so that what is read back is the same float64.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from pyrite.core.cards import RewardCard
from pyrite.core.types import FloatArray, Prompt, Scores

_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}


def dump(value: Any) -> bytes:
    """A value as JSON in ASCII: a lone surrogate in a prompt travels as an escape.

    Raises:
        ValueError, TypeError: it holds a NaN, an infinity or something that JSON does not have.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def parse(data: bytes) -> Any:
    """What `dump` wrote; of a stranger's bytes, nothing that JSON does not have.

    Raises:
        ValueError: it is no JSON, or nested so deep that reading it would exhaust the stack.
    """
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def number_to_json(value: float) -> float | str | None:
    """One number; null for NaN."""
    value = float(value)
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else next(name for name, of in _INFINITIES.items() if of == value)


def number_from_json(value: Any) -> float:
    """What `number_to_json` wrote.

    Raises:
        ValueError: it is no number.
    """
    if value is None:
        return math.nan
    if isinstance(value, str) and value in _INFINITIES:
        return _INFINITIES[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("a whole number too large for a float") from error


def card_to_json(card: RewardCard) -> dict[str, Any]:
    """Every field of a card."""
    row = {item.name: getattr(card, item.name) for item in fields(card)}
    return row | {
        "range": [number_to_json(end) for end in card.range],
        "cites": list(card.cites),
        "options": dict(card.options),
    }


def card_from_json(row: Mapping[str, Any]) -> RewardCard:
    """What `card_to_json` wrote; keys that this version does not know are ignored.

    Raises:
        ValueError: a field is missing or of the wrong kind.
    """
    try:
        known = {item.name: row[item.name] for item in fields(RewardCard) if item.name in row}
        low, high = (number_from_json(end) for end in row["range"])
        card = RewardCard(
            **{**known, "range": (low, high), "cites": tuple(row.get("cites", ())), "options": dict(row["options"])}
        )
        _ = card.store_key  # its facts are JSON
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"no card of a reward: {type(error).__name__}: {error}") from error
    return card


def scores_to_json(scores: Scores) -> dict[str, Any]:
    """Values, reasons by row, details by name, and the rows that are transient."""
    return {
        "values": _column_to_json(scores.values),
        "reasons": {str(row): why for row, why in sorted(scores.reasons.items())},
        "details": {name: _column_to_json(column) for name, column in scores.details.items()},
        "transient": sorted(scores.transient),
    }


def scores_from_json(row: Mapping[str, Any], num: int) -> Scores:
    """What `scores_to_json` wrote of `num` images.

    Raises:
        ValueError: a NaN without a reason, another number of rows, or something that is no number.
    """
    try:
        scores = Scores(
            _column_from_json(row["values"]),
            {int(place): str(why) for place, why in row["reasons"].items()},
            {str(name): _column_from_json(column) for name, column in row["details"].items()},
            frozenset(int(place) for place in row["transient"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no scores: {type(error).__name__}: {error}") from error
    if len(scores) != num:
        raise ValueError(f"{len(scores)} scores for {num} images")
    return scores


def prompt_from_wire(row: Mapping[str, Any]) -> Prompt:
    """`Prompt.from_json`, but a blank text is a prompt too: rewards that do not read it may be asked.

    Raises:
        ValueError: there is no text under `prompt`.
    """
    text = row.get("prompt")
    if isinstance(text, str) and not text.strip():
        return replace(Prompt.from_json({**row, "prompt": "-"}), text=text)
    return Prompt.from_json(row)


def _column_to_json(column: FloatArray) -> list[float | str | None]:
    return [number_to_json(value) for value in column]


def _column_from_json(column: Any) -> FloatArray:
    return np.array([number_from_json(value) for value in column], np.float64)

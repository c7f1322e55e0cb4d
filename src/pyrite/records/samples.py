"""What a run wrote down, read back: metrics and samples, with NaN where a number is missing.

Reads any run folder, also one of somebody else's trainer that holds nothing but a samples.jsonl with step, prompt,
image and scores. Needs neither pydantic nor torch.
"""

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrite.core.errors import RunFolderError
from pyrite.records.jsonl import Row, read_jsonl

_NEEDED = {"step": int, "prompt": str, "scores": Mapping}


class RunFolderWarning(UserWarning):
    """A run folder can be read, but not all of it."""


def read_metrics(run: str | Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl in order, null as NaN; no rows if a stranger's folder has no such file.

    Raises:
        RunFolderError: there is no such folder, or a line cannot be read.
    """
    path = Path(run) / "metrics.jsonl"
    if Path(run).is_dir() and not path.exists():
        return []
    return [{key: math.nan if value is None else value for key, value in row.items()} for row in _rows(path)]


def read_samples(run: str | Path) -> list[dict[str, Any]]:
    """The rows of samples.jsonl in order, each with every key a row of ours has.

    A missing split is "eval", a missing prompt id is the prompt, a missing index counts within step and split. Scores,
    reward, advantage and KL are floats, NaN where the row has null, nothing, or an infinity; `reasons` says of each
    NaN score why, "no reason recorded" if nobody did.

    Raises:
        RunFolderError: there is no samples.jsonl, a line cannot be read, or a row lacks step, prompt or scores.
    """
    path = Path(run) / "samples.jsonl"
    running: Counter[tuple[int, str]] = Counter()
    return [_complete(row, f"sample {number} of {path}", running) for number, row in enumerate(_rows(path), start=1)]


def _rows(path: Path) -> list[dict[str, Any]]:
    rows, note = read_jsonl(path)
    if note:
        warnings.warn(note, RunFolderWarning, stacklevel=3)
    return rows


def _complete(row: Row, where: str, running: Counter[tuple[int, str]]) -> dict[str, Any]:
    for key, kind in _NEEDED.items():
        if not isinstance(row.get(key), kind):
            raise RunFolderError(
                f"{where} has {key} = {row.get(key)!r}, among the keys {sorted(row)}. Every line needs "
                '"step" (a whole number), "prompt" (a text) and "scores" (an object of numbers).'
            )
    split = str(row.get("split", "eval"))
    place = (int(row["step"]), split)
    index = row.get("index", running[place])
    running[place] += 1
    scores = {str(name): _number(value, f"{where}: score {name}") for name, value in row["scores"].items()}
    reasons = {name: _reason(name, row) for name, value in scores.items() if math.isnan(value)}
    numbers = {key: _number(row.get(key), f"{where}: {key}") for key in ("reward", "advantage", "kl")}
    defaults = {"prompt_id": row["prompt"], "task_type": "", "image": None}
    return {**defaults, **row, "split": split, "index": index, "scores": scores, "reasons": reasons, **numbers}


def _reason(name: str, row: Row) -> str:
    if row["scores"][name] is not None:
        return f"{row['scores'][name]} in the file"
    return str((row.get("reasons") or {}).get(name) or "no reason recorded")


def _number(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RunFolderError(f"{where} is {value!r}, which is no number. Write a number, or null and a reason.")
    return float(value) if math.isfinite(value) else math.nan

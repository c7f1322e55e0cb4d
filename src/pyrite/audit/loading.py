"""From a run folder on disk to a `Run`: ours, or the minimal one of somebody else's trainer."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pyrite.audit.curves import Run, SampleTable
from pyrite.core.errors import RunFolderError
from pyrite.core.types import FloatArray

Row = Mapping[str, Any]


def load_run(folder: Path, name: str = "") -> Run:
    """Read a run folder; only samples.jsonl with step, prompt and scores is required.

    Raises:
        RunFolderError: there is no samples.jsonl, a line of it cannot be read, or it has no evaluation samples.
    """
    path = folder / "samples.jsonl"
    if not path.is_file():
        raise RunFolderError(
            f"{folder} has no samples.jsonl, so there is nothing to audit. A run folder needs one JSON object per image "
            'with at least "step", "prompt" and "scores"; give the folder that contains that file.'
        )
    rows = _read_lines(path)
    recipe = _read_mapping(folder / "config.yaml")
    return Run(
        name or str(recipe.get("name") or folder.name),
        folder,
        sample_table([row for row in rows if row.get("split", "eval") == "eval"], path),
        recipe,
        _read_mapping(folder / "environment.json"),
        _read_mapping(folder / "summary.json"),
        tuple(_read_lines(folder / "metrics.jsonl")) if (folder / "metrics.jsonl").is_file() else (),
        _unscored(rows),
    )


def sample_table(rows: list[Row], path: Path) -> SampleTable:
    """Columns from rows; a missing index is the running number within its step, a missing prompt id is the prompt.

    Raises:
        RunFolderError: no rows, or a row without step, prompt or scores.
    """
    if not rows:
        raise RunFolderError(f"{path} has no evaluation samples, so nothing can be audited. Was the run stopped before its first look?")
    for number, row in enumerate(rows, start=1):
        lacking = [key for key in ("step", "prompt", "scores") if key not in row]
        if lacking:
            raise RunFolderError(
                f"sample {number} of {path} has no {' and no '.join(lacking)}; it has {sorted(row)}. "
                'Every image needs "step" (int), "prompt" (text) and "scores" (an object of numbers).'
            )
    running: Counter[int] = Counter()
    index = []
    for row in rows:
        index.append(int(row.get("index", running[row["step"]])))
        running[row["step"]] += 1
    names = dict.fromkeys(name for row in rows for name in row["scores"])
    return SampleTable(
        steps=np.array([int(row["step"]) for row in rows], dtype=np.int64),
        index=np.array(index, dtype=np.int64),
        prompt_ids=np.array([str(row.get("prompt_id", row["prompt"])) for row in rows]),
        prompts=np.array([str(row["prompt"]) for row in rows]),
        task_types=np.array([str(row.get("task_type") or "") for row in rows]),
        images=np.array([str(row.get("image") or "") for row in rows]),
        reward=_column(row.get("reward") for row in rows),
        kl=_column(row.get("kl") for row in rows),
        scores={name: _column(row["scores"].get(name) for row in rows) for name in names},
    )


def _column(values: Iterable[float | None]) -> FloatArray:
    column = np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    return np.where(np.isfinite(column), column, np.nan)


def _unscored(rows: list[Row]) -> dict[str, Counter[str]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        reasons = row.get("reasons") or {}
        for name, value in (row.get("scores") or {}).items():
            if value is None or not np.isfinite(value):
                found[name][str(reasons.get(name, "no reason recorded"))] += 1
    return dict(found)


def _read_lines(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise RunFolderError(f"line {number} of {path} is not JSON ({error}). Remove or repair it, then try again.") from error
        rows.append(row)
    return rows


def _read_mapping(path: Path) -> dict[str, Any]:
    """A YAML or JSON object (JSON is YAML); empty if the file is not there."""
    if not path.is_file():
        return {}
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RunFolderError(f"{path} cannot be read ({error}). Repair it, or remove it to audit without it.") from error
    return value if isinstance(value, dict) else {}

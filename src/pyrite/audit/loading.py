"""From a run folder on disk to a `Run`: ours, or the minimal one of somebody else's trainer."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pyrite.audit.curves import Run, SampleTable
from pyrite.core.errors import RunFolderError
from pyrite.core.types import FloatArray
from pyrite.records.samples import RunFolderWarning, read_metrics, read_samples

_REPAIR = "Repair it, or move it away to audit without it."


def load_run(folder: Path, name: str = "") -> Run:
    """Read a run folder; only samples.jsonl with step, prompt and scores is required.

    Raises:
        RunFolderError: there is no samples.jsonl, it or another file cannot be read, or it has no evaluation samples.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RunFolderWarning)
        rows = read_samples(folder)
        metrics = read_metrics(folder)
    recipe, summary = _read_mapping(folder / "config.yaml"), _read_mapping(folder / "summary.json")
    # The reader warns of a line that a kill tore off; on the page that is a sentence, anything else stays a warning.
    notes = [str(item.message) for item in caught if issubclass(item.category, RunFolderWarning)]
    for item in caught:
        if not issubclass(item.category, RunFolderWarning):
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    if recipe and not summary:
        notes.append("the run has not finished (there is no summary.json): what follows is what it wrote so far.")
    evaluated = [row for row in rows if row["split"] == "eval"]
    if not evaluated:
        raise RunFolderError(
            f"{folder / 'samples.jsonl'} has {len(rows)} samples but none with split 'eval', so there are no curves to "
            "draw. Wait for the run's first look, or write evaluation samples."
        )
    return Run(
        name=name or str(recipe.get("name") or folder.resolve().name),
        folder=folder,
        samples=_sample_table(evaluated),
        recipe=recipe,
        environment=_read_mapping(folder / "environment.json"),
        metrics=tuple(metrics),
        unscored=_unscored(rows),
        notes=tuple(notes),
    )


def _sample_table(rows: Sequence[dict[str, Any]]) -> SampleTable:
    names = dict.fromkeys(name for row in rows for name in row["scores"])
    return SampleTable(
        steps=np.array([row["step"] for row in rows], dtype=np.int64),
        index=np.array([row["index"] for row in rows], dtype=np.int64),
        prompt_ids=np.array([str(row["prompt_id"]) for row in rows]),
        prompts=np.array([row["prompt"] for row in rows]),
        task_types=np.array([str(row["task_type"] or "") for row in rows]),
        images=np.array([str(row["image"] or "") for row in rows]),
        reward=_column(row["reward"] for row in rows),
        kl=_column(row["kl"] for row in rows),
        scores={name: _column(row["scores"].get(name, np.nan) for row in rows) for name in names},
    )


def _column(values: Iterable[float]) -> FloatArray:
    return np.array(list(values), dtype=np.float64)


def _unscored(rows: Sequence[dict[str, Any]]) -> dict[str, Counter[str]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for name, reason in row["reasons"].items():
            found[name][reason] += 1
    return dict(found)


def _read_mapping(path: Path) -> dict[str, Any]:
    """A YAML or JSON object (JSON is YAML); empty if the file is not there."""
    if not path.is_file():
        return {}
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}). {_REPAIR}") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"{path} holds {type(value).__name__}, not an object. {_REPAIR}")
    return value

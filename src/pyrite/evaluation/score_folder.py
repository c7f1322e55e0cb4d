"""The folder that `pyrite score` leaves behind, and how a second list of rewards joins the first.

    OUT/
      samples.jsonl     one object per image, in the order of the set
      scores.parquet    the same as a table: a column of scores and one of reasons per reward
      results.json      per reward: mean, interval, unscored and why; key, revision, dtype; written last
      progress.sqlite   scores that may not go to the shared store: of rewards that are not deterministic, or all
                        of them with --no-cache

The three result files hold nothing that differs between two runs (no times, no machine), and each is replaced whole.
"""

import json
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RunFolderError
from pyrite.evaluation.image_sets import Item
from pyrite.records.jsonl import JsonLines, teaching_os_errors, write_json
from pyrite.records.sole_use import hold_file
from pyrite.records.store import StoredScore
from pyrite.stats.intervals import bootstrap_mean

SAMPLES, RESULTS, TABLE, PROGRESS = "samples.jsonl", "results.json", "scores.parquet", "progress.sqlite"

_MARK = ".pyrite-score"  # is there from the beginning: tells a folder of ours from one that would be overwritten
_ROWS_PER_GROUP = 10_000
_MOST_REASONS = 20
_SETTINGS = ("key", "revision", "options", "preprocessing", "dtype")


@dataclass
class Column:
    """What a run gathers about one reward, image by image, until it writes results.json.

    Args:
        card: of the reward.
        values: a score per image, NaN where it is unscored.
        reasons: why -> how many images.
        first: why -> id of the first image.
    """

    card: RewardCard
    values: "array[float]" = field(default_factory=lambda: array("d"))
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def append(self, item: Item, score: StoredScore) -> None:
        """The next image's score."""
        self.values.append(score.value)
        if score.reason:
            self.reasons[score.reason] += 1
            self.first.setdefault(score.reason, item.id)


class ScoreFolder:
    """The output folder, held by this process alone; get one from `open_score_folder`.

    Args:
        path: of the folder.
        columns: the rewards that are scored now.
        earlier: the rewards of results.json that are not among them, as they stand there.
        samples: the rows of this run, not yet under their final name.
    """

    def __init__(
        self, path: Path, columns: Mapping[str, Column], earlier: Mapping[str, Any], samples: JsonLines
    ) -> None:
        self.path = path
        self.columns = columns
        self.earlier = earlier
        self._samples = samples
        self._old_rows = _old_rows(path / SAMPLES) if earlier else None
        self._prompts: dict[str, int] = {}
        self._prompt_of: array[int] = array("q")

    def refuse_another_set(self, items: Iterator[Item]) -> None:
        """Compare ids and prompts with those that the earlier rewards were asked about, before anything is scored.

        Raises:
            RunFolderError: they differ.
        """
        if self.earlier:
            pairs = zip_longest(_old_rows(self.path / SAMPLES), ({"id": i.id, "prompt": i.prompt.text} for i in items))
            for old, new in pairs:
                self._refuse_difference(old, new)

    def append(self, item: Item, image_sha256: str | None, scores: Mapping[str, StoredScore]) -> None:
        """Write the row of the next image.

        Raises:
            RunFolderError: it cannot be written, or is not the image that `earlier` rewards were asked about.
        """
        row: dict[str, Any] = {
            "id": item.id,
            "image": str(item.source) if isinstance(item.source, Path) else None,
            "image_sha256": image_sha256,
            "prompt": item.prompt.text,
            "scores": {name: score.value for name, score in scores.items()},
            "reasons": {name: score.reason for name, score in scores.items() if score.reason},
            "details": {name: dict(score.details) for name, score in scores.items() if score.details},
        }
        if self._old_rows is not None:
            old = next(self._old_rows, None)
            self._refuse_difference(old, row)
            row = _joined(old, row, self.earlier) if old is not None else row
        self._samples.append([row])
        # An image without a prompt is a cluster of its own.
        label = item.prompt.text or f"\0{item.id}"
        self._prompt_of.append(self._prompts.setdefault(label, len(self._prompts)))
        for name, column in self.columns.items():
            column.append(item, scores[name])

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Put the three result files in place and return what results.json holds.

        Args:
            facts: what results.json says about the set.

        Raises:
            RunFolderError: they cannot be written.
        """
        self._samples.sync()
        with teaching_os_errors(f"write {self.path / SAMPLES}"):
            os.replace(self._samples.path, self.path / SAMPLES)
        results = {
            **facts,
            "num_images": len(self._prompt_of),
            "num_prompts": sum(not text.startswith("\0") for text in self._prompts),
            "rewards": {**self.earlier, **{name: self._summary(column) for name, column in self.columns.items()}},
        }
        _write_table(self.path, list(results["rewards"]))
        write_json(self.path / RESULTS, results)
        loaded: dict[str, Any] = json.loads((self.path / RESULTS).read_text(encoding="utf-8"))
        return loaded

    def _summary(self, column: Column) -> dict[str, Any]:
        values, labels = np.array(column.values), np.array(self._prompt_of)
        by_prompt = 1 < len(self._prompts) < len(labels)
        interval = bootstrap_mean(values, rng=np.random.default_rng(0), clusters=labels if by_prompt else None)
        known = values[~np.isnan(values)]
        return {
            "mean": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "level": 0.95,
            "resampled": "prompts" if by_prompt else "images",
            "lowest": known.min() if len(known) else None,
            "highest": known.max() if len(known) else None,
            "num_scored": len(known),
            "num_unscored": len(values) - len(known),
            "unscored": [
                {"reason": reason, "num": num, "first": column.first[reason]}
                for reason, num in column.reasons.most_common(_MOST_REASONS)
            ],
            **settings_of(column.card),
        }

    def _refuse_difference(self, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        if old is not None and new is not None:
            difference = next(
                (
                    f"'{new['id']}' has {key} = {new[key]!r}, and it was {old[key]!r}"
                    for key in ("id", "image_sha256", "prompt")
                    if key in new and old[key] != new[key]
                ),
                "",
            )
        else:
            difference = f"'{new['id']}' is new" if new is not None else f"'{(old or {})['id']}' is gone"
        if difference:
            raise RunFolderError(
                f"{self.path} holds the scores of {', '.join(self.earlier)} for another image set: {difference}. One "
                "table would compare scores of different images. Name those rewards in --rewards as well, or choose "
                "another folder: --out FOLDER."
            )


@contextmanager
def open_score_folder(path: Path, cards: Mapping[str, RewardCard]) -> Iterator[ScoreFolder]:
    """Hold the folder for one run.

    Args:
        path: made if it is not there.
        cards: name -> card of the rewards that are about to score.

    Raises:
        RunFolderError: it cannot be written, is in use, holds something else, or holds one of these rewards with
            other settings.
    """
    with ExitStack() as stack:
        _claim(path, stack)
        before = _earlier_results(path)
        _refuse_other_settings(path, before, cards)
        earlier = {name: entry for name, entry in before.items() if name not in cards}
        unfinished = path / f".{SAMPLES}.new"
        with teaching_os_errors(f"write into {path}"):
            unfinished.unlink(missing_ok=True)
        samples = JsonLines(unfinished)
        stack.callback(unfinished.unlink, missing_ok=True)
        stack.callback(samples.close)
        yield ScoreFolder(path, {name: Column(card) for name, card in cards.items()}, earlier, samples)


def settings_of(card: RewardCard) -> dict[str, Any]:
    """What results.json says of a reward's settings."""
    return {
        "key": card.store_key,
        "revision": card.revision,
        "options": dict(card.options),
        "preprocessing": card.preprocessing,
        "dtype": card.dtype,
        "deterministic": card.deterministic,
    }


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a samples.jsonl, one after the other.

    Raises:
        RunFolderError: it cannot be read.
    """
    with teaching_os_errors(f"read {path}"), path.open("rb") as lines:
        for line in lines:
            yield json.loads(line)


def _joined(old: Mapping[str, Any], new: Mapping[str, Any], earlier: Iterable[str]) -> dict[str, Any]:
    parts = ("scores", "reasons", "details")
    kept = {part: {name: old[part][name] for name in earlier if name in old[part]} for part in parts}
    return {**new, **{part: {**kept[part], **new[part]} for part in parts}}


def _old_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from read_rows(path)
    except ValueError as error:
        raise RunFolderError(
            f"{path} is damaged ({error}). Remove that folder: scores in the shared store are found again."
        ) from error


def _claim(path: Path, stack: ExitStack) -> None:
    with teaching_os_errors(f"write into {path}"):
        path.mkdir(parents=True, exist_ok=True)
        foreign = [name for name in (SAMPLES, RESULTS, TABLE) if (path / name).exists()]
        if foreign and not (path / _MARK).exists():
            raise RunFolderError(
                f"{path} holds {' and '.join(foreign)} of something else, which would be overwritten. "
                "Choose another folder: --out FOLDER."
            )
        lock = stack.enter_context((path / _MARK).open("a"))
        hold_file(lock, path, "another `pyrite score`: two of them would overwrite each other's files")


def _earlier_results(path: Path) -> dict[str, Any]:
    if not (path / RESULTS).exists():
        return {}
    try:
        rewards: dict[str, Any] = json.loads((path / RESULTS).read_text(encoding="utf-8"))["rewards"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path / RESULTS} cannot be read ({type(error).__name__}: {error}), so it is not known what this folder "
            "holds. Remove the folder, or choose another one: --out FOLDER."
        ) from error
    return rewards


def _refuse_other_settings(path: Path, before: Mapping[str, Any], cards: Mapping[str, RewardCard]) -> None:
    lines = []
    for name, card in cards.items():
        now = settings_of(card)
        if name in before and before[name].get("key") != now["key"]:
            lines += [
                f"\n  - {name}: {what} was {before[name].get(what)!r}, is {now[what]!r}"
                for what in _SETTINGS
                if what != "key" and before[name].get(what) != now[what]
            ]
    if lines:
        raise RunFolderError(
            f"{path} was made with other settings:{''.join(lines)}\nIts scores and new ones would not compare. Choose "
            "another folder (--out FOLDER), remove this one, or bring those settings back."
        )


def _write_table(folder: Path, names: Sequence[str]) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    text = pyarrow.string()
    columns = [("id", text), ("image", text), ("image_sha256", text), ("prompt", text)]
    columns += [column for name in names for column in ((name, pyarrow.float64()), (f"{name}/reason", text))]
    schema = pyarrow.schema(columns)
    new = folder / f".{TABLE}.new"
    rows = read_rows(folder / SAMPLES)
    with teaching_os_errors(f"write {folder / TABLE}"):
        with parquet.ParquetWriter(new, schema) as writer:
            while group := list(islice(rows, _ROWS_PER_GROUP)):
                flat = [_flat(row, names) for row in group]
                writer.write_table(pyarrow.Table.from_pylist(flat, schema=schema))
        os.replace(new, folder / TABLE)


def _flat(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    flat = {key: row[key] for key in ("id", "image", "image_sha256", "prompt")}
    for name in names:
        flat |= {name: row["scores"].get(name), f"{name}/reason": row["reasons"].get(name)}
    return flat

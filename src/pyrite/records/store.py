"""Scores that were paid for once: one SQLite file that scoring, training and auditing share.

A score is found again by what it is a score of: the image, the prompt and the reward with everything that changes its
scores (`RewardCard.store_key`). See `stored.py` for how images and prompts become keys. An unscored image is kept as
that, with its reason. Several processes may read and write at once; the first score of a pair stays, so every
process sees the same number.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pyrite.core.cards import RewardCard
from pyrite.core.types import Prompt
from pyrite.records.store_file import open_file, teaching_sqlite_errors, transaction

Pair = tuple[str, str]
"""Key of an image, key of a prompt: both sha256 in hexadecimal."""

# One transaction holds the write lock for some milliseconds at most: others wait for it.
_ROWS_PER_TRANSACTION = 1000


@dataclass(frozen=True)
class StoredScore:
    """One score as it is kept.

    Args:
        value: NaN if the image is unscored.
        reason: why it is unscored; empty if it has a score.
        details: name -> further number; NaN where there is none.
    """

    value: float
    reason: str = ""
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredReward:
    """What a store holds of one reward with one set of settings.

    Args:
        name: under which it was registered.
        key: its `RewardCard.store_key`.
        card: revision, options, preprocessing and dtype.
        num: how many scores.
        num_unscored: how many of them are NaN with a reason.
        newest: when the last of them was written, ISO, UTC.
    """

    name: str
    key: str
    card: Mapping[str, Any]
    num: int
    num_unscored: int
    newest: str


def default_store_path() -> Path:
    """`$PYRITE_CACHE` (a file or a folder), or `~/.cache/pyrite/scores.sqlite`."""
    place = Path(os.environ.get("PYRITE_CACHE") or "~/.cache/pyrite").expanduser()
    return place if place.suffix == ".sqlite" else place / "scores.sqlite"


class ScoreStore:
    """An open store; belongs to the thread that opened it, and does not survive a fork.

    Args:
        path: of the SQLite file; made, with its folder, if it is not there.

    Raises:
        StoreError: the file is damaged, not a score store, or of a newer Pyrite.
        RunFolderError: its folder cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_file(self.path)

    def find(self, reward_key: str, pairs: Iterable[Pair]) -> dict[Pair, StoredScore]:
        """Those of the pairs that have a score, or a reason for having none.

        Raises:
            StoreError: the file cannot be read.
        """
        query = (
            "SELECT value, reason, details FROM scores WHERE image = ? AND prompt = ? AND "
            "reward = (SELECT id FROM rewards WHERE key = ?)"
        )
        found = {}
        with self._told("read"):
            for image, prompt in pairs:
                row = self._file.execute(query, (bytes.fromhex(image), bytes.fromhex(prompt), reward_key)).fetchone()
                if row is not None:
                    found[image, prompt] = _from_row(*row)
        return found

    def add(self, card: RewardCard, scores: Mapping[Pair, StoredScore], prompts: Mapping[str, Prompt]) -> None:
        """Keep scores; a pair that has one already keeps the one it has.

        What was added is safe from a kill of this process when the call returns.

        Args:
            card: of the reward that gave them.
            scores: pair -> score.
            prompts: key of a prompt -> the prompt, for every prompt among the pairs.

        Raises:
            StoreError: the disk is full, or the file cannot be written.
        """
        now = int(time.time())
        items = list(scores.items())
        with self._told("write to"):
            for start in range(0, len(items), _ROWS_PER_TRANSACTION):
                part = items[start : start + _ROWS_PER_TRANSACTION]
                texts = {key: json.dumps(prompts[key].to_json(), ensure_ascii=False) for (_, key), _ in part}
                with transaction(self._file):
                    reward = self._reward_id(card)
                    self._file.executemany(
                        "INSERT OR IGNORE INTO prompts VALUES (?, ?)",
                        [(bytes.fromhex(key), text) for key, text in texts.items()],
                    )
                    self._file.executemany(
                        "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?)",
                        [
                            (reward, bytes.fromhex(image), bytes.fromhex(prompt), *_to_row(score), now)
                            for (image, prompt), score in part
                        ],
                    )

    def rewards(self) -> list[StoredReward]:
        """What is kept, per reward and settings, by name.

        Raises:
            StoreError: the file cannot be read.
        """
        query = (
            "SELECT name, key, card, count(*), count(reason), max(time) FROM scores JOIN rewards ON reward = id "
            "GROUP BY id ORDER BY name, key"
        )
        with self._told("read"):
            return [
                StoredReward(name, key, json.loads(card), num, unscored, _iso(newest))
                for name, key, card, num, unscored, newest in self._file.execute(query)
            ]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every score as a flat object, one after the other, by reward.

        Raises:
            StoreError: the file cannot be read.
        """
        query = (
            "SELECT name, rewards.key, image, coalesce(prompts.prompt, ''), value, reason, details, time "
            "FROM scores JOIN rewards ON reward = id LEFT JOIN prompts ON prompts.key = scores.prompt "
            "ORDER BY name, rewards.key, image, scores.prompt"
        )
        with self._told("read"):
            for name, key, image, prompt, value, reason, details, written in self._file.execute(query):
                yield {
                    "reward": name,
                    "key": key,
                    "image_sha256": image.hex(),
                    "prompt": json.loads(prompt).get("prompt", "") if prompt else "",
                    "score": value,
                    "reason": reason,
                    "details": json.loads(details) if details else {},
                    "written": _iso(written),
                }

    def prune(
        self,
        *,
        name: str | None = None,
        key: str | None = None,
        older_than_s: float | None = None,
        only_unscored: bool = False,
    ) -> int:
        """Forget the scores to which everything given applies, and give their space back to the disk.

        Args:
            name: of the reward.
            key: of the reward and its settings, or the beginning of it.
            older_than_s: seconds since it was written.
            only_unscored: those that are NaN with a reason.

        Returns:
            How many were forgotten.

        Raises:
            StoreError: the file cannot be written.
        """
        where = [
            condition
            for condition, is_given in (
                ("reward IN (SELECT id FROM rewards WHERE name = :name)", name is not None),
                ("reward IN (SELECT id FROM rewards WHERE substr(key, 1, length(:key)) = :key)", key is not None),
                ("time < :before", older_than_s is not None),
                ("reason IS NOT NULL", only_unscored),
            )
            if is_given
        ]
        values = {"name": name, "key": key, "before": time.time() - (older_than_s or 0)}
        with self._told("write to"):
            with transaction(self._file):
                removed = self._file.execute(f"DELETE FROM scores WHERE {' AND '.join(where) or '1'}", values).rowcount
                self._file.execute("DELETE FROM prompts WHERE key NOT IN (SELECT prompt FROM scores)")
                self._file.execute("DELETE FROM rewards WHERE id NOT IN (SELECT reward FROM scores)")
            # A script, because a single statement is stepped once, and each step frees one page.
            self._file.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    def num_bytes(self) -> int:
        """Size of the file, without what SQLite has not merged into it yet."""
        with self._told("read"):
            pages, size = (self._file.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
        return int(pages * size)

    def close(self) -> None:
        """Close the file; what was added stays."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _told(self, doing: str) -> AbstractContextManager[None]:
        return teaching_sqlite_errors(f"{doing} the score store {self.path}")

    def _reward_id(self, card: RewardCard) -> int:
        settings = {name: getattr(card, name) for name in ("revision", "preprocessing", "dtype")}
        described = json.dumps({**settings, "options": dict(card.options)}, sort_keys=True)
        insert = "INSERT OR IGNORE INTO rewards (key, name, card) VALUES (?, ?, ?)"
        self._file.execute(insert, (card.store_key, card.name, described))
        return int(self._file.execute("SELECT id FROM rewards WHERE key = ?", (card.store_key,)).fetchone()[0])


def _to_row(score: StoredScore) -> tuple[float | None, str | None, str | None]:
    is_unscored = math.isnan(score.value)
    if is_unscored != bool(score.reason):
        raise ValueError(
            f"a score of {score.value} with the reason '{score.reason}': every NaN needs one, no number does"
        )
    details = {name: None if math.isnan(value) else value for name, value in score.details.items()}
    return None if is_unscored else score.value, score.reason or None, json.dumps(details) if details else None


def _from_row(value: float | None, reason: str | None, details: str | None) -> StoredScore:
    numbers = json.loads(details) if details else {}
    return StoredScore(
        math.nan if value is None else value,
        reason or "",
        {name: math.nan if number is None else number for name, number in numbers.items()},
    )


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

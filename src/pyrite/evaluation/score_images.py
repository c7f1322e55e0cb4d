"""Scoring an image set with a panel of rewards: streamed, kept as it goes, and the same after a kill.

Threads read files ahead, and decode the next batch while the models score this one; a batch is limited in images and
in pixels, so memory does not grow with the set. A score is in the store before the next batch is scored, and what is
in the store is not scored again. Batches depend on the set alone, so a run that was killed forms the same ones again
and ends with the same bits.
"""

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyrite.core.protocols import Reward
from pyrite.core.types import Image
from pyrite.evaluation.image_sets import ImageSet, Item, Items, survey
from pyrite.evaluation.score_folder import PROGRESS, open_score_folder
from pyrite.records.image_files import MAX_PIXELS, Readable, bombs_are_errors, decode, read_image_file
from pyrite.records.store import Pair, ScoreStore, StoredScore
from pyrite.records.stored import Stored, prompt_key

BATCH_SIZE = 64
NO_PROMPT = "the image has no prompt, and this reward reads one"

_MAX_THREADS = 8

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all images."""


@dataclass(frozen=True)
class Scored:
    """What a run did.

    Args:
        results: what results.json holds.
        num_asked: name of a reward -> on how many images it was called now; all others were known.
    """

    results: Mapping[str, Any]
    num_asked: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """What a run would do for one reward.

    Args:
        num_known: images whose score is in the store.
        num_missing: images that would be scored.
        num_unscorable: images that would be unscored without asking the reward: unreadable, or without a prompt.
    """

    num_known: int
    num_missing: int
    num_unscorable: int


@dataclass(frozen=True)
class ScoredBatch:
    """Images that were scored together.

    Args:
        items: the images.
        keys: for each the key of its file, None where it cannot be read.
        columns: name of a reward -> a score per image.
        num_asked: name of a reward -> on how many of them it was called.
    """

    items: list[Item]
    keys: list[str | None]
    columns: Mapping[str, list[StoredScore]]
    num_asked: Mapping[str, int]


@dataclass
class _Batch:
    items: list[Item] = field(default_factory=list)
    files: list[Readable | str] = field(default_factory=list)
    decoded: dict[str, "Future[Image | str]"] = field(default_factory=dict)
    num_pixels: int = 0


def score_images(
    images: Items,
    rewards: Mapping[str, Reward],
    out: Path,
    *,
    store: ScoreStore | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress = lambda done, total: None,
) -> Scored:
    """Score every image with every reward and write the folder described in `score_folder.py`.

    The same call again continues after a kill and asks no reward about a pair it answered; a call with other rewards
    adds them to the folder.

    Args:
        images: the set.
        rewards: name -> reward.
        out: the folder.
        store: the shared one; None keeps the scores in the folder alone.
        batch_size: most images in a batch; a batch has at most `MAX_PIXELS` pixels besides.
        progress: told after each batch.

    Raises:
        ImageSetError: the set is empty, not what its layout says, or has an id twice.
        RewardError: a reward raises; what was scored before is kept.
        RunFolderError: the folder cannot be written, or holds something that does not go together with this.
        StoreError: the store cannot be read or written.
    """
    total = survey(images)
    with ExitStack() as stack:
        cards = {name: reward.card for name, reward in rewards.items()}
        folder = stack.enter_context(open_score_folder(out, cards))
        folder.refuse_another_set(images.items(with_bytes=False))
        panel = _panel(rewards, out, store, stack)
        num_asked = dict.fromkeys(panel, 0)
        done = 0
        for batch in score_items(images.items(), panel, batch_size):
            for row, (item, key) in enumerate(zip(batch.items, batch.keys, strict=True)):
                folder.append(item, key, {name: column[row] for name, column in batch.columns.items()})
            num_asked = {name: num + batch.num_asked[name] for name, num in num_asked.items()}
            done += len(batch.items)
            progress(done, total)
        return Scored(folder.finish({"images": str(images.path), "layout": images.layout}), num_asked)


def score_items(items: Iterable[Item], panel: Mapping[str, Stored], batch_size: int) -> Iterator[ScoredBatch]:
    """Score images with every reward of a panel, batch by batch, reading and decoding ahead.

    A batch's scores are in the stores when it comes out. An item whose image came as bytes comes out without them.

    Raises:
        RewardError: a reward raises; what was scored before is kept.
        StoreError: a store cannot be read or written.
    """
    with bombs_are_errors(), _threads() as pool:
        for batch in _one_ahead(_decoding(_batches(items, pool, batch_size), panel, pool)):
            found = {name: _score_batch(reward, batch) for name, reward in panel.items()}
            keys = [file.key if isinstance(file, Readable) else None for file in batch.files]
            columns = {name: column for name, (column, _) in found.items()}
            yield ScoredBatch(batch.items, keys, columns, {name: num for name, (_, num) in found.items()})


def plan_scores(
    images: ImageSet, rewards: Mapping[str, Reward], store: ScoreStore | None, *, progress: Progress
) -> dict[str, Plan]:
    """What `score_images` would do; reads every file, decodes none, and writes nothing.

    Raises:
        ImageSetError: as there.
        StoreError: the store cannot be read.
    """
    total = survey(images)
    counts = {name: [0, 0, 0] for name in rewards}
    done = 0
    with bombs_are_errors(), _threads() as pool:
        for batch in _batches(images.items(), pool, BATCH_SIZE):
            for name, reward in rewards.items():
                pairs, reasons = _pairs(reward, batch)
                known = store.find(reward.card.store_key, pairs.values()) if store is not None else {}
                num_known = sum(pair in known for pair in pairs.values())
                for kind, num in enumerate((num_known, len(pairs) - num_known, len(reasons))):
                    counts[name][kind] += num
            done += len(batch.items)
            progress(done, total)
    return {name: Plan(*numbers) for name, numbers in counts.items()}


def _panel(rewards: Mapping[str, Reward], out: Path, store: ScoreStore | None, stack: ExitStack) -> dict[str, Stored]:
    """Each reward with the store its scores go to: the shared one, or that of the folder."""
    needs_own = [name for name, reward in rewards.items() if store is None or not reward.card.deterministic]
    own = stack.enter_context(ScoreStore(out / PROGRESS)) if needs_own else store
    return {
        name: Stored(reward, store_of)
        for name, reward in rewards.items()
        if (store_of := own if name in needs_own else store) is not None
    }


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, nobody wants what was read ahead


def _batches(items: Iterable[Item], pool: ThreadPoolExecutor, batch_size: int) -> Iterator[_Batch]:
    batch = _Batch()
    for item, file in _read_ahead(items, pool, depth=batch_size):
        num_pixels = file.num_pixels if isinstance(file, Readable) else 0
        is_full = len(batch.items) == batch_size or batch.num_pixels + num_pixels > MAX_PIXELS
        if batch.items and is_full:
            yield batch
            batch = _Batch()
        batch.items.append(item)
        batch.files.append(file)
        batch.num_pixels += num_pixels
    yield batch


def _read_ahead(
    items: Iterable[Item], pool: ThreadPoolExecutor, *, depth: int
) -> Iterator[tuple[Item, Readable | str]]:
    waiting: deque[tuple[Item, Future[Readable | str]]] = deque()
    for item in items:
        waiting.append((replace(item, source=_place(item)), pool.submit(read_image_file, item.source)))
        if len(waiting) > depth:
            first, file = waiting.popleft()
            yield first, file.result()
    for item, file in waiting:
        yield item, file.result()


def _place(item: Item) -> Path | None:
    """Bytes that came with an item are held once, by the file that was made of them."""
    return item.source if isinstance(item.source, Path) else None


def _decoding(batches: Iterator[_Batch], panel: Mapping[str, Stored], pool: ThreadPoolExecutor) -> Iterator[_Batch]:
    """The batches, with the decoding of what some reward has not scored under way."""
    for batch in batches:
        missing: set[str] = set()
        for reward in panel.values():
            pairs, _ = _pairs(reward, batch)
            missing |= {image for image, _ in set(pairs.values()) - reward.find([*pairs.values()]).keys()}
        for file in batch.files:
            if isinstance(file, Readable) and file.key in missing and file.key not in batch.decoded:
                batch.decoded[file.key] = pool.submit(decode, file)
        yield batch


def _one_ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """Each batch once the one after it has been prepared."""
    before = next(batches)
    for batch in batches:
        yield before
        before = batch
    yield before


def _pairs(reward: Reward, batch: _Batch) -> tuple[dict[int, Pair], dict[int, str]]:
    """Row -> what its score is filed under, and row -> why it has none whatever the reward says."""
    pairs: dict[int, Pair] = {}
    reasons: dict[int, str] = {}
    for row, (item, file) in enumerate(zip(batch.items, batch.files, strict=True)):
        if isinstance(file, str):
            reasons[row] = file
        elif reward.card.reads_prompt and not item.prompt.text:
            reasons[row] = NO_PROMPT
        else:
            key = prompt_key(reward.card, item.prompt)
            if not reward.card.deterministic:  # every item is a draw of its own
                key = hashlib.sha256(f"{key} {item.id}".encode()).hexdigest()
            pairs[row] = (file.key, key)
    return pairs, reasons


def _score_batch(reward: Stored, batch: _Batch) -> tuple[list[StoredScore], int]:
    """A score per image, and how many the reward was asked about."""
    pairs, reasons = _pairs(reward, batch)
    known = reward.find([*pairs.values()])
    # The first row of each distinct pair stands for all of them.
    missing = {pair: row for row, pair in reversed(pairs.items()) if pair not in known}
    opened: dict[int, Image] = {}
    for pair, row in sorted(missing.items(), key=lambda entry: entry[1]):
        image = _image(batch, row)
        if isinstance(image, str):
            known[pair] = StoredScore(math.nan, image)
        else:
            opened[row] = image
    known |= reward.score_pairs(
        [pairs[row] for row in opened], [*opened.values()], [batch.items[row].prompt for row in opened]
    )
    unscored = {row: StoredScore(math.nan, reason) for row, reason in reasons.items()}
    return [unscored[row] if row in unscored else known[pairs[row]] for row in range(len(batch.items))], len(opened)


def _image(batch: _Batch, row: int) -> Image | str:
    file = batch.files[row]
    assert isinstance(file, Readable)
    if file.key not in batch.decoded:  # its score went from the store since decoding began: somebody pruned it
        return decode(file)
    return batch.decoded[file.key].result()

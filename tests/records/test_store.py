import json
import multiprocessing
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError, StoreError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.store import Pair, ScoreStore, StoredScore, default_store_path
from pyrite.records.stored import Stored, file_key, image_key, prompt_key

CARD = RewardCard("brightness", "The image is bright.", (0.0, 255.0), reads_prompt=True, revision="abc")
RED = Prompt("a red cube", id="7", nouns=("cube",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "scores.sqlite"


def pair(number: int) -> Pair:
    return file_key(str(number).encode()), prompt_key(CARD, RED)


def prompts() -> dict[str, Prompt]:
    return {prompt_key(CARD, RED): RED}


def grey(level: int, size: int = 2) -> Image:
    return PILImage.new("RGB", (size, size), (level, level, level))


@dataclass
class Brightness:
    """Mean pixel, longer prompts a little brighter; black is unscored. Remembers what it was asked."""

    card: RewardCard = CARD
    asked: list[float] = field(default_factory=list)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        values = np.array([np.asarray(image).mean() for image in images])
        self.asked += values.tolist()
        reasons = dict.fromkeys(np.flatnonzero(values == 0).tolist(), "black says nothing")
        values[list(reasons)] = np.nan
        values += [len(prompt.text) for prompt in prompts]
        return Scores(values, reasons, {"half": values / 2})


def test_what_was_added_is_found_by_another_process_to_the_last_bit(path: Path) -> None:
    third = 1 / 3
    scores = {pair(0): StoredScore(third, "", {"part": np.pi, "other": float("nan")})}
    with ScoreStore(path) as store:
        store.add(CARD, scores, prompts())
    with ScoreStore(path) as store:
        found = store.find(CARD.store_key, [pair(0), pair(1)])[pair(0)]
    assert found.value == third
    assert found.details["part"] == np.pi
    assert np.isnan(found.details["other"])


def test_an_unscored_image_is_kept_with_its_reason(path: Path) -> None:
    with ScoreStore(path) as store:
        store.add(CARD, {pair(0): StoredScore(float("nan"), "too dark")}, prompts())
        found = store.find(CARD.store_key, [pair(0)])[pair(0)]
    assert np.isnan(found.value)
    assert found.reason == "too dark"


@pytest.mark.parametrize("score", [StoredScore(float("nan")), StoredScore(1.0, "odd")], ids=["silent", "idle reason"])
def test_a_nan_without_a_reason_and_a_number_with_one_are_refused(path: Path, score: StoredScore) -> None:
    with ScoreStore(path) as store:
        with pytest.raises(ValueError, match="every NaN needs one, no number does"):
            store.add(CARD, {pair(0): score}, prompts())
        assert store.rewards() == []


def test_the_first_score_of_a_pair_stays(path: Path) -> None:
    with ScoreStore(path) as store:
        for value in (1.0, 2.0):
            store.add(CARD, {pair(0): StoredScore(value)}, prompts())
        assert store.find(CARD.store_key, [pair(0)])[pair(0)].value == 1.0


@pytest.mark.parametrize(
    "changed",
    [{"revision": "abd"}, {"dtype": "bfloat16"}, {"preprocessing": "hps/2"}, {"options": {"a": 1}}, {"name": "other"}],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_changes_scores_changes_where_they_are_found(path: Path, changed: dict[str, str]) -> None:
    with ScoreStore(path) as store:
        store.add(CARD, {pair(0): StoredScore(1.0)}, prompts())
        assert store.find(replace(CARD, **changed).store_key, [pair(0)]) == {}


def test_more_rows_than_one_transaction_holds_are_all_kept(path: Path) -> None:
    scores = {pair(number): StoredScore(float(number)) for number in range(2500)}
    with ScoreStore(path) as store:
        store.add(CARD, scores, prompts())
        assert store.find(CARD.store_key, scores) == scores


def write_some(path: Path, start: int, ready: threading.Barrier) -> None:
    """300 scores in 30 transactions; 100 of them are those of the other writer too."""
    ready.wait(timeout=60)
    with ScoreStore(path) as store:
        for first in range(start, start + 300, 10):
            scores = {pair(number): StoredScore(float(number)) for number in range(first, first + 10)}
            store.add(CARD, scores, prompts())


def test_processes_that_create_and_write_the_store_at_once_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(2)
    writers = [context.Process(target=write_some, args=(path, start, ready)) for start in (0, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    with ScoreStore(path) as store:
        found = store.find(CARD.store_key, [pair(number) for number in range(500)])
        assert [score.value for score in found.values()] == list(range(500))
        assert [(entry.name, entry.num) for entry in store.rewards()] == [("brightness", 500)]


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("scores, but not in a database\n" * 100)
    with pytest.raises(StoreError, match=r"file is not a database. It is no score store, or damaged. Move it away"):
        ScoreStore(path)


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"is an SQLite file of another program.*--cache FILE"):
        ScoreStore(path)
    assert path.read_bytes() == before


def test_a_store_of_a_newer_layout_is_refused(path: Path) -> None:
    ScoreStore(path).close()
    file = sqlite3.connect(path)
    file.execute("PRAGMA user_version = 9")
    file.close()
    with pytest.raises(StoreError, match="has the layout 9, and this Pyrite reads layout 1"):
        ScoreStore(path)


def test_a_damaged_store_is_told(path: Path) -> None:
    with ScoreStore(path) as store:
        store.add(CARD, {pair(number): StoredScore(0.5) for number in range(2000)}, prompts())
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"), ScoreStore(path) as store:
        store.rewards()


def test_a_full_disk_is_told_and_what_was_kept_stays(path: Path) -> None:
    with ScoreStore(path) as store:
        store.add(CARD, {pair(0): StoredScore(1.0)}, prompts())
        store._file.execute("PRAGMA max_page_count = 12")
        with pytest.raises(StoreError, match=r"cannot write to the score store .*The disk is full: free some space"):
            store.add(CARD, {pair(number): StoredScore(2.0) for number in range(1, 2000)}, prompts())
        assert store.find(CARD.store_key, [pair(0)])[pair(0)].value == 1.0
    with ScoreStore(path) as store:
        store.add(CARD, {pair(number): StoredScore(2.0) for number in range(1, 2000)}, prompts())
        assert store.rewards()[0].num == 2000


def test_a_file_that_may_not_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot open the score store .*You may not write there.*--no-cache"):
        ScoreStore(tmp_path)


def test_the_default_place_is_the_environments_or_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRITE_CACHE", raising=False)
    assert default_store_path() == Path("~/.cache/pyrite/scores.sqlite").expanduser()
    monkeypatch.setenv("PYRITE_CACHE", "/data/cache")
    assert default_store_path() == Path("/data/cache/scores.sqlite")
    monkeypatch.setenv("PYRITE_CACHE", "/data/mine.sqlite")
    assert default_store_path() == Path("/data/mine.sqlite")


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ({"name": "dim"}, {("brightness", 3)}),
        ({"key": CARD.store_key[:10]}, {("dim", 1)}),
        ({"only_unscored": True}, {("brightness", 2), ("dim", 1)}),
        ({"older_than_s": 3600.0}, {("brightness", 3), ("dim", 1)}),
        ({"older_than_s": -3600.0, "name": "brightness"}, {("dim", 1)}),
        ({}, set()),
    ],
    ids=["name", "key", "unscored", "age", "all of them", "everything"],
)
def test_pruning_forgets_exactly_what_everything_given_applies_to(
    path: Path, what: dict[str, object], left: set[tuple[str, int]]
) -> None:
    with ScoreStore(path) as store:
        scores = {pair(0): StoredScore(1.0), pair(1): StoredScore(2.0), pair(2): StoredScore(float("nan"), "dark")}
        store.add(CARD, scores, prompts())
        store.add(replace(CARD, name="dim"), {pair(0): StoredScore(1.0)}, prompts())
        removed = store.prune(**what)  # type: ignore[arg-type]
        assert {(entry.name, entry.num) for entry in store.rewards()} == left
        assert removed == 4 - sum(num for _, num in left)
        store.add(CARD, scores, prompts())
        assert len(store.find(CARD.store_key, scores)) == 3


def test_pruning_gives_space_back(path: Path) -> None:
    with ScoreStore(path) as store:
        store.add(CARD, {pair(number): StoredScore(0.5) for number in range(3000)}, prompts())
        before = store.num_bytes()
        store.prune()
        assert store.num_bytes() < before / 4
        assert path.stat().st_size == store.num_bytes()


def test_exported_rows_say_of_what_they_are_scores(path: Path) -> None:
    with ScoreStore(path) as store:
        store.add(CARD, {pair(0): StoredScore(1.0, "", {"part": 2.0})}, prompts())
        (row,) = store.rows()
    assert row | {"written": ""} == {
        "reward": "brightness",
        "key": CARD.store_key,
        "image_sha256": pair(0)[0],
        "prompt": "a red cube",
        "score": 1.0,
        "reason": None,
        "details": {"part": 2.0},
        "written": "",
    }


def test_a_stored_reward_gives_what_the_reward_gives_and_asks_it_once_per_pair(path: Path) -> None:
    images = [grey(level) for level in (10, 20, 10, 0, 0, 30)]
    texts = [Prompt(text) for text in ("a", "a", "a", "a", "bb", "bb")]
    expected = Brightness().score(images, texts)
    reward = Brightness()
    with ScoreStore(path) as store:
        for given, asked in ((slice(0, 3), [10, 20]), (slice(0, 6), [10, 20, 0, 0, 30]), (slice(0, 6), None)):
            scores = Stored(reward, store).score(images[given], texts[given])
            np.testing.assert_array_equal(scores.values, expected.values[given])
            np.testing.assert_array_equal(scores.details["half"], expected.details["half"][given])
            assert scores.reasons == {row: why for row, why in expected.reasons.items() if row < len(scores)}
            assert asked is None or reward.asked == asked
    assert len(reward.asked) == 5


def test_a_reward_that_is_not_deterministic_is_asked_every_time_and_nothing_is_kept(path: Path) -> None:
    reward = Brightness(replace(CARD, deterministic=False))
    with ScoreStore(path) as store:
        for _ in range(2):
            Stored(reward, store).score([grey(1), grey(1)], [RED, RED])
        assert store.rewards() == []
    assert reward.asked == [1, 1, 1, 1]


def test_what_a_reward_raises_leaves_no_trace(path: Path) -> None:
    class Broken(Brightness):
        def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
            raise MemoryError("no room for 4 GB")

    with ScoreStore(path) as store:
        with pytest.raises(RewardError, match="'brightness' raised MemoryError: no room for 4 GB"):
            Stored(Broken(), store).score([grey(1)], [RED])
        assert store.rewards() == []


def test_a_prompt_is_known_by_all_that_a_reward_may_read_but_not_by_its_id() -> None:
    assert prompt_key(CARD, RED) == prompt_key(CARD, replace(RED, id="8"))
    assert prompt_key(CARD, RED) != prompt_key(CARD, replace(RED, nouns=("ball",)))
    assert prompt_key(CARD, RED) != prompt_key(CARD, replace(RED, text="a red cube "))
    blind = replace(CARD, reads_prompt=False)
    assert prompt_key(blind, RED) == prompt_key(blind, Prompt("anything"))


def test_images_in_memory_are_one_only_if_mode_size_palette_and_pixels_are() -> None:
    wide, tall = PILImage.new("L", (4, 2), 7), PILImage.new("L", (2, 4), 7)
    palette = PILImage.new("P", (2, 4), 7)
    recoloured = palette.copy()
    recoloured.putpalette([9] * 768)
    transparent = palette.copy()
    transparent.info["transparency"] = 7
    changed = tall.copy()
    changed.putpixel((1, 3), 8)
    variants = [wide, tall, palette, recoloured, transparent, changed, tall.convert("RGB")]
    assert len({image_key(image) for image in variants}) == len(variants)
    assert image_key(tall.copy()) == image_key(tall)


def test_every_card_in_the_store_says_its_settings(path: Path) -> None:
    card = replace(CARD, dtype="bfloat16", preprocessing="hps/1", options={"antialias": True})
    with ScoreStore(path) as store:
        store.add(card, {pair(0): StoredScore(1.0)}, prompts())
        (entry,) = store.rewards()
    assert json.loads(json.dumps(entry.card)) == {
        "revision": "abc",
        "preprocessing": "hps/1",
        "dtype": "bfloat16",
        "options": {"antialias": True},
    }

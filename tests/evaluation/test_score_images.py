import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.scored import CountingReward, make_folder, noise
from tests.fakes import BrokenReward

from pyrite.core.errors import ImageSetError, RewardError, RunFolderError
from pyrite.core.protocols import Reward
from pyrite.evaluation.image_sets import open_image_set
from pyrite.evaluation.score_folder import PROGRESS, RESULTS, SAMPLES, TABLE, read_rows
from pyrite.evaluation.score_images import NO_PROMPT, Plan, Scored, plan_scores, score_images
from pyrite.records.image_files import decode, read_image_file
from pyrite.records.store import ScoreStore

FINAL = (SAMPLES, RESULTS, TABLE)
ROOT = Path(__file__).parents[2]
SCORE_SLOWLY = """
import resource, sys
from pathlib import Path
from pyrite.evaluation.image_sets import open_image_set
from pyrite.evaluation.score_images import score_images
from pyrite.records.store import ScoreStore
from tests.evaluation.scored import CountingReward
photos, out, log, cache = map(Path, sys.argv[1:5])
rewards = {
    "slow": CountingReward.create(log, "slow", seconds=0.05),
    "judge": CountingReward.create(log, "judge", deterministic=False),
}
with ScoreStore(cache) as store:
    score_images(open_image_set(photos), rewards, out, store=store, batch_size=int(sys.argv[5]))
"""
REPORT_PEAK = """
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ScoreStore]:
    with ScoreStore(tmp_path / "scores.sqlite") as opened:
        yield opened


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos", 10)


@pytest.fixture
def reward(tmp_path: Path) -> CountingReward:
    return CountingReward.create(tmp_path / "asked.txt")


def run(photos: Path, out: Path, store: ScoreStore | None, *rewards: Reward, **options: object) -> Scored:
    names = {reward.card.name: reward for reward in rewards}
    return score_images(open_image_set(photos, **options), names, out, store=store, batch_size=4)  # type: ignore[arg-type]


def files(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FINAL}


def test_every_image_has_the_score_that_the_reward_gives_it(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    run(photos, tmp_path / "out", store, reward)
    rows = list(read_rows(tmp_path / "out" / SAMPLES))
    paths = sorted(photos.iterdir())
    opened = [decode(read_image_file(path)) for path in paths]  # type: ignore[arg-type]
    assert [row["scores"]["brightness"] for row in rows] == [np.asarray(image, np.float64).mean() for image in opened]
    assert [row["image"] for row in rows] == [str(path) for path in paths]
    assert [row["id"] for row in rows] == [path.name for path in paths]


def test_the_table_and_the_lines_say_the_same(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    import pyarrow.parquet as parquet

    (photos / "bad.png").write_bytes(b"")
    run(photos, tmp_path / "out", store, reward)
    rows = list(read_rows(tmp_path / "out" / SAMPLES))
    table = parquet.read_table(tmp_path / "out" / TABLE).to_pylist()
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    assert [row["brightness"] for row in table] == [row["scores"]["brightness"] for row in rows]
    assert [row["brightness/reason"] for row in table] == [row["reasons"].get("brightness") for row in rows]


def test_the_results_say_mean_interval_and_what_they_are_scores_of(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    (photos / "bad.png").write_bytes(b"")
    results = run(photos, tmp_path / "out", store, reward).results
    values = [row["scores"]["brightness"] for row in read_rows(tmp_path / "out" / SAMPLES)][:-1]
    told = results["rewards"]["brightness"]
    assert told["mean"] == pytest.approx(np.mean(values), rel=1e-12)
    assert min(values) < told["low"] < told["mean"] < told["high"] < max(values)
    assert (told["num_scored"], told["num_unscored"]) == (10, 1)
    assert told["unscored"] == [{"reason": "the file is empty: 0 bytes", "num": 1, "first": "bad.png"}]
    assert told["key"] == reward.card.store_key
    assert {"revision", "dtype", "preprocessing", "options"} <= told.keys()
    assert results == json.loads((tmp_path / "out" / RESULTS).read_text())


def test_images_of_one_prompt_are_resampled_together(tmp_path: Path, store: ScoreStore, reward: CountingReward) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(12):
        noise(number).save(folder / f"ID{number // 4}_prompt {number // 4}_{number}.png")
    results = run(folder, tmp_path / "out", store, reward).results
    assert results["num_prompts"] == 3
    assert results["rewards"]["brightness"]["resampled"] == "prompts"


def test_bad_images_are_unscored_alone_and_for_every_reward(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    data = (photos / "003.png").read_bytes()
    (photos / "003.png").write_bytes(data[: len(data) // 2])
    other = CountingReward.create(tmp_path / "other.txt", "other")
    for _ in range(2):
        run(photos, tmp_path / "out", store, reward, other)
        rows = {row["id"]: row for row in read_rows(tmp_path / "out" / SAMPLES)}
        bad = rows.pop("003.png")
        assert bad["scores"] == {"brightness": None, "other": None}
        assert all(why.startswith("the image cannot be read") for why in bad["reasons"].values())
        assert all(None not in row["scores"].values() and not row["reasons"] for row in rows.values())
    assert store.find(reward.card.store_key, [(bad["image_sha256"], "00" * 32)]) == {}


def test_an_image_without_a_prompt_is_unscored_where_the_reward_reads_one(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    reader = CountingReward.create(tmp_path / "reader.txt", "reader", reads_prompt=True)
    rows = [{"image": "photos/000.png"}, {"image": "photos/001.png", "prompt": "a red cube"}]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(tmp_path / "set.jsonl", tmp_path / "out", store, reward, reader)
    first, second = read_rows(tmp_path / "out" / SAMPLES)
    assert first["reasons"] == {"reader": NO_PROMPT}
    assert second["reasons"] == {}
    assert len(reader.asked) == 1
    assert reader.asked[0].endswith(" a red cube")


@pytest.mark.parametrize("shared", [True, False], ids=["shared store", "no shared store"])
def test_the_same_call_again_asks_nothing_and_changes_nothing(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward, shared: bool
) -> None:
    once = run(photos, tmp_path / "out", store if shared else None, reward)
    before = files(tmp_path / "out")
    again = run(photos, tmp_path / "out", store if shared else None, reward)
    assert (once.num_asked, again.num_asked) == ({"brightness": 10}, {"brightness": 0})
    assert len(reward.asked) == 10
    assert files(tmp_path / "out") == before
    assert (tmp_path / "out" / PROGRESS).exists() != shared


def test_equal_images_are_scored_once_also_across_batches(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    for number in (1, 2, 3, 7, 9):
        (photos / f"{number:03d}.png").write_bytes((photos / "000.png").read_bytes())
    done = run(photos, tmp_path / "out", store, reward)
    assert done.num_asked == {"brightness": 5}
    assert Counter(reward.asked).most_common(1)[0][1] == 1
    assert len({row["scores"]["brightness"] for row in read_rows(tmp_path / "out" / SAMPLES)}) == 5


def test_a_reward_that_is_not_deterministic_draws_for_every_image_and_stays_in_the_folder(
    photos: Path, tmp_path: Path, store: ScoreStore
) -> None:
    (photos / "001.png").write_bytes((photos / "000.png").read_bytes())
    judge = CountingReward.create(tmp_path / "judge.txt", "judge", deterministic=False)
    run(photos, tmp_path / "out", store, judge)
    before = files(tmp_path / "out")
    run(photos, tmp_path / "out", store, judge)
    assert len(judge.asked) == 10
    assert files(tmp_path / "out") == before
    assert store.rewards() == []
    run(photos, tmp_path / "another", store, judge)
    assert len(judge.asked) == 20


def test_other_rewards_join_and_the_files_are_those_of_asking_for_all_at_once(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    other = CountingReward.create(tmp_path / "other.txt", "other")
    run(photos, tmp_path / "apart", store, reward)
    done = run(photos, tmp_path / "apart", store, other)
    assert done.num_asked == {"other": 10}
    run(photos, tmp_path / "together", store, reward, other)
    assert files(tmp_path / "apart") == files(tmp_path / "together")


def test_a_set_that_grew_is_scored_where_it_grew(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    run(photos, tmp_path / "out", store, reward, limit=6)
    noise(77).save(photos / "0005.png")
    done = run(photos, tmp_path / "out", store, reward)
    assert done.num_asked == {"brightness": 5}
    assert len(list(read_rows(tmp_path / "out" / SAMPLES))) == 11


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda photos: (photos / "010.png").write_bytes((photos / "000.png").read_bytes()), r"'010.png' is new"),
        (lambda photos: (photos / "009.png").unlink(), r"'009.png' is gone"),
        (lambda photos: noise(77).save(photos / "008.png"), r"'008.png' has image_sha256 = .*, and it was"),
        (lambda photos: (photos / "004.png").rename(photos / "0040.png"), r"'0040.png' has id = '0040.png'"),
    ],
    ids=["more", "fewer", "another image", "renamed"],
)
def test_other_rewards_do_not_join_scores_of_another_set(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward, change: object, told: str
) -> None:
    run(photos, tmp_path / "out", store, reward)
    before = files(tmp_path / "out")
    change(photos)  # type: ignore[operator]
    with pytest.raises(RunFolderError, match=rf"holds the scores of brightness for another image set: {told}.*--out"):
        run(photos, tmp_path / "out", store, CountingReward.create(tmp_path / "other.txt", "other"))
    assert files(tmp_path / "out") == before


def test_a_reward_with_other_settings_is_refused_naming_them(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    run(photos, tmp_path / "out", store, reward)
    changed = replace(reward, card=replace(reward.card, dtype="bfloat16", revision="2", options={"scale": 2}))
    with pytest.raises(RunFolderError, match="made with other settings") as refusal:
        run(photos, tmp_path / "out", store, changed)
    for line in ("revision was '1', is '2'", "options was {}, is {'scale': 2}", "dtype was 'float32', is 'bfloat16'"):
        assert f"brightness: {line}" in str(refusal.value)


def test_a_folder_of_something_else_is_not_overwritten(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    (tmp_path / SAMPLES).write_text("a run's\n")
    with pytest.raises(RunFolderError, match=r"holds samples.jsonl of something else, which would be overwritten"):
        run(photos, tmp_path, store, reward)
    assert (tmp_path / SAMPLES).read_text() == "a run's\n"


def test_a_folder_in_use_is_refused(photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward) -> None:
    def ask_again(done: int, total: int) -> None:
        with pytest.raises(RunFolderError, match="is in use by another `pyrite score`"):
            run(photos, tmp_path / "out", store, reward)

    score_images(open_image_set(photos), {"brightness": reward}, tmp_path / "out", store=store, progress=ask_again)


@pytest.mark.parametrize("name", [RESULTS, SAMPLES])
def test_damaged_results_are_told(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward, name: str
) -> None:
    run(photos, tmp_path / "out", store, reward)
    (tmp_path / "out" / name).write_text("{")
    with pytest.raises(RunFolderError, match=rf"{name} (cannot be read|is damaged).*Remove"):
        run(photos, tmp_path / "out", store, CountingReward.create(tmp_path / "other.txt", "other"))


def test_an_id_twice_is_refused_before_anything_is_made(tmp_path: Path, reward: CountingReward) -> None:
    (tmp_path / "a.jsonl").write_text('{"image": "a.png", "id": "1"}\n{"image": "b.png", "id": "1"}\n')
    with pytest.raises(ImageSetError, match="two images have the id '1'"):
        run(tmp_path / "a.jsonl", tmp_path / "out", None, reward)
    assert not (tmp_path / "out").exists()


def test_what_was_scored_before_a_reward_broke_is_kept(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    with pytest.raises(RewardError, match=r"'broken' raised RuntimeError: out of cheese.*what was done before is kept"):
        run(photos, tmp_path / "out", store, reward, BrokenReward("broken", after=1))
    assert {entry.name: entry.num for entry in store.rewards()} == {"brightness": 8, "broken": 4}
    run(photos, tmp_path / "out", store, reward)
    assert len(reward.asked) == 10


def test_a_full_disk_is_told_and_the_same_call_goes_on_when_there_is_room(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "replace", refuse)
        with pytest.raises(RunFolderError, match=r"cannot write .*samples.jsonl: No space left.*free some space"):
            run(photos, tmp_path / "out", store, reward)
    assert not (tmp_path / "out" / RESULTS).exists()
    run(photos, tmp_path / "out", store, reward)
    assert len(reward.asked) == 10


def test_scoring_ten_times_as_many_images_takes_no_more_memory(tmp_path: Path) -> None:
    """Peak resident memory of processes of their own; 540 more images of 200 kB would add 100 MB if they were kept."""
    image = tmp_path / "one.bmp"
    noise(0, (256, 256)).save(image)
    peaks = []
    for num in (60, 600):
        folder = tmp_path / f"photos{num}"
        folder.mkdir()
        for number in range(num):
            (folder / f"{number:04d}.bmp").write_bytes(image.read_bytes()[:-4] + number.to_bytes(4, "big"))
        arguments = [folder, tmp_path / f"out{num}", tmp_path / "asked.txt", tmp_path / f"{num}.sqlite", "16"]
        command = [sys.executable, "-c", SCORE_SLOWLY + REPORT_PEAK, *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
    assert peaks[1] < peaks[0] + 25


def test_a_plan_says_what_is_known_and_writes_nothing(
    photos: Path, tmp_path: Path, store: ScoreStore, reward: CountingReward
) -> None:
    reader = CountingReward.create(tmp_path / "reader.txt", "reader", reads_prompt=True)
    run(photos, tmp_path / "out", store, reward, limit=4)
    (photos / "bad.png").write_bytes(b"")
    before = files(tmp_path / "out")
    seen: list[tuple[int, int]] = []
    plans = plan_scores(
        open_image_set(photos), {"brightness": reward, "reader": reader}, store, progress=lambda *at: seen.append(at)
    )
    assert plans == {"brightness": Plan(4, 6, 1), "reader": Plan(0, 0, 11)}
    assert seen == [(11, 11)]
    assert len(reward.asked) == 4
    assert files(tmp_path / "out") == before
    unstored = plan_scores(open_image_set(photos), {"brightness": reward}, None, progress=lambda *at: None)
    assert unstored == {"brightness": Plan(0, 10, 1)}


def _score_slowly(photos: Path, place: Path) -> "subprocess.Popen[bytes]":
    arguments = [photos, place / "out", place / "asked.txt", place / "scores.sqlite", "4"]
    return subprocess.Popen([sys.executable, "-c", SCORE_SLOWLY, *map(str, arguments)], cwd=ROOT)


def test_a_run_killed_again_and_again_ends_as_one_that_never_was_and_scores_nothing_twice(tmp_path: Path) -> None:
    """Counted by lines that a reward brings to the disk before it returns.

    A kill between the end of a call and its transaction is the only way to lose scores, so each of the kills may cost
    one call of four images at most.
    """
    photos = make_folder(tmp_path / "photos", 60)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    killed.mkdir()
    assert _score_slowly(photos, undisturbed).wait() == 0
    kills = 0
    for target in (9, 33, 62, 85):
        process = _score_slowly(photos, killed)
        log = killed / "asked.txt"
        deadline = time.monotonic() + 120
        while process.poll() is None and (len(log.read_text().splitlines()) if log.exists() else 0) < target:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert not (killed / "out" / RESULTS).exists()
    assert kills == 4
    assert _score_slowly(photos, killed).wait() == 0
    assert files(killed / "out") == files(undisturbed / "out")
    asked = Counter((killed / "asked.txt").read_text().splitlines())
    assert set(asked) == set((undisturbed / "asked.txt").read_text().splitlines())
    assert sum(asked.values()) - len(asked) <= 4 * kills

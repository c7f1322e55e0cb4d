"""Two image sets against each other, as a user types it: numbers by hand, a judge on a socket, kills and bad input."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.judge_server import Body, chat, judge_server, parts_of, status
from typer.testing import CliRunner

from pyrite.cli.main import app

SHADES = (0, 40, 80, 120, 160, 200)
PROMPTS = ("a cat", "a dog", "a red cube | a\tball", "two cows", "a <b>fish</b>", "a hat")
QUICK = ("--set", "backoff_s=0.001", "--set", "audit=''", "--set", "retries=0")


def noisy(shade: int, amount: int, seed: int) -> PILImage.Image:
    """Noise of an amplitude on a shade: the more of it, the sharper."""
    rng = np.random.default_rng(seed)
    return PILImage.fromarray((shade + rng.integers(0, amount + 1, (24, 24, 3))).astype(np.uint8))


def write_set(path: Path, amount: int, *, copies: int = 1, leave_out: tuple[int, ...] = ()) -> Path:
    """A set of six prompts of two task types."""
    folder = path.with_suffix("")
    folder.mkdir()
    rows = []
    for number, (shade, prompt) in enumerate(zip(SHADES, PROMPTS, strict=True)):
        for copy in range(copies):
            name = f"{folder.name}/{number}-{copy}.png"
            noisy(shade, amount, 10 * number + copy).save(path.parent / name)
            row = {"id": f"{folder.name}{number}-{copy}", "prompt_id": str(number), "prompt": prompt, "image": name}
            rows.append({**row, "task_type": ("object", "color")[number % 2]})
    kept = [row for row in rows if int(row["prompt_id"]) not in leave_out]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return path


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """A is noisier than B everywhere."""
    return write_set(tmp_path / "a.jsonl", 50), write_set(tmp_path / "b.jsonl", 20)


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--no-cache"])
    assert done.exit_code == code, (done.stderr, done.exception)
    return done


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_differences_wins_and_task_types(sets: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(*sets, "--rewards", "sharpness,constant", "--out", tmp_path / "out", "--json")
    found = results(tmp_path / "out")
    sharp, constant = found["rewards"]["sharpness"], found["rewards"]["constant"]
    assert (sharp["wins"], sharp["ties"], sharp["losses"], sharp["win_rate"]["estimate"]) == (6, 0, 0, 1)
    assert (constant["wins"], constant["ties"], constant["losses"]) == (0, 6, 0)
    assert constant["effect"]["estimate"] is None
    pairs = rows(tmp_path / "out" / "pairs.jsonl")
    by_hand = [pair["scores"]["sharpness"][0] - pair["scores"]["sharpness"][1] for pair in pairs]
    assert [pair["difference"]["sharpness"] for pair in pairs] == by_hand
    assert sharp["difference"]["estimate"] == pytest.approx(np.mean(by_hand), rel=1e-12)
    assert {task: part["num_pairs"] for task, part in sharp["by_task_type"].items()} == {"object": 3, "color": 3}
    assert sharp["by_task_type"]["object"]["difference"]["low"] is None  # three prompts
    assert [json.loads(line)["reward"] for line in done.stdout.splitlines()] == ["sharpness", "constant"]


def test_swapping_a_and_b_negates_the_differences(sets: tuple[Path, Path], tmp_path: Path) -> None:
    run(*sets, "--rewards", "sharpness", "--out", tmp_path / "ab")
    run(*sets[::-1], "--rewards", "sharpness", "--out", tmp_path / "ba")
    one, other = (results(tmp_path / name)["rewards"]["sharpness"] for name in ("ab", "ba"))
    assert one["difference"]["estimate"] == -other["difference"]["estimate"]
    assert one["difference"]["low"] == pytest.approx(-other["difference"]["high"], rel=1e-9)
    assert (one["wins"], one["losses"]) == (other["losses"], other["wins"])


def test_a_set_against_itself_ties_everywhere(sets: tuple[Path, Path], tmp_path: Path) -> None:
    run(sets[0], sets[0], "--rewards", "sharpness", "--out", tmp_path / "out")
    found = results(tmp_path / "out")["rewards"]["sharpness"]
    assert (found["wins"], found["ties"], found["losses"]) == (0, 6, 0)
    assert found["difference"] == {"estimate": 0, "low": 0, "high": 0}


def test_what_has_no_partner_is_listed_and_in_no_number(tmp_path: Path) -> None:
    a = write_set(tmp_path / "a.jsonl", 50, copies=2)
    b = write_set(tmp_path / "b.jsonl", 20, leave_out=(5,))
    done = run(a, b, "--rewards", "sharpness", "--out", tmp_path / "out")
    found = results(tmp_path / "out")
    assert (found["num_pairs"], found["num_unmatched"]) == (5, {"A": 7, "B": 0})
    alone = {row["id"]: row["reason"] for row in rows(tmp_path / "out" / "unmatched.jsonl")}
    assert alone["a0-1"] == "the other set has 1 image of the prompt id '0'"
    assert alone["a5-0"] == "nothing in the other set has the prompt id '5'"
    assert "5 pairs, matched by id" in done.stderr
    assert "and 2 more without a partner: see unmatched.jsonl" in done.stderr


def test_an_image_that_cannot_be_read_leaves_its_pair_out_with_the_reason(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "b" / "2-0.png").write_bytes(b"")
    done = run(*sets, "--rewards", "sharpness", "--out", tmp_path / "out")
    found = results(tmp_path / "out")["rewards"]["sharpness"]
    assert (found["num_pairs"], found["num_missing"]) == (5, 1)
    assert found["unscored"] == [{"reason": "B: the file is empty: 0 bytes", "num": 1, "first": "2"}]
    assert "sharpness: 1 pairs without a number: B: the file is empty" in done.stderr


def test_tables_for_a_readme_and_a_paper(sets: tuple[Path, Path], tmp_path: Path) -> None:
    run(*sets, "--rewards", "sharpness,jpeg_compressibility", "--out", tmp_path / "out")
    plain, paper = ((tmp_path / "out" / name).read_text() for name in ("table.md", "table.tex"))
    assert "| sharpness, object | " in plain
    assert "| 6 / 0 / 0 | 1 | 0.6097 to 1 |" in plain  # Wilson's: six of six is no proof of always
    assert "jpeg\\_compressibility & " in paper
    assert "95 \\% interval" in paper


# ---------------------------------------------------------------- the judge


def shade(file: bytes) -> float:
    return float(np.asarray(PILImage.open(io.BytesIO(file)).convert("RGB"), np.float64).mean())


def by_shade(body: Body) -> Body:
    one, two = map(shade, parts_of(body)[1])
    return chat(f"Image {1 if one > two else 2} is better.")


def likes_the_first(body: Body) -> Body:
    return chat("Image 1 is better.")


def judged(sets: tuple[Path, Path], out: Path, url: str, *more: object, code: int = 0) -> Any:
    return run(*sets, "--judge", "--url", url, "--out", out, *QUICK, *more, code=code)


def test_a_judge_is_asked_in_both_orders_and_its_replies_are_kept(sets: tuple[Path, Path], tmp_path: Path) -> None:
    with judge_server(by_shade) as server:
        judged(sets, tmp_path / "out", server.url)
        assert len(server.bodies) == 12
        found = results(tmp_path / "out")
        judged(sets, tmp_path / "out", server.url)
        assert len(server.bodies) == 12  # the same command again asks nothing
    assert results(tmp_path / "out") == found
    assert (found["judge"]["wins"], found["judge"]["losses"], found["judge"]["win_rate"]["estimate"]) == (6, 0, 1)
    assert found["judge"]["position"] == {
        "shown_first_frac": 0.5, "num_decided": 12, "turned_frac": 0, "num_both": 6,
    }  # fmt: skip
    kept = rows(tmp_path / "out" / "judge.jsonl")
    assert len(kept) == 6
    assert kept[0]["replies"] == ["Image 1 is better.", "Image 2 is better."]


def test_a_judge_that_likes_the_first_place_is_told_of(sets: tuple[Path, Path], tmp_path: Path) -> None:
    with judge_server(likes_the_first) as server:
        done = judged(sets, tmp_path / "out", server.url, "--rewards", "sharpness")
    found = results(tmp_path / "out")["judge"]
    assert (found["num_pairs"], found["num_missing"], found["win_rate"]["estimate"]) == (0, 6, None)
    assert (found["position"]["shown_first_frac"], found["position"]["turned_frac"]) == (1, 1)
    assert "100% were for the image shown first; 100% of 6 pairs turned round" in done.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The judge: no pair has a number on both sides." in page
    assert "contradict each other" in page


def test_a_judge_that_gives_up_keeps_what_it_said_and_the_same_command_continues(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    answered = 0

    def mortal(body: Body) -> Body:
        nonlocal answered
        answered += 1
        if answered > 4:
            server.faults += [status(401)] * 20
        return by_shade(body)

    same = ("--set", "revision=v1", "--set", "concurrency=2")
    with judge_server(mortal) as server:
        done = judged(sets, tmp_path / "out", server.url, *same, code=3)
    assert "the comparison has stopped: the judge at" in done.stderr
    assert "what was said is kept" in done.stderr
    num_kept = len(rows(tmp_path / "out" / "judge.jsonl"))
    assert 1 <= num_kept < 6
    with judge_server(by_shade) as server:  # at another address, but the revision says that it is the same judge
        judged(sets, tmp_path / "out", server.url, *same)
        assert len(server.bodies) == 2 * (6 - num_kept)
    with judge_server(by_shade) as server:
        judged(sets, tmp_path / "out", server.url)
        assert len(server.bodies) == 12  # without one it is another judge


def test_a_failed_connection_is_no_preference_and_is_asked_again(sets: tuple[Path, Path], tmp_path: Path) -> None:
    with judge_server(by_shade, [status(500)]) as server:
        judged(sets, tmp_path / "out", server.url, "--set", "revision=v1", "--set", "concurrency=1")
        found = results(tmp_path / "out")["judge"]
        assert (found["num_pairs"], found["num_missing"]) == (5, 1)
        assert len(rows(tmp_path / "out" / "judge.jsonl")) == 5
        judged(sets, tmp_path / "out", server.url, "--set", "revision=v1", "--set", "concurrency=1")
    assert results(tmp_path / "out")["judge"]["wins"] == 6


def test_a_torn_last_line_of_the_replies_is_asked_again(sets: tuple[Path, Path], tmp_path: Path) -> None:
    with judge_server(by_shade) as server:
        judged(sets, tmp_path / "out", server.url)
        path = tmp_path / "out" / "judge.jsonl"
        path.write_bytes(path.read_bytes()[:-20])
        judged(sets, tmp_path / "out", server.url)
        assert len(server.bodies) == 14
    assert len(rows(path)) == 6


def test_a_disk_that_is_full_is_said_to_be(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from pyrite.records.jsonl import JsonLines, teaching_os_errors

    real = JsonLines.append

    def full(self: JsonLines, new: Any) -> None:
        if self.path.name == "judge.jsonl":
            with teaching_os_errors(f"write to {self.path}"):
                raise OSError(errno.ENOSPC, "No space left on device")
        real(self, new)

    with judge_server(by_shade) as server:
        monkeypatch.setattr(JsonLines, "append", full)
        done = judged(sets, tmp_path / "out", server.url, code=3)
        monkeypatch.undo()
        assert "The disk is full: free some space, then give the same command again" in done.stderr
        judged(sets, tmp_path / "out", server.url)
    assert results(tmp_path / "out")["judge"]["wins"] == 6


def test_nothing_to_compare_by_is_refused_before_anything_is_read(sets: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(*sets, "--out", tmp_path / "out", code=2)
    assert "nothing to compare the two sets by: no reward and no judge" in done.stderr
    assert not (tmp_path / "out").exists()


def test_images_that_lie_in_a_parquet_file_are_compared_too(sets: tuple[Path, Path], tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    for path in sets:
        table = [
            {key: row[key] for key in ("id", "prompt_id", "prompt")} | {"bytes": (tmp_path / row["image"]).read_bytes()}
            for row in rows(path)
        ]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path.with_suffix(".parquet"))
    pair = [path.with_suffix(".parquet") for path in sets]
    with judge_server(by_shade) as server:
        run(*pair, "--rewards", "sharpness", "--judge", "--url", server.url, "--out", tmp_path / "out", *QUICK)
    found = results(tmp_path / "out")
    assert found["rewards"]["sharpness"]["wins"] == found["judge"]["wins"] == 6
    assert "own file" in (tmp_path / "out" / "report.html").read_text()

"""A benchmark at the shell: both WISE protocols with known answers, every step apart, killed, and every way to err."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from tests.evaluation.wise_set import judging, known_score, number_in, three_marks, write_images, write_source
from tests.judge_server import Body, chat, judge_server, status
from tests.tiny_checkpoints import write_janus
from typer.testing import CliRunner

from pyrite.cli.main import app
from pyrite.evaluation.benchmarks.folder import EVIDENCE, FACTS, LATEX, MARKDOWN, OFFICIAL, PAGE, RESULTS, SAMPLES
from pyrite.records.jsonl import JsonLines

FEW = range(1, 13)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr + (repr(result.exception) if result.exception else "")


class Visit:
    """A place with prompts, question and images of one protocol."""

    def __init__(self, place: Path, name: str, ids: Iterable[int] = FEW) -> None:
        self.place, self.name = place, name
        self.source = write_source(place / "WISE", name, ids)
        self.images = write_images(place / "drawn", ids)
        self.out = place / "out"

    def command(self, url: str, *more: object, out: Path | None = None) -> tuple[object, ...]:
        judge = ("--url", url, "--set", "backoff_s=0")
        where = ("--source", self.source, "--out", out or self.out)
        return ("evaluate", self.images, "--benchmark", self.name, *where, *judge, *more)

    def results(self, out: Path | None = None) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(((out or self.out) / RESULTS).read_text())
        return loaded

    def files(self, out: Path) -> dict[str, bytes]:
        """Every file that is made from the evidence, in the order of their names."""
        names = (RESULTS, SAMPLES, MARKDOWN, LATEX, PAGE, FACTS)
        official = sorted(path for path in (out / OFFICIAL).iterdir())
        return {path.name: path.read_bytes() for path in [*(out / name for name in names), *official]}


@pytest.fixture
def visit(tmp_path: Path) -> Visit:
    return Visit(tmp_path, "wise-verified")


EXPECTED = {
    "wise": {"Cultural": 0.6, "Time": 0.4 + 20 / 167, "Space": 0.4, "Biology": 0.4035, "Physics": 0.3965,
             "Chemistry": 0.4, "Overall": 0.5},
    "wise-verified": {"Cultural": 0.25, "Time": 0.25, "Space": 0.25, "Biology": 0.25, "Physics": 0.25,
                      "Chemistry": 1.0, "Overall": 0.34},
}  # fmt: skip
"""`test_wise.py` derives those of the paper's protocol. The verified one: an image in four is right, and all of
Chemistry: .25 · (.4 + 4 · .12) + .12 = .34."""


@pytest.mark.parametrize("name", EXPECTED)
def test_a_whole_benchmark_gives_the_scores_derived_by_hand(name: str, tmp_path: Path) -> None:
    place = Visit(tmp_path, name, range(1, 1001))
    with judge_server(judging(name)) as server:
        code, out, notes = run(*place.command(server.url))
        assert code == 0, notes
        assert run(*place.command(server.url))[0] == 0
    assert len(server.bodies) == 1000
    results = place.results()
    rows = {row["name"]: row for row in [*results["categories"], results["overall"]]}
    assert {name: row["score"] for name, row in rows.items()} == pytest.approx(EXPECTED[name], abs=1e-12)
    assert all(row["low"] <= row["score"] <= row["high"] for row in rows.values())
    assert (results["is_complete"], results["missing"]) == (True, [])
    assert f"{EXPECTED[name]['Overall']:.3f}" in out
    assert "not those of WISE@eb51174" in notes  # the prompts of the tests are our own
    lines = (place.out / OFFICIAL / "natural_science_scores_results.jsonl").read_text().splitlines()
    assert len(lines) == (300 if name == "wise" else 360)
    code, out, notes = run(
        "evaluate", place.out / OFFICIAL, "--official", "--benchmark", name, "--source", place.source,
        "--out", tmp_path / "back", "--json",
    )  # fmt: skip
    assert code == 0, notes
    assert json.loads(out)["overall"]["score"] == pytest.approx(EXPECTED[name]["Overall"], abs=1e-12)
    assert json.loads(out)["examiner"] == {"weights": "unknown: read from official files"}


def test_every_reply_is_kept_with_the_judge_that_gave_it(visit: Visit) -> None:
    with judge_server(judging("wise-verified")) as server:
        code, out, notes = run(*visit.command(server.url, "--json", "--set", "revision=abc"))
    assert code == 0, notes
    results = json.loads(out)
    examiner = {key: value for key, value in results["examiner"].items() if key != "question"}
    assert examiner == {
        "weights": "Qwen3.5-35B-A3B@abc", "model": "Qwen3.5-35B-A3B", "temperature": 0.0, "thinking": False,
        "max_tokens": 500, "transport": "png", "question_is_published": False,
    }  # fmt: skip
    evidence = [json.loads(line) for line in (visit.out / EVIDENCE).read_text().splitlines()]
    assert {(row["id"], row["text"], row["model"], row["attempt"]) for row in evidence} == {
        (str(number), f"Score: {known_score(number)}", "judge", 1) for number in FEW
    }
    assert results["spent"] == {"replies": 12, "prompt_tokens": 3600, "completion_tokens": 24}
    rows = [json.loads(line) for line in (visit.out / SAMPLES).read_text().splitlines()]
    assert [row["id"] for row in rows] == [str(number) for number in FEW]
    assert {row["words"] for row in rows} == {"Score: 0", "Score: 1"}


def test_steps_can_be_taken_apart_and_adding_up_needs_no_server(visit: Visit, tmp_path: Path) -> None:
    with judge_server(judging("wise-verified")) as server:
        code, out, notes = run(*visit.command(server.url, "--step", "judge"))
        assert (code, out) == (0, ""), notes
        assert "replies now: 12" in notes
        assert not (visit.out / RESULTS).exists()
        assert run(*visit.command(server.url, out=tmp_path / "whole"))[0] == 0
    command = ("evaluate", visit.images, "--benchmark", visit.name, "--source", visit.source, "--out", visit.out)
    code, _, notes = run(*command, "--step", "aggregate")
    assert code == 0, notes
    assert visit.files(visit.out) == visit.files(tmp_path / "whole")


def test_a_dry_run_says_what_the_run_then_does(visit: Visit) -> None:
    with judge_server(judging("wise-verified")) as server:
        (visit.images / "3.png").unlink()
        code, out, notes = run(*visit.command(server.url, "--dry-run", "--json", "--repeats", 2))
        assert code == 0, notes
        plan = json.loads(out)
        assert [plan[key] for key in ("num_images", "num_without_image", "num_to_judge", "num_known")] == [11, 1, 22, 0]
        assert (server.bodies, visit.out.exists()) == ([], False)
        run(*visit.command(server.url))
        assert "num_known  11" in run(*visit.command(server.url, "--dry-run"))[1]


def test_missing_images_are_named_and_take_the_overall_score_away(tmp_path: Path) -> None:
    place = Visit(tmp_path, "wise-verified", range(761, 881))
    for number in (770, 771):
        (place.images / f"{number}.png").unlink()
    (place.images / "772.png").write_bytes((place.images / "773.png").read_bytes()[:40])
    with judge_server(judging(place.name)) as server:
        code, out, notes = run(*place.command(server.url))
        assert code == 3
        assert "no score: 2, 770, 771: there is no image of this prompt" in notes
        assert re.search(r"no score: 1, 772: .*772.png", notes)
        assert "no overall score: 883 of 1000 images have no score" in notes
        physics = place.results()["categories"][4]
        assert (physics["name"], physics["score"], physics["num_judged"]) == ("Physics", None, 117)
        assert re.search(r"Physics +- +- +117 of 120", out)
        for number in (770, 771, 772):
            write_images(place.images, [number])
        code, out, notes = run(*place.command(server.url))
        assert code == 0, notes
        assert len(server.bodies) == 120
    assert place.results()["categories"][4]["score"] == 0.25
    assert place.results()["overall"]["score"] is None


def test_an_image_that_changed_is_judged_again(visit: Visit) -> None:
    with judge_server(judging("wise-verified")) as server:
        run(*visit.command(server.url))
        PILImage.new("RGB", (8, 8), "white").save(visit.images / "5.png")
        assert run(*visit.command(server.url))[0] == 0
    assert len(server.bodies) == 13


def test_half_of_the_calls_failing_loses_nothing_and_asks_nothing_twice(visit: Visit) -> None:
    faults = [status(503) if n % 2 else None for n in range(24)]
    with judge_server(judging("wise-verified"), faults) as server:  # type: ignore[arg-type]
        code, _, notes = run(*visit.command(server.url, "--set", "retries=0", "--set", "concurrency=1"))
        assert code == 3
        assert "left: 6" in notes
        assert re.search(r"no score: 6, 2, 4, 6, 8, 10, 12: the judge's server answered with status 503", notes)
        server.faults.clear()
        code, _, notes = run(*visit.command(server.url, "--set", "retries=0", "--set", "concurrency=1"))
        assert code == 0, notes
        assert "replies now: 6; images known before: 6; left: 0" in notes
    assert Counter(map(number_in, server.bodies[-6:])) == Counter(range(2, 13, 2))


def test_a_judge_that_refuses_everybody_stops_at_once_with_what_it_has(visit: Visit) -> None:
    with judge_server(judging("wise-verified"), [None, None, status(401)]) as server:  # type: ignore[list-item]
        code, _, notes = run(*visit.command(server.url, "--set", "concurrency=1"))
        assert code == 3
        assert "stopped early" in notes
        assert "refused the key" in notes
        assert len(server.bodies) == 3
        assert "no score: 9" in notes
        assert "it has not been looked at yet" in notes
        assert run(*visit.command(server.url, "--set", "concurrency=1"))[0] == 0
    assert len(server.bodies) == 13


def test_a_judge_that_marks_off_the_menu_is_asked_three_times_and_then_left(tmp_path: Path) -> None:
    place = Visit(tmp_path, "wise")
    replies: Counter[int] = Counter()

    def answer(body: Body) -> Body:
        number = number_in(body)
        replies[number] += 1
        bad = {1: three_marks(3, 1, 1), 2: three_marks("2/2", 1, 1), 3: "Lovely!" if replies[number] < 3 else ""}
        return chat(bad.get(number) or three_marks(2, 2, 2))

    with judge_server(answer) as server:
        code, _, notes = run(*place.command(server.url))
        again = run(*place.command(server.url))
    assert (code, again[0]) == (3, 3)
    assert replies == Counter({1: 3, 2: 3, 3: 3} | {number: 1 for number in FEW if number > 3})
    assert "consistency score of 3, and it was asked for one of 0, 1, 2 (in each of 3 replies)" in notes
    assert "without a plain number" in notes
    assert [one["id"] for one in place.results()["missing"]] == ["1", "2"]
    code, _, notes = run(*place.command("http://127.0.0.1:9/v1", "--step", "aggregate", "--set", "reading=reference"))
    assert code == 3
    assert [one["id"] for one in place.results()["missing"]] == ["1"]  # read anew, and nobody was asked


def test_another_judge_needs_another_folder_and_can_be_compared_there(visit: Visit, tmp_path: Path) -> None:
    def strict(body: Body) -> Body:
        return chat(f"Score: {int(known_score(number_in(body)) and number_in(body) != 12)}")

    with judge_server(judging("wise-verified")) as server, judge_server(strict) as other:
        assert run(*visit.command(server.url, "--set", "revision=a"))[0] == 0
        code, _, notes = run(*visit.command(other.url, "--set", "revision=b", "--model", "strict"))
        assert code == 3
        assert "model: was 'Qwen3.5-35B-A3B', is 'strict'" in notes
        assert "--against" in notes
        assert other.bodies == []
        swapped = tmp_path / "swapped"
        more = ("--set", "revision=b", "--model", "strict", "--against", visit.out)
        code, _, notes = run(*visit.command(other.url, *more, out=swapped))
        assert code == 0, notes
    beside = visit.results(swapped)["against"][0]
    # 12 images, 3 right before the one and 2 before the other: 11 of 12 agree, and 1/12 is the difference
    assert (beside["same_examiner"], beside["agreement"]["num_images"]) == (False, 12)
    assert beside["agreement"]["same_frac"] == pytest.approx(11 / 12)
    assert beside["agreement"]["difference"]["estimate"] == pytest.approx(1 / 12)
    # p_e = (3 · 2 + 9 · 10) / 144
    assert beside["agreement"]["marks"]["score"]["kappa"] == pytest.approx(1 - (1 / 12) / (48 / 144))
    assert "| strict |" in (swapped / MARKDOWN).read_text()
    assert "numbers of different judges do not compare" in (swapped / LATEX).read_text()


def test_repeats_say_how_far_the_judge_agrees_with_itself(visit: Visit) -> None:
    seen: Counter[int] = Counter()

    def fickle(body: Body) -> Body:
        number = number_in(body)
        seen[number] += 1
        return chat(f"Score: {int(number == 1 and seen[number] == 1)}")

    with judge_server(fickle) as server:
        code, _, notes = run(*visit.command(server.url, "--repeats", 3))
        assert code == 0, notes
        assert run(*visit.command(server.url, "--repeats", 2))[0] == 0
    assert seen == Counter(dict.fromkeys(FEW, 3))
    repeats = visit.results()["repeats"]
    assert (repeats["num"], repeats["num_images"]) == (3, 12)
    assert repeats["same_frac"] == pytest.approx(11 / 12)
    rows = [json.loads(line) for line in (visit.out / SAMPLES).read_text().splitlines()]
    assert rows[0]["repeats"] == [1.0, 0.0, 0.0]


def test_a_server_that_changes_its_model_meanwhile_is_told_of(visit: Visit) -> None:
    def answer(body: Body) -> Body:
        return chat("Score: 1") | {"model": f"judge-{number_in(body) % 2}"}

    with judge_server(answer) as server:
        assert "answered as judge-0, judge-1" in run(*visit.command(server.url))[2]


def test_killed_at_any_instant_the_same_command_ends_with_the_same_files(visit: Visit, tmp_path: Path) -> None:
    with judge_server(judging("wise-verified"), delay_s=0.15) as server:
        command = [sys.executable, "-m", "pyrite", *map(str, visit.command(server.url, "--set", "concurrency=2"))]
        for num_lines in (2, 5):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
            wait_for(lambda num=num_lines: num_evidence(visit.out) >= num, process)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        with (visit.out / EVIDENCE).open("ab") as file:
            file.write(b'{"key": "torn')
        server.delay_s = 0
        assert run(*visit.command(server.url, "--set", "concurrency=2"))[0] == 0
        # what was in flight at a kill was not answered for us: two questions each time at most
        assert len(server.bodies) <= 12 + 2 * 2
        assert run(*visit.command(server.url, out=tmp_path / "whole"))[0] == 0
    assert visit.files(visit.out) == visit.files(tmp_path / "whole")


def num_evidence(out: Path) -> int:
    path = out / EVIDENCE
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for(happened: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 200
    while not happened():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_sigterm_ends_it_with_a_word_and_what_was_answered(visit: Visit) -> None:
    with judge_server(judging("wise-verified"), delay_s=0.15) as server:
        command = [sys.executable, "-m", "pyrite", *map(str, visit.command(server.url, "--set", "concurrency=1"))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
        wait_for(lambda: num_evidence(visit.out) >= 2, process)
        process.terminate()
        _, notes = process.communicate(timeout=200)
    assert process.returncode == 130
    assert b"what was answered is in" in notes
    assert 2 <= num_evidence(visit.out) < 12


def test_a_full_disk_stops_the_asking_and_loses_nothing(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    append = JsonLines.append
    written = Counter[str]()

    def full(self: JsonLines, rows: Iterable[Any]) -> None:
        written[self.path.name] += 1
        if self.path.name == EVIDENCE and written[EVIDENCE] > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, rows)

    with judge_server(judging("wise-verified")) as server:
        with monkeypatch.context() as patched:
            patched.setattr(JsonLines, "append", full)
            code, _, notes = run(*visit.command(server.url, "--set", "concurrency=1"))
        assert "No space left on device" in notes
        assert code != 0
        assert num_evidence(visit.out) == 4
        assert len(server.bodies) <= 6
        assert run(*visit.command(server.url))[0] == 0
    assert len(server.bodies) <= 6 + 8


def test_two_at_once_in_one_folder_are_refused(visit: Visit) -> None:
    with judge_server(judging("wise-verified"), delay_s=0.3) as server:
        command = [sys.executable, "-m", "pyrite", *map(str, visit.command(server.url, "--set", "concurrency=1"))]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
        wait_for(lambda: num_evidence(visit.out) >= 1, process)
        code, _, notes = run(*visit.command(server.url))
        process.kill()
        process.wait()
    assert code == 3
    assert "is in use by another `pyrite evaluate`" in notes


def test_a_policy_draws_the_images_of_the_benchmark_first(tmp_path: Path) -> None:
    place = Visit(tmp_path, "wise-verified", range(1, 4))
    texts = ("a red circle", "two blue squares", "a green star")
    rows = [{"Prompt": text, "Explanation": "", "prompt_id": n} for n, text in enumerate(texts, 1)]
    (place.source / "cultural_common_sense_verified.json").write_text(json.dumps(rows))
    weights = write_janus(tmp_path / "janus")
    drawing = ("--device", "cpu", "--seed", 3)
    with judge_server(lambda body: chat("Score: 1")) as server:
        command = ("evaluate", weights, *place.command(server.url)[2:], *drawing)
        code, _, notes = run(*command, "--step", "generate")
        assert code == 0, notes
        assert sorted(path.name for path in (place.out / "images").glob("*.png")) == ["1.png", "2.png", "3.png"]
        assert server.bodies == []
        code, _, notes = run(*command)
        assert code == 0, notes
        assert "there before: 3" in notes
    assert len(server.bodies) == 3
    assert place.results()["images"] == str(weights)


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"--benchmark": "wyse"}, 2, "no benchmark is called 'wyse'. Did you mean 'wise'"),
        ({"--step": "paint"}, 2, "--step paint is no step"),
        ({"--source": "TMP/none"}, 2, "none cannot be read|no prompt file"),
        ({"--set": "reading=kind"}, 2, "reading=kind is no way"),
        ({"--set": "concurency=8"}, 3, "concurency"),
        ({"--set": "concurrency"}, 2, "concurrency: is not of the form"),
        ({"--out": "TMP/drawn"}, 3, "is not empty"),
        ({"--out": "TMP/out", "--step": "aggregate"}, 3, "holds no evaluation yet"),
        ({"--against": "TMP/drawn"}, 3, "no results.json of an evaluation"),
        ({"--benchmark": ""}, 2, "it is not clear what to measure"),
        ({"IMAGES": "TMP/drawn TMP/drawn"}, 2, "evaluates one set of images, and 2 were named"),
        ({"IMAGES": "TMP/empty"}, 2, "is empty: there is no image in it"),
        ({"--official": None}, 2, "holds no result files of 'wise-verified'"),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_said_before_anything_is_asked(
    changes: dict[str, str | None], code: int, told: str, visit: Visit, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    options: dict[str, object] = {"--benchmark": visit.name, "--source": visit.source, "--out": visit.out}
    images = str(changes.pop("IMAGES", visit.images)).replace("TMP", str(tmp_path)).split()
    options |= {key: value and value.replace("TMP", str(tmp_path)) for key, value in changes.items()}
    arguments = [part for key, value in options.items() for part in ((key,) if value is None else (key, value))]
    with judge_server(judging(visit.name)) as server:
        found, _, notes = run("evaluate", *images, *arguments, "--url", server.url)
    assert re.search(told, notes), notes
    assert found == code
    assert server.bodies == []


def test_benchmarks_are_listed() -> None:
    code, out, _ = run("list", "benchmarks", "--json")
    assert code == 0
    assert {"wise", "wise-verified"} <= {json.loads(line)["name"] for line in out.splitlines()}


def test_images_are_exported_under_the_names_that_the_official_code_reads(tmp_path: Path) -> None:
    visit = Visit(tmp_path, "wise")
    lossless = tmp_path / "webp"
    lossless.mkdir()
    for path in visit.images.iterdir():
        PILImage.open(path).save(lossless / f"{path.stem}.webp", lossless=True)
    command = ("evaluate", lossless, "--benchmark", "wise", "--source", visit.source, "--export", tmp_path / "named")
    for _ in range(2):  # what is there already stays
        code, _, told = run(*command)
        assert (code, told.splitlines()[-1]) == (0, f"12 images in {tmp_path / 'named'}")
    assert {path.name for path in (tmp_path / "named").iterdir()} == {f"{number}.png" for number in FEW}
    for number in FEW:
        ours, theirs = (PILImage.open(folder / f"{number}.png") for folder in (tmp_path / "named", visit.images))
        assert ours.tobytes() == theirs.tobytes()

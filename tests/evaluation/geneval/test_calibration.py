"""How scores move with the threshold, and agreement with official verdicts: by hand on a few images."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.geneval.material import RIGHT_ANSWERS, ROWS, geneval, seen, write_source

from pyrite.core.detections import Detected
from pyrite.core.errors import ImageSetError
from pyrite.evaluation.benchmarks.protocol import Judged, Work
from pyrite.evaluation.geneval.benchmark import GenEval
from pyrite.evaluation.geneval.calibration import calibration, calibration_page
from pyrite.evaluation.geneval.evidence import as_evidence
from pyrite.evaluation.geneval.official import judged_from, read_results
from pyrite.evaluation.geneval.rules import Rules

DOGS = [0.95, 0.55, 0.45, 0.25]
"""How sure the detector is of the dog in four images of "a photo of a dog"."""


@pytest.fixture
def benchmark(tmp_path: Path) -> GenEval:
    return geneval(write_source(tmp_path / "evaluation_metadata.jsonl"))


def judged(benchmark: GenEval, place: int, found: list[list[Detected] | str]) -> list[Judged]:
    case = benchmark.cases()[place]
    rows = []
    for n, objects in enumerate(found):
        work = Work(case, Path(f"drawn/{place:05d}/samples/{n:04d}.png"), n=n)
        evidence = [as_evidence(work, (12, 10), objects)]
        rows.append(Judged(work, benchmark.verdict(evidence), evidence))
    return rows


def official(path: Path, place: int, verdicts: list[bool]) -> Path:
    lines = [
        {
            "filename": f"imgs/{place:05d}/samples/{n:04d}.png",
            "tag": ROWS[place]["tag"],
            "prompt": ROWS[place]["prompt"],
            "correct": is_correct,
            "reason": "" if is_correct else "expected dog>=1, found 0",
        }
        for n, is_correct in enumerate(verdicts)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def score_at(found: dict[str, Any], tag: str) -> dict[float, float]:
    return {row["threshold"]: row["tasks"][tag]["score"] for row in found["thresholds"]}


def test_a_task_falls_as_the_threshold_passes_its_objects(benchmark: GenEval) -> None:
    found = calibration(judged(benchmark, 1, [[seen("dog", score)] for score in DOGS]), Rules(), min_score=0.15)
    assert score_at(found, "single_object") == {
        0.2: 1.0, 0.3: 0.75, 0.4: 0.75, 0.5: 0.5, 0.6: 0.25, 0.7: 0.25, 0.8: 0.25, 0.9: 0.25
    }  # fmt: skip
    assert [row["threshold"] for row in found["thresholds"] if row["tasks"]["single_object"]["is_used"]] == [0.3]


def test_counting_is_marked_at_its_own_threshold(benchmark: GenEval) -> None:
    found = calibration(judged(benchmark, 3, [RIGHT_ANSWERS[3]]), Rules(), min_score=0.05)
    assert [row["threshold"] for row in found["thresholds"] if row["tasks"]["counting"]["is_used"]] == [0.9]


def test_thresholds_below_what_was_kept_are_not_tried(benchmark: GenEval) -> None:
    found = calibration(judged(benchmark, 1, [[seen("dog")]]), Rules(), min_score=0.45)
    assert min(score_at(found, "single_object")) == 0.3, "the one the rules use is shown whatever was kept"
    assert 0.4 not in score_at(found, "single_object")


def test_images_without_a_verdict_are_in_no_row(benchmark: GenEval) -> None:
    found = calibration(judged(benchmark, 1, [[seen("dog")], "not a finite number"]), Rules(), min_score=0.05)
    assert found["num_images"] == 1
    assert {row["tasks"]["single_object"]["num"] for row in found["thresholds"]} == {1}


def test_agreement_with_official_results_is_cohens(benchmark: GenEval, tmp_path: Path) -> None:
    ours = judged(benchmark, 1, [[seen("dog", score)] for score in DOGS])  # right, right, right, wrong
    told = judged_from(official(tmp_path / "results.jsonl", 1, [True, True, False, False]), benchmark.cases())
    found = calibration(ours, Rules(), min_score=0.05, official=told)
    # 3 of 4 alike; by chance 3/4 * 2/4 + 1/4 * 2/4 = 1/2, so kappa = (3/4 - 1/2) / (1 - 1/2)
    assert found["agreement"]["single_object"] == {
        "num": 4, "same": 0.75, "kappa": pytest.approx(0.5), "only_ours": 1, "only_official": 0
    }  # fmt: skip
    by_threshold = {row["threshold"]: row["tasks"]["single_object"]["kappa"] for row in found["thresholds"]}
    assert by_threshold[0.5] == pytest.approx(1.0), "this detector agrees with the official one at 0.5"


def test_images_are_matched_by_the_number_in_their_name(benchmark: GenEval, tmp_path: Path) -> None:
    ours = judged(benchmark, 1, [[seen("dog", score)] for score in DOGS])
    path = official(tmp_path / "results.jsonl", 1, [False, True, True, False])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    found = calibration(ours, Rules(), min_score=0.05, official=judged_from(path, benchmark.cases()))
    assert found["agreement"]["all"]["num"] == 3
    assert found["agreement"]["all"]["same"] == 1.0


def test_kappa_is_not_defined_where_both_always_say_the_same(benchmark: GenEval, tmp_path: Path) -> None:
    ours = judged(benchmark, 1, [[seen("dog")]] * 3)
    told = judged_from(official(tmp_path / "results.jsonl", 1, [True] * 3), benchmark.cases())
    found = calibration(ours, Rules(), min_score=0.05, official=told)
    assert found["agreement"]["all"]["same"] == 1.0
    assert found["agreement"]["all"]["kappa"] is None


def test_the_page_shows_every_number_and_stars_the_published_threshold(benchmark: GenEval, tmp_path: Path) -> None:
    ours = judged(benchmark, 1, [[seen("dog", score)] for score in DOGS])
    told = judged_from(official(tmp_path / "results.jsonl", 1, [True, True, False, False]), benchmark.cases())
    page = calibration_page(calibration(ours, Rules(), min_score=0.15, official=told), "geneval-hf")
    assert "| 0.3 | 0.750* (0.50) |" in page
    assert "| single_object | 4 | 0.750 | 0.500 | 1 | 0 |" in page
    without = calibration_page(calibration(ours, Rules(), min_score=0.15), "geneval-hf")
    assert "| 0.3 | 0.750* |" in without
    assert "kappa" not in without


def test_the_files_of_a_run_hold_the_calibration(benchmark: GenEval, tmp_path: Path) -> None:
    ours = judged(benchmark, 1, [[seen("dog", score)] for score in DOGS])
    told = official(tmp_path / "results.jsonl", 1, [True, True, False, False])
    compared = geneval(benchmark.source[0], official=str(told))
    files = compared.official_files(benchmark.cases(), ours)
    assert sorted(files) == ["calibration.json", "calibration.md", "results.jsonl"]
    assert json.loads(files["calibration.json"])["agreement"]["all"]["num"] == 4
    assert json.loads(benchmark.official_files(benchmark.cases(), ours)["calibration.json"])["agreement"] is None


BAD_LINES = {
    "no JSON": ('{"filename": ', "line 1: Expecting value"),
    "a list": ("[1]", "line 1: it is list, not an object"),
    "no filename": ('{"prompt": "a photo of a dog", "correct": true}', "no text under 'filename'"),
    "a score": ('{"filename": "a.png", "prompt": "a photo of a dog", "correct": 0.5}', "'correct' is 0.5, not true"),
    "nothing": ("", "0 of its lines cannot be read"),
}


@pytest.mark.parametrize(("text", "why"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_file_that_is_no_official_result_is_refused(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(text)
    with pytest.raises(ImageSetError, match=r"(?s)is no results.jsonl of GenEval.*" + why):
        read_results(tmp_path / "results.jsonl")


def test_official_results_of_other_prompts_are_refused(benchmark: GenEval, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"filename": "a.png", "prompt": "a photo of a zebra", "correct": true}\n')
    with pytest.raises(ImageSetError, match="1 of its images are of prompts that the benchmark does not have"):
        judged_from(path, benchmark.cases())


def test_an_image_that_comes_twice_is_refused(benchmark: GenEval, tmp_path: Path) -> None:
    path = official(tmp_path / "results.jsonl", 1, [True])
    path.write_text(path.read_text() * 2)
    with pytest.raises(ImageSetError, match=r"two lines about imgs.00001.samples.0000.png"):
        judged_from(path, benchmark.cases())


def test_pandas_way_to_write_a_line_is_read(benchmark: GenEval, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(
        r'{"filename":"imgs\/00001\/samples\/00002.png","tag":"single_object","prompt":"a photo of a dog",'
        r'"correct":false,"reason":"expected dog>=1, found 0","metadata":"{}","details":"{}"}' + "\n"
    )
    (one,) = judged_from(path, benchmark.cases())
    assert one.work.path == Path("imgs/00001/samples/00002.png")
    assert (one.verdict.score, one.verdict.words) == (0.0, "expected dog>=1, found 0")

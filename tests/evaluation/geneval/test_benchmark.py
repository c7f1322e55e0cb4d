"""GenEval from a tree of images to its table and files: what is right, what is missing, what is read again."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from tests.evaluation.geneval.material import (
    LEFT,
    RIGHT,
    RIGHT_ANSWERS,
    ROWS,
    FakeDetector,
    geneval,
    seen,
    write_source,
    write_tree,
)
from tests.rewards.goldens import shared

from pyrite.core.detections import Detected
from pyrite.core.errors import ImageSetError, PromptFileError, RecipeError
from pyrite.evaluation.benchmarks.folder import OFFICIAL, RESULTS
from pyrite.evaluation.benchmarks.images import find_images
from pyrite.evaluation.benchmarks.results import write_results
from pyrite.evaluation.benchmarks.run import look, read_seen, seen_officially
from pyrite.evaluation.geneval.benchmark import GenEval
from pyrite.evaluation.geneval.prompts import NUM_PUBLISHED, PUBLISHED_DIGEST, read_cases, rows_digest
from pyrite.evaluation.geneval.rules import TAGS

WRONG = {
    (0, 1): [seen("dog")],
    (3, 0): [seen("dog")] * 3,
    (3, 1): [seen("dog")],
    (5, 1): [seen("bench", 0.9, RIGHT), seen("dog", 0.9, LEFT)],
    (6, 1): [seen("car", 0.9, color="blue"), seen("dog", 0.9, color="blue")],
}
"""Of the two images of seven prompts: half of single_object's first, all of counting, half of position, color_attr."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "evaluation_metadata.jsonl")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "drawn")


def evaluated(benchmark: GenEval, images: Path, out: Path, **how: Any) -> dict[str, Any]:
    cases = benchmark.cases()
    found = find_images(images, cases, per_prompt=benchmark.images_per_prompt)
    look(benchmark, found, out)
    return write_results(
        benchmark, read_seen(benchmark, cases, found, out), out, examiner=benchmark.identity, images="drawn", **how
    )


def official_rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / OFFICIAL / "results.jsonl").read_text().splitlines()]


def scores(results: dict[str, Any]) -> dict[str, float | None]:
    return {row["name"]: row["score"] for row in results["categories"]}


def test_the_table_is_the_share_of_each_task_and_their_mean(source: Path, tree: Path, tmp_path: Path) -> None:
    results = evaluated(geneval(source, FakeDetector(WRONG)), tree, tmp_path / "out")
    by_hand = dict(zip(TAGS, (3 / 4, 1.0, 0.0, 1.0, 1 / 2, 1 / 2), strict=True))
    assert scores(results) == by_hand
    assert results["overall"]["score"] == pytest.approx(sum(by_hand.values()) / 6, abs=1e-12)
    assert results["overall"]["values"] == {"correct_images": 9 / 14, "correct_prompts": 6 / 7}


def test_results_are_labelled_by_their_detector_and_say_that_they_are_not_the_papers(
    source: Path, tree: Path, tmp_path: Path
) -> None:
    results = evaluated(geneval(source), tree, tmp_path / "out")
    assert results["benchmark"] == "geneval-hf"
    assert results["examiner"]["label"] == "geneval-hf"
    assert "no GenEval score but geneval-hf: the detector is not the published one" in results["notes"]
    assert any("the prompts are not GenEval's 553" in note for note in results["notes"])


def test_the_official_file_has_a_line_per_image_with_the_reason(source: Path, tree: Path, tmp_path: Path) -> None:
    evaluated(geneval(source, FakeDetector(WRONG)), tree, tmp_path / "out")
    rows = official_rows(tmp_path / "out")
    assert len(rows) == 14
    assert list(rows[0]) == ["filename", "tag", "prompt", "correct", "reason", "metadata", "details"]
    wrong = rows[1]
    assert wrong["filename"] == str(tree / "00000" / "samples" / "0001.png")
    assert (wrong["correct"], wrong["reason"]) == (False, "expected bench>=1, found 0")
    assert json.loads(wrong["metadata"]) == ROWS[0]
    assert json.loads(wrong["details"]) == {"dog": [[*LEFT, 0.95]]}
    assert rows[13]["reason"] == "expected red car>=1, found 0 red; and 1 blue"


def test_details_are_the_boxes_that_counted(source: Path, tree: Path, tmp_path: Path) -> None:
    doubt = {(3, 0): [*RIGHT_ANSWERS[3], seen("dog", 0.85)]}
    evaluated(geneval(source, FakeDetector(doubt)), tree, tmp_path / "out")
    row = official_rows(tmp_path / "out")[6]
    assert row["correct"], "counting wants 0.9"
    assert len(json.loads(row["details"])["dog"]) == 2


def test_the_same_command_looks_at_nothing_again(source: Path, tree: Path, tmp_path: Path) -> None:
    first = evaluated(geneval(source, FakeDetector(WRONG)), tree, tmp_path / "out")
    again = FakeDetector(WRONG)
    assert evaluated(geneval(source, again), tree, tmp_path / "out") == first
    assert again.num_seen == 0


def test_a_killed_run_goes_on_where_it_was(source: Path, tree: Path, tmp_path: Path) -> None:
    whole = evaluated(geneval(source, FakeDetector(WRONG)), tree, tmp_path / "whole")
    lines = (tmp_path / "whole" / "evidence.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "evaluation.json").write_bytes((tmp_path / "whole" / "evaluation.json").read_bytes())
    (tmp_path / "cut" / "evidence.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:20])
    again = FakeDetector(WRONG)
    assert evaluated(geneval(source, again), tree, tmp_path / "cut") == whole
    assert again.num_seen == 9
    assert (tmp_path / "cut" / OFFICIAL / "results.jsonl").read_bytes() == (
        tmp_path / "whole" / OFFICIAL / "results.jsonl"
    ).read_bytes()


def test_other_thresholds_are_read_from_stored_detections(source: Path, tree: Path, tmp_path: Path) -> None:
    evaluated(geneval(source), tree, tmp_path / "out")
    silent = FakeDetector()
    strict = evaluated(geneval(source, silent, threshold=0.4), tree, tmp_path / "out")
    assert scores(strict)["single_object"] == 0.5, "the dog was seen with 0.35"
    assert strict["reading"]["threshold"] == 0.4
    assert silent.num_seen == 0


def test_a_missing_image_withholds_the_task_and_the_overall_score(source: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "00004" / "samples" / "0001.png").unlink()
    results = evaluated(geneval(source), tree, tmp_path / "out")
    assert scores(results)["colors"] is None
    assert scores(results)["counting"] == 1.0
    assert results["overall"]["score"] is None
    assert "1 of 14 images have no verdict (colors)" in results["overall"]["reason"]
    assert "1 prompts have fewer than 2 images, the first 00004 with 1" in results["notes"]


def test_a_prompt_without_images_is_named(source: Path, tree: Path, tmp_path: Path) -> None:
    for file in (tree / "00002" / "samples").iterdir():
        file.unlink()
    results = evaluated(geneval(source), tree, tmp_path / "out")
    assert [row["id"] for row in results["missing"]] == ["00002"]
    assert results["overall"]["score"] is None
    assert not results["is_complete"]


def test_an_unreadable_image_is_counted_and_never_wrong(source: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "00001" / "samples" / "0000.png").write_bytes(b"no image")
    results = evaluated(geneval(source), tree, tmp_path / "out")
    assert [row["id"] for row in results["missing"]] == ["00001"]
    assert scores(results)["single_object"] is None
    assert len(official_rows(tmp_path / "out")) == 13


def test_an_image_the_detector_cannot_see_has_no_verdict(source: Path, tree: Path, tmp_path: Path) -> None:
    blind = Detected("car", 0.9, LEFT, {}, "its box is narrower than a pixel")
    detector = FakeDetector({(0, 0): "the output is not a finite number", (4, 1): [blind]})
    results = evaluated(geneval(source, detector), tree, tmp_path / "out")
    assert {row["id"]: row["reason"] for row in results["missing"]} == {
        "00000": "the output is not a finite number",
        "00004": "the colour of a car is not known: its box is narrower than a pixel",
    }
    assert results["overall"]["score"] is None


def test_a_class_the_detector_does_not_know_leaves_its_prompts_without_a_score(
    source: Path, tree: Path, tmp_path: Path
) -> None:
    detector = FakeDetector(unknown=frozenset({"bench"}))
    results = evaluated(geneval(source, detector), tree, tmp_path / "out")
    assert {row["id"]: row["reason"] for row in results["missing"]} == dict.fromkeys(
        ("00000", "00002", "00005"), "'bench' is none of the classes of its detector"
    )
    assert scores(results)["colors"] == 1.0
    assert detector.num_seen == 8


def test_copies_of_an_image_are_counted_and_said(source: Path, tree: Path, tmp_path: Path) -> None:
    folder = tree / "00001" / "samples"
    (folder / "0001.png").write_bytes((folder / "0000.png").read_bytes())
    results = evaluated(geneval(source), tree, tmp_path / "out")
    (note,) = [note for note in results["notes"] if "copies" in note]
    assert note.startswith(f"1 images are copies of others to the byte, such as {folder / '0000.png'}")


def test_a_folder_level_too_many_is_refused(tree: Path, source: Path, tmp_path: Path) -> None:
    outer = tmp_path / "models"
    outer.mkdir()
    tree.rename(outer / "sdxl")
    with pytest.raises(ImageSetError, match=r"models is no tree of GenEval's, but .*sdxl in it is one"):
        evaluated(geneval(source), outer, tmp_path / "out")


def test_metadata_that_ask_something_else_are_refused_before_anything_is_looked_at(
    tree: Path, source: Path, tmp_path: Path
) -> None:
    other = {**ROWS[3], "include": [{"class": "dog", "count": 4}], "exclude": []}
    (tree / "00003" / "metadata.jsonl").write_text(json.dumps(other))
    detector = FakeDetector()
    with pytest.raises(ImageSetError, match=r"(?s)1 folders do not match .*00003.metadata.jsonl asks something else"):
        evaluated(geneval(source, detector), tree, tmp_path / "out")
    assert detector.num_seen == 0


def test_a_tree_of_other_prompts_is_refused(source: Path, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "other", rows=ROWS[::-1])
    with pytest.raises(ImageSetError, match="drawn for other prompts"):
        evaluated(geneval(source), tree, tmp_path / "out")


def test_images_held_sideways_are_seen_upright(source: Path, tree: Path, tmp_path: Path) -> None:
    file = tree / "00000" / "samples" / "0000.png"
    exif = PILImage.Exif()
    exif[0x0112] = 6
    PILImage.new("RGB", (12, 10), (0, 0, 0)).save(file, exif=exif)
    evaluated(geneval(source), tree, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "evidence.jsonl").read_text().splitlines()]
    assert lines[0]["size"] == [10, 12]
    assert lines[1]["size"] == [12, 10]


def test_some_tasks_make_no_overall_score(tree: Path, tmp_path: Path) -> None:
    source = write_source(tmp_path / "some.jsonl", ROWS[:3])
    results = evaluated(geneval(source), tree, tmp_path / "out")
    assert results["overall"]["score"] is None
    assert "no prompt is of the task counting, colors, position, color_attr" in results["overall"]["reason"]


def test_more_images_than_were_asked_for_are_not_chosen_from_in_silence(
    source: Path, tree: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageSetError, match="7 prompts have more images than the 1"):
        evaluated(geneval(source, samples=1), tree, tmp_path / "out")


def test_fewer_images_than_were_asked_for_make_no_score(source: Path, tree: Path, tmp_path: Path) -> None:
    results = evaluated(geneval(source, samples=4), tree, tmp_path / "out")
    assert "14 of 28 images have no verdict" in results["overall"]["reason"]


def test_official_results_come_in_and_are_not_called_ours(source: Path, tree: Path, tmp_path: Path) -> None:
    benchmark = geneval(source, FakeDetector(WRONG))
    ours = evaluated(benchmark, tree, tmp_path / "out")
    imported = benchmark.from_official(tmp_path / "out" / OFFICIAL / "results.jsonl", benchmark.cases())
    assert imported is not None
    results = write_results(
        benchmark,
        seen_officially(benchmark.cases(), imported),
        tmp_path / "imported",
        examiner={"weights": "unknown"},
        images="results.jsonl",
    )
    assert results["benchmark"] == "geneval-imported"
    assert scores(results) == scores(ours)
    assert results["overall"]["score"] == ours["overall"]["score"]
    assert official_rows(tmp_path / "imported") == [{**row, "details": "{}"} for row in official_rows(tmp_path / "out")]
    assert json.loads((tmp_path / "imported" / RESULTS).read_text())["overall"]["num_judged"] == 14


BAD_SOURCES = {
    "a bad line": ([*ROWS, {**ROWS[0], "tag": "shape", "prompt": "x"}], "1 lines are not GenEval's metadata.*00007"),
    "a prompt twice": ([*ROWS, ROWS[0]], "00007: 'a photo of a bench' is the prompt 00000 already"),
}


@pytest.mark.parametrize(("rows", "why"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_prompts_that_are_not_genevals_are_refused(rows: list[dict[str, Any]], why: str, tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match=r"(?s)" + why):
        read_cases([write_source(tmp_path / "bad.jsonl", rows)])


@pytest.mark.parametrize("num", [0, 2], ids=["none", "two"])
def test_one_source_is_asked_for(num: int, source: Path) -> None:
    with pytest.raises(PromptFileError, match=f"{num} were given. git clone"):
        read_cases([source] * num)


def test_a_folder_without_prompts_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match=r"holds no evaluation_metadata.jsonl, nor does .*prompts"):
        read_cases([tmp_path])


def test_a_copy_of_the_repository_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    write_source(tmp_path / "prompts" / "evaluation_metadata.jsonl")
    assert [case.prompt.id for case in read_cases([tmp_path])] == [f"{place:05d}" for place in range(7)]


BAD_OPTIONS = {
    "detector": ({"detector": "yolo"}, "detector=yolo is none .* mask2former or gdino"),
    "samples": ({"samples": 0}, "samples=0 is no number of images"),
    "threshold": ({"threshold": 3.0}, "threshold = 3.0 is no share"),
    "text": ({"threshold": "high"}, "cannot be read with these numbers"),
}


@pytest.mark.parametrize(("options", "why"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_options_that_are_none_are_refused(options: dict[str, Any], why: str, source: Path) -> None:
    with pytest.raises(RecipeError, match=why):
        geneval(source, **options)


def test_gdino_has_numbers_of_its_own_that_a_user_may_change(source: Path) -> None:
    assert geneval(source).reading["counting_threshold"] == 0.9
    assert geneval(source, detector="gdino").reading["counting_threshold"] == 0.3
    assert geneval(source, detector="gdino", counting_threshold=0.5).reading["counting_threshold"] == 0.5


def test_other_prompts_are_another_identity(tmp_path: Path) -> None:
    first, second = (write_source(tmp_path / f"{num}.jsonl", ROWS[:num]) for num in (6, 7))
    assert geneval(first).identity != geneval(second).identity


def test_the_published_prompts_are_known_by_their_digest() -> None:
    cases = read_cases([shared("benchmarks/geneval/evaluation_metadata.jsonl")])
    assert len(cases) == NUM_PUBLISHED
    assert rows_digest(cases) == PUBLISHED_DIGEST
    assert {tag: sum(case.category == tag for case in cases) for tag in TAGS} == dict(
        zip(TAGS, (80, 99, 80, 94, 100, 100), strict=True)
    )

"""WISE's arithmetic by hand, its files, and every kind of reply."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.wise_set import PROTOCOLS, known_marks, prompt_of, three_marks, write_source
from tests.rewards.goldens import shared

from pyrite.cli.evaluate_tools import load_benchmark
from pyrite.core.errors import ImageSetError, PromptFileError, RecipeError
from pyrite.core.types import Prompt
from pyrite.evaluation.benchmarks.protocol import Case, Judged, Verdict, Work
from pyrite.evaluation.benchmarks.wise import Wise
from pyrite.evaluation.benchmarks.wise_files import prompts_digest, read_cases
from pyrite.evaluation.benchmarks.wise_question import read_question

NAMES = ("wise", "wise-verified")


def wise(name: str, source: Path, **options: Any) -> Wise:
    made = load_benchmark(name, [source], options)
    assert isinstance(made, Wise)
    return made


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def source(name: str) -> Path:
        if name not in made:
            made[name] = write_source(tmp_path_factory.mktemp(name), name)
        return made[name]

    return source


def judged(name: str, number: int, verdict: Verdict) -> Judged:
    category = PROTOCOLS[name].category_of(number)
    assert category is not None
    return Judged(Work(Case(Prompt(prompt_of(number), id=str(number)), category.name), Path(f"{number}.png")), verdict)


def marks(consistency: float) -> dict[str, float]:
    return {"consistency": 2 - consistency, "realism": 1.0, "aesthetic_quality": 1 + consistency}


@pytest.mark.parametrize(
    ("given", "score"),
    [((2, 2, 2), 1.0), ((2, 1, 0), 0.8), ((0, 2, 2), 0.3), ((1, 0, 0), 0.35), ((0, 0, 1), 0.05), ((0, 0, 0), 0.0)],
    ids=str,
)
def test_wiscore_of_an_image_is_the_published_sum(
    given: tuple[int, int, int], score: float, sources: Callable[[str], Path]
) -> None:
    verdict = wise("wise", sources("wise")).verdict([{"text": three_marks(*given)}])
    assert verdict.score == pytest.approx(score)
    assert verdict.values == dict(zip(("consistency", "realism", "aesthetic_quality"), map(float, given), strict=True))


def test_wiscore_of_a_whole_set_by_hand(sources: Callable[[str], Path]) -> None:
    """Marks: consistency id mod 3, realism 2 up to id 500 and else 0, aesthetic quality 1.

    Culture: 1, 2, 0 repeated over 400 ids sums to 400, so consistency 1: (.7 + .2 · 2 + .1) / 2 = .6.
    Time, 401-567: begins with 2, 0, 1; 55 rounds of 3 and 2, 0 make 167: 1. Realism is 2 for 100 of 167:
    (.7 + .2 · 200/167 + .1) / 2 = .4 + 20/167. Space, 568-700: 1, 2, 0 times 44 and a 1 make 133: (.7 + .1) / 2 = .4.
    Biology, 701-800: 33 rounds of 2, 0, 1 and a 2: 101/100. Physics: 0, 1, 2 and a 0: 99/100. Chemistry: 100/100.
    Overall: .4 · .6 + .167 (.4 + 20/167) + .133 · .4 + .1 (.4035 + .3965 + .4) = .5.
    """
    member = wise("wise", sources("wise"))
    cases = member.cases()
    items = [judged("wise", n, member.verdict([{"text": three_marks(*known_marks(n))}])) for n in range(1, 1001)]
    result = member.result(cases, items)
    expected = [0.6, 0.4 + 20 / 167, 0.4, 0.4035, 0.3965, 0.4]
    assert [row.score.estimate for row in result.categories] == pytest.approx(expected, abs=1e-12)
    assert result.overall.score.estimate == pytest.approx(0.5, abs=1e-12)
    assert result.overall.score.low < 0.5 < result.overall.score.high
    assert result.categories[1].values["realism"] == pytest.approx(200 / 167)


def test_one_missing_image_takes_its_category_and_the_overall_score_away(sources: Callable[[str], Path]) -> None:
    member = wise("wise-verified", sources("wise-verified"))
    items = [judged("wise-verified", n, Verdict(float(n % 2))) for n in range(1, 1001) if n != 530]
    items.append(judged("wise-verified", 530, Verdict(math.nan, "no answer")))
    result = member.result(member.cases(), items)
    space = result.categories[2]
    assert (space.num_judged, space.num_expected) == (119, 120)
    assert math.isnan(space.score.estimate)
    assert space.mean_of_judged == pytest.approx(60 / 119)
    assert "1 of 1000 images have no score (Space)" in result.overall.score.reason
    assert math.isnan(result.overall.score.estimate)
    others = [row.score.estimate for row in result.categories if row.name != "Space"]
    assert others == [0.5] * 5


def test_prompts_of_one_file_give_their_category_and_no_overall_score(tmp_path: Path) -> None:
    member = wise("wise", write_source(tmp_path, "wise", range(701, 901)))
    items = [judged("wise", n, member.of_marks(marks(n % 2), "")) for n in range(701, 901)]
    result = member.result(member.cases(), items)
    scores = {row.name: row.score for row in result.categories}
    assert scores["Biology"].estimate == scores["Physics"].estimate == pytest.approx(0.7)
    assert "its prompts were not given" in scores["Time"].reason
    assert math.isnan(result.overall.score.estimate)


def test_a_share_of_all_or_nothing_still_has_an_interval(sources: Callable[[str], Path]) -> None:
    """Wilson's, n = 400: up to z² / (n + z²); a bootstrap would have none."""
    member = wise("wise-verified", sources("wise-verified"))
    result = member.result(member.cases(), [judged("wise-verified", n, Verdict(0.0)) for n in range(1, 1001)])
    culture = result.categories[0].score
    assert culture.estimate == 0
    assert culture.high > 0.008


READ: dict[str, tuple[str, str, dict[str, Any], float, str]] = {
    "a mark of 3": ("wise", three_marks(3, 1, 1), {}, math.nan, "consistency score of 3, and it was asked for"),
    "two of two": ("wise", three_marks("2/2", 1, 1), {}, math.nan, "without a plain number"),
    "two of two, as published": ("wise", three_marks("2/2", 1, 1), {"reading": "reference"}, 0.85, ""),
    "a missing axis": ("wise", "Consistency: 2\nRealism: 1", {}, math.nan, "no aesthetic quality score"),
    "bare lines": ("wise", "2\n1\n0\n", {}, 0.8, ""),
    "bold": ("wise", "**Consistency**: 2\n**Realism**: 1\n**Aesthetic Quality**: 0", {}, 0.8, ""),
    "nothing": ("wise", "", {}, math.nan, "empty"),
    "a verdict": ("wise-verified", "Score: 1", {}, 1.0, ""),
    "a verdict of 3": ("wise-verified", "Score: 3", {}, math.nan, "score of 3, and it was asked for one of 0, 1"),
    "two verdicts": ("wise-verified", "Score: 0\nScore: 1", {}, math.nan, "more than one score"),
    "two, as published": ("wise-verified", "Score: 0\nScore: 1", {"reading": "reference"}, 0.0, ""),
    "after thoughts": ("wise-verified", "<think>Score: 0? No.</think>\n\nScore: 1", {}, 1.0, ""),
    "thoughts, as published": (
        "wise-verified", "<think>Score: 0?</think>\nScore: 1", {"reading": "reference"}, 1.0, "",
    ),
    "played thoughts": ("wise-verified", "Score: 0</think></think>Score: 1", {}, math.nan, "without a plain number"),
}  # fmt: skip


@pytest.mark.parametrize("case", READ, ids=str)
def test_a_reply_is_a_score_or_a_reason(case: str, sources: Callable[[str], Path]) -> None:
    name, text, options, score, told = READ[case]
    verdict = wise(name, sources(name), **options).verdict([{"text": text}])
    assert verdict.score == pytest.approx(score, nan_ok=True)
    assert told in verdict.reason
    assert verdict.words == text


def test_a_reply_that_was_cut_off_or_refused_says_nothing(sources: Callable[[str], Path]) -> None:
    member = wise("wise-verified", sources("wise-verified"))
    assert "cut off" in member.verdict([{"text": "Score: 1", "is_whole": False}]).reason
    assert "refused to answer: 'not this one'" in member.verdict([{"refusal": "not this one"}]).reason


def test_the_first_reply_that_can_be_read_counts_and_no_more_are_wanted(sources: Callable[[str], Path]) -> None:
    member = wise("wise-verified", sources("wise-verified"))
    silent: dict[str, Any] = {"text": "I like it."}
    assert member.wants([])
    assert member.wants([silent, {"failed": "the network"}])
    assert member.verdict([silent, {"text": "Score: 1"}]).score == 1
    assert not member.wants([silent, {"text": "Score: 1"}])
    assert not member.wants([silent] * 3)
    assert "(in each of 3 replies)" in member.verdict([silent] * 3).reason
    assert wise("wise-verified", sources("wise-verified"), attempts=4).wants([silent] * 3)
    assert not member.wants([{"unreadable": "the image cannot be read"}])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"reading": "kind"}, "reading=kind is no way"),
        ({"attempts": 0}, "attempts=0 is no number"),
        ({"attempts": True}, "attempts=True is no number"),
    ],
    ids=["reading", "none", "no number"],
)
def test_an_option_without_such_a_value_is_refused(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=told):
        wise("wise", tmp_path, **options)


@pytest.mark.parametrize("name", NAMES)
def test_the_question_is_read_out_of_the_published_form_without_running_it(name: str, tmp_path: Path) -> None:
    source = write_source(tmp_path, name, range(1, 3))
    asked = read_question(source / PROTOCOLS[name].question_file)
    assert asked.system == "You look at pictures."
    assert asked.about("a {explanation} b", "{prompt}") == (
        'How well does it fit?\nPROMPT: "a {explanation} b"\nEXPLANATION: "{prompt}"\nSay it.'
    )


def test_a_question_of_ones_own_is_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("Does it show {prompt}, that is {explanation}?")
    asked = read_question(tmp_path / "own.txt")
    assert (asked.system, asked.about("a", "b")) == ("", "Does it show a, that is b?")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("q.txt", "Is it good?", "holds no question about a prompt and its explanation"),
        ("q.txt", "{explanation} {prompt}", "holds no question about a prompt and its explanation"),
        ("q.py", "def broken(:", "is no Python file that can be read"),
        ("q.py", "x = {'role': 'system', 'content': []}", 'no dictionary with "role": "user"'),
    ],
    ids=["no places", "turned round", "no Python", "no question"],
)
def test_what_is_no_question_is_refused(file: str, text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(PromptFileError, match=told):
        read_question(tmp_path / file)


def test_without_its_question_a_member_says_where_to_get_it(tmp_path: Path) -> None:
    source = write_source(tmp_path, "wise", range(1, 3))
    (source / "gpt_eval.py").unlink()
    with pytest.raises(PromptFileError, match=r"no licence(.|\n)*--set question=WISE/gpt_eval.py"):
        _ = wise("wise", source).asked
    with pytest.raises(PromptFileError, match="cannot be read"):
        _ = wise("wise", source, question=str(tmp_path / "none.py")).asked


@pytest.mark.parametrize("as_lines", [False, True], ids=["a list", "JSON lines"])
def test_prompts_come_in_the_order_of_their_ids(as_lines: bool, tmp_path: Path) -> None:
    source = write_source(tmp_path, "wise", (900, 2, 401, 1), as_lines=as_lines)
    cases = read_cases(PROTOCOLS["wise"], [source])
    assert [case.prompt.id for case in cases] == ["1", "2", "401", "900"]
    assert [case.category for case in cases] == ["Cultural", "Cultural", "Time", "Physics"]
    assert cases[0].prompt.explanation == "It means 1."


def test_the_prompts_of_the_other_protocol_are_refused_by_their_categories(tmp_path: Path) -> None:
    source = write_source(tmp_path, "wise-verified", (530, 531))
    files = list(source.glob("*_verified.json"))
    with pytest.raises(PromptFileError, match=r"530 is of the category 'space'(.|\n)*--benchmark wise-verified"):
        read_cases(PROTOCOLS["wise"], files)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt_id": 1001}, "'1001' is none of 1 to 1000"),
        ({"prompt_id": "x"}, "'x' is none of 1 to 1000"),
        ({"prompt_id": 1}, "the id 1 stands in"),
    ],
    ids=["beyond", "no number", "twice"],
)
def test_an_id_that_is_none_is_refused(row: dict[str, Any], told: str, tmp_path: Path) -> None:
    source = write_source(tmp_path, "wise", (1, 401))
    path = source / "natural_science.json"
    path.write_text(json.dumps([{"Prompt": "a", "Explanation": "b", **row}]))
    with pytest.raises(PromptFileError, match=told):
        read_cases(PROTOCOLS["wise"], [source])


@pytest.mark.parametrize("source", [[], ["empty"]], ids=["nothing named", "an empty folder"])
def test_without_prompts_a_member_says_where_to_get_them(source: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PromptFileError, match=r"git clone https://github.com/PKU-YuanGroup/WISE"):
        read_cases(PROTOCOLS["wise"], [tmp_path / name for name in source])


@pytest.mark.parametrize(("name", "folder"), [("wise", "wise_legacy"), ("wise-verified", "wise_verified")])
def test_the_published_prompts_are_known_as_such(name: str, folder: str) -> None:
    protocol = PROTOCOLS[name]
    cases = read_cases(protocol, [shared(f"benchmarks/{folder}")])
    assert len(cases) == 1000
    for category in protocol.categories:
        assert prompts_digest(case for case in cases if case.category == category.name) == category.digest, category


def test_the_merged_file_holds_the_same_prompts() -> None:
    merged = read_cases(PROTOCOLS["wise-verified"], [shared("benchmarks/wise_verified/merge.json")])
    assert merged == read_cases(PROTOCOLS["wise-verified"], [shared("benchmarks/wise_verified")])


@pytest.mark.parametrize("name", NAMES)
def test_official_files_are_written_and_read_back(name: str, sources: Callable[[str], Path], tmp_path: Path) -> None:
    member = wise(name, sources(name))
    cases = [case for case in member.cases() if int(case.prompt.id) % 100 == 1]
    reply = three_marks(2, 1, 0) if name == "wise" else "Score: 1"
    items = [Judged(Work(case, Path(f"{case.prompt.id}.png")), member.verdict([{"text": reply}])) for case in cases]
    unscored = Judged(items[0].work, Verdict(np.nan, "no answer"))
    files = member.official_files(cases, [unscored, *items[1:]])
    assert sorted(files) == sorted(
        f"{part}_{kind}" for part in ("cultural_common_sense", "natural_science", "spatio-temporal_reasoning")
        for kind in ("full_results.json", "scores_results.jsonl")
    )  # fmt: skip
    row = json.loads(files["natural_science_scores_results.jsonl"].splitlines()[-1])
    marks = {"consistency": 2.0, "realism": 1.0, "aesthetic_quality": 0.0} if name == "wise" else {"score": 1.0}
    assert row == {"prompt_id": 901, "Subcategory": "Walks", **marks}
    (tmp_path / "out").mkdir()
    for file, text in files.items():
        (tmp_path / "out" / file).write_text(text)
    found = member.from_official(tmp_path / "out", cases)
    assert found is not None
    assert [(one.work.case, one.verdict) for one in found] == [(one.work.case, one.verdict) for one in items[1:]]
    assert member.from_official(tmp_path, cases) is not None
    assert member.from_official(sources(name), cases) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"prompt_id": 1, "consistency": 3, "realism": 1, "aesthetic_quality": 1}', "consistency is 3"),
        ('{"prompt_id": 1, "consistency": "2/2", "realism": 1, "aesthetic_quality": 1}', "consistency is '2/2'"),
        ('{"prompt_id": 1, "score": 1}', "It may be a file of 'wise-verified'"),
        ('{"prompt_id": "one"}', "prompt_id is 'one'"),
        ("{", "cannot be read as JSON"),
        ("[1]", "something else than objects"),
    ],
    ids=["3", "2/2", "the other protocol", "no id", "damaged", "no objects"],
)
def test_a_damaged_official_file_is_refused(
    text: str, told: str, sources: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "natural_science_scores_results.jsonl").write_text(text)
    member = wise("wise", sources("wise"))
    with pytest.raises(ImageSetError, match=told):
        member.from_official(tmp_path, member.cases())


def test_an_official_id_that_comes_twice_is_refused(sources: Callable[[str], Path], tmp_path: Path) -> None:
    row = '{"prompt_id": 1, "score": 1}\n'
    (tmp_path / "a_scores_results.jsonl").write_text(row)
    (tmp_path / "b_results.jsonl").write_text(row)
    member = wise("wise-verified", sources("wise-verified"))
    with pytest.raises(ImageSetError, match="both cannot count"):
        member.from_official(tmp_path, member.cases())

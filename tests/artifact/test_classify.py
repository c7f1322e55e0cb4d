"""Measuring a judge: every number agrees with the labels, holes are counted, nothing is fitted on what is measured."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.artifact.judge_sets import first_pixel, knowing, write_set
from tests.judge_server import Body, JudgeServer, judge_server, parts_of

from pyrite.artifact.classified_files import Request, refuse_other_results, write_results
from pyrite.artifact.classify import classify, part_of
from pyrite.artifact.conditions import JPEG_QUALITIES, REWORDINGS, SIZES, VARIED, conditions
from pyrite.artifact.data import CuratedSet, Split, load_curated, split_examples
from pyrite.artifact.judges import DEFAULT_QUESTION, RewardJudge, reward_judge, served_judge
from pyrite.artifact.measures import Labelled, differences, measured
from pyrite.core.errors import RecipeError, RewardError, RunFolderError
from pyrite.rewards.artifact import load_artifact

QUESTION = "Is it broken? YES or NO."
SHARES = (0.5, 0.2, 0.3)


def judge_at(server: JudgeServer, **settings: Any) -> RewardJudge:
    return served_judge(**{"base_url": server.url, "audit": "", "retries": 0, "backoff_s": 0.0, **settings})


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> CuratedSet:
    return load_curated(write_set(tmp_path_factory.mktemp("set"), pairs=100))


@pytest.fixture(scope="module")
def split(curated: CuratedSet) -> Split:
    return split_examples(curated.examples, shares=SHARES)


def test_the_numbers_are_those_of_the_answers(split: Split) -> None:
    with judge_server(knowing(right=0.7)) as server:
        found = classify(judge_at(server), QUESTION, split)
    labels = np.array([example.has_artifact for example in split.test])
    verdicts = found.answers.prob >= 0.5
    assert found.examples == split.test
    assert found.metrics["accuracy"].estimate == pytest.approx((verdicts == labels).mean())
    assert found.confusion.true_positive == (verdicts & labels).sum()
    assert found.metrics["accuracy"].low < found.metrics["accuracy"].estimate < found.metrics["accuracy"].high
    assert found.counts == (labels.sum(), (~labels).sum(), 0)
    assert found.spent.calls == len(split.test) + len(split.validation)
    by_kind = {kind.kind: kind for kind in found.kinds}
    assert set(by_kind) == {"", "smear", "seam"}
    assert sum(sum(kind.counts[:2]) for kind in found.kinds) == len(split.test)
    assert math.isnan(by_kind[""].auc)
    assert not math.isnan(by_kind["seam"].auc)


def test_the_temperature_is_fitted_on_validation_and_cools_a_judge_that_is_too_sure(split: Split) -> None:
    with judge_server(knowing(right=0.7)) as server:
        found = classify(judge_at(server), QUESTION, split)
    calibration = found.calibration
    assert sum(calibration.fitted_on) == len(split.validation)
    assert calibration.temperature.value > 1.5
    assert calibration.change["log_loss"].high < 0
    assert calibration.change["expected_calibration_error"].estimate < 0
    assert ((calibration.prob >= 0.5) == (found.answers.prob >= 0.5)).all()


@pytest.mark.parametrize("part", ["validation", "all"])
def test_nothing_is_fitted_on_what_is_measured(split: Split, part: str) -> None:
    with judge_server(knowing()) as server:
        found = classify(judge_at(server), QUESTION, split, part=part)
    assert found.examples == part_of(split, part)
    assert found.spent.calls == len(found.examples)
    assert math.isnan(found.calibration.temperature.value)
    assert "holds the validation images" in found.calibration.temperature.reason
    assert np.isnan(found.calibration.prob).all()


def test_a_judge_that_fails_on_a_fifth_is_measured_on_the_rest_and_the_fifth_is_counted(split: Split) -> None:
    def answer(body: Body) -> Any:
        return {"choices": []} if first_pixel(body)[1] % 5 == 0 else knowing()(body)

    with judge_server(answer) as server:
        found = classify(judge_at(server), QUESTION, split)
    num = len(split.test)
    failed = [row for row, example in enumerate(split.test) if int(example.pair_id) % 5 == 0]
    assert sorted(found.answers.reasons) == failed != []
    assert found.counts.unscored == len(failed)
    assert found.counts.positive + found.counts.negative == num - found.counts.unscored
    assert sum(found.confusion) == num - found.counts.unscored
    (why, times, first), *_ = found.unscored
    assert "no chat completion" in why
    assert times <= found.counts.unscored
    assert first in {example.id for example in split.test}


def test_a_judge_that_never_answers_is_an_error_that_says_why(split: Split) -> None:
    few = Split(split.train[:4], split.validation[:4], split.test[:4])
    with judge_server(lambda body: {"choices": []}) as server, pytest.raises(RewardError) as told:
        classify(judge_at(server), QUESTION, few)
    assert "none of 4 images got an answer" in str(told.value)
    assert "no chat completion" in str(told.value)
    assert "give the same command again" in str(told.value)


def test_an_empty_part_is_an_error_that_says_what_to_do(split: Split) -> None:
    with pytest.raises(RewardError, match="the part 'test' of the split is empty"):
        classify(reward_judge(load_artifact()), QUESTION, Split(split.train, split.validation, ()))


def test_too_small_a_part_has_numbers_and_no_intervals(split: Split) -> None:
    few = Split((), (), split.test[:12])
    with judge_server(knowing()) as server:
        found = classify(judge_at(server), QUESTION, few)
    for value in found.metrics.values():
        assert math.isnan(value.low)
        assert "too few" in value.reason


def test_an_image_that_went_away_is_counted(split: Split, tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", pairs=30)
    examples = load_curated(path).examples
    examples[0].image.unlink()
    with judge_server(knowing()) as server:
        found = classify(judge_at(server), QUESTION, Split((), (), examples))
    assert found.answers.reasons == {0: "there is no such file"}
    assert found.counts.unscored == 1


def test_every_condition_is_asked_as_it_says(split: Split) -> None:
    asked = conditions(QUESTION, VARIED, ["Broken, yes or no?"])
    with judge_server(knowing(of_question=lambda text: 0.7 if text == "Broken, yes or no?" else 1.0)) as server:
        found = classify(judge_at(server), QUESTION, split, varied=asked)
        texts = [parts_of(body)[0] for body in server.bodies]
        after = [body for body in server.bodies if body["messages"][0]["content"][0]["type"] == "image_url"]
    num = len(split.test)
    names = ["reworded-1", "text-after", *(f"size-{by:g}" for by in SIZES), *(f"jpeg-{q}" for q in JPEG_QUALITIES)]
    assert [varied.condition.name for varied in found.varied] == names
    assert texts.count("Broken, yes or no?") == len(after) == num
    assert len(texts) == num * (1 + len(names)) + len(split.validation)
    worded = found.varied[0]
    assert worded.turned > 0
    assert worded.both == num
    assert worded.change["roc_auc"].high < 0
    moved = found.varied[1]
    assert moved.turned == 0
    assert moved.change["roc_auc"].estimate == 0


def test_a_classifier_is_not_asked_in_other_words(split: Split) -> None:
    judge = reward_judge(load_artifact())
    varied = conditions(QUESTION, ("question", "position", "jpeg"))
    found = classify(judge, QUESTION, Split((), (), split.test[:8]), varied=varied)
    skipped = {varied.condition.name: varied.skipped for varied in found.varied if varied.skipped}
    assert all("reads no question" in why for why in skipped.values())
    assert set(skipped) == {"reworded-1", "reworded-2", "text-after"}
    assert sum(varied.answers is not None for varied in found.varied) == len(JPEG_QUALITIES)


def test_conditions_change_what_they_say() -> None:
    image = PILImage.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8), "RGBA")
    by_name = {one.name: one for one in conditions(DEFAULT_QUESTION, VARIED)}
    changed = {name: one.change(image) for name, one in by_name.items() if one.change is not None}
    assert changed["size-0.5"].size == (15, 10)
    assert changed["size-2"].size == (60, 40)
    assert changed["jpeg-30"].mode == "RGB"
    worse, better = (
        np.abs(np.asarray(changed[name], int) - np.asarray(image.convert("RGB"), int)).mean()
        for name in ("jpeg-30", "jpeg-75")
    )
    assert worse > better > 0
    assert [by_name[f"reworded-{n}"].question for n in (1, 2)] == list(REWORDINGS)
    assert by_name["text-after"].position == "after"


def test_an_unknown_condition_is_refused() -> None:
    with pytest.raises(RecipeError, match="nothing called colour to vary"):
        conditions(QUESTION, ["colour", "size"])


def test_one_class_is_nan_with_a_reason_and_never_zero() -> None:
    groups = np.array([str(number) for number in range(40)])
    found = measured(Labelled(np.ones(40, bool), np.linspace(0.1, 0.9, 40), groups))
    for name in ("balanced_accuracy", "f1", "roc_auc"):
        assert math.isnan(found[name].estimate)
        assert "all 40 answered images have one label (none is negative)" in found[name].reason
    assert found["accuracy"].estimate == 0.5


def test_a_perfect_judge_has_wilsons_interval_and_no_made_up_certainty() -> None:
    labels = np.arange(60) % 2 == 0
    found = measured(Labelled(labels, np.where(labels, 0.9, 0.1), np.arange(60).astype(str)))
    assert found["accuracy"].estimate == 1
    assert 0.9 < found["accuracy"].low < 1
    assert math.isnan(found["roc_auc"].low)
    assert "every resample gives the same" in found["roc_auc"].reason


def test_pairs_are_drawn_whole() -> None:
    """Eight images of every picture that stand or fall together are not eight times the evidence."""
    draw = np.random.default_rng(0)
    labels, right = np.arange(480) % 2 == 0, np.repeat(draw.random(60) < 0.7, 8)
    prob = np.where(right == labels, 0.9, 0.1)
    whole = measured(Labelled(labels, prob, np.repeat(np.arange(60), 8).astype(str)))["accuracy"]
    torn = measured(Labelled(labels, prob, np.arange(480).astype(str)))["accuracy"]
    assert whole.high - whole.low > 2 * (torn.high - torn.low)


def test_a_difference_is_on_the_images_answered_in_both() -> None:
    labels = np.arange(60) % 2 == 0
    groups = np.arange(60).astype(str)
    good, bad = np.where(labels, 0.9, 0.1), np.full(60, np.nan)
    bad[:30] = np.where(labels, 0.9, 0.1)[:30]
    found = differences(Labelled(labels, good, groups), Labelled(labels, bad, groups), ["roc_auc"])
    assert found["roc_auc"].estimate == 0


def test_the_files_hold_every_number_and_no_bare_nan(split: Split, curated: CuratedSet, tmp_path: Path) -> None:
    with judge_server(knowing(right=0.7)) as server:
        judge = judge_at(server)
        found = classify(judge, QUESTION, split, varied=conditions(QUESTION, ["jpeg"]))
        request = Request(curated, split, SHARES, 0, "test", judge.facts(QUESTION), QUESTION)
    refuse_other_results(tmp_path / "out", request)
    results = write_results(tmp_path / "out", request, found)
    rows = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == len(split.test)
    assert rows[0]["id"] == split.test[0].id
    assert set(rows[0]["conditions"]) == {"jpeg-75", "jpeg-30"}
    assert results["metrics"]["roc_auc"]["estimate"] == found.metrics["roc_auc"].estimate
    assert sum(results["reliability"]["counts"]) == len(split.test)
    assert "NaN" not in (tmp_path / "out" / "results.json").read_text()
    before = (tmp_path / "out" / "results.json").read_bytes()
    refuse_other_results(tmp_path / "out", request)
    write_results(tmp_path / "out", request, found)
    assert (tmp_path / "out" / "results.json").read_bytes() == before

    other = Request(curated, split, SHARES, 0, "test", judge.facts("Another?"), "Another?")
    with pytest.raises(RunFolderError, match=r"results of another request: question was .*--out FOLDER"):
        refuse_other_results(tmp_path / "out", other)


@pytest.mark.parametrize("name", ["samples.jsonl", "results.json"])
def test_files_of_something_else_are_not_overwritten(
    split: Split, curated: CuratedSet, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("{}\n")
    request = Request(curated, split, SHARES, 0, "test", {}, QUESTION)
    with pytest.raises(RunFolderError, match="would be overwritten"):
        refuse_other_results(tmp_path, request)

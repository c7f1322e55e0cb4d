"""Run folders as arrays: reading, the proxy, curves with their resamples, comparisons at equal KL or proxy."""

import json

import numpy as np
import pytest
import yaml
from tests.audit.synthetic_run import write_run, write_stranger

from pyrite.audit.analysis import compare
from pyrite.audit.curves import curve, prompt_resamples
from pyrite.audit.loading import load_run
from pyrite.audit.matching import round_levels, value_on_reaching
from pyrite.audit.proxy import Proxy, Scale
from pyrite.audit.verdict import Outcome
from pyrite.core.errors import RunFolderError


@pytest.mark.parametrize(
    ("story", "outcome"),
    [
        ("hacked", Outcome.HACKED),
        ("collapsed", Outcome.COLLAPSE),
        ("honest", Outcome.NOT_SEEN),
        ("guarded", Outcome.NOT_SEEN),
    ],
)
def test_a_run_folder_is_judged_by_its_story(tmp_path, story, outcome):
    run = load_run(write_run(tmp_path / "run", story=story, keep_images=0))
    assert compare([run]).first.verdict.outcome is outcome


def test_a_hacked_run_parts_and_an_honest_one_does_not(tmp_path):
    hacked = load_run(write_run(tmp_path / "hacked", keep_images=0))
    honest = load_run(write_run(tmp_path / "honest", story="honest", keep_images=0))
    partings = [item.parting for item in compare([hacked, honest]).runs]
    assert [parting.is_found for parting in partings] == [True, False]
    assert 0 <= partings[0].low <= partings[0].step <= partings[0].high <= 40


def test_the_proxy_of_the_first_run_is_recomputed_for_a_run_that_trains_on_more(tmp_path):
    plain = load_run(write_run(tmp_path / "plain", keep_images=0))
    guarded = load_run(write_run(tmp_path / "guarded", story="guarded", keep_images=0))
    first, second = compare([plain, guarded]).runs
    assert (first.is_own_proxy, second.is_own_proxy) == (True, False)
    base = first.run.samples.steps == 0
    # the same base images: the recomputed proxy equals the recorded reward up to the scale the story writes it on
    assert np.corrcoef(first.proxy[base], second.proxy[base])[0, 1] > 0.999
    assert second.own_curve.mean[-1] != pytest.approx(second.proxy_curve.mean[-1])


def test_a_formula_that_does_not_reproduce_the_recorded_reward_is_not_used_for_other_runs(tmp_path):
    plain, guarded = (
        write_run(tmp_path / "plain", keep_images=0),
        write_run(tmp_path / "g", story="guarded", keep_images=0),
    )
    recipe = yaml.safe_load((plain / "config.yaml").read_text())
    recipe["rewards"][0]["transform"] = "a_transform_of_somebody_else"
    (plain / "config.yaml").write_text(yaml.safe_dump(recipe))
    first, second = compare([load_run(plain), load_run(guarded)]).runs
    assert first.has_proxy
    assert not second.has_proxy


def test_proxy_is_labelled_by_its_formula(tmp_path):
    run = load_run(write_run(tmp_path / "run", keep_images=0))
    assert Proxy.of(run).label == "1 × hps-pocket + 0.3 × aesthetic-pocket"


def test_the_base_samples_of_a_standardised_score_have_mean_0_and_deviation_1(tmp_path):
    samples = load_run(write_run(tmp_path / "run", keep_images=0)).samples
    values = samples.scores["hps-pocket"]
    standardised = Scale.of(samples, values)(values)[samples.steps == 0]
    assert standardised.mean() == pytest.approx(0, abs=1e-12)
    assert standardised.std(ddof=1) == pytest.approx(1)


def test_an_unscored_image_does_not_move_the_mean_of_the_others(tmp_path):
    samples = load_run(write_run(tmp_path / "run", keep_images=0)).samples
    values = samples.scores["pickscore-pocket"]
    at_start = values[samples.steps == 0]
    assert np.isnan(at_start).any()
    assert curve(samples, values).mean[0] == pytest.approx(np.nanmean(at_start))


def test_the_interval_of_a_mean_is_as_wide_as_the_spread_between_prompts_says(tmp_path):
    samples = load_run(write_run(tmp_path / "run", keep_images=0, num_prompts=40)).samples
    gold = samples.scores["gold"]
    found = curve(samples, gold)
    per_prompt = [
        gold[(samples.steps == 0) & (samples.prompt_ids == name)].mean() for name in np.unique(samples.prompt_ids)
    ]
    expected = 2 * 1.96 * np.std(per_prompt) / np.sqrt(len(per_prompt))
    # 1000 resamples place each end to about 5 % of the width
    assert found.high[0] - found.low[0] == pytest.approx(expected, rel=0.15)


def test_one_prompt_has_a_mean_but_no_interval(tmp_path):
    samples = load_run(write_run(tmp_path / "run", keep_images=0, num_prompts=1)).samples
    found = curve(samples, samples.scores["gold"])
    assert prompt_resamples(1).shape == (0, 1)
    assert np.isfinite(found.mean).all()
    assert np.isnan(found.low).all()


def test_a_stranger_with_one_score_has_it_as_proxy_and_no_verdict_without_gold(tmp_path):
    found = compare([load_run(write_stranger(tmp_path / "run"))])
    assert found.proxy.label == "hps"
    assert found.first.verdict.outcome is Outcome.UNKNOWN
    assert found.first.verdict.missing == "gold was not recorded"


def test_a_stranger_with_several_scores_has_no_proxy_until_it_is_named(tmp_path):
    run = load_run(write_stranger(tmp_path / "run", scores=("a", "b", "c")))
    assert compare([run]).proxy is None
    assert compare([run]).first.verdict.missing == "nothing says which of its scores it was trained on"
    assert compare([run], ("a", "c")).proxy.label == "1 × a + 1 × c"


def test_a_proxy_that_is_no_score_of_the_run_is_refused_with_the_scores_there_are(tmp_path):
    run = load_run(write_stranger(tmp_path / "run", scores=("a", "b")))
    with pytest.raises(ValueError, match=r"no score called z, so it cannot be the proxy\. Its scores are a, b"):
        compare([run], ("z",))


def test_another_trainers_config_is_shown_but_not_misread(tmp_path):
    folder = write_stranger(tmp_path / "run")
    (folder / "config.yaml").write_text("rewards: {clip: 1.0}\nlr: 1.0e-4\n")
    run = load_run(folder)
    assert run.trained_names == ()
    assert run.recipe["lr"] == 1e-4


def test_a_folder_without_samples_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"samples\.jsonl"):
        load_run(tmp_path)


def test_a_run_that_never_looked_is_refused(tmp_path):
    row = {"step": 1, "split": "train", "prompt": "a cat", "scores": {"hps": 0.1}}
    (tmp_path / "samples.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RunFolderError, match="has 1 samples but none with split 'eval'"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "cannot be read"), ("- 1", "holds list, not an object")],
    ids=["torn", "not_an_object"],
)
def test_a_config_that_cannot_be_read_says_what_to_do(tmp_path, text, message):
    folder = write_stranger(tmp_path / "run")
    (folder / "config.yaml").write_text(text)
    with pytest.raises(RunFolderError, match=f"(?s){message}.*move it away to audit without it"):
        load_run(folder)


def test_a_run_that_has_not_finished_or_lost_its_last_line_says_so(tmp_path):
    folder = write_run(tmp_path / "run", keep_images=0)
    (folder / "summary.json").unlink()
    with (folder / "samples.jsonl").open("a") as file:
        file.write('{"step": 60, "sp')
    notes = load_run(folder).notes
    assert any("has not finished" in note for note in notes)
    assert any("is incomplete and was left out" in note for note in notes)


def test_gold_on_reaching_a_level_is_linear_between_evaluations():
    kl, gold = np.array([[0.0, 2.0, 4.0]]), np.array([[0.6, 0.8, 0.2]])
    assert value_on_reaching(1.0, kl, gold) == pytest.approx([0.7])
    assert value_on_reaching(3.0, kl, gold) == pytest.approx([0.5])
    assert value_on_reaching(4.0, kl, gold) == pytest.approx([0.2])


def test_a_level_counts_the_first_time_it_is_passed():
    proxy, gold = np.array([[0.0, 1.0, 0.5, 1.5]]), np.array([[0.6, 0.7, 0.5, 0.3]])
    assert value_on_reaching(0.75, proxy, gold) == pytest.approx([0.675])


@pytest.mark.parametrize("level", [-1.0, 4.5], ids=["below_the_start", "never_reached"])
def test_a_level_out_of_range_has_no_gold(level):
    assert np.isnan(value_on_reaching(level, np.array([[0.0, 2.0, 4.0]]), np.array([[0.6, 0.8, 0.2]]))).all()


@pytest.mark.parametrize(
    ("furthest", "levels"),
    [(7.05, [1, 2, 3, 4, 5, 6, 7]), (3.4, [0.5, 1, 1.5, 2, 2.5, 3]), (0.0, []), (-1.0, []), (float("nan"), [])],
)
def test_levels_are_round_and_within_reach(furthest, levels):
    assert round_levels(furthest) == pytest.approx(levels)

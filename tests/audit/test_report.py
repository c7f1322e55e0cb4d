"""The page as text: what it says, what it leaves out, and that nothing from a run can act on it."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from tests.audit.conftest import ATTACK
from tests.audit.synthetic_run import write_best_of_n, write_run, write_stranger

from pyrite.audit.report import RunInput, write_report
from pyrite.audit.report.agreement import chosen_curve
from pyrite.audit.report.page import figure_json
from pyrite.audit.report.pictures import LARGEST_SIDE_PX, inline, spread
from pyrite.audit.report.tables import number
from pyrite.core.errors import RunFolderError


def page_text(path) -> str:
    """The page without its scripts."""
    return re.sub(r"<script>.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def figures(path) -> dict[str, dict]:
    found = re.findall(
        r'<script type="application/json" id="(.*?)-figure">(.*?)</script>', path.read_text(encoding="utf-8")
    )
    return {name: json.loads(text) for name, text in found}


def report_on(tmp_path, *folders, **options):
    runs = [RunInput(folder) for folder in folders]
    return write_report(runs, **{"best_of_n": None, "out": tmp_path / "report.html", "title": "t", **options})


def test_the_report_is_one_file_of_at_most_8_megabytes(full_report):
    assert [path.name for path in full_report.parent.iterdir()] == ["report.html"]
    assert full_report.stat().st_size < 8e6


def test_the_headline_tells_the_numbers_of_the_run(full_report):
    text = page_text(full_report)
    assert re.search(r"The proxy rose by 3\.\d base-sample standard deviations while gold fell 6\d", text)
    assert re.search(r"Its own reward rose by 2\.\d base-sample standard deviations and gold ended at its peak", text)


def test_an_honest_run_is_not_called_hacked(tmp_path):
    text = page_text(report_on(tmp_path, write_run(tmp_path / "run", story="honest", keep_images=0)))
    assert "no hacking seen</span>" in text
    assert 'class="chip hacked"' not in text


def test_every_figure_is_one_that_plotly_accepts(full_report):
    import plotly.graph_objects

    assert len(figures(full_report)) == 13
    for figure in figures(full_report).values():
        plotly.graph_objects.Figure(figure)


def test_runs_are_drawn_on_the_same_axes(full_report):
    plain, guarded = figures(full_report)["curves-0"]["layout"], figures(full_report)["curves-1"]["layout"]
    for name in ("xaxis", "yaxis", "yaxis2"):
        assert plain[name]["range"] == guarded[name]["range"]


def test_text_from_a_run_never_becomes_an_element(full_report):
    text = full_report.read_text(encoding="utf-8")
    assert ATTACK not in text
    assert "&lt;script&gt;document.title" in text
    assert "<title>Pocket &amp; &lt;world&gt;</title>" in text


def test_figure_data_cannot_end_the_script_it_stands_in():
    assert "<" not in figure_json({"data": [{"name": "</script><script>alert(1)</script>&"}]})


def test_a_level_that_a_run_did_not_reach_is_said_not_to_be_reached(full_report):
    assert ">not reached</td>" in page_text(full_report)


def test_unscored_images_are_counted_with_their_reason(full_report):
    text = page_text(full_report)
    assert "never counted as zero" in text
    assert "the image could not be decoded" in text


def test_settings_that_differ_and_provenance_are_on_the_page(full_report):
    text = page_text(full_report)
    assert "1.0 × hps-pocket + 0.3 × aesthetic-pocket + 1.0 × artifact-pocket" in text
    assert "9f2c" * 16 in text


@pytest.mark.parametrize("quick", [True, False])
def test_a_quick_run_says_so_on_the_page(tmp_path, quick):
    text = page_text(report_on(tmp_path, write_run(tmp_path / "run", keep_images=0), quick=quick))
    assert ("quick run, 60 steps" in text) is quick


def test_a_strangers_folder_gets_sentences_where_parts_are_missing(tmp_path):
    path = report_on(tmp_path, write_stranger(tmp_path / "theirs"))
    text = page_text(path)
    for sentence in (
        "Whether this run was hacked cannot be told: gold was not recorded",
        "There is no second run to compare with",
        "There is no recipe in the run folder",
        "KL was not recorded in every run",
        "Only one score was recorded, so there is nothing to correlate",
        "Best-of-n was not measured for this report",
        "theirs records no task types",
        "no sample can be shown to be overrated",
        "theirs records no seconds per phase",
        "This folder has no config.yaml",
        "This folder has no environment.json",
    ):
        assert sentence in text
    assert set(figures(path)) == {"curves-0", "panel-0"}


def test_a_run_without_images_or_gold_says_so_and_draws_no_empty_chart(tmp_path):
    path = report_on(tmp_path, write_run(tmp_path / "run", keep_images=0, with_gold=False))
    assert "run kept no images" in page_text(path)
    assert "Gold was not recorded" in page_text(path)
    for figure in figures(path).values():
        drawn = [trace for trace in figure["data"] if any(value is not None for value in trace.get("y", [1]))]
        assert drawn == figure["data"]


def test_an_image_outside_the_run_folder_is_not_shown(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "run").mkdir()
    assert inline(tmp_path / "run", "../secret.png").note == "path leads out of the run folder"
    assert inline(tmp_path / "run", str(tmp_path / "secret.png")).source == ""


@pytest.mark.parametrize(
    ("name", "note"), [("", "not kept"), ("gone.png", "file is missing"), ("text.png", "cannot be read")]
)
def test_an_image_that_cannot_be_shown_says_why(tmp_path, name, note):
    (tmp_path / "text.png").write_text("not an image")
    assert inline(tmp_path, name).note == note


def test_large_images_become_thumbnails_and_small_ones_keep_their_pixels(tmp_path):
    import base64
    import io

    pixels = np.random.default_rng(0).integers(0, 255, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    Image.fromarray(pixels).resize((768, 512)).save(tmp_path / "large.png")
    shown = [
        Image.open(io.BytesIO(base64.b64decode(inline(tmp_path, f"{size}.png").source.split(",")[1])))
        for size in ("small", "large")
    ]
    assert np.array_equal(np.asarray(shown[0]), pixels)
    assert max(shown[1].size) == LARGEST_SIDE_PX


def test_steps_shown_keep_the_first_and_the_last():
    assert spread([0, 10, 20, 30, 40, 50, 60], 4) == [0, 20, 40, 60]
    assert spread([0, 5], 6) == [0, 5]


def test_best_of_n_of_gold_itself_is_the_expected_maximum():
    gold = np.random.default_rng(0).uniform(size=(400, 8))
    found = chosen_curve(gold, gold, [1, 2, 8])
    # the expected maximum of n uniform numbers is n / (n + 1); 400 prompts place it to 0.005 at two standard errors
    assert found.mean[0] == pytest.approx(gold.mean())
    assert found.mean[1] == pytest.approx(2 / 3, abs=0.015)
    assert found.mean[2] == pytest.approx(gold.max(axis=1).mean())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a best-of-n file"),
        ('{"curves": 1}', "is not a best-of-n file"),
        ('{"scores": {"gold": [[1, 2]], "hps": [[1], [2]]}}', r"the same shape .* got \[\(1, 2\), \(2, 1\)\]"),
        ('{"scores": {}}', "the same shape"),
    ],
    ids=["torn", "other_keys", "shapes_differ", "empty"],
)
def test_a_best_of_n_file_of_another_form_is_refused(tmp_path, text, message):
    (tmp_path / "bon.json").write_text(text)
    with pytest.raises(RunFolderError, match=message):
        report_on(tmp_path, write_stranger(tmp_path / "run"), best_of_n=tmp_path / "bon.json")


def test_best_of_n_without_gold_shows_only_the_selectors(tmp_path):
    path = write_best_of_n(tmp_path / "bon.json")
    table = json.loads(path.read_text())
    del table["scores"]["gold"]
    path.write_text(json.dumps(table))
    made = report_on(tmp_path, write_stranger(tmp_path / "run"), best_of_n=path)
    assert "Gold was not recorded for best-of-n" in page_text(made)
    assert "best-of-n-gold" not in figures(made)


def test_no_run_or_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="needs at least one run folder"):
        report_on(tmp_path)
    run = write_stranger(tmp_path / "run")
    with pytest.raises(ValueError, match=r"two runs have the same name .run, run.* give each RunInput a name"):
        report_on(tmp_path, run, run)


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [(0.5, {}, "0.50"), (-1.25, {"digits": 1}, "−1.2"), (-0.001, {"signed": True}, "+0.00"), (float("nan"), {}, "–")],
)
def test_numbers_are_written_with_a_real_minus_and_no_minus_zero(value, options, text):
    assert number(value, **options) == text

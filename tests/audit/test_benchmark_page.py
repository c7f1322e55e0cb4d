"""The page of a benchmark as a reader meets it: in Chromium, offline, on both screens, whatever a judge says."""

import json
from pathlib import Path

import pytest
from tests.audit.browser import visit_page
from tests.evaluation.wise_set import number_in, three_marks, write_images, write_source
from tests.judge_server import Body, chat, judge_server, status
from typer.testing import CliRunner

from pyrite.cli.main import app

BARS = (
    "[...document.querySelectorAll('#scores .bars .point path')].filter(bar => bar.getBoundingClientRect().height > 1)"
)
QUESTIONS = {
    "drawn": "[...document.querySelectorAll('.chart')].filter(box => box.querySelector('svg.main-svg .bars'))"
    ".map(box => box.id)",
    "bars": f"{BARS}.length",
    "pale": f"{BARS}.filter(bar => Number(getComputedStyle(bar).opacity) < 1).length",
    "whiskers": "[...document.querySelectorAll('#scores .errorbar path')]"
    ".filter(line => line.getBoundingClientRect().height > 1).length",
    "text": "document.body.innerText",
}
EVIL = "<script>document.title = 'taken'</script><img src=http://127.0.0.1:1/x>"
IDS = range(701, 901)  # Biology and Physics


def answer(body: Body) -> Body:
    number = number_in(body)
    return chat(f"{EVIL}\n{three_marks(number % 3, 2, 1)}")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories, of the second one an image without an answer; beside another judge, and judged twice."""
    place = tmp_path_factory.mktemp("wise")
    source = write_source(place / "WISE", "wise", IDS)
    path = source / "natural_science.json"
    rows = [row | {"Explanation": f"means <b>it</b> {EVIL}"} for row in json.loads(path.read_text())]
    path.write_text(json.dumps(rows))
    images = write_images(place / "drawn", IDS)
    command = ["evaluate", str(images), "--benchmark", "wise", "--source", str(source), "--set", "retries=0"]

    def kind(body: Body) -> Body:
        return chat(three_marks(2, 2, min(2, number_in(body) % 5)))

    with judge_server(kind) as server:
        done = CliRunner().invoke(
            app, [*command, "--url", server.url, "--model", "kind", "--out", str(place / "other")]
        )
        assert done.exit_code == 0, done.stderr
    with judge_server(answer, [status(400)]) as server:
        rest = ["--url", server.url, "--repeats", "2", "--out", str(place / "out"), "--set", "concurrency=1"]
        done = CliRunner().invoke(app, [*command, *rest, "--against", str(place / "other")])
        assert done.exit_code == 3, done.stderr
    return place / "out"


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_the_page_opens_offline_without_errors_and_fits_the_screen(evaluated: Path, width: int) -> None:
    page = evaluated / "report.html"
    seen = visit_page(page, QUESTIONS, width=width)
    assert seen.answers["drawn"] == ["scores"]
    assert seen.answers["bars"] == 4  # two categories, two judges
    assert seen.answers["whiskers"] == 3  # none for Biology before the first judge: an image is missing
    assert seen.answers["pale"] == 1
    assert seen.answers["images"] == 16
    # the judge's words and the explanations carry a script and an image: neither became one
    assert seen.answers["title"] == "drawn: wise"
    text = seen.answers["text"]
    for told in (
        "No overall score: 801 of 1000 images have no score",
        "answered with status 400",
        "another question than the published one",
        "drawn, kind: judged otherwise than drawn, gpt-4o",
        "<b>it</b>",
        EVIL,
        "2 judgements of each of 199 images",
        "The same images before another judge",
        "Biology, worst",
        "Physics, best",
    ):
        assert told in text


def test_a_page_of_official_files_shows_no_file_that_they_name(evaluated: Path, tmp_path: Path) -> None:
    source = evaluated.parent / "WISE"
    done = CliRunner().invoke(
        app, ["evaluate", str(evaluated / "official"), "--official", "--benchmark", "wise", "--source", str(source),
              "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert done.exit_code == 3  # one image has no score
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<img src="data:image/png' not in page
    assert "not looked at here" in page


def test_the_tables_are_those_that_papers_print(evaluated: Path) -> None:
    markdown = (evaluated / "table.md").read_text().splitlines()
    assert markdown[0] == ("| images | judge | Cultural | Time | Space | Biology | Physics | Chemistry | Overall |")
    # Physics, 801-900: 33 rounds of 0, 1, 2 and a 0: (.7 · .99 + .2 · 2 + .1) / 2 = .5965
    assert markdown[2] == "| drawn | gpt-4o-2024-05-13 | – | – | – | – | 0.597 | – | – |"
    assert markdown[3].startswith("| drawn | kind | – | – | – | ")
    latex = (evaluated / "table.tex").read_text()
    assert r"\begin{tabular}{llrrrrrrr}" in latex
    assert r"drawn & gpt-4o-2024-05-13 & -- & -- & -- & -- & 0.597 & -- & -- \\" in latex


def test_nothing_in_a_name_means_anything_to_latex() -> None:
    from pyrite.evaluation.benchmarks.tables import escaped

    assert escaped("a_b 50% \\x {y} ~^ #1 $ &\nnew") == (
        r"a\_b 50\% \textbackslash{}x \{y\} \textasciitilde{}\textasciicircum{} \#1 \$ \& new"
    )

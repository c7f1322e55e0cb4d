"""The page about a judge as a reader meets it: in Chromium, offline, on a desk and on a phone, whatever a set says."""

import json
from pathlib import Path

import pytest
from tests.artifact.judge_sets import knowing, write_set
from tests.audit.browser import visit_page
from tests.judge_server import judge_server
from typer.testing import CliRunner

from pyrite.audit.report.judge_page import write_judge_page
from pyrite.cli.main import app

QUESTIONS = {
    "drawn": "[...document.querySelectorAll('.chart')].filter(box => box.querySelector('svg.main-svg .trace'))"
    ".map(box => box.id)",
    "text": "document.body.innerText",
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a judge that is right about four pictures of five and fails on some."""
    folder = tmp_path_factory.mktemp("judged")
    curated = write_set(folder, pairs=60)
    rows = [json.loads(line) for line in curated.read_text().splitlines()]
    for row in rows:
        row |= {"prompt": "a cube <script>document.title = 'taken'</script>", "kind": row.get("kind", "") and "<b>seam"}
    curated.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with judge_server(lambda body: {"choices": []} if len(server.bodies) % 9 == 0 else knowing()(body)) as server:
        command = ["judge", "classify", str(curated), "--url", server.url, "--shares", "0.2,0.2,0.6", "--vary", "jpeg"]
        rest = ["--set", "audit=''", "--set", "retries=0", "--set", "concurrency=1"]
        done = CliRunner().invoke(
            app, [*command, *rest, "--cache", str(folder / "s.sqlite"), "--out", str(folder / "out")]
        )
    assert done.exit_code == 0, done.stderr
    return folder / "out"


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_the_page_opens_offline_without_errors_and_fits_the_screen(judged: Path, width: int) -> None:
    page = judged / "report.html"
    seen = visit_page(page, QUESTIONS, width=width)
    assert seen.answers["drawn"] == ["reliability", "scores"]
    assert seen.answers["images"] > 4
    # the prompts of this set carry a script, its kinds an element: neither ran nor became one
    assert seen.answers["title"].startswith("The judge artifact-served")
    text = seen.answers["text"]
    for told in (
        "<b>seam",
        "got no answer and are in no number",
        "no chat completion",
        "The temperature is",
        "jpeg-30",
    ):
        assert told in text


def test_a_page_is_made_again_from_the_two_files(judged: Path, tmp_path: Path) -> None:
    page = write_judge_page(judged, tmp_path / "again.html")
    assert "Confusion matrix" in page.read_text()

"""The page of two image sets as a reader meets it: in Chromium, offline, on a desk and on a phone."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.audit.browser import visit_page
from tests.judge_server import chat, judge_server
from typer.testing import CliRunner

from pyrite.audit.report.compare_page import write_compare_page
from pyrite.cli.main import app

QUESTIONS = {
    "drawn": "[...document.querySelectorAll('.chart')].filter(box => box.querySelector('svg.main-svg .trace'))"
    ".map(box => box.id)",
    "beside": "[...document.querySelectorAll('.duel .pair')].every(pair => { const [a, b] = pair.querySelectorAll("
    "'figure'); return a.getBoundingClientRect().right <= b.getBoundingClientRect().left })",
    "text": "document.body.innerText",
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two sets whose prompts carry a script, with a judge that likes what it sees first."""
    root = tmp_path_factory.mktemp("compared")
    rng = np.random.default_rng(0)
    for side, amount in (("old", 60), ("new", 20)):
        rows = []
        for number in range(12):
            path = root / side / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, amount, (90, 120, 3), dtype=np.uint8)).save(path)
            prompt = f"cube {number} <script>document.title = 'taken'</script>" + " and a long road" * (number % 3) * 9
            row = {"id": f"<i>{number}", "prompt_id": str(number), "prompt": prompt, "image": f"{side}/{number}.png"}
            rows.append({**row, "task_type": ("object", "<b>color")[number % 2]})
        (root / side / "4.png").write_bytes(b"")
        (root / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[: 11 + (side == "new")]))
    command = [
        "evaluate",
        str(root / "old.jsonl"),
        str(root / "new.jsonl"),
        "--rewards",
        "sharpness,constant",
        "--judge",
    ]
    said = iter(["Image 1 is better."] * 6 + ["Both images are equally good."] * 99)
    with judge_server(lambda _: chat(f"<script>1</script>\n{next(said)}")) as server:
        rest = ["--url", server.url, "--set", "audit=''", "--set", "concurrency=1", "--no-cache"]
        done = CliRunner().invoke(app, [*command, *rest, "--out", str(root / "out")])
    assert done.exit_code == 0, done.stderr
    return root / "out"


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_the_page_opens_offline_without_errors_and_shows_both_sides(compared: Path, width: int) -> None:
    page = compared / "report.html"
    seen = visit_page(page, QUESTIONS, width=width)
    assert seen.answers["drawn"] == ["effects", "outcomes"]
    assert seen.answers["images"] > 20
    assert seen.answers["beside"]  # the two sides stay side by side
    assert seen.answers["title"] == "old.jsonl against new.jsonl"
    text = seen.answers["text"]
    for told in (
        "sharpness: A is ahead by",
        "constant: every pair is a tie",
        "<script>document.title",
        "<b>color",
        "0 images of A and 1 of B have no partner",
        "the file is empty",
        "contradict each other",
        "nothing in the other set has the prompt id '11'",
    ):
        assert told in text


def test_the_page_is_made_again_from_the_files(compared: Path, tmp_path: Path) -> None:
    again = write_compare_page(compared, tmp_path / "again.html")
    assert again.read_bytes() == (compared / "report.html").read_bytes()

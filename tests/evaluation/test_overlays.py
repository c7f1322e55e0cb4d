"""The page that shows what a detector found: every box, phrase and score, whatever the image or the prompt holds."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.evaluation.scored import CountingReward, noise
from typer.testing import CliRunner

from pyrite.cli import score as score_command
from pyrite.cli.main import app
from pyrite.core.cards import RewardCard
from pyrite.core.errors import RecipeError, RunFolderError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.evaluation.image_sets import open_image_set
from pyrite.evaluation.overlays import draw_boxes, explaining, write_overlays


@dataclasses.dataclass(frozen=True)
class Box:
    phrase: str
    score: float
    parts: tuple[float, float, float, float]

    def corners(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        (width, height), (left, top, right, bottom) = size, self.parts
        return left * width, top * height, right * width, bottom * height


def is_blue(image: Image) -> bool:
    return image.getpixel((0, 0)) == (0, 0, 255)


@dataclasses.dataclass
class Finder:
    """Finds the prompt's text in the middle of every image, twice; a blue image is unscored."""

    card: RewardCard = dataclasses.field(
        default_factory=lambda: RewardCard("finder", "It is there.", (0, 1), reads_prompt=True, revision="1")
    )

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        blue = np.array([is_blue(image) for image in images], bool)
        reasons = {int(row): "`nouns` of the prompt is empty" for row in np.flatnonzero(blue)}
        return Scores(np.where(blue, np.nan, 0.5), reasons)

    def explain(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> list[list[Box]]:
        sure = Box("sure", 0.9, (0.5, 0.5, 0.9, 0.9))
        return [
            [] if is_blue(image) else [Box(prompt.text, 0.4, (0.2, 0.2, 0.4, 0.4)), sure]
            for image, prompt in zip(images, prompts, strict=True)
        ]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty images, which are two batches, and among them one unscored, one damaged and one of sixteen bits."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = []
    for number in range(20):
        noise(number, (40, 30)).save(folder / f"{number:02d}.png")
        rows.append({"image": f"{number:02d}.png", "prompt": f"thing {number}", "id": f"row{number}"})
    PILImage.new("RGB", (40, 30), (0, 0, 255)).save(folder / "03.png")
    (folder / "04.png").write_bytes(b"no image")
    PILImage.new("I;16", (40, 30)).save(folder / "05.png")
    rows[6]["prompt"] = "<script>alert(1)</script> & \ud83d"
    (folder / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "all.jsonl"


def test_every_image_is_on_the_page_with_its_score_and_boxes_or_the_reason_there_are_none(
    photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "boxes"
    assert write_overlays(open_image_set(photos), {"finder": Finder()}, out) == 18
    page = (out / "index.html").read_text()
    figures = page.split("<figure>")[1:]
    assert len(figures) == 20
    for number, figure in enumerate(figures):
        assert f"row{number} · finder" in figure
        if number == 3:
            assert "<strong>`nouns` of the prompt is empty</strong>" in figure
        elif number == 4:
            assert "<strong>the file is no image that Pillow knows</strong>" in figure
        else:
            assert "<strong>0.500</strong>" in figure
            assert figure.index("sure 0.90") < figure.index(" 0.40</li>")
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) == 18
    assert all((out / source).is_file() for source in sources)
    assert not re.search(r"https?://", page)


def test_what_a_prompt_holds_cannot_change_the_page(photos: Path, tmp_path: Path) -> None:
    write_overlays(open_image_set(photos), {"finder": Finder()}, tmp_path / "boxes")
    page = (tmp_path / "boxes" / "index.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; ?" in page


def test_boxes_are_drawn_where_they_are_on_an_enlarged_copy() -> None:
    image = PILImage.new("RGB", (64, 32), "black")
    drawn = draw_boxes(image, [Box("sure", 0.9, (0.25, 0.5, 0.75, 1.0))])
    assert drawn.size == (512, 256)
    assert image.getextrema() == ((0, 0),) * 3
    pixels = np.asarray(drawn).any(2)
    assert pixels[200, 128]
    assert pixels[200, 384]
    assert pixels[255, 250]
    assert not pixels[200, 250]  # inside
    assert not pixels[200, 60]  # outside


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK"])
@pytest.mark.parametrize("parts", [(-0.5, -0.5, 1.5, 1.5), (0.9, 0.9, 0.9, 0.9), (0, 0, 0.01, 0.01)], ids=str)
def test_any_box_can_be_drawn_on_any_image(mode: str, parts: tuple[float, float, float, float]) -> None:
    drawn = draw_boxes(PILImage.new(mode, (600, 20)), [Box("a very long phrase " * 20 + "日本\n\ud83d", 0.4, parts)])
    assert drawn.size == (600, 20)
    assert np.asarray(drawn).any()


def test_rewards_without_boxes_are_told_from_those_with(tmp_path: Path) -> None:
    plain = CountingReward.create(tmp_path / "log")
    assert list(explaining({"plain": plain, "finder": Finder()})) == ["finder"]
    with pytest.raises(RecipeError, match=r"plain found none.*Leave --explain out, or add.*--rewards gdino"):
        explaining({"plain": plain})


def test_a_folder_that_cannot_be_written_is_told(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write the overlays"):
        write_overlays(open_image_set(photos), {"finder": Finder()}, tmp_path / "file")


def test_at_the_shell_the_page_lies_in_the_folder_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = CountingReward.create(tmp_path / "log")
    panel = {"finder": Finder(), "plain": plain}
    monkeypatch.setattr(
        score_command, "load_panel", lambda names, **_: {name: panel[name] for name in names.split(",")}
    )
    command = ["score", str(photos), "--limit", "3", "--no-cache", "--explain", str(tmp_path / "boxes")]
    result = CliRunner().invoke(app, [*command, "--rewards", "finder,plain"])
    assert result.exit_code == 0, result.stderr
    assert "plain found none: left out of the page" in result.stderr
    assert f"3 images drawn: {tmp_path / 'boxes' / 'index.html'}" in result.stderr
    assert (tmp_path / "boxes" / "index.html").is_file()
    refused = CliRunner().invoke(app, [*command, "--rewards", "plain"])
    assert refused.exit_code != 0
    assert isinstance(refused.exception, RecipeError) or "Leave --explain out" in refused.stderr

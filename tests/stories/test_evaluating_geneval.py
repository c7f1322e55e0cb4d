"""GenEval at the shell: tiny detectors look, thresholds are tried without them, official results stand beside."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.evaluation.geneval.material import write_source, write_tree
from tests.tiny_detectors import write_gdino
from tests.tiny_mask2former import geneval_hf, write_color_clip
from typer.testing import CliRunner

from pyrite.cli.main import app


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr + (repr(result.exception) if result.exception else "")


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    tree = write_tree(tmp_path / "drawn")
    for seed, file in enumerate(sorted(tree.glob("*/samples/*.png"))):
        small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        PILImage.fromarray(small).resize((96, 80), PILImage.Resampling.BICUBIC).save(file)
    write_source(tmp_path / "evaluation_metadata.jsonl")
    return tree


def command(drawn: Path, out: str, **settings: Any) -> list[object]:
    options: list[object] = ["evaluate", drawn, "--benchmark", "geneval", "--source", drawn.parent, "--json"]
    options += ["--out", drawn.parent / out, "--device", "cpu"]
    for name, value in settings.items():
        if name != "device":
            options += ["--set", f"{name}={json.dumps(value) if isinstance(value, dict) else value}"]
    return options


def test_a_set_is_judged_read_again_and_compared(drawn: Path, tmp_path: Path) -> None:
    models = geneval_hf(tmp_path / "models")
    code, out, notes = run(*command(drawn, "hf", **models, threshold=0.1, counting_threshold=0.1))
    assert code == 0, notes
    results = json.loads(out)
    assert results["benchmark"] == "geneval-hf"
    assert results["overall"]["num_judged"] == 14
    assert "the detector is not the published one" in notes
    official = tmp_path / "hf" / "official" / "results.jsonl"
    assert len(official.read_text().splitlines()) == 14

    (tmp_path / "models").rename(tmp_path / "gone")
    code, out, notes = run(*command(drawn, "hf", threshold=0.9, official=official), "--step", "aggregate")
    assert code == 0, notes
    assert json.loads(out)["overall"]["score"] == 0.0, "nothing is that sure"
    assert "kappa" in (tmp_path / "hf" / "official" / "calibration.md").read_text()

    options = ["--benchmark", "geneval", "--source", drawn.parent, "--json", "--out", tmp_path / "imported"]
    code, out, notes = run("evaluate", official, "--official", *options)
    assert code == 0, notes
    assert json.loads(out)["benchmark"] == "geneval-imported"


def test_a_second_detector_looks_at_the_same_images(drawn: Path, tmp_path: Path) -> None:
    models = write_gdino(tmp_path / "models")
    del models["box_threshold"]
    settings = {**models, **write_color_clip(tmp_path / "clip"), "min_score": 0.6}
    code, out, notes = run(*command(drawn, "gdino", **settings, threshold=0.63), "--detector", "gdino")
    assert code == 0, notes
    results = json.loads(out)
    assert results["benchmark"] == "geneval-gdino"
    assert results["examiner"]["detector"] == "gdino"
    assert results["reading"]["max_overlap"] == 0.5
    code, _, notes = run(*command(drawn, "gdino", **geneval_hf(tmp_path / "other")))
    assert code == 3
    assert "label: was 'geneval-gdino', is 'geneval-hf'" in notes


def test_missing_weights_are_told_before_an_image_is_opened(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRITE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    code, _, notes = run(*command(drawn, "out"))
    assert code == 3
    assert "pyrite weights fetch mask2former" in notes
    code, _, notes = run(*command(drawn, "out", threshold=2))
    assert code == 2
    assert "threshold = 2 is no share" in notes

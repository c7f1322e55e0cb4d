import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from safetensors.numpy import load_file
from tests.tiny_checkpoints import write_aesthetic

from pyrite.core.types import Image, Prompt
from pyrite.rewards.aesthetic import load_aesthetic
from pyrite.rewards.artifact import load_artifact

PROMPT = Prompt("a photo of a red circle")


def images(num: int) -> list[Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (num, 16, 16, 3), dtype=np.uint8)
    return [PILImage.fromarray(row) for row in pixels]


@pytest.mark.parametrize(
    ("widths", "activation"),
    [((8, 1), "none"), ((8, 6, 4, 1), "none"), ((8, 6, 4, 1), "relu")],
    ids=["LAION v1", "LAION v2", "with ReLU"],
)
def test_aesthetic_score_is_the_head_on_the_unit_embedding(
    tmp_path: Path, widths: tuple[int, ...], activation: str
) -> None:
    reward = load_aesthetic(write_aesthetic(tmp_path, widths=widths, activation=activation), device="cpu")
    pixels = reward.preparation.processor(images=images(4), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        embedding = reward.tower(pixel_values=pixels).image_embeds.double().numpy()
    expected = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    head = load_file(tmp_path / "head.safetensors")
    for index, _ in enumerate(itertools.pairwise(widths)):
        expected = expected @ head[f"layers.{index}.weight"].T + head[f"layers.{index}.bias"]
        if activation == "relu" and index < len(widths) - 2:
            expected = np.maximum(expected, 0)
    np.testing.assert_allclose(reward.score(images(4), [PROMPT] * 4).values, expected[:, 0], rtol=1e-5, atol=1e-5)


def test_artifact_score_is_the_probability_of_clean(artifact_folder: Path) -> None:
    reward = load_artifact(artifact_folder, device="cpu")
    pixels = reward.preparation.processor(images=images(4), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = reward.model(pixel_values=pixels).logits.softmax(-1).numpy()
    scores = reward.score(images(4), [PROMPT] * 4)
    np.testing.assert_allclose(scores.values, expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(scores.details["blur"], expected[:, 1], rtol=1e-5)
    np.testing.assert_allclose(sum(scores.details.values()), 1, rtol=1e-6)


def test_clean_is_found_wherever_the_labels_put_it(artifact_folder: Path, tmp_path: Path) -> None:
    for file in artifact_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "fragments", "1": "blur", "2": "clean"}
    config["label2id"] = {"fragments": 0, "blur": 1, "clean": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    first, last = (load_artifact(folder, device="cpu") for folder in (artifact_folder, tmp_path))
    scores = first.score(images(3), [PROMPT] * 3), last.score(images(3), [PROMPT] * 3)
    np.testing.assert_array_equal(scores[1].values, scores[0].details["fragments"])

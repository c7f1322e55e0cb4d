"""The pocket detector as a reward: what it looks for, what it calls its finds, and what it leaves unscored."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.tiny_checkpoints import write_clip, write_detector

import pyrite
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt
from pyrite.rewards.boxes import Detection
from pyrite.rewards.detector import DetectorReward, load_detector, phrases_of
from pyrite.rewards.gdino import score_detections

RED_LEFT_OF_BLUE = Prompt(
    "a photo of a red circle left of a blue star",
    task_type="spatial",
    nouns=("circle", "star"),
    attr_nouns=("red circle", "blue star"),
    spatial_info={"obj1": "circle", "obj2": "star", "locality": "left of"},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def reward(folder: Path) -> DetectorReward:
    return load_detector(folder, device="cpu", box_threshold=0.3)


def noise(seed: int = 0) -> Image:
    return PILImage.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("nouns", "attributes", "phrases"),
    [
        pytest.param(("circle",), (), {"circle": "circle"}, id="a noun alone"),
        pytest.param(("circle",), ("red circle",), {"circle": "red circle"}, id="with its colour"),
        pytest.param(("star", "circle"), ("red circle",), {"star": "star", "circle": "red circle"}, id="one of two"),
        pytest.param(("star",), ("red circle",), {"star": "star"}, id="another's colour"),
    ],
)
def test_it_looks_for_nouns_with_their_attributes(
    nouns: tuple[str, ...], attributes: tuple[str, ...], phrases: dict[str, str]
) -> None:
    assert phrases_of(Prompt("x", nouns=nouns, attr_nouns=attributes)) == phrases


def test_the_score_is_the_arithmetic_on_what_it_explains(reward: DetectorReward) -> None:
    images = [noise(seed) for seed in range(6)]
    prompts = [RED_LEFT_OF_BLUE] * 6
    scores, found = reward.score(images, prompts), reward.explain(images, prompts)
    assert {one.phrase for detections in found for one in detections} == {"circle", "star"}
    assert all(one.score > reward.box_threshold for detections in found for one in detections)
    expected = [score_detections(RED_LEFT_OF_BLUE, detections, (64, 64)) for detections in found]
    np.testing.assert_allclose(scores.values, expected, atol=1e-6)
    assert scores.details["num_detections"].tolist() == [len(detections) for detections in found]


def test_prompts_of_one_batch_do_not_change_each_others_boxes(reward: DetectorReward) -> None:
    """Float32 products round differently with the number of phrases, by far less than 1e-5."""
    other = Prompt("a photo of a pink square", task_type="color", nouns=("square",), attr_nouns=("pink square",))
    together = reward.explain([noise(), noise(1)], [RED_LEFT_OF_BLUE, other])
    alone = reward.explain([noise(1)], [other])[0]
    assert [one.phrase for one in together[1]] == [one.phrase for one in alone]
    np.testing.assert_allclose([one.box for one in together[1]], [one.box for one in alone], atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        pytest.param(Prompt("a photo of a circle"), "`nouns` of the prompt is empty", id="no nouns"),
        pytest.param(Prompt("x", nouns=("dragon",)), "the detector never learned 'dragon'", id="an unknown noun"),
        pytest.param(
            Prompt("x", nouns=("circle",), attr_nouns=("mauve circle",)), "never learned 'mauve circle'", id="colour"
        ),
        pytest.param(Prompt("x", task_type="spatial", nouns=("circle",)), "`spatial_info`", id="no place"),
        pytest.param(Prompt("x", task_type="numeracy", nouns=("circle",)), "`numeracy_info`", id="no number"),
    ],
)
def test_what_it_cannot_be_asked_is_unscored_and_disturbs_nobody(
    reward: DetectorReward, prompt: Prompt, reason: str
) -> None:
    scores = reward.score([noise(), noise(1)], [prompt, RED_LEFT_OF_BLUE])
    assert reason in scores.reasons[0]
    assert scores.values[1] == pytest.approx(reward.score([noise(1)], [RED_LEFT_OF_BLUE]).values[0], abs=1e-6)
    assert reward.explain([noise()], [prompt]) == [[]]


def test_a_higher_threshold_finds_less(folder: Path, reward: DetectorReward) -> None:
    strict = load_detector(folder, device="cpu", box_threshold=0.9)
    few, many = (one.explain([noise()], [RED_LEFT_OF_BLUE])[0] for one in (strict, reward))
    assert len(few) < len(many)
    assert {(one.phrase, one.box) for one in few} <= {(one.phrase, one.box) for one in many}
    assert strict.card.store_key != reward.card.store_key


def test_another_models_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a model of type 'clip', and this reward needs 'owlvit'"):
        load_detector(write_clip(tmp_path / "clip"), device="cpu")


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_detector(tmp_path / "detector")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        load_detector(folder, device="cpu")


def test_the_shipped_detector_sees_a_rendered_scene() -> None:
    from pyrite.world.prompts import Requirement, build_prompt
    from pyrite.world.scenes import Background, Scene, SceneObject, render, to_uint8

    scene = Scene(
        (SceneObject("circle", "red", 18, 30, 9), SceneObject("star", "blue", 46, 32, 9)),
        Background((0.88, 0.88, 0.88), (0.0, 0.0)),
    )
    image = PILImage.fromarray(to_uint8(render(scene)))
    red_circle, blue_star = Requirement("circle", "red"), Requirement("star", "blue")
    reward = pyrite.load_reward("detector-pocket", device="cpu")
    prompts = [
        build_prompt("spatial", [red_circle, blue_star], "left of"),
        build_prompt("spatial", [red_circle, blue_star], "right of"),
        build_prompt("color", [Requirement("circle", "green")]),
    ]
    assert reward.score([image] * 3, prompts).values.tolist() == pytest.approx([0.9, 0.4, 0.0], abs=1e-6)
    best = max((one for one in reward.explain([image], prompts[:1])[0] if one.phrase == "circle"), key=_score)
    left, _, right, _ = best.corners((64, 64))
    assert (left, right) == pytest.approx((9, 28), abs=3)


def _score(one: Detection) -> float:
    return one.score

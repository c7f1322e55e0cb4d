import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from pyrite.core.errors import CheckpointError
from pyrite.rewards.aesthetic import load_aesthetic
from pyrite.rewards.artifact import load_artifact
from pyrite.rewards.clip import load_hps
from pyrite.rewards.loading import choose_device

LOADERS: dict[str, Callable[..., Any]] = {
    "clip_folder": load_hps,
    "aesthetic_folder": load_aesthetic,
    "artifact_folder": load_artifact,
}


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def listed_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])


def missing_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(sorted(tensors)[-1])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def no_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


@pytest.fixture(params=sorted(LOADERS))
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Callable[..., Any], Path]:
    shutil.copytree(request.getfixturevalue(request.param), tmp_path / "model")
    return LOADERS[request.param], tmp_path / "model"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_config, r"config.json could not be read.*pyrite world build --only model"),
        (listed_config, "holds a list"),
        (cut_weights, "the weights in .* could not be read"),
        (missing_tensor, "1 tensors are missing or left over"),
        (no_processor, "no image processor could be read"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_damaged_folder_is_refused_by_every_reward(
    copied: tuple[Callable[..., Any], Path], damage: Callable[[Path], None], message: str
) -> None:
    load, folder = copied
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load(folder, device="cpu")


@pytest.mark.parametrize(
    ("load", "folder", "message"),
    [
        (load_hps, "aesthetic_folder", "type 'clip_vision_model', and this reward needs 'clip'"),
        (load_aesthetic, "clip_folder", "type 'clip', and this reward needs 'clip_vision_model'"),
        (load_artifact, "aesthetic_folder", "the weights in .* could not be read"),
    ],
    ids=["hps", "aesthetic", "artifact"],
)
def test_another_architecture_is_refused(
    load: Callable[..., Any], folder: str, message: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(request.getfixturevalue(folder), device="cpu")


def test_a_missing_head_is_refused(aesthetic_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(aesthetic_folder, folder)
    (folder / "head.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no aesthetic head could be read"):
        load_aesthetic(folder, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": [9, 6, 1]}, r"widths \[9, 6, 1\].*its embedding, 8"),
        ({"widths": [8, 6, 2]}, "end with 1"),
        ({"activation": "tanh"}, "activation is none or relu"),
        ({"widths": [8, 5, 1]}, "no aesthetic head could be read"),
    ],
    ids=["input", "output", "activation", "tensors"],
)
def test_a_head_that_does_not_fit_is_refused(
    aesthetic_folder: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(aesthetic_folder, folder)
    edit_json(folder / "head_config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        load_aesthetic(folder, device="cpu")


def test_a_classifier_without_clean_is_refused(artifact_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(artifact_folder, folder)
    edit_json(folder / "config.json", id2label={"0": "fine", "1": "blur", "2": "fragments"})
    with pytest.raises(CheckpointError, match="exactly one called 'clean'"):
        load_artifact(folder, device="cpu")


def test_a_preference_model_without_tokenizer_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clip_folder, folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match="not of one build, or tokenizer"):
        load_hps(folder, device="cpu")


def test_a_damaged_tokenizer_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clip_folder, folder)
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="no tokenizer could be read"):
        load_hps(folder, device="cpu")


@pytest.mark.parametrize("eos", [2, 1], ids=["legacy", "other"])
def test_pooling_at_another_token_than_the_end_is_refused(clip_folder: Path, tmp_path: Path, eos: int) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clip_folder, folder)
    text_config = json.loads((folder / "config.json").read_text())["text_config"]
    edit_json(folder / "config.json", text_config=text_config | {"eos_token_id": eos})
    with pytest.raises(CheckpointError, match="look at the wrong word"):
        load_hps(folder, device="cpu")


def test_device_is_taken_as_named() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")

"""Large checkpoints: shards are found and fetched, read strictly, and quantised only by what is installed."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from tests.rewards.goldens import Golden
from tests.tiny_llava import CONFIG, write_orm

import pyrite
from pyrite.core.errors import CheckpointError, MissingExtraError
from pyrite.records.fetching import fetch
from pyrite.records.published import ROOT_VARIABLE, find_file, shard_paths
from pyrite.rewards.large_models import choose_large_dtype, load_large, published_penalty, quantisation_config
from pyrite.rewards.llava_weights import KEY_MAPPING, load_model
from pyrite.rewards.published import convert, verify

ORM = Golden("orm_llava_onevision")
CPU = torch.device("cpu")
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def golden_config() -> dict[str, Any]:
    said = json.loads((ORM.folder / "fixture.json").read_text())["vision"]
    return {"vision": {**said, "num_hidden_layers": said.pop("layers_in_checkpoint")}}


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """The fixture's folder, to be spoilt."""
    return Path(shutil.copytree(ORM.folder, tmp_path / "sharded"))


def load(folder: Path, name: str = INDEX) -> Any:
    return load_model("orm", folder / name, config=golden_config(), device=CPU, dtype=torch.float32)


def change(file: Path, key: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(file)
    tensors.pop(key, None)
    if tensor is not None:
        tensors[key] = tensor
    save_file(tensors, file, {"format": "pt"})


def test_an_index_counts_only_with_all_its_shards(sharded: Path) -> None:
    assert find_file("orm", "weights", sharded) == sharded / INDEX
    assert shard_paths(sharded / INDEX) == tuple(sharded / name for name in SHARDS)
    assert shard_paths(sharded / SHARDS[0]) == (sharded / SHARDS[0],)
    (sharded / SHARDS[1]).unlink()
    with pytest.raises(CheckpointError, match=r"needs model\.safetensors\.index\.json \(and its shards, 16\.1 GB\)"):
        find_file("orm", "weights", sharded)


def test_weights_in_one_file_serve_as_well(sharded: Path) -> None:
    tensors = load_file(sharded / SHARDS[0]) | load_file(sharded / SHARDS[1])
    for name in (INDEX, *SHARDS):
        (sharded / name).unlink()
    save_file(tensors, sharded / "model.safetensors", {"format": "pt"})
    assert find_file("orm", "weights", sharded) == sharded / "model.safetensors"
    model, files = load(sharded, "model.safetensors")
    assert [file.name for file in files] == ["model.safetensors", "config.json"]
    expected = load(ORM.folder)[0].model.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.model.state_dict().items())


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", 3])
def test_an_index_cannot_name_files_outside_its_folder(tmp_path: Path, shard: object) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(CheckpointError, match="no file of its own folder"):
        shard_paths(tmp_path / INDEX)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(CheckpointError, match="no index of shards"):
        shard_paths(tmp_path / INDEX)


def test_a_missing_tensor_is_named(sharded: Path) -> None:
    change(sharded / SHARDS[0], "model.image_newline", None)
    with pytest.raises(CheckpointError, match=r"not the weights of 'orm': 1 tensors are missing \(first: .*newline"):
        load(sharded)


def test_a_tensor_left_over_is_named(sharded: Path) -> None:
    change(sharded / SHARDS[1], "model.layers.9.mlp.up_proj.weight", torch.zeros(64, 32))
    with pytest.raises(CheckpointError, match=r"1 are left over \(first: model\..*layers\.9\.mlp\.up_proj\.weight"):
        load(sharded)


def test_a_misshapen_tensor_is_refused(sharded: Path) -> None:
    change(sharded / SHARDS[0], "model.image_newline", torch.zeros(31))
    with pytest.raises(CheckpointError, match=r"model\.image_newline has shape \(31,\) and not \(32,\)"):
        load(sharded)


def test_a_damaged_shard_is_refused(sharded: Path) -> None:
    (sharded / SHARDS[1]).write_bytes((sharded / SHARDS[1]).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="could not be read"):
        load(sharded)


def test_two_sets_of_weights_are_ambiguous(sharded: Path) -> None:
    shutil.copy(sharded / SHARDS[0], sharded / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"holds both model\.safetensors\.index\.json and model\.safetensors"):
        load(sharded)


def test_a_file_by_another_name_is_not_guessed_about(sharded: Path) -> None:
    shutil.copy(sharded / SHARDS[0], sharded / "mine.safetensors")
    with pytest.raises(CheckpointError, match=r"called neither model\.safetensors nor"):
        load(sharded, "mine.safetensors")


def test_the_key_map_covers_every_tensor_of_the_fixture() -> None:
    import re

    names = json.loads((ORM.folder / INDEX).read_text())["weight_map"]
    kept = {key for key in names if not any(re.match(pattern, key) for pattern in KEY_MAPPING)}
    assert kept == {"lm_head.weight", "model.image_newline"}


def test_every_shard_is_verified_and_none_converted(sharded: Path) -> None:
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (sharded / name).write_text("{}")
    found = {finding.path.name: finding for finding in verify("orm", sharded)}
    assert set(SHARDS) < set(found)
    assert "it holds 97 tensors, and the reward needs 765" in found[INDEX].problem
    assert convert("orm", sharded) is None


def test_fetching_an_index_fetches_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "weights"))
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append(f"{repository}/{name}")
        target = tmp_path / "weights" / "orm"
        target.mkdir(parents=True, exist_ok=True)
        if (ORM.folder / name).is_file():
            shutil.copy(ORM.folder / name, target)
        else:
            size = {"vocab.json": 2_776_833, "merges.txt": 1_671_839}.get(name, 10)
            (target / name).write_bytes(b" " * size)
        return str(target / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    found = fetch("orm", progress=lambda *_: None)
    assert found[0].name == INDEX
    assert {f"CaraJ/ORM-T2I-R1/{name}" for name in SHARDS} < set(asked)


class _Recorder:
    """A model class that remembers how it was asked to load."""

    asked: dict[str, Any]

    @classmethod
    def from_pretrained(cls, folder: Path, **how: Any) -> tuple[Any, dict[str, list[str]]]:
        cls.asked = how
        model = SimpleNamespace(eval=lambda: SimpleNamespace(requires_grad_=lambda _: "ready"))
        return model, {"missing_keys": ["vision.a"], "unexpected_keys": ["head.b"], "mismatched_keys": []}


@pytest.mark.parametrize(("quantise", "bits"), [("8bit", 8), ("4bit", 4)])
def test_quantisation_is_handed_to_the_library(
    sharded: Path, monkeypatch: pytest.MonkeyPatch, quantise: Any, bits: int
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    how = {"dtype": torch.bfloat16, "device": torch.device("cuda:1"), "may_lack": ("vision.",), "unused": ("head.",)}
    assert load_large("orm", _Recorder, sharded / INDEX, None, quantise=quantise, exact=("eyes",), **how) == "ready"
    said = _Recorder.asked["quantization_config"]
    assert getattr(said, f"load_in_{bits}bit")
    assert said.llm_int8_skip_modules == ["eyes"]
    assert _Recorder.asked["device_map"] == {"": "cuda:1"}
    assert _Recorder.asked["attn_implementation"] == "sdpa"


def test_what_may_be_lacking_or_unused_is_said_by_prefix(sharded: Path) -> None:
    how = {"dtype": torch.float32, "device": CPU}
    with pytest.raises(CheckpointError, match=r"1 tensors are missing \(first: vision\.a\); 1 are left over"):
        load_large("orm", _Recorder, sharded / INDEX, None, **how)


def test_quantisation_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs the package bitsandbytes.*pip install 'pyrite\[quantised\]'"):
        quantisation_config("4bit", torch.bfloat16, ())


def test_an_unknown_quantisation_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"quantise='2bit' is not known: use '8bit', '4bit'"):
        quantisation_config("2bit", torch.bfloat16, ())  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize(("quantise", "layer"), [("8bit", "Linear8bitLt"), ("4bit", "Linear4bit")])
def test_a_quantised_model_scores_and_says_so(tmp_path: Path, quantise: str, layer: str) -> None:
    folder = write_orm(tmp_path)
    reward = pyrite.load_reward("orm", weights=folder, config=CONFIG, device="cpu", quantise=quantise)
    inner = reward.model.model.model  # type: ignore[attr-defined]
    kinds = {type(module).__name__ for module in inner.language_model.modules()}
    assert layer in kinds
    assert layer not in {type(module).__name__ for module in inner.vision_tower.modules()}
    assert reward.card.options["quantise"] == quantise
    assert reward.card.parity_error is None
    images = [PILImage.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    assert np.isfinite(reward.score(images, [pyrite.Prompt("a red circle")] * 2).values).all()


def test_the_default_precision_of_a_large_model_is_bfloat16() -> None:
    assert choose_large_dtype(None) is torch.bfloat16
    assert choose_large_dtype("float32") is torch.float32
    with pytest.raises(CheckpointError, match="no precision"):
        choose_large_dtype("int4")


def test_the_published_penalty_is_read(tmp_path: Path) -> None:
    assert published_penalty(tmp_path) == 1.0
    file = tmp_path / "generation_config.json"
    for said, penalty in (({}, 1.0), ({"repetition_penalty": 1.05}, 1.05)):
        file.write_text(json.dumps(said))
        assert published_penalty(tmp_path) == penalty
    for said in ("high", -1, 0, None):
        file.write_text(json.dumps({"repetition_penalty": said}))
        with pytest.raises(CheckpointError, match="no positive number"):
            published_penalty(tmp_path)

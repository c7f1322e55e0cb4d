import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Prompt
from pyrite.policies.janus import JanusPolicy, load_janus
from pyrite.policies.janus_layout import JanusLayout


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    row = json.loads(path.read_text())
    change(row)
    path.write_text(json.dumps(row))


def other_architecture(folder: Path) -> None:
    edit_json(folder / "config.json", lambda row: row.update(model_type="clip"))


def biased_body(folder: Path) -> None:
    edit_json(folder / "config.json", lambda row: row["text_config"].update(attention_bias=True))


def unreadable_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def no_settings(folder: Path) -> None:
    (folder / "pyrite_policy.json").unlink()


def misspelt_settings(folder: Path) -> None:
    edit_json(folder / "pyrite_policy.json", lambda row: row.update(plan_tokenz=3))


def foreign_opener(folder: Path) -> None:
    edit_json(folder / "pyrite_policy.json", lambda row: row.update(plan_token="<think>"))


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def missing_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.generation_head.vision_head.bias"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def larger_vocabulary(folder: Path) -> None:
    def add_word(row: dict) -> None:
        row["model"]["vocab"]["zebra"] = len(row["model"]["vocab"])

    edit_json(folder / "tokenizer.json", add_word)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_architecture, "type 'clip', and this policy is of type 'janus'"),
        (biased_body, "Llama without biases"),
        (unreadable_config, "not a readable model configuration"),
        (no_settings, "neither a chat template .* nor pyrite_policy.json"),
        (misspelt_settings, "plan_tokenz"),
        (foreign_opener, "lacks <think>"),
        (no_tokenizer, "no tokenizer could be read"),
        (cut_weights, "could not be read"),
        (no_weights, "could not be read"),
        (missing_tensor, "would be random"),
        (larger_vocabulary, "not of one build"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_damaged_folder_is_refused(
    janus_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "janus"
    shutil.copytree(janus_folder, folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_janus(folder, device="cpu")


@pytest.mark.parametrize("option", ["temperature", "plan_temperature"])
def test_temperature_zero_is_refused(janus_folder: Path, option: str) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        load_janus(janus_folder, device="cpu", **{option: 0.0})


def test_prompt_is_padded_on_the_left_after_bos(policy: JanusPolicy) -> None:
    ids = policy.layout.prompt_ids([Prompt("A photo of a RED circle")])
    words = policy.layout.tokenizer.convert_ids_to_tokens(ids[0].tolist())
    assert words == ["<bos>", *["<pad>"] * 6, "a", "photo", "of", "a", "red", "circle"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a photo of a yelow circle", "'yelow'.*Nearest words: yellow"),
        ("a photo of a zzzz", "'zzzz'.*Nearest words"),
        ("a <boi> circle", "does not know the word '<boi>'"),
        ("a red circle and " * 4, "has 16 words, and the policy reads 12"),
    ],
    ids=["misspelt", "foreign", "control token", "too long"],
)
def test_prompts_the_policy_cannot_read_are_refused(policy: JanusPolicy, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy.layout.prompt_ids([Prompt(text)])


def test_layout_survives_saving(policy: JanusPolicy, tmp_path: Path) -> None:
    policy.layout.save(tmp_path)
    assert JanusLayout.load(tmp_path).settings == policy.layout.settings

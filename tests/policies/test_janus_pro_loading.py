import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Prompt
from pyrite.policies.janus import load_janus


def edit(path: Path, **changes: Any) -> None:
    row = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in row.items() if value is not ...}))


def other_architecture(folder: Path) -> None:
    edit(folder / "config.json", model_type="llava")


def tensors_astray(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.extra"] = tensors.pop("model.aligner.fc1.bias")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def no_settings(folder: Path) -> None:
    (folder / "generation_config.json").unlink()


def no_pad(folder: Path) -> None:
    edit(folder / "generation_config.json", pad_token_id=...)
    edit(folder / "tokenizer_config.json", pad_token=...)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_architecture, "type 'llava', and this policy is of type 'janus'"),
        (tensors_astray, r"1 missing .model.aligner.fc1.bias.; 1 unexpected .model.extra."),
        (no_template, "neither a chat template"),
        (no_tokenizer, "no tokenizer could be read"),
        (no_settings, "generation_config.json is not a readable"),
        (no_pad, "do not say pad_token_id"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_damaged_folder_is_refused(
    pro_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(pro_folder, tmp_path / "pro")
    damage(tmp_path / "pro")
    with pytest.raises(CheckpointError, match=message):
        load_janus(tmp_path / "pro", device="cpu")


@pytest.mark.parametrize(
    "changes",
    [{}, {"generation_kwargs": ..., "boi_token_id": 260}, {"generation_kwargs": ...}],
    ids=["as transformers reads it", "as its converter wrote it", "left to the tokenizer"],
)
def test_the_opener_of_the_image_is_found_wherever_it_is_said(
    pro_folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    shutil.copytree(pro_folder, tmp_path / "pro")
    edit(tmp_path / "pro" / "generation_config.json", **changes)
    layout = load_janus(tmp_path / "pro", device="cpu").layout
    assert layout.boi_id == layout.tokenizer.convert_tokens_to_ids("<begin_of_image>") == 260


@pytest.mark.parametrize("option", [{"dtype": "bfloat16"}, {"lora": {"r": 4}}, {"plan": "words"}], ids=str)
def test_a_pocket_policy_has_none_of_what_only_large_ones_need(
    janus_folder: Path, plan_template: Path, option: dict[str, Any]
) -> None:
    template = {"plan_template": plan_template} if "plan" in option else {}
    with pytest.raises(ValueError, match=f"is a pocket policy, which has no {next(iter(option))}"):
        load_janus(janus_folder, device="cpu", **option, **template)


def missing(folder: Path) -> Path:
    return folder / "none.txt"


def without_place(folder: Path) -> Path:
    (folder / "q.txt").write_text("Say what you see.")
    return folder / "q.txt"


def with_two(folder: Path) -> Path:
    (folder / "q.txt").write_text("{} and {}")
    return folder / "q.txt"


@pytest.mark.parametrize(
    ("template", "options", "message"),
    [
        (None, {}, "needs a question that asks the model for its plan"),
        (missing, {}, "none.txt cannot be read"),
        (without_place, {}, "has 0 places for the prompt"),
        (with_two, {}, "has 2 places for the prompt"),
        (None, {"plan": "sketch"}, "plan = 'sketch' is not known"),
    ],
    ids=["none", "missing", "no place", "two places", "unknown plan"],
)
def test_a_plan_without_a_question_is_refused(
    pro_folder: Path,
    tmp_path: Path,
    template: Callable[[Path], Path] | None,
    options: dict[str, Any],
    message: str,
) -> None:
    given = {"plan": "words", "plan_template": template(tmp_path) if template else None, **options}
    with pytest.raises(ValueError, match=message):
        load_janus(pro_folder, device="cpu", **given)


def test_other_options_that_cannot_be(pro_folder: Path, plan_template: Path) -> None:
    with pytest.raises(ValueError, match="dtype = 'float16' is not known: float32 or bfloat16"):
        load_janus(pro_folder, device="cpu", dtype="float16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_plan_tokens = 0 leaves no room"):
        load_janus(pro_folder, device="cpu", plan="words", plan_template=plan_template, max_plan_tokens=0)


def test_a_vocabulary_of_another_release_is_refused(pro_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(pro_folder, tmp_path / "pro")
    edit(tmp_path / "pro" / "config.json")
    row = json.loads((tmp_path / "pro" / "tokenizer.json").read_text())
    last = row["added_tokens"][-1]
    for number in range(20):  # more words than the model has room for
        row["added_tokens"].append({**last, "id": last["id"] + 1 + number, "content": f"zebra{number}"})
    (tmp_path / "pro" / "tokenizer.json").write_text(json.dumps(row))
    with pytest.raises(CheckpointError, match="not of one release"):
        load_janus(tmp_path / "pro", device="cpu")


def test_a_saved_policy_draws_the_same(pro_folder: Path, tmp_path: Path) -> None:
    import numpy as np
    import torch

    policy = load_janus(pro_folder, cfg_scale=3.0, device="cpu")
    with torch.no_grad():
        policy.module.janus.model.language_model.norm.weight.mul_(1.2)
    policy.save(str(tmp_path / "saved"))
    again = load_janus(tmp_path / "saved", cfg_scale=3.0, device="cpu")
    draws = [
        one.sample([Prompt("a cat")], group_size=2, rngs=[np.random.default_rng(0)]).tokens for one in (policy, again)
    ]
    assert draws[0].tolist() == draws[1].tolist()


def test_the_card_says_how_large_it_is(pro_folder: Path, plan_template: Path) -> None:
    card = load_janus(pro_folder, plan="words", plan_template=plan_template, max_plan_tokens=9, device="cpu").card
    assert (card.num_tokens, card.num_plan_tokens, card.image_size) == (9 + 16, 9, (16, 16))
    assert card.shape is not None
    assert card.shape.num_parameters > card.shape.num_trained > 0
    assert (card.shape.layers, card.shape.width, card.shape.image_choices) == (2, 32, 24)

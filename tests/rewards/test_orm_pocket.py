"""The shipped yes/no judge answers about rendered scenes; the rest of it is `tests/world/test_build_judge.py`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.tiny_checkpoints import write_clip, write_judge

import pyrite
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt
from pyrite.rewards.orm_pocket import load_orm_pocket
from pyrite.world.prompts import near_miss, random_scene, sample_prompts
from pyrite.world.scenes import render, to_uint8


def scenes(prompts: list[Prompt]) -> list[Image]:
    rng = np.random.default_rng(0)
    return [PILImage.fromarray(to_uint8(render(random_scene(prompt, rng)))) for prompt in prompts]


def test_the_shipped_judge_tells_a_prompt_from_its_near_miss() -> None:
    """180 prompts that no part of the world was trained on; two standard errors of a share of .9 are .045."""
    rng = np.random.default_rng(1)
    prompts = sample_prompts("eval", 180, 0)
    images = scenes(prompts)
    reward = pyrite.load_reward("orm-pocket", device="cpu", temperature=1.0)
    right, wrong = (
        reward.score(images, asked).values for asked in (prompts, [near_miss(prompt, rng) for prompt in prompts])
    )
    assert (right > wrong).mean() > 0.85


def test_the_temperature_changes_how_sure_it_is_and_never_the_order(tmp_path: Path) -> None:
    folder = write_judge(tmp_path / "judge")
    prompts = sample_prompts("rl", 6, 0)
    images = scenes(prompts)
    official, own = (load_orm_pocket(folder, device="cpu", temperature=each) for each in (0.3, 1.0))
    sharp, soft = (reward.score(images, prompts).values for reward in (official, own))
    np.testing.assert_allclose(np.log(sharp / (1 - sharp)), np.log(soft / (1 - soft)) / 0.3, rtol=1e-4, atol=1e-5)
    assert official.card.store_key != own.card.store_key


def test_a_tokenizer_of_another_build_is_refused(tmp_path: Path) -> None:
    folder = write_judge(tmp_path / "judge")
    other = write_clip(tmp_path / "clip")
    (folder / "tokenizer.json").write_bytes((other / "tokenizer.json").read_bytes())
    with pytest.raises(CheckpointError, match="they are not of one build"):
        load_orm_pocket(folder, device="cpu")


def test_another_models_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a model of type 'clip', and this reward needs 'llava_onevision'"):
        load_orm_pocket(write_clip(tmp_path / "clip"), device="cpu")

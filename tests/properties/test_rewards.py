"""What every registered reward promises by being one, and what its card claims, on tiny random checkpoints."""

import functools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from tests.judge_server import any_judge, judge_server
from tests.tiny_checkpoints import (
    MANIQA_CONFIG,
    write_aesthetic,
    write_artifact,
    write_bert_vocabulary,
    write_clip,
    write_clip_vocabulary,
    write_detector,
    write_judge,
    write_maniqa,
)
from tests.tiny_detectors import described, write_gdino, write_git
from tests.tiny_llava import CONFIG as LLAVA_CONFIG
from tests.tiny_llava import write_orm, write_unifiedreward
from tests.tiny_qwen import HPSV3_CONFIG, write_hpsv3, write_qwen
from tests.tiny_vqa import write_deqa, write_vqascore

import pyrite
from pyrite.core.protocols import Reward
from pyrite.core.types import Image, Prompt
from pyrite.rewards.catalogue import REWARDS
from pyrite.serving.app import create_app
from pyrite.serving.background import in_background

GOLDENS = Path(__file__).parents[1] / "goldens"
TEXTS = ("a photo of a red circle", "two blue stars above a green cross", "a pink square", "three yellow crosses")
# float32 matrix products round differently with the number of rows; scores are of order 1 to 10
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
# A mean over ReLU and Sigmoid of random weights, divided by its weights: an ulp of a product becomes more (the
# fixture's own tolerance is 3e-5). PickScore is 100 times a cosine.
ILL_CONDITIONED = {"maniqa": 3e-5, "pickscore": 3e-4, "imagereward": 5e-5}
UNSEEING = {"constant"}
BORROWED = {"versus", "remote"}  # their names say what they do to another reward


def golden_config(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((GOLDENS / name / "config.json").read_text())
    return config


def clip_official(folder: Path, source: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    copy_in(folder, source)
    return {"weights": folder / Path(source).name, "config": config, "tokenizer": write_clip_vocabulary(folder)}


def copy_in(folder: Path, *sources: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copyfile(GOLDENS / source, folder / Path(source).name)


def pickscore(folder: Path) -> dict[str, Any]:
    copy_in(folder, "pickscore/config.json")
    return clip_official(folder, "pickscore/model.safetensors")


def clipscore(folder: Path) -> dict[str, Any]:
    copy_in(folder, "clipscore/clip_hf/config.json")
    return clip_official(folder, "clipscore/clip_hf/model.safetensors")


def aesthetic(folder: Path, head: str) -> dict[str, Any]:
    copy_in(folder, f"aesthetic/{head}")
    return {"weights": folder / head, "tower": GOLDENS / "aesthetic" / "clip_hf"}


def imagereward(folder: Path) -> dict[str, Any]:
    copy_in(folder, "imagereward/ImageReward.pt", "imagereward/med_config.json")
    return {
        "weights": folder / "ImageReward.pt",
        "config": golden_config("imagereward"),
        "tokenizer": write_bert_vocabulary(folder),
    }


def versus(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    for row in range(len(batch()[0])):
        PILImage.new("RGB", (8, 8), (9 * row, 60, 20)).save(folder / f"p{row}.png")
    return {"reward": "saturation", "baseline": str(folder)}


SERVED = ("artifact-served", "unifiedreward-served", "unifiedreward-qwen-served")
"""Their model is on a server: here one on a socket of this machine, which answers by a hash of what it is asked."""


def pocket(write: Callable[[Path], Path]) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"weights": write(folder)}


WRITERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "gdino": write_gdino,
    "git": write_git,
    "hps-pocket": pocket(write_clip),
    "pickscore-pocket": pocket(functools.partial(write_clip, seed=7)),
    "aesthetic-pocket": pocket(write_aesthetic),
    "artifact-pocket": pocket(write_artifact),
    "detector-pocket": pocket(write_detector),
    "orm-pocket": pocket(write_judge),
    "hpsv2.0": lambda folder: clip_official(folder, "hpsv2/HPS_v2.1_compressed.pt", golden_config("hpsv2")),
    "hpsv2.1": lambda folder: clip_official(folder, "hpsv2/HPS_v2.1_compressed.pt", golden_config("hpsv2")),
    "pickscore": pickscore,
    "clipscore": clipscore,
    "aesthetic-v1": lambda folder: aesthetic(folder, "sa_0_4_vit_l_14_linear.pth"),
    "aesthetic-v2": lambda folder: aesthetic(folder, "sac+logos+ava1-l14-linearMSE.pth"),
    "imagereward": imagereward,
    "maniqa": lambda folder: {
        "weights": write_maniqa(folder) / "ckpt_koniq10k.pt",
        "config": MANIQA_CONFIG,
        "batch_size": 60,
    },  # crops
    "orm": lambda folder: {"weights": write_orm(folder), "config": LLAVA_CONFIG, "dtype": "float32"},
    "unifiedreward": lambda folder: {
        "weights": write_unifiedreward(folder),
        "config": LLAVA_CONFIG,
        "dtype": "float32",
        "max_new_tokens": 20,
    },
    "vqascore": write_vqascore,
    "vqascore-xl": functools.partial(write_vqascore, seed=6),
    "deqa": write_deqa,
    "artifact": lambda folder: {"weights": write_qwen(folder), "dtype": "float32"},
    "unifiedreward-qwen": lambda folder: {"weights": write_qwen(folder, scores=True), "dtype": "float32"},
    "hpsv3": lambda folder: {
        "weights": write_hpsv3(folder) / "HPSv3.safetensors",
        "config": HPSV3_CONFIG,
        "dtype": "float32",
    },
    "versus": versus,
    **dict.fromkeys(
        ("jpeg_compressibility", "jpeg_incompressibility", "saturation", "sharpness", "random", "constant"),
        lambda _: {},
    ),
}


@pytest.fixture(scope="module")
def judge_url() -> Iterator[str]:
    with judge_server(any_judge) as server:
        yield server.url


@pytest.fixture(scope="module")
def servers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def options_of(
    tmp_path_factory: pytest.TempPathFactory, judge_url: str, servers: ExitStack
) -> Callable[[str], dict[str, Any]]:
    @functools.cache
    def write(name: str) -> dict[str, Any]:
        if name == "remote":
            served = pyrite.load_reward("hps-pocket", **write("hps-pocket"), device="cpu")
            url = servers.enter_context(in_background(create_app({"hps-pocket": served})))
            return {"url": url, "reward": "hps-pocket"}
        if name in SERVED:
            return {"base_url": judge_url, "audit": ""}
        assert name in WRITERS, "a new reward needs a tiny checkpoint here"
        return WRITERS[name](tmp_path_factory.mktemp(name) / "model")

    return write


@pytest.fixture(scope="module")
def load(options_of: Callable[[str], dict[str, Any]]) -> Callable[[str], Reward]:
    @functools.cache
    def loaded(name: str) -> Reward:
        return pyrite.load_reward(name, device="cpu", **{"batch_size": 5, **options_of(name)})

    return loaded


@pytest.fixture(params=REWARDS.names())
def reward(request: pytest.FixtureRequest, load: Callable[[str], Reward]) -> Reward:
    found = load(request.param)
    assert found.card.name == request.param or request.param in BORROWED
    return found


def close(reward: Reward) -> dict[str, float]:
    return {**CLOSE, "atol": ILL_CONDITIONED.get(reward.card.name, CLOSE["atol"])}


def batch() -> tuple[list[Image], list[Prompt]]:
    rng = np.random.default_rng(0)
    sizes = [(16, 16), (16, 16), (20, 31), (16, 16), (64, 64), (16, 16), (9, 16), (16, 16)]
    images = [PILImage.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    images[4] = images[4].convert("RGBA")
    images[5] = images[5].point([4 * (value // 8) for value in range(256)] * 3)  # others of its size are as colourful
    return images, [described(TEXTS[row % len(TEXTS)], f"p{row}") for row in range(len(images))]


def test_a_batch_scores_as_one_by_one(reward: Reward) -> None:
    images, prompts = batch()
    alone = [reward.score([image], [prompt]).values for image, prompt in zip(images, prompts, strict=True)]
    assert {len(values) for values in alone} == {1}
    np.testing.assert_allclose(reward.score(images, prompts).values, np.concatenate(alone), **close(reward))


def test_scores_follow_their_images_into_any_order(reward: Reward) -> None:
    images, prompts = batch()
    order = np.random.default_rng(1).permutation(len(images))
    shuffled = reward.score([images[row] for row in order], [prompts[row] for row in order])
    np.testing.assert_allclose(shuffled.values, reward.score(images, prompts).values[order], **close(reward))


def test_scores_repeat_if_the_card_says_so(reward: Reward) -> None:
    reward.score(*batch())  # so that what is remembered of prompts is the same for both
    first, second = reward.score(*batch()), reward.score(*batch())
    if reward.card.deterministic:
        assert np.array_equal(first.values, second.values)


def test_the_prompt_matters_exactly_if_the_card_says_so(reward: Reward) -> None:
    images, prompts = batch()
    moved = reward.score(images, prompts[1:] + prompts[:1]).values
    same = np.allclose(moved, reward.score(images, prompts).values, **close(reward))
    assert same != reward.card.reads_prompt


def test_the_image_matters_unless_nothing_does(reward: Reward) -> None:
    images = batch()[0]
    # more than one prompt, since CLIPScore calls every image 0 that a random model turns away from its prompt
    spread = [np.ptp(reward.score(images, [described(text, "p0")] * len(images)).values) for text in TEXTS]
    assert (max(spread) > 1e-3) != (reward.card.name in UNSEEING)


def test_scores_stay_in_the_stated_range(reward: Reward) -> None:
    low, high = reward.card.range
    flat = [PILImage.new("RGB", (16, 16), colour) for colour in ("black", "white", "red")]
    values = np.concatenate([reward.score(*batch()).values, reward.score(flat, batch()[1][:3]).values])
    assert low < high or reward.card.name in UNSEEING
    assert ((values >= low) & (values <= high)).all()


def test_an_unreadable_image_is_unscored_and_disturbs_nobody(reward: Reward) -> None:
    images, prompts = batch()
    clean = reward.score(images, prompts).values
    images[2] = PILImage.new("RGB", (16, 0))
    scores = reward.score(images, prompts)
    assert list(scores.reasons) == [2]
    assert "empty" in scores.reasons[2]
    np.testing.assert_allclose(np.delete(scores.values, 2), np.delete(clean, 2), **close(reward))


STRANGE_IMAGES = {
    "one pixel": PILImage.new("RGB", (1, 1), "red"),
    "sliver": PILImage.new("RGB", (3, 900)),
    "wide": PILImage.new("RGB", (300, 10), "blue"),
    "large": PILImage.new("RGB", (2000, 1500), "green"),
    "sixteen bit": PILImage.new("I;16", (20, 20)),
    "grey": PILImage.new("L", (20, 20), 7),
    "grey and alpha": PILImage.new("LA", (20, 20), (7, 100)),
    "palette": PILImage.new("P", (20, 20)),
    "alpha": PILImage.new("RGBA", (20, 20), (1, 2, 3, 0)),
    "print": PILImage.new("CMYK", (20, 20)),
    "bits": PILImage.new("1", (20, 20)),
}


def test_strange_images_have_a_score_or_a_reason(reward: Reward) -> None:
    prompts = [described(TEXTS[0], "p0")] * len(STRANGE_IMAGES)
    scores = reward.score(list(STRANGE_IMAGES.values()), prompts)  # Scores refuses a NaN without a reason
    named = dict(zip(STRANGE_IMAGES, scores.values, strict=True))
    assert np.isfinite([named[mode] for mode in ("grey", "grey and alpha", "palette", "alpha", "print", "bits")]).all()
    assert np.isnan(named["sixteen bit"])
    assert all(len(why) > 20 for why in scores.reasons.values())


STRANGE_TEXTS = (
    "",
    " ",
    "word " * 200,
    "日本の寺と桜 🦊 ﬁne ½",
    "&lt;b&gt; &amp;amp; &quot;",
    "<|endoftext|> a red circle",
    "[SEP] [CLS] a red circle",
    "a\x00b\u200bc\ud83d",
    "\n\t",
)


def test_strange_prompts_have_a_score_or_a_reason(reward: Reward) -> None:
    images, prompts = batch()
    strange = [described(text, "p0") for text in STRANGE_TEXTS]
    scores = reward.score(images[:1] * len(strange) + images[1:2], [*strange, prompts[1]])
    assert len(strange) not in scores.reasons  # and they disturb nobody


def test_nothing_readable_is_nothing_scored(reward: Reward) -> None:
    empty = PILImage.new("RGB", (0, 0))
    assert set(reward.score([empty, empty], batch()[1][:2]).reasons) == {0, 1}
    assert len(reward.score([], [])) == 0


def test_details_have_a_number_for_each_image(reward: Reward) -> None:
    scores = reward.score(*batch())
    assert all(column.shape == scores.values.shape for column in scores.details.values())


def test_unequal_numbers_of_images_and_prompts_are_refused(reward: Reward) -> None:
    images, prompts = batch()
    with pytest.raises(ValueError, match="8 images and 7 prompts"):
        reward.score(images, prompts[:-1])


def test_the_card_names_the_weights(reward: Reward) -> None:
    assert reward.card.revision
    assert reward.card.summary.endswith(".")
    assert len(reward.card.store_key) == 64


def test_no_two_rewards_share_a_key(load: Callable[[str], Reward]) -> None:
    names = set(REWARDS.names()) - {"remote"}
    assert len({load(name).card.store_key for name in names}) == len(names)


def test_a_remote_reward_has_the_key_and_the_scores_of_the_served_one(load: Callable[[str], Reward]) -> None:
    here, there = load("hps-pocket"), load("remote")
    assert there.card == here.card
    np.testing.assert_allclose(there.score(*batch()).values, here.score(*batch()).values, **CLOSE)


WEIGHTLESS = {
    *SERVED,  # a server's weights are known by the name it gives them and by `revision=`: tests/rewards/test_served.py
    "versus",
    "remote",  # the weights are the server's
    "jpeg_compressibility",
    "jpeg_incompressibility",
    "saturation",
    "sharpness",
    "random",
    "constant",
}


@pytest.mark.parametrize("name", sorted(set(REWARDS.names()) - WEIGHTLESS))
def test_a_changed_weight_changes_the_key(
    name: str, load: Callable[[str], Reward], options_of: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    options = dict(options_of(name))
    given = Path(options["weights"])
    shutil.copytree(given if given.is_dir() else given.parent, tmp_path / "model")
    file = tmp_path / "model" / ("model.safetensors" if given.is_dir() else given.name)
    tensors = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
    inner = tensors.get("state_dict", tensors)
    first = next(key for key in inner if inner[key].is_floating_point() and inner[key].ndim)
    inner[first].flatten()[0] += 0.5
    save_file(tensors, file, {"format": "pt"}) if file.suffix == ".safetensors" else torch.save(tensors, file)
    options["weights"] = tmp_path / "model" if given.is_dir() else file
    changed = pyrite.load_reward(name, **options, device="cpu")
    assert changed.card.revision != load(name).card.revision
    assert changed.card.store_key != load(name).card.store_key


def test_all_rewards_live_in_one_process(load: Callable[[str], Reward]) -> None:
    """Each loaded beside all others scores as it does alone, whoever scored before it, and needs nobody's clone."""
    images, prompts = batch()
    rewards = [load(name) for name in REWARDS.names()]
    first = [reward.score(images, prompts) for reward in rewards]
    again = [reward.score(images, prompts) for reward in reversed(rewards)][::-1]
    for reward, before, after in zip(rewards, first, again, strict=True):
        np.testing.assert_array_equal(before.values, after.values, err_msg=reward.card.name)
        assert len(before) == len(images)
    assert not {"torchvision", "timm", "open_clip", "llava", "groundingdino", "t2v_metrics"} & set(sys.modules)

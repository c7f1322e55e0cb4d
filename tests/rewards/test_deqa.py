"""DeQA-Score: the official scores, pixels and tokens; one constant text, read once; strict files."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from tests.rewards.goldens import Golden, vocabulary
from tests.tiny_vqa import OWL_CONFIG, write_deqa, write_t5_vocabulary

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Prompt
from pyrite.records.published import num_parameters
from pyrite.rewards.deqa import LEVELS, Conversation, Deqa, deqa_reward, load_deqa, read_conversation
from pyrite.rewards.mplug_owl2 import Multiway, image_first, language_class, load_owl, new_abstractor, owl_configs
from pyrite.rewards.pieces import read_pieces

GOLDEN = Golden("deqa")
CPU, F32 = torch.device("cpu"), torch.float32
INDEX = GOLDEN.folder / "model.safetensors.index.json"
# The fixture's own tolerance: what float32 sums differ by between machines.
CLOSE: dict[str, float] = {"rtol": 0, "atol": GOLDEN.tolerance["score_abs"]}
BLANK = [Prompt("")]


def given_conversation() -> Conversation:
    """The ids the fixture lists, so that no vocabulary is needed."""
    ids = GOLDEN.said["input_ids"]
    place = ids.index(-200)
    return Conversation(tuple(ids[:place]), tuple(ids[place + 1 :]), tuple(GOLDEN.said["preferential_ids"]))


def golden_reward(dtype: torch.dtype = F32) -> Deqa:
    return deqa_reward(load_owl("deqa", INDEX, config={}, dtype=dtype, device=CPU), given_conversation(), "tiny")


@pytest.fixture(scope="module")
def golden() -> Deqa:
    return golden_reward()


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deqa") / "model"
    write_deqa(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Deqa:
    return load_deqa(tiny_folder, device="cpu", dtype="float32")


def noise(width: int = 40, height: int = 30, seed: int = 0) -> PILImage.Image:
    return PILImage.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


# --- parity ----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_official_code_and_the_card_says_how_nearly(golden: Deqa) -> None:
    scores = golden.score(GOLDEN.images(), BLANK * 8)
    expected = np.array(GOLDEN.said["scores"])
    assert not scores.reasons
    np.testing.assert_allclose(scores.values, expected, **CLOSE)
    assert golden.card.parity_error is not None
    # other processors sum in another order: the claim is of the size of the error, not of its digits
    assert np.abs(scores.values - expected).max() < 10 * golden.card.parity_error


@pytest.mark.parametrize("row", GOLDEN.rows, ids=lambda row: row["image"])
def test_pixels_tokens_and_logits_are_those_of_the_official_code(golden: Deqa, row: dict[str, Any]) -> None:
    pixels = golden.pixels(GOLDEN.image(row))
    with torch.inference_mode():
        tokens = golden.model.image_tokens(torch.from_numpy(pixels)[None])
        logits = golden.level_logits(tokens)
    np.testing.assert_allclose(logits[0], row["level_logits"], rtol=0, atol=GOLDEN.tolerance["logit_abs"])
    for found, probe, close in (
        (pixels, row["pixels"], GOLDEN.tolerance["pixels_abs"]),
        (tokens[0].numpy(), row["image_tokens"], GOLDEN.tolerance["logit_abs"]),
    ):
        middle = found.size // 2
        assert list(found.shape) == probe["shape"]
        np.testing.assert_allclose(found.ravel()[:6], probe["first"], rtol=0, atol=close)
        np.testing.assert_allclose(found.ravel()[middle : middle + 6], probe["middle"], rtol=0, atol=close)
        assert float(found.mean(dtype=np.float64)) == pytest.approx(probe["mean"], abs=close)


def test_ids_are_those_of_the_official_code() -> None:
    words = vocabulary("deqa") / "tokenizer.model"
    assert read_conversation(read_pieces(words), words) == given_conversation()
    assert list(LEVELS) == GOLDEN.said["order"]


def test_a_whole_reward_scores_as_officially() -> None:
    reward = load_deqa(GOLDEN.folder, tokenizer=vocabulary("deqa"), device="cpu", dtype="float32")
    np.testing.assert_allclose(reward.score(GOLDEN.images(), BLANK * 8).values, GOLDEN.said["scores"], **CLOSE)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near(dtype: str) -> None:
    reward = golden_reward(getattr(torch, dtype))
    # an error of 2^-8 (2^-11) in each of some dozen sums: measured 2e-2 and 2e-3
    close = {"bfloat16": 1e-1, "float16": 1e-2}[dtype]
    scores = reward.score(GOLDEN.images(), BLANK * 8)
    np.testing.assert_allclose(scores.values, GOLDEN.said["scores"], rtol=0, atol=close)
    assert reward.card.dtype == dtype


# --- one text, read once ---------------------------------------------------------------------------------------------


def test_the_beginning_read_once_gives_what_the_whole_text_gives(golden: Deqa) -> None:
    """Against the library's own pass over the whole text, without a cache, and a mask that picks the weights."""
    model, talk = golden.model.language, golden.conversation
    pixels = torch.stack([torch.from_numpy(golden.pixels(image)) for image in GOLDEN.images()[:3]])
    with torch.inference_mode():
        tokens = golden.model.image_tokens(pixels)
        words = [model.model.embed_tokens(torch.tensor([ids])).expand(3, -1, -1) for ids in (talk.before, talk.after)]
        whole = torch.cat([words[0], tokens, words[1]], dim=1)
        is_image = torch.zeros(whole.shape[1], 1, dtype=torch.bool)
        is_image[len(talk.before) : -len(talk.after)] = True
        logits = masked_pass(model, whole, is_image)[:, list(talk.levels)]
        np.testing.assert_allclose(golden.level_logits(tokens), logits, rtol=0, atol=1e-5)


def masked_pass(model: Any, whole: torch.Tensor, is_image: torch.Tensor) -> torch.Tensor:
    hooks = [
        module.register_forward_hook(
            lambda module, given, _: torch.where(is_image, module.multiway[1](given[0]), module.multiway[0](given[0]))
        )
        for module in model.modules()
        if isinstance(module, Multiway)
    ]
    try:
        found: torch.Tensor = model(inputs_embeds=whole, use_cache=False).logits[:, -1]
        return found
    finally:
        for hook in hooks:
            hook.remove()


def test_the_beginning_is_read_once_for_all_batches(tiny_folder: Path) -> None:
    reward, lengths = load_deqa(tiny_folder, device="cpu", batch_size=2), []
    watch = reward.model.language.model.layers[0].register_forward_pre_hook(
        lambda _, given: lengths.append(given[0].shape[:2])
    )
    try:
        reward.score([noise(seed=seed) for seed in range(5)], BLANK * 5)
        reward.score([noise(seed=seed) for seed in range(2)], BLANK * 2)
    finally:
        watch.remove()
    talk, queries = reward.conversation, OWL_CONFIG["visual_config"]["visual_abstractor"]["num_learnable_queries"]
    rest = queries + 1 + len(talk.after)
    assert lengths == [(1, len(talk.before)), (2, rest), (2, rest), (1, rest), (2, rest)]


def test_which_weights_are_used_is_not_shared_between_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    two_ways = Multiway(torch.nn.Identity(), torch.nn.Linear(2, 2))
    states = torch.ones(1, 3, 2)
    with image_first(2):
        assert not torch.equal(two_ways(states)[:, :2], states[:, :2])
        assert torch.equal(two_ways(states)[:, 2:], states[:, 2:])
        with ThreadPoolExecutor(1) as pool:
            assert torch.equal(pool.submit(two_ways, states).result(), states)
    assert torch.equal(two_ways(states), states)


# --- scores ----------------------------------------------------------------------------------------------------------


def test_the_details_are_the_probabilities_of_the_five_words(golden: Deqa) -> None:
    scores = golden.score(GOLDEN.images(), BLANK * 8)
    probs = np.stack([scores.details[f"{word}_prob"] for word in LEVELS])
    logits = torch.tensor([row["level_logits"] for row in GOLDEN.rows], dtype=torch.float64)
    np.testing.assert_allclose(probs.T, logits.softmax(-1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(probs.sum(axis=0), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.array([5, 4, 3, 2, 1]) @ probs, scores.values, rtol=0, atol=1e-12)


def test_a_score_never_leaves_its_range(tiny_folder: Path) -> None:
    reward = load_deqa(tiny_folder, device="cpu", dtype="float32")
    reward.model.language.lm_head.weight *= 1000  # so that one word takes everything
    values = reward.score([noise(seed=seed) for seed in range(12)], BLANK * 12).values
    assert ((values >= 1) & (values <= 5)).all()


def test_prompts_are_not_read_and_an_image_is_looked_at_once(tiny: Deqa) -> None:
    seen: list[int] = []
    watch = tiny.model.vision.register_forward_pre_hook(
        lambda _, __, given: seen.append(len(given["pixel_values"])), with_kwargs=True
    )
    bad, image = PILImage.new("RGB", (0, 4)), noise()
    try:
        scores = tiny.score([image, bad, image, image], [Prompt(text) for text in ("a", "<|image|>", "</s>", "b" * 99)])
    finally:
        watch.remove()
    assert seen == [1]
    assert len(set(scores.values[[0, 2, 3]])) == 1
    assert list(scores.reasons) == [1]
    assert np.isnan(scores.details["bad_prob"][1])
    assert not tiny.card.reads_prompt


def test_what_is_not_finite_is_unscored(tiny_folder: Path) -> None:
    reward = load_deqa(tiny_folder, device="cpu", dtype="float32")
    reward.model.abstractor.visual_fc.bias.fill_(float("inf"))
    assert "not a finite number" in reward.score([noise()], BLANK).reasons[0]


# --- files -----------------------------------------------------------------------------------------------------------


def altered(folder: Path, tmp_path: Path, change: dict[str, torch.Tensor], *, drop: str = "\0") -> Path:
    shutil.copytree(folder, tmp_path / "model")
    tensors = {key: row for key, row in load_file(folder / "model.safetensors").items() if not key.startswith(drop)}
    save_file(tensors | change, tmp_path / "model" / "model.safetensors")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("change", "drop", "message"),
    [
        ({}, "model.norm", r"1 tensors are missing \(first: model.norm.weight"),
        ({}, "model.layers.0.self_attn.k_proj.multiway.1", r"1 tensors are missing .*k_proj.multiway.1"),
        ({}, "model.visual_abstractor.vit_eos", r"1 tensors are missing \(first: vit_eos"),
        ({}, "model.vision_model.post_layernorm", r"2 tensors are missing \(first: post_layernorm"),
        ({"somebody.elses": torch.ones(2)}, "\0", r"1 are left over \(first: somebody.elses"),
        ({"lm_head.weight": torch.ones(3, 16)}, "\0", r"lm_head.weight has shape \(3, 16\) and not \(500, 16\)"),
    ],
    ids=["language", "one way only", "abstractor", "vision", "left over", "shape"],
)
def test_files_that_do_not_hold_the_model_are_refused(
    tiny_folder: Path, tmp_path: Path, change: dict[str, torch.Tensor], drop: str, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_deqa(altered(tiny_folder, tmp_path, change, drop=drop), device="cpu")


def test_llava_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "llava"}))
    with pytest.raises(CheckpointError, match=r"says 'llava', and this reward is an 'mplug_owl2'.*DeQA-Score-Mix3"):
        load_deqa(tmp_path / "model", device="cpu")


def test_a_plain_llama_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not the weights of 'deqa'.*tensors are missing"):
        load_deqa(altered(tiny_folder, tmp_path, {}, drop="model.visual_abstractor."), device="cpu")


def test_one_file_loads_as_its_shards(tmp_path: Path, golden: Deqa) -> None:
    tensors = {key: row for file in sorted(GOLDEN.folder.glob("model-*")) for key, row in load_file(file).items()}
    save_file(tensors, tmp_path / "model.safetensors")
    shutil.copy(GOLDEN.folder / "config.json", tmp_path)
    model = load_owl("deqa", tmp_path / "model.safetensors", config={}, dtype=F32, device=CPU)
    single = deqa_reward(model, golden.conversation, "tiny").score(GOLDEN.images()[:2], BLANK * 2)
    assert single.values.tolist() == golden.score(GOLDEN.images()[:2], BLANK * 2).values.tolist()


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    for file in GOLDEN.folder.glob("*.*"):
        shutil.copy(file, tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003.safetensors could not be read"):
        load_owl("deqa", tmp_path / INDEX.name, config={}, dtype=F32, device=CPU)
    with pytest.raises(CheckpointError, match=r"needs model.safetensors.index.json.*pyrite weights fetch deqa"):
        load_deqa(tmp_path, device="cpu")


def test_a_vocabulary_that_is_missing_or_anothers_is_told(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer.model in that folder.*pyrite weights fetch deqa"):
        load_deqa(tiny_folder, tokenizer=tmp_path, device="cpu")
    shutil.copyfile(write_t5_vocabulary(tmp_path) / "spiece.model", tmp_path / "tokenizer.model")
    with pytest.raises(CheckpointError, match=r"is not Llama's vocabulary: it begins texts with id -1.*tokenizer="):
        load_deqa(tiny_folder, tokenizer=tmp_path, device="cpu")


def test_a_vocabulary_larger_than_the_models_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    small = {name: torch.ones(200, 16) for name in ("lm_head.weight", "model.embed_tokens.weight")}
    folder = altered(tiny_folder, tmp_path, small)
    with pytest.raises(CheckpointError, match=r"has the id \d+ and the model in .* knows 200"):
        load_deqa(folder, config={"vocab_size": 200}, device="cpu")


def test_the_published_shape_has_the_published_number_of_parameters() -> None:
    from transformers import CLIPVisionModel

    llama, vision, shape = owl_configs({})
    with torch.device("meta"):
        parts = (language_class()(llama), CLIPVisionModel(vision), new_abstractor(shape, vision, llama))
    assert sum(parameter.numel() for part in parts for parameter in part.parameters()) == num_parameters("deqa")


def test_the_card_says_what_changes_scores(tiny: Deqa) -> None:
    rounded = deqa_reward(tiny.model, tiny.conversation, tiny.card.revision, quantise="4bit").card
    assert rounded.parity_error is None
    assert rounded.store_key != tiny.card.store_key
    assert tiny.card.range == (1, 5)

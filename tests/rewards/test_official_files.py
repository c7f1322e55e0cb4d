"""Official files are read strictly, and what is refused is told why and what to type."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.rewards.goldens import Golden
from tests.tiny_checkpoints import MANIQA_CONFIG, write_bert_vocabulary, write_clip_vocabulary, write_maniqa

from pyrite.core.errors import CheckpointError, RewardError
from pyrite.core.types import Prompt
from pyrite.rewards.aesthetic import load_aesthetic_v1, load_aesthetic_v2
from pyrite.rewards.clip_published import VIT_B_32, VIT_H_14, load_clipscore, load_hpsv2_1, load_pickscore
from pyrite.rewards.clip_weights import clip_config, from_open_clip
from pyrite.rewards.imagereward import load_imagereward
from pyrite.rewards.loading import read_tensors
from pyrite.rewards.maniqa import load_maniqa

HPS, IMAGEREWARD, AESTHETIC = Golden("hpsv2"), Golden("imagereward"), Golden("aesthetic")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    return write_bert_vocabulary(write_clip_vocabulary(folder))


@pytest.fixture(scope="module")
def maniqa_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_maniqa(tmp_path_factory.mktemp("maniqa")) / "ckpt_koniq10k.pt"


def load_tiny(name: str, weights: Path, words: Path) -> Any:
    loaders: dict[str, Callable[..., Any]] = {
        "hpsv2.1": lambda path: load_hpsv2_1(path, config=HPS.config, device="cpu", tokenizer=words),
        "imagereward": lambda path: load_imagereward(path, config=IMAGEREWARD.config, device="cpu", tokenizer=words),
        "maniqa": lambda path: load_maniqa(path, config=MANIQA_CONFIG, device="cpu"),
        "aesthetic-v1": lambda path: load_aesthetic_v1(path, device="cpu", tower=AESTHETIC.folder / "clip_hf"),
        "aesthetic-v2": lambda path: load_aesthetic_v2(path, device="cpu", tower=AESTHETIC.folder / "clip_hf"),
    }
    return loaders[name](weights)


def official(name: str, maniqa_file: Path) -> Path:
    return {
        "hpsv2.1": HPS.folder / "HPS_v2.1_compressed.pt",
        "imagereward": IMAGEREWARD.folder / "ImageReward.pt",
        "maniqa": maniqa_file,
        "aesthetic-v1": AESTHETIC.folder / "sa_0_4_vit_l_14_linear.pth",
        "aesthetic-v2": AESTHETIC.folder / "sac+logos+ava1-l14-linearMSE.pth",
    }[name]


NAMES = ["hpsv2.1", "imagereward", "maniqa", "aesthetic-v1", "aesthetic-v2"]


@pytest.mark.parametrize("given", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_another_rewards_file_is_refused_and_named(name: str, given: str, words: Path, maniqa_file: Path) -> None:
    file = official(given, maniqa_file)
    if name == given:
        assert load_tiny(name, file, words).card.name == name
        return
    owner = "a CLIP model" if given == "hpsv2.1" else given
    with pytest.raises(CheckpointError, match="is not the weights of") as caught:
        load_tiny(name, file, words)
    message = str(caught.value)
    assert f"is not the weights of '{name}'" in message
    assert f"These look like the weights of {owner}" in message
    assert f"pyrite weights fetch {name}" in message


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["missing", "left over", "shape"])
def test_missing_left_over_and_misshapen_tensors_are_named(
    name: str, damage: str, words: Path, maniqa_file: Path, tmp_path: Path
) -> None:
    file = official(name, maniqa_file)
    content = torch.load(file, weights_only=True)
    tensors = content.get("state_dict", content)
    key = next(key for key in tensors if key.endswith("bias") and "norm" not in key and "relative" not in key)
    if damage == "missing":
        del tensors[key]
    elif damage == "shape":
        tensors[key] = tensors[key][:-1] if tensors[key].numel() > 1 else torch.zeros(2)
    else:
        tensors["somebody.elses.weight"] = torch.ones(2)
    torch.save(content, tmp_path / file.name)
    for beside in file.parent.glob("med_config.json"):
        shutil.copy(beside, tmp_path)
    expected = {
        "missing": "1 tensors are missing|2 tensors are missing|3 tensors are missing",
        "left over": r"1 are left over \(first: somebody.elses.weight\)",
        "shape": r"has shape \(.*\) and not \(",
    }
    with pytest.raises(CheckpointError, match=expected[damage]):
        load_tiny(name, tmp_path / file.name, words)


class _Code:
    """Unpickles by calling a function: what a hostile or careless checkpoint does."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("this code ran",)


def test_a_pickle_that_needs_code_is_refused_and_its_code_does_not_run(
    tmp_path: Path, words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "HPS_v2.pt"
    torch.save({"epoch": _Code(), "state_dict": {}}, file)
    with pytest.raises(CheckpointError, match=r"HPS_v2.pt is refused: it is a pickle that runs code.*_compressed.pt"):
        load_hpsv2_1(file, config=HPS.config, device="cpu", tokenizer=words)
    assert "this code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("zero.pt", b"", "could not be read.*pyrite weights verify"),
        ("text.pt", b"<html>404</html>", "neither tensors nor a pickle.*web page.*pyrite weights fetch"),
        ("cut.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{", "could not be read.*pyrite weights verify"),
    ],
    ids=["zero bytes", "a web page", "cut"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path / name)


def test_a_file_cut_in_the_middle_is_refused(tmp_path: Path) -> None:
    whole = (HPS.folder / "HPS_v2.1_compressed.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="could not be read"):
        read_tensors(tmp_path / "cut.pt")


def test_a_file_of_something_else_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds no table of tensors"):
        read_tensors(tmp_path / "a.pt")


def test_converted_safetensors_load_as_their_source(tmp_path: Path, words: Path) -> None:
    source = HPS.folder / "HPS_v2.1_compressed.pt"
    save_file(read_tensors(source), tmp_path / "HPS_v2.1_compressed.safetensors")
    first = load_tiny("hpsv2.1", source, words)
    second = load_tiny("hpsv2.1", tmp_path / "HPS_v2.1_compressed.safetensors", words)
    images, prompts = HPS.images()[:2], [Prompt("a cat")] * 2
    assert first.score(images, prompts).values.tolist() == second.score(images, prompts).values.tolist()


def test_weights_that_are_nowhere_are_told_with_the_command(
    tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRITE_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError, match=r"HPS_v2.1_compressed.pt \(1.97 GB\).*pyrite weights fetch hpsv2.1"):
        load_hpsv2_1(device="cpu", tokenizer=words)
    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        load_hpsv2_1(tmp_path / "nothing.pt", device="cpu", tokenizer=words)


def test_a_folder_without_the_vocabulary_is_refused(tmp_path: Path, words: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no vocab.json and no merges.txt in that folder.*pyrite weights fetch"):
        load_hpsv2_1(HPS.folder, config=HPS.config, device="cpu", tokenizer=tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    with pytest.raises(CheckpointError, match="holds 5 word pieces"):
        load_imagereward(IMAGEREWARD.folder, config=IMAGEREWARD.config, device="cpu", tokenizer=tmp_path)


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(RewardError, match="'official' and 'cosine', not 'percent'"):
        load_pickscore(scale="percent")  # type: ignore[arg-type]


# --- configurations and names ----------------------------------------------------------------------------------------


def test_the_published_shapes_have_the_published_numbers_of_parameters() -> None:
    from transformers import CLIPModel

    for shape, number in ((VIT_H_14, 986_109_441), (VIT_B_32, 151_277_313)):
        with torch.device("meta"):
            model = CLIPModel(clip_config(shape, None))
        assert sum(parameter.numel() for parameter in model.parameters()) == number


def test_maniqas_published_shape_has_the_published_number_of_parameters() -> None:
    from pyrite.rewards.maniqa_model import Maniqa, ManiqaShape

    with torch.device("meta"):
        model = Maniqa(ManiqaShape())
    blocks = 2 * 7_087_872  # the last two of the ViT, of width 768, which are not computed
    unused = blocks + 2 * 768 + 1000 * 769  # its norm and the head of ImageNet
    downsampled = (768 * 768 + 384 * 384) * 9 + 768 + 384  # the convolutions never called
    assert sum(parameter.numel() for parameter in model.parameters()) + unused + downsampled == 135_747_530


def test_open_clips_and_transformers_names_of_a_dimension_mean_the_same() -> None:
    theirs = {"embed_dim": 48, "vision_cfg": {"width": 64, "layers": 3, "head_width": 16}, "text_cfg": {"heads": 4}}
    ours = {
        "projection_dim": 48,
        "vision_config": {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4},
        "text_config": {"num_attention_heads": 4},
    }
    assert clip_config(VIT_H_14, theirs).to_dict() == clip_config(VIT_H_14, ours).to_dict()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vision_config": {"hiden_size": 64}}, r"'hiden_size' in vision_config.*Did you mean 'hidden_size'\?"),
        ({"vision_cgf": {}}, r"Did you mean 'vision_cfg'\?"),
        ({"vision_cfg": {"width": 60, "heads": 7}}, "describes no CLIP model"),
    ],
    ids=["misspelt", "section", "impossible"],
)
def test_a_config_that_describes_no_model_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        clip_config(VIT_H_14, config)


def test_a_maniqa_config_that_does_not_divide_is_refused(maniqa_file: Path) -> None:
    with pytest.raises(CheckpointError, match="config describes no MANIQA"):
        load_maniqa(maniqa_file, config={"patch_size": 9}, device="cpu")


def test_names_that_no_library_knows_stay_to_be_found_left_over() -> None:
    renamed = from_open_clip({"visual.oddity": torch.ones(1), "text_model.embeddings.position_ids": torch.ones(1)})
    assert set(renamed) == {"visual.oddity"}


def test_both_aesthetic_rewards_share_one_tower() -> None:
    options = {"tower": AESTHETIC.folder / "clip_hf", "device": "cpu"}
    first, second = load_aesthetic_v1(AESTHETIC.folder, **options), load_aesthetic_v2(AESTHETIC.folder, **options)
    assert first.tower is second.tower
    assert load_aesthetic_v1(AESTHETIC.folder, **options, dtype="bfloat16").tower is not first.tower


def test_options_that_change_scores_change_the_key(words: Path) -> None:
    options = {"config": HPS.config, "device": "cpu", "tokenizer": words}
    first = load_hpsv2_1(HPS.folder, **options)
    second = load_hpsv2_1(HPS.folder, **options, antialias=False)
    assert first.card.store_key != second.card.store_key
    scores = [reward.score(HPS.images()[:1], [Prompt("a cat")]).values[0] for reward in (first, second)]
    assert abs(scores[0] - scores[1]) > 1e-4


def test_clipscore_is_never_negative_and_says_which_it_is(tmp_path: Path) -> None:
    golden = Golden("clipscore")
    words = write_clip_vocabulary(tmp_path)
    reward = load_clipscore(golden.folder / "clip_hf", device="cpu", tokenizer=words)
    values = reward.score(golden.images(), golden.prompts).values
    assert (values >= 0).all()
    assert reward.card.range == (0, 2.5)
    assert "ViT-B/32" in str(reward.card.options["variant"])

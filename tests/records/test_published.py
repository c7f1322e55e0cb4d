import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pyrite.core.errors import CheckpointError, UnknownNameError
from pyrite.records.published import (
    ROOT_VARIABLE,
    SOURCE_KEY,
    find_file,
    num_parameters,
    published,
    published_names,
    readable_size,
    recorded_source,
    source_sha256,
)
from pyrite.records.published_table import TABLE, PublishedFile


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PYRITE_WEIGHTS and an empty Hugging Face cache."""
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "weights"


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder / names[0]


def write_hub(cache: Path, repository: str, *names: str) -> Path:
    """The layout of the hub's own cache: snapshots/<commit>/<file> are links to blobs/<hash>."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("c0ffee")
    for name in names:
        blob = folder / "blobs" / hashlib.sha256(name.encode()).hexdigest()
        blob.write_bytes(name.encode())
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot / names[0]


def test_every_reward_lists_weights_with_a_licence_and_one_source_for_each_part() -> None:
    for name in published_names():
        parts = published(name)
        assert "weights" in parts
        assert len(parts) == len(TABLE[name].parts), "two parts share a role"
        for part in parts.values():
            assert part.licence
            assert part.upstream
            assert bool(part.repositories) != bool(part.url)
            assert part.url.startswith(("https://", ""))
            assert not part.url or len(part.files) == 1
        assert parts["weights"].files[0].num_tensors > 0


def test_a_sha256_has_64_digits_and_an_exact_size_is_known() -> None:
    for name in published_names():
        for part in published(name).values():
            for file in part.files:
                assert len(file.sha256) in {0, 64}
                assert not file.exact or file.num_bytes


@pytest.mark.parametrize(
    ("name", "projection", "vision", "text"),
    [
        ("hpsv2.1", 1024, (1280, 5120, 32, 16, 14), (1024, 4096, 24, 16)),
        ("pickscore", 1024, (1280, 5120, 32, 16, 14), (1024, 4096, 24, 16)),
        ("clipscore", 512, (768, 3072, 12, 12, 32), (512, 2048, 12, 8)),
    ],
)
def test_the_parameters_are_those_of_transformers_model_of_that_shape(
    name: str, projection: int, vision: tuple[int, ...], text: tuple[int, ...]
) -> None:
    import torch
    from transformers import CLIPConfig, CLIPModel

    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "patch_size")
    config = CLIPConfig(
        projection_dim=projection,
        vision_config=dict(zip(keys, vision, strict=True)),
        text_config=dict(zip(keys[:4], text, strict=True)),
    )
    with torch.device("meta"):
        model = CLIPModel(config)
    assert num_parameters(name) == sum(parameter.numel() for parameter in model.parameters())
    in_half = 2 if name.startswith("hps") else 4
    weights = published(name)["weights"].files[0]
    assert weights.fits(in_half * num_parameters(name))
    blocks = vision[2] + text[2]
    # transformers splits the fused query, key and value of the official files: 16 tensors for their 12 in each block
    official = len(model.state_dict()) - (4 * blocks if name.startswith("hps") else 0)
    assert weights.num_tensors == official


def test_an_inexact_size_is_good_to_a_per_cent_and_an_exact_one_to_the_byte() -> None:
    about, exact, unknown = PublishedFile("a", 1000), PublishedFile("a", 1000, exact=True), PublishedFile("a")
    assert about.fits(1010)
    assert not about.fits(1011)
    assert exact.fits(1000)
    assert not exact.fits(1001)
    assert unknown.fits(1)
    assert not unknown.fits(0)


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(999, "999 B"), (4_071, "4.07 kB"), (999_600, "1 MB"), (1_972_484_501, "1.97 GB")]
)
def test_a_size_is_read_as_on_the_hubs(num_bytes: int, text: str) -> None:
    assert readable_size(num_bytes) == text


def test_a_reward_nobody_lists_is_told_which_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"no published weights are listed for 'hpsv9'. .*hpsv2\.1"):
        published("hpsv9")


def test_what_is_missing_is_named_with_its_size_and_the_command(root: Path) -> None:
    message = r"'pickscore' needs model.safetensors \(3.94 GB\) and config.json .* Type: pyrite weights fetch pickscore"
    with pytest.raises(CheckpointError, match=message):
        find_file("pickscore", "weights")


def test_the_folder_of_weights_is_looked_at_before_the_hub_cache(root: Path, tmp_path: Path) -> None:
    cached = write_hub(tmp_path / "hub", "xswu/HPSv2", "HPS_v2.1_compressed.pt")
    assert find_file("hpsv2.1", "weights") == cached
    own = write(root / "hpsv2.1", "HPS_v2.1_compressed.pt")
    assert find_file("hpsv2.1", "weights") == own


def test_a_former_name_of_the_repository_is_found_too(root: Path, tmp_path: Path) -> None:
    cached = write_hub(tmp_path / "hub", "THUDM/ImageReward", "ImageReward.pt")
    assert find_file("imagereward", "weights") == cached


def test_a_part_counts_only_with_all_its_files(root: Path) -> None:
    write(root / "hpsv2.1", "vocab.json")
    with pytest.raises(CheckpointError, match=r"vocab.json \(862 kB\) and merges.txt"):
        find_file("hpsv2.1", "tokenizer")
    write(root / "hpsv2.1", "merges.txt")
    assert find_file("hpsv2.1", "tokenizer") == root / "hpsv2.1" / "vocab.json"


def test_a_part_may_have_a_folder_of_its_own(root: Path) -> None:
    path = write(root / "hpsv2.1" / "tokenizer", "vocab.json", "merges.txt")
    assert find_file("hpsv2.1", "tokenizer") == path


def test_converted_weights_are_preferred_to_their_source(root: Path) -> None:
    write(root / "hpsv2.1", "HPS_v2.1_compressed.pt")
    converted = write(root / "hpsv2.1", "HPS_v2.1_compressed.safetensors")
    assert find_file("hpsv2.1", "weights") == converted


def test_the_other_form_of_the_same_tensors_is_accepted(root: Path) -> None:
    path = write(root / "clipscore", "model.safetensors", "config.json")
    assert find_file("clipscore", "weights") == path


def test_a_given_file_is_taken_and_its_neighbours_are_found(root: Path, tmp_path: Path) -> None:
    given = write(tmp_path / "mine", "renamed.pt")
    assert find_file("hpsv2.1", "weights", given) == given
    tokenizer = write(tmp_path / "mine" / "tokenizer", "vocab.json", "merges.txt")
    assert find_file("hpsv2.1", "tokenizer", given) == tokenizer
    assert find_file("hpsv2.1", "tokenizer", str(tmp_path / "mine")) == tokenizer


def test_a_given_file_without_neighbours_shares_the_usual_ones(root: Path, tmp_path: Path) -> None:
    given = write(tmp_path / "mine", "renamed.pt")
    usual = write(root / "hpsv2.1", "vocab.json", "merges.txt")
    assert find_file("hpsv2.1", "tokenizer", given) == usual


def test_a_given_folder_must_hold_the_weights(root: Path, tmp_path: Path) -> None:
    write(root / "maniqa", "ckpt_koniq10k.pt")
    (tmp_path / "mine").mkdir()
    with pytest.raises(CheckpointError, match=r"ckpt_koniq10k.pt \(543 MB\) .* in .*mine that is not complete"):
        find_file("maniqa", "weights", tmp_path / "mine")


def test_a_hub_id_names_a_repository_in_the_cache(root: Path, tmp_path: Path) -> None:
    cached = write_hub(tmp_path / "hub", "somebody/tuned", "HPS_v2.1_compressed.pt")
    usual = write(root / "hpsv2.1", "vocab.json", "merges.txt")
    assert find_file("hpsv2.1", "weights", "somebody/tuned") == cached
    assert find_file("hpsv2.1", "tokenizer", "somebody/tuned") == usual
    with pytest.raises(CheckpointError, match="in somebody/other that is not complete"):
        find_file("hpsv2.1", "weights", "somebody/other")


@pytest.mark.parametrize("given", ["nowhere", "./no/where", "a/b/c", "/no/where"])
def test_a_path_that_is_not_there_is_told_apart_from_a_hub_id(root: Path, given: str) -> None:
    with pytest.raises(
        CheckpointError, match=r"neither a file nor a folder .* is no hub id .*pyrite weights fetch maniqa"
    ):
        find_file("maniqa", "weights", given)


def test_looking_asks_no_network(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a look-up opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in published_names():
        for role in published(name):
            with pytest.raises(CheckpointError):
                find_file(name, role)


def test_the_revision_of_converted_weights_is_that_of_their_source(tmp_path: Path) -> None:
    plain, converted = tmp_path / "plain.safetensors", tmp_path / "converted.safetensors"
    save_file({"a": np.zeros(2, np.float32)}, plain)
    save_file({"a": np.zeros(2, np.float32)}, converted, metadata={SOURCE_KEY: "5" * 64})
    assert source_sha256(converted) == "5" * 64
    assert source_sha256(plain) == hashlib.sha256(plain.read_bytes()).hexdigest()
    assert recorded_source(plain) == ""


def test_a_damaged_safetensors_file_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "damaged.safetensors")
    with pytest.raises(CheckpointError, match=r"damaged.safetensors is no safetensors file: .* delete it"):
        source_sha256(path)

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pyrite.core.errors import CheckpointError
from pyrite.records import published_table
from pyrite.records.published import ROOT_VARIABLE, find_file, source_sha256
from pyrite.records.published_table import PublishedFile, PublishedPart, PublishedReward
from pyrite.rewards.published import convert, verify

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3).half(), "a.bias": torch.tensor([1.0, 2.0])}


class Loud:
    """An object that a pickle can only bring back by calling something."""

    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PYRITE_WEIGHTS with a reward "toy", whose file is listed to the byte, and "vague", whose file hardly is."""
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("toy", "vague"):
        (tmp_path / "weights" / name).mkdir(parents=True)
        torch.save({"state_dict": TENSORS}, tmp_path / "weights" / name / "toy.pt")
        (tmp_path / "weights" / name / "config.json").write_text("{}")
    path = tmp_path / "weights" / "toy" / "toy.pt"
    exact = PublishedFile("toy.pt", path.stat().st_size, exact=True, sha256=sha256(path), num_tensors=2)
    vague = PublishedFile("toy.pt", num_tensors=2)
    for name, file in {"toy": exact, "vague": vague}.items():
        part = PublishedPart("weights", (file, PublishedFile("config.json")), "MIT", "nobody", ("nobody/toy",))
        monkeypatch.setitem(published_table.TABLE, name, PublishedReward(8, (part,)))  # type: ignore[attr-defined]
    return tmp_path / "weights"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_listed_file_is_as_it_should_be_and_says_what_was_compared(root: Path) -> None:
    weights, config = verify("toy")
    assert (weights.problem, weights.checked) == ("", ("size", "sha256", "tensors"))
    assert (config.problem, config.checked) == ("", ())


def test_a_file_of_another_size_is_told(root: Path) -> None:
    path = root / "toy" / "toy.pt"
    path.write_bytes(path.read_bytes()[:-10])
    assert "bytes), and the manifest lists" in verify("toy")[0].problem


def test_one_changed_byte_is_told(root: Path) -> None:
    path = root / "toy" / "toy.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "its sha256 begins with" in verify("toy")[0].problem


def test_weights_with_too_few_tensors_are_told(root: Path) -> None:
    torch.save({"a.weight": TENSORS["a.weight"], "a.position_ids": torch.arange(3)}, root / "vague" / "toy.pt")
    assert verify("vague")[0].problem == "it holds 1 tensors, and the reward needs 2"


def test_a_file_that_is_no_table_of_tensors_is_told(root: Path) -> None:
    (root / "vague" / "toy.pt").write_bytes(b"<html>404</html>")
    assert str(root / "vague" / "toy.pt") in verify("vague")[0].problem


def test_the_name_a_hub_cache_gives_a_file_is_its_sha256(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--nobody--toy"
    snapshot = folder / "snapshots" / "c0ffee"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    (folder / "blobs").mkdir()
    snapshot.mkdir(parents=True)
    for name in ("toy.pt", "config.json"):
        source = root / "vague" / name
        blob = folder / "blobs" / sha256(source)
        source.rename(blob)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    assert [(row.problem, row.checked) for row in verify("vague")] == [("", ("sha256", "tensors")), ("", ("sha256",))]
    (snapshot / "config.json").resolve().write_text("{ }")
    assert "its sha256 begins with" in verify("vague")[1].problem


def test_converting_keeps_every_tensor_bit_for_bit_with_its_precision(root: Path) -> None:
    converted = convert("toy")
    assert converted == root / "toy" / "toy.safetensors"
    tensors = load_file(converted)
    assert tensors.keys() == TENSORS.keys()
    for key, tensor in TENSORS.items():
        assert tensors[key].dtype == tensor.dtype
        assert torch.equal(tensors[key], tensor)


def test_converted_weights_are_found_first_keep_their_source_s_hash_and_verify(root: Path) -> None:
    before = sha256(root / "toy" / "toy.pt")
    converted = convert("toy")
    assert find_file("toy", "weights") == converted
    assert source_sha256(converted) == before
    assert [(row.problem, row.checked) for row in verify("toy")] == [("", ("sha256", "tensors")), ("", ())]


def test_converting_twice_does_nothing(root: Path) -> None:
    written = convert("toy")
    before = written.stat().st_mtime_ns
    assert convert("toy") is None
    assert written.stat().st_mtime_ns == before


def test_weights_from_elsewhere_are_converted_into_the_usual_place_with_their_neighbours(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("toy.pt", "config.json"):
        (root / "toy" / name).rename(tmp_path / "mine" / name)
    assert convert("toy", tmp_path / "mine") == root / "toy" / "toy.safetensors"
    assert find_file("toy", "weights") == root / "toy" / "toy.safetensors"


def test_tensors_that_share_memory_are_written_in_full(root: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"a": whole, "b": whole[1:], "c": whole.T}, root / "vague" / "toy.pt")
    tensors = load_file(convert("vague"))
    assert torch.equal(tensors["b"], whole[1:])
    assert torch.equal(tensors["c"], whole.T)


def test_a_pickle_that_needs_code_is_refused_and_nothing_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": TENSORS, "note": Loud()}, root / "vague" / "toy.pt")
    with pytest.raises(CheckpointError, match="is refused: it is a pickle that runs code when it is read"):
        convert("vague")
    assert "is refused" in verify("vague")[0].problem
    assert capsys.readouterr().out == ""
    assert not list((root / "vague").glob("*.safetensors*"))


def test_a_pickle_of_numpy_numbers_as_in_the_8_gb_hps_file_is_refused(root: Path) -> None:
    torch.save({"state_dict": TENSORS, "loss": np.float64(0.5)}, root / "vague" / "toy.pt")
    with pytest.raises(CheckpointError, match="is refused"):
        convert("vague")


def test_a_damaged_safetensors_file_is_told(root: Path) -> None:
    (root / "vague" / "toy.safetensors").write_bytes(b"no")
    assert "is no safetensors file" in verify("vague")[0].problem


def test_plain_safetensors_without_a_record_of_their_source_are_verified_by_their_tensors(root: Path) -> None:
    save_file({"only": torch.zeros(1)}, root / "vague" / "toy.safetensors")
    assert verify("vague")[0].problem == "it holds 1 tensors, and the reward needs 2"

import hashlib
import json
from pathlib import Path

import pytest

from pyrite.core.errors import CheckpointError
from pyrite.records import weights
from pyrite.records.weights import (
    checkpoint_entry,
    checkpoint_folder,
    checkpoint_names,
    checkpoint_revision,
    checkpoints_root,
    file_sha256,
    resolve_checkpoint,
    write_manifest_entry,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A world of our own with one checkpoint, `tiny`."""
    root = tmp_path / "checkpoints"
    (root / "tiny" / "deeper").mkdir(parents=True)
    (root / "tiny" / "config.json").write_text("{}")
    (root / "tiny" / "deeper" / "model.safetensors").write_bytes(b"weights")
    write_manifest_entry(root, "tiny", summary="A tiny one.", accuracy=0.75)
    monkeypatch.setenv(weights.ROOT_VARIABLE, str(root))
    weights._verify.cache_clear()
    return root


def test_the_shipped_checkpoints_lie_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(weights.ROOT_VARIABLE, raising=False)
    assert checkpoints_root() == Path(weights.__file__).parents[1] / "world" / "checkpoints"


def test_a_listed_checkpoint_is_found_by_name(root: Path) -> None:
    assert checkpoint_names() == ("tiny",)
    assert checkpoint_folder("tiny") == resolve_checkpoint("tiny") == root / "tiny"
    assert checkpoint_entry("tiny") == {
        "files": {
            "config.json": hashlib.sha256(b"{}").hexdigest(),
            "deeper/model.safetensors": hashlib.sha256(b"weights").hexdigest(),
        },
        "summary": "A tiny one.",
        "accuracy": 0.75,
    }


def test_a_changed_byte_is_refused_with_both_hashes_and_the_way_out(root: Path) -> None:
    file = root / "tiny" / "deeper" / "model.safetensors"
    expected = file_sha256(file)[:12]
    file.write_bytes(b"weightz")
    with pytest.raises(
        CheckpointError, match=f"begins with {file_sha256(file)[:12]}, the manifest names {expected}"
    ) as caught:
        checkpoint_folder("tiny")
    assert str(caught.value).endswith("or build it again: pyrite world build --only tiny")


def test_a_missing_file_is_refused(root: Path) -> None:
    (root / "tiny" / "config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"config.json is missing: the manifest lists it as part of 'tiny'. Bring"
    ):
        checkpoint_folder("tiny")


def test_a_checkpoint_that_was_never_built_is_refused_with_what_to_type(root: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"'big' has not been built: .*It lists: tiny. Type: pyrite world build --only big"
    ):
        checkpoint_folder("big")


def test_an_empty_world_lists_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.ROOT_VARIABLE, str(tmp_path / "nothing"))
    assert checkpoint_names() == ()
    with pytest.raises(CheckpointError, match=r"It lists nothing\. Type: pyrite world build --only tiny"):
        checkpoint_revision("tiny")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "manifest.json cannot be read .*no weights can be verified"),
        ("[]", "manifest.json holds no list of checkpoints"),
        ('{"tiny": {}}', "lists no files for 'tiny', so it cannot be verified"),
        ('{"tiny": 1}', "lists no files for 'tiny'"),
    ],
    ids=["torn", "a list", "no files", "a number"],
)
def test_a_damaged_manifest_is_refused(root: Path, text: str, said: str) -> None:
    (root / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=said):
        checkpoint_folder("tiny")


def test_the_bytes_are_read_once_per_process(root: Path) -> None:
    """Seen from outside: a file that goes after it was verified is not missed until the next process."""
    checkpoint_folder("tiny")
    (root / "tiny" / "config.json").unlink()
    assert checkpoint_folder("tiny") == root / "tiny"


def test_the_revision_changes_with_any_byte_and_not_with_the_place(root: Path, tmp_path: Path) -> None:
    revision = checkpoint_revision("tiny")
    assert len(revision) == 12
    assert checkpoint_revision(root / "tiny") == checkpoint_revision(str(root / "tiny")) == revision
    (root / "tiny" / "config.json").write_text("{ }")
    assert checkpoint_revision(root / "tiny") != revision
    write_manifest_entry(root, "tiny", summary="Another.")
    assert checkpoint_revision("tiny") == checkpoint_revision(root / "tiny")


def test_a_path_is_taken_as_it_is_and_a_name_wins_over_a_folder_called_like_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "mine"):
        (tmp_path / name).mkdir()
    assert resolve_checkpoint("mine") == Path("mine")
    assert resolve_checkpoint("./tiny") == Path("tiny")
    assert resolve_checkpoint("tiny") == root / "tiny"
    with pytest.raises(CheckpointError, match="there is no checkpoint folder at nowhere"):
        resolve_checkpoint("./nowhere")


def test_a_new_entry_replaces_its_own_and_keeps_the_others(root: Path) -> None:
    (root / "another").mkdir()
    (root / "another" / "a").write_text("a")
    write_manifest_entry(root, "another", summary="Another.")
    write_manifest_entry(root, "tiny", summary="Rebuilt.")
    manifest = json.loads((root / "manifest.json").read_text())
    assert list(manifest) == ["another", "tiny"]
    assert manifest["tiny"]["summary"] == "Rebuilt."
    assert "accuracy" not in manifest["tiny"]


def test_nothing_cannot_be_listed(root: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no files, so there is nothing to list"):
        write_manifest_entry(root, "ghost", summary="")

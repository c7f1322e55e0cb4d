import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pyrite.cli.weights import app
from pyrite.core.errors import CheckpointError, UnknownNameError
from pyrite.records.published import ROOT_VARIABLE, published, published_names

SHARED_HEAD = "sa_0_4_vit_l_14_linear.pth"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "weights" / "maniqa"
    folder.mkdir(parents=True)
    torch.save({"a": torch.zeros(2)}, folder / "ckpt_koniq10k.pt")
    return tmp_path / "weights"


def run(*arguments: str, fails: type[Exception] | None = None) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if fails is None:
        assert done.exit_code == 0, done.output
    else:
        assert isinstance(done.exception, fails), done.output
    return done.stdout


def test_list_names_every_reward_and_tells_what_is_here(root: Path) -> None:
    rows = [json.loads(line) for line in run("list", "--json").splitlines()]
    assert {row["reward"] for row in rows} == set(published_names())
    assert {(row["reward"], row["role"]) for row in rows} == {
        (name, role) for name in published_names() for role in published(name)
    }
    assert [row["path"] for row in rows if row["path"]] == [str(root / "maniqa" / "ckpt_koniq10k.pt")]
    assert all(row["licence"] and row["source"] and row["upstream"] for row in rows)


def test_the_table_shows_size_and_licence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    line = next(line for line in run("list").splitlines() if "imagereward" in line)
    assert "1.79 GB" in line
    assert "Apache-2.0" in line
    assert "zai-org/ImageReward" in line


def test_verify_prints_each_file_and_fails_with_what_is_wrong(root: Path) -> None:
    printed = run("verify", "maniqa", fails=CheckpointError)
    assert "ckpt_koniq10k.pt: it has" in printed
    path = root / "maniqa" / "ckpt_koniq10k.pt"
    row = json.loads(run("verify", "maniqa", "--json", fails=CheckpointError).splitlines()[0])
    assert (row["reward"], row["role"], row["path"]) == ("maniqa", "weights", str(path))
    assert row["problem"]


def test_verify_says_in_its_error_what_to_do(root: Path) -> None:
    done = CliRunner().invoke(app, ["verify", "maniqa"])
    assert "1 files are not what the manifest lists" in str(done.exception)
    assert "pyrite weights fetch maniqa" in str(done.exception)


def test_convert_names_the_file_it_wrote(root: Path) -> None:
    assert run("convert", "maniqa") == f"maniqa: {root / 'maniqa' / 'ckpt_koniq10k.safetensors'}\n"
    assert run("convert", "maniqa") == "maniqa: is safetensors already\n"


def test_fetch_leaves_alone_what_is_there_and_names_it(root: Path) -> None:
    assert run("fetch", "maniqa") == f"maniqa: {root / 'maniqa' / 'ckpt_koniq10k.pt'}\n"


def test_a_misspelt_name_is_told_before_anything_is_fetched(root: Path) -> None:
    assert run("fetch", "maniqa", "hpsv9", fails=UnknownNameError) == ""

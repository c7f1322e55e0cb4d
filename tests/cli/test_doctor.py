import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pyrite.cli.doctor import doctor, reward_rows
from pyrite.records.published import ROOT_VARIABLE, num_parameters, published_names


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "weights"


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(doctor)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_json_tells_versions_machine_and_every_reward() -> None:
    found = json.loads(run("--json"))
    assert found["python"]
    assert found["packages"]["torch"]
    assert found["packages"]["transformers"]
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28
    assert [row["reward"] for row in found["rewards"]] == list(published_names())


def test_the_table_names_every_reward_and_what_is_missing() -> None:
    printed = run()
    assert all(name in printed for name in published_names())
    assert "no weights" in printed


def test_weights_that_are_here_are_not_called_missing(root: Path) -> None:
    (root / "maniqa").mkdir(parents=True)
    (root / "maniqa" / "ckpt_koniq10k.pt").write_bytes(b"weights")
    missing = {row["reward"]: row["missing"] for row in reward_rows(2**40)}
    assert missing["maniqa"] == []
    assert missing["imagereward"] == ["weights", "tokenizer"]


def test_what_fits_follows_from_four_or_two_bytes_for_each_parameter() -> None:
    for name, num in ((name, num_parameters(name)) for name in published_names()):
        for room, fits in ((4 * num, ["float32", "bfloat16"]), (4 * num - 1, ["bfloat16"]), (2 * num - 1, [])):
            row = next(row for row in reward_rows(room) if row["reward"] == name)
            assert row["fits"] == fits
            assert row["weights_bytes"] == {"float32": 4 * num, "bfloat16": 2 * num}


def test_a_plan_says_what_fits_at_once_and_what_goes_elsewhere() -> None:
    found = json.loads(run("--rewards", "hpsv2.1, maniqa, hps-pocket", "--memory", "3GB", "--json"))
    assert found["memory_bytes"] == 3_000_000_000
    assert {row["reward"]: row["precision"] for row in found["plan"]} == {
        "hpsv2.1": "bfloat16",
        "maniqa": "float32",
        "hps-pocket": "float32",
    }
    printed = run("--rewards", "hpsv2.1,maniqa", "--memory", "1GB")
    assert "on another accelerator or machine" in printed
    assert "of weights in 1 GB; 10% is left to batches" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--memory", "lots"), "'lots' is not an amount of memory", id="no size"),
        pytest.param(("--rewards", "hpsv2.2"), "hpsv2.1", id="unknown reward: the nearest is named"),
    ],
)
def test_what_the_plan_cannot_use_is_explained(arguments: tuple[str, ...], message: str) -> None:
    app = typer.Typer()
    app.command()(doctor)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code != 0
    assert message in " ".join((done.output + str(done.exception)).split())

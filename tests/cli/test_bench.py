import json

import pytest
from typer.testing import CliRunner

from pyrite.cli.bench import app
from pyrite.core.errors import UnknownNameError

SMALL = (
    "--prompts",
    "2",
    "--per-prompt",
    "2",
    "--size",
    "40",
    "--loop-images",
    "2",
    "--rounds",
    "1",
    "--device",
    "cpu",
)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["rewards", *arguments, *SMALL])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_row_says_what_was_measured_on_what() -> None:
    [line] = run("--tiny", "--json", "--dtype", "bfloat16", "--stream", "20", "--batch", "10").splitlines()
    row = json.loads(line)
    assert (row["reward"], row["dtype"], row["device"], row["batch"], row["tiny"]) == (
        "hpsv2.1",
        "bfloat16",
        "cpu",
        10,
        True,
    )
    assert row["images_per_second"] > 0
    assert row["ratio"] == pytest.approx(row["images_per_second"] / row["loop_images_per_second"], rel=0.01)
    assert 0 < row["max_difference"] < 0.05
    assert (row["num_images"], row["num_prompts"], row["loop_images"]) == (4, 2, 2)
    assert row["teraflop_per_second"] >= 0
    assert row["bf16_peak_frac"] is None
    assert row["streamed_images"] == 20
    assert row["peak_bytes_final"] >= row["peak_bytes_early"] > 0


def test_the_table_has_a_row_for_each_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    printed = run("--tiny", "--rewards", "aesthetic-v1,saturation")
    assert "aesthetic-v1 (tiny)" in printed
    assert "saturation" in printed


def test_a_pocket_reward_is_asked_in_words_it_knows() -> None:
    [line] = run("--rewards", "hps-pocket", "--json", "--stream", "4").splitlines()
    assert json.loads(line)["images_per_second"] > 0


def test_an_unknown_reward_is_told() -> None:
    done = CliRunner().invoke(app, ["rewards", "--rewards", "hpsv9", *SMALL])
    assert isinstance(done.exception, UnknownNameError)


def test_a_judge_is_measured_against_its_ceiling() -> None:
    arguments = ["judge", "--requests", "40", "--at-once", "8", "--delay-s", "0.01", "--size", "8", "--rounds", "1"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    assert row["ceiling_per_second"] == 800
    assert row["unscored"] == 0
    assert 0 < row["ceiling_frac"] <= 1

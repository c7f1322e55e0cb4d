"""The benchmark of training measures what it says, and its plain form computes the same thing."""

import json

import numpy as np
import pytest
import torch
from tests.tiny_checkpoints import write_janus
from typer.testing import CliRunner

from pyrite.cli.main import app
from pyrite.core.types import Prompt
from pyrite.policies.janus import JanusPolicy, load_janus
from pyrite.policies.plain_janus import PlainJanus
from pyrite.policies.random_janus import random_janus
from pyrite.training.step_speed import Stopwatch, measured_bandwidth, rngs_of

PROMPTS = [Prompt("a red circle"), Prompt("two blue squares")]


@pytest.fixture(scope="module", params=["pocket", "pocket guided", "full size"])
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> JanusPolicy:
    if request.param == "full size":
        return random_janus("tiny", device="cpu", dtype=torch.float32, cfg_scale=5.0)
    folder = write_janus(tmp_path_factory.mktemp("janus"))
    return load_janus(folder, device="cpu", cfg_scale=1.0 if request.param == "pocket" else 3.0)


@pytest.mark.parametrize("as_published", [False, True], ids=["one batch", "as published"])
def test_the_plain_form_gives_the_log_probabilities_of_the_policy(policy: JanusPolicy, as_published: bool) -> None:
    plain = PlainJanus(policy, as_published)
    rollouts = plain.sample(PROMPTS, group_size=2, rngs=rngs_of(0, 2))
    assert len({image.tobytes() for image in rollouts.images}) == 4
    with torch.no_grad():
        own = policy.logp(rollouts)
    plainly = plain.logp(rollouts)
    torch.testing.assert_close(plainly.detach(), own, atol=1e-4, rtol=0)
    plainly.sum().backward()
    if policy.sequences.sampling.cfg_scale == 1:
        np.testing.assert_allclose(rollouts.behaviour_logp, own.numpy(), atol=1e-4)


def test_the_fastest_round_counts() -> None:
    ticks = iter([0.0, 5.0, 5.0, 7.0, 7.0, 10.0])
    watch = Stopwatch(torch.device("cpu"), lambda: next(ticks))
    for _ in range(3):
        with watch("phase"):
            pass
    assert watch["phase"] == 2.0


def test_bandwidth_is_bytes_read_and_written_per_second() -> None:
    assert measured_bandwidth(torch.device("cpu"), 2**20) > 0


def test_a_step_is_measured_phase_by_phase() -> None:
    arguments = ["--size", "tiny", "--prompts", "1", "--per-prompt", "2", "--rounds", "1", "--cfg-scale", "5", "--json"]
    result = CliRunner().invoke(app, ["bench", "train", "--device", "cpu", "--threads", "1", *arguments])
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert row["rows"] == 2
    assert row["plain"] == "one batch"
    for key in (
        "draw_tokens_per_second", "plain_draw_tokens_per_second", "generate_codes_per_second", "floor_factor",
        "sample_images_per_second", "decode_images_per_second", "update_tokens_per_second", "step_ratio", "peak_bytes",
    ):  # fmt: skip
        assert row[key] > 0, key
    assert row["step_ratio"] == pytest.approx(row["plain_step_seconds"] / row["step_seconds"], rel=0.05)


def test_an_unknown_size_is_told() -> None:
    result = CliRunner().invoke(app, ["bench", "train", "--size", "7b"])
    assert result.exit_code == 2
    assert "no size '7b' to measure. There is: pocket, tiny, 1b" in result.stderr

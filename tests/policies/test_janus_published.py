import inspect
import shutil
from pathlib import Path

import pytest

from pyrite.core.errors import CheckpointError
from pyrite.policies.catalogue import POLICIES
from pyrite.policies.janus import load_janus
from pyrite.policies.janus_published import find_published


@pytest.fixture(autouse=True)
def empty_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYRITE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "weights"


@pytest.mark.parametrize("name", ["janus-pro-1b", "janus-pro-7b"])
def test_a_published_policy_is_found_by_name_where_it_was_put(name: str, empty_disk: Path, pro_folder: Path) -> None:
    shutil.copytree(pro_folder, empty_disk / name)
    policy = POLICIES.load(name)(device="cpu", cfg_scale=5.0)
    assert (policy.card.name, policy.card.num_tokens) == (name, 16)
    assert policy.sequences.sampling.cfg_scale == 5.0


@pytest.mark.parametrize("name", ["janus-pro-1b", "janus-pro-7b"])
def test_a_published_policy_that_is_not_here_says_what_to_type(name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"hf download deepseek-community/Janus-Pro-\dB --local-dir .*{name}"):
        POLICIES.load(name)(device="cpu")


def test_the_hub_cache_is_looked_into(tmp_path: Path, pro_folder: Path) -> None:
    snapshot = tmp_path / "hub" / "models--some--janus" / "snapshots" / "abc"
    shutil.copytree(pro_folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    assert find_published("mine", "some/janus") == snapshot


def test_the_options_are_those_of_the_loader() -> None:
    for name in ("janus-pro-1b", "janus-pro-7b"):
        assert inspect.signature(POLICIES.load(name)).parameters == inspect.signature(load_janus).parameters

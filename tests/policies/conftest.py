from pathlib import Path

import pytest
from tests.tiny_checkpoints import write_janus

from pyrite.policies.janus import JanusPolicy, load_janus


@pytest.fixture(scope="session")
def janus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_janus(tmp_path_factory.mktemp("janus"))


@pytest.fixture(scope="session")
def planless_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_janus(tmp_path_factory.mktemp("planless"), plan_tokens=0, kv_heads=4)


@pytest.fixture
def policy(janus_folder: Path) -> JanusPolicy:
    return load_janus(janus_folder, device="cpu")

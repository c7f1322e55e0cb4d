from pathlib import Path

import pytest
from tests.tiny_checkpoints import write_janus
from tests.tiny_janus_pro import TEMPLATE, write_janus_pro

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


@pytest.fixture(scope="session")
def pro_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_janus_pro(tmp_path_factory.mktemp("janus_pro"))


@pytest.fixture(scope="session")
def grouped_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With grouped-query attention, which no published Janus-Pro has."""
    return write_janus_pro(tmp_path_factory.mktemp("grouped"), kv_heads=2, seed=1)


@pytest.fixture(scope="session")
def plan_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "question.txt"
    path.write_text(TEMPLATE)
    return path


@pytest.fixture
def pro(pro_folder: Path) -> JanusPolicy:
    return load_janus(pro_folder, device="cpu")

from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.simulated.blocks import write_set
from examples.simulated.server import SimulatedJudge, served


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"), 24, seed=4)


@pytest.fixture
def simulated(small_set: Path) -> Iterator[SimulatedJudge]:
    with served(SimulatedJudge(small_set, seed=4)) as judge:
        yield judge

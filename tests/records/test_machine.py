import os
from pathlib import Path

from pyrite.records.machine import memory_bytes, num_cores


def test_a_container_has_the_memory_it_is_allowed(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1000000\n")
    assert memory_bytes(limit) == 1_000_000


def test_without_a_limit_it_is_the_machine_s(tmp_path: Path) -> None:
    installed = memory_bytes(tmp_path / "absent")
    assert installed > 2**28
    (tmp_path / "unlimited").write_text("max\n")
    assert memory_bytes(tmp_path / "unlimited") == installed
    (tmp_path / "larger").write_text(str(10 * installed))
    assert memory_bytes(tmp_path / "larger") == installed


def test_there_is_a_core_to_run_on() -> None:
    assert 1 <= num_cores() <= os.cpu_count()

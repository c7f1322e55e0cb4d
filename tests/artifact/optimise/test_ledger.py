"""What was paid for is read back in order, whatever instant the run was killed in."""

from pathlib import Path

import pytest

from pyrite.artifact.optimise.ledger import Ledger
from pyrite.core.errors import RunFolderError


def test_outcomes_of_a_repeated_request_come_back_in_order(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "l.jsonl")
    for number in range(2):
        assert first.recall("a") is None
        first.keep("a", {"n": number})
    first.keep("b", {"n": 9})
    first.close()
    again = Ledger(tmp_path / "l.jsonl")
    assert [row and row["n"] for row in (again.recall(key) for key in "abaa")] == [0, 9, 1, None]
    again.close()


@pytest.mark.parametrize("keep_bytes", range(1, 40, 3))
def test_a_torn_line_is_forgotten_and_the_file_goes_on_whole(keep_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    line = b'{"key": "a", "n": 0}\n'
    path.write_bytes((line + line)[: len(line) + keep_bytes] if keep_bytes < len(line) else line[:-1])
    ledger = Ledger(path)
    known = ledger.recall("a")
    assert (known is not None) == (keep_bytes < len(line))
    assert ledger.recall("a") is None
    ledger.keep("a", {"n": 1})
    ledger.close()
    assert path.read_bytes().count(b"\n") == 1 + (known is not None)
    again = Ledger(path)
    assert [again.recall("a") is None for _ in range(3)] == ([False, False, True] if known else [False, True, True])
    again.close()


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_text('nonsense\n{"key": "a"}\n')
    with pytest.raises(RunFolderError, match="line 1"):
        Ledger(tmp_path / "l.jsonl")
    (tmp_path / "l.jsonl").write_text('{"key": "a"}\n{"kay": "a"}\n')
    with pytest.raises(RunFolderError, match=r"line 2 .* which request it answers"):
        Ledger(tmp_path / "l.jsonl")

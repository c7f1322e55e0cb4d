import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyrite.core.errors import RunFolderError
from pyrite.records.jsonl import JsonLines, read_jsonl, teaching_os_errors, write_atomically, write_json


def test_what_is_appended_is_read_back_with_null_for_nan(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.append(
        [{"x": float("nan"), "y": [1, np.float32("nan")], "text": "ü\n"}, {"z": np.arange(2), "i": np.int64(3)}]
    )
    lines.close()
    assert read_jsonl(tmp_path / "a.jsonl") == (
        [{"x": None, "y": [1, None], "text": "ü\n"}, {"z": [0, 1], "i": 3}], "",
    )  # fmt: skip
    assert b"NaN" not in (tmp_path / "a.jsonl").read_bytes()


def test_lines_are_in_the_file_before_append_returns(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.append([{"a": 1}])
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"a": 1}
    assert lines.offset == len(b'{"a": 1}\n')
    lines.close()


def test_an_infinity_or_an_unknown_object_is_no_line_and_leaves_no_trace(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="an infinite number cannot be written down: say NaN, and why"):
        lines.append([{"a": 1}, {"a": float("inf")}])
    with pytest.raises(TypeError, match="not JSON serializable"):
        lines.append([{"a": object()}])
    assert lines.offset == 0
    lines.close()


def test_truncation_forgets_later_lines_and_refuses_when_earlier_ones_are_missing(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "a.jsonl")
    lines.append([{"a": 1}])
    kept = lines.offset
    lines.append([{"a": 2}])
    lines.truncate_to(kept)
    lines.append([{"a": 3}])
    lines.sync()
    assert read_jsonl(tmp_path / "a.jsonl")[0] == [{"a": 1}, {"a": 3}]
    with pytest.raises(RunFolderError, match="has 18 bytes, but 99 were there when its checkpoint was written"):
        lines.truncate_to(99)
    lines.close()


@pytest.mark.parametrize("torn", [b'{"a": 2', b'{"a"', b'{"a": "\xc3'], ids=["value", "key", "letter"])
def test_a_torn_last_line_is_left_out_and_said_so(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + torn)
    rows, note = read_jsonl(path)
    assert rows == [{"a": 1}]
    assert note == f"the last line of {path} is incomplete and was left out: the run was killed while writing."


def test_a_whole_last_line_without_a_newline_counts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": 2}')
    assert read_jsonl(tmp_path / "a.jsonl") == ([{"a": 1}, {"a": 2}], "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1}\n{"a"\n{"a": 2}\n', "line 2 of .* cannot be read .*Repair or remove that line"),
        ('{"a"\n', "line 1 of .* cannot be read"),
        ("[1]\n", "line 1 of .*it is list, not an object"),
    ],
    ids=["in the middle", "last but ended", "not an object"],
)
def test_a_line_that_no_kill_explains_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(RunFolderError, match=said):
        read_jsonl(tmp_path / "a.jsonl")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """/dev/full refuses every byte as a full disk does."""
    (tmp_path / "a.jsonl").symlink_to("/dev/full")
    lines = JsonLines(tmp_path / "a.jsonl")
    with pytest.raises(
        RunFolderError, match=r"cannot write to .*a.jsonl: No space left on device. The disk is full: free"
    ):
        lines.append([{"a": 1}])
    lines.close()


OUTGROW = """
import resource, signal, sys
from pathlib import Path
from pyrite.core.errors import RunFolderError
from pyrite.records.jsonl import JsonLines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
lines = JsonLines(Path(sys.argv[1]))
lines.append([{"a": 1}])
try:
    lines.append([{"a": "a long text that no longer fits"}])
except RunFolderError as error:
    print(error)
"""


def test_a_disk_that_fills_in_the_middle_of_a_line_is_told_and_what_was_whole_stays(tmp_path: Path) -> None:
    """The limit of 20 bytes lets the system write a part of the second line, as a filling disk does."""
    path = tmp_path / "a.jsonl"
    done = subprocess.run([sys.executable, "-c", OUTGROW, path], capture_output=True, text=True, check=True)
    assert "File too large. A file may not grow any further" in done.stdout
    assert path.stat().st_size == 20
    assert read_jsonl(path)[0] == [{"a": 1}]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "The disk is full: free some space, then give the same command again and it continues."),
        (errno.EDQUOT, "Your disk quota is used up"),
        (errno.EROFS, "That file system is read-only: choose a folder on another one."),
        (errno.EACCES, "You may not write there: choose another folder"),
        (errno.EIO, "Check the disk, or choose another folder."),
    ],
    ids=["full", "quota", "read-only", "forbidden", "broken"],
)
def test_what_the_system_refuses_comes_with_what_to_do(number: int, said: str) -> None:
    with pytest.raises(RunFolderError, match=f"cannot do it: .*{said}"), teaching_os_errors("do it"):
        raise OSError(number, "refused")


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="A file stands where a folder is needed"):
        JsonLines(tmp_path / "file" / "a.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunFolderError, match="A folder stands where a file is needed"):
        JsonLines(tmp_path / "folder")
    with pytest.raises(RunFolderError, match="Give the folder of a run"):
        read_jsonl(tmp_path / "nothing.jsonl")


def test_a_replaced_file_is_the_old_one_until_it_is_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": None}
    (tmp_path / ".a.json.tmp").symlink_to("/dev/full")
    with pytest.raises(RunFolderError, match="The disk is full"):
        write_atomically(path, "new")
    assert json.loads(path.read_text()) == {"a": None}


APPEND_FOREVER = """
import itertools, sys
from pathlib import Path
from pyrite.records.jsonl import JsonLines
lines = JsonLines(Path(sys.argv[1]))
for number in itertools.count():
    lines.append([{"number": number, "text": "x" * 5000}])
    if number == 100:
        print("begun", flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_lines_and_at_most_one_torn(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with subprocess.Popen([sys.executable, "-c", APPEND_FOREVER, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        writer.kill()
    rows, _ = read_jsonl(path)
    assert len(rows) > 100
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert {len(row["text"]) for row in rows} == {5000}

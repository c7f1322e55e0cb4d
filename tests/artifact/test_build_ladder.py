import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as PILImage
from tests.artifact.pictures import picture, picture_files

from pyrite.artifact.data import load_curated, pairs
from pyrite.artifact.ladder import ARTIFACTS, NEUTRAL, build_ladder
from pyrite.core.errors import ImageSetError, RunFolderError, UnknownNameError

KINDS = ["smear", "seam", "crop", "sepia"]
SEVERITIES = [0.5, 1.0]
NUM_VERSIONS = 1 + len(KINDS) * len(SEVERITIES)


def build(folder: Path, out: Path, **options: object) -> Path:
    settings = {"kinds": KINDS, "severities": SEVERITIES, **options}
    return build_ladder(sorted(folder.glob("*.png")), out, **settings)  # type: ignore[arg-type]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    picture_files(tmp_path / "clean", 3)
    return tmp_path / "clean"


def test_the_set_loads_and_every_version_has_its_label_and_its_pair(clean: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = build(clean, tmp_path / "set", progress=lambda done, total: seen.append((done, total)))
    examples = load_curated(path).examples
    assert len(examples) == 3 * NUM_VERSIONS
    assert {example.has_artifact for example in examples if example.kind in ARTIFACTS} == {True}
    assert {example.has_artifact for example in examples if example.kind in (*NEUTRAL, "")} == {False}
    assert {example.severity for example in examples if example.kind} == set(SEVERITIES)
    assert len({example.pair_id for example in examples}) == 3
    assert all(pair.clean.kind == "" for pair in pairs(examples))
    assert len(pairs(examples)) == 3 * 4
    assert seen[-1] == (3 * NUM_VERSIONS, 3 * NUM_VERSIONS)
    assert seen == sorted(seen)


def test_the_clean_image_is_kept_to_the_pixel_and_prompts_go_along(tmp_path: Path) -> None:
    images = [picture(mode="RGBA"), picture(seed=1)]
    path = build_ladder(images, tmp_path / "set", kinds=["smear"], severities=[1], prompts=["a cube", ""])
    first, damaged, second, _ = load_curated(path).examples
    assert (first.prompt, damaged.prompt, second.prompt) == ("a cube", "a cube", "")
    with PILImage.open(first.image) as opened:
        assert (opened.mode, opened.tobytes()) == ("RGBA", images[0].tobytes())


def test_two_builds_are_the_same_bytes_and_another_seed_is_not(clean: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build(clean, tmp_path / name, seed=seed)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert tree(tmp_path / "a").keys() == tree(tmp_path / "c").keys()
    assert tree(tmp_path / "a") != tree(tmp_path / "c")


def test_what_becomes_of_an_image_does_not_depend_on_the_others(clean: Path, tmp_path: Path) -> None:
    build(clean, tmp_path / "all")
    last = sorted(clean.glob("*.png"))[-1]
    build_ladder([last], tmp_path / "one", kinds=KINDS, severities=SEVERITIES)
    images = {name: data for name, data in tree(tmp_path / "one").items() if name.startswith("images")}
    assert images.items() <= tree(tmp_path / "all").items()


_KILLED = """
import os, signal, sys
from pathlib import Path
from pyrite.artifact.ladder import build_ladder

def stop(done, total):
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

images = sorted(Path(sys.argv[1]).glob("*.png"))
build_ladder(images, Path(sys.argv[2]), kinds=sys.argv[4].split(","), severities=[0.5, 1.0], progress=stop)
"""


def test_a_killed_build_continues_and_ends_with_the_same_files(clean: Path, tmp_path: Path) -> None:
    build(clean, tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-c", _KILLED, str(clean), str(out), str(NUM_VERSIONS + 2), ",".join(KINDS)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert not (out / "curated.jsonl").exists()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert NUM_VERSIONS < len(kept) < 3 * NUM_VERSIONS
    next(iter(kept)).with_name(".half.png.tmp").write_bytes(b"torn")
    build(clean, out)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    after = tree(out)
    assert {name: data for name, data in after.items() if not name.endswith(".tmp")} == tree(tmp_path / "whole")


def test_what_changed_nothing_or_is_there_already_is_left_out_and_says_so(tmp_path: Path) -> None:
    flat = PILImage.new("RGB", (32, 32), (90, 90, 90))
    options = {"kinds": ["smear", "flip", "seam"], "severities": [0.5, 1.0]}
    path = build_ladder([flat, picture()], tmp_path / "set", **options)  # type: ignore[arg-type]
    reasons = json.loads((tmp_path / "set" / "ladder.json").read_text())["left_out"]
    told = {re.sub(r"images/image_(\d)-\w+/", r"\1/", name): why for name, why in reasons.items()}
    assert {name for name, why in told.items() if why.startswith("it changed nothing")} == {
        "1/smear-0.5.png", "1/smear-1.png", "1/flip-0.5.png", "1/flip-1.png"
    }  # fmt: skip
    assert told["2/flip-1.png"].startswith("it is the same image as images/image_2-")
    assert len(told) == 5
    assert not list((tmp_path / "set").rglob("flip-1.png"))
    assert len(load_curated(path).examples) == 3 + 6


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"kinds": ["smear"]}, r"kinds was \['seam', 'smear', 'crop', 'sepia'\], now \['smear'\]"),
        ({"severities": [1.0]}, r"severities was \[0.5, 1.0\], now \[1.0\]"),
    ],
    ids=["seed", "kinds", "severities"],
)
def test_a_folder_of_other_settings_is_refused(clean: Path, tmp_path: Path, changed: dict, says: str) -> None:  # type: ignore[type-arg]
    build(clean, tmp_path / "set")
    before = tree(tmp_path / "set")
    with pytest.raises(RunFolderError, match=f"{says}.*Choose another folder"):
        build(clean, tmp_path / "set", **changed)
    assert tree(tmp_path / "set") == before


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("curated.jsonl", "{}", "holds a curated.jsonl that no ladder made. Choose another folder: --out"),
        ("ladder.json", "{}", "ladder.json describes no ladder"),
        ("ladder.json", "no", "ladder.json describes no ladder"),
        ("ladder.json", "[]", "ladder.json describes no ladder"),
    ],
    ids=["a set", "an object", "no json", "a list"],
)
def test_a_folder_of_something_else_is_refused(clean: Path, tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_text(text)
    with pytest.raises(RunFolderError, match=says):
        build(clean, tmp_path / "set")


def test_images_that_cannot_be_used_are_all_named_or_left_out(clean: Path, tmp_path: Path) -> None:
    (clean / "text.png").write_text("no picture")
    picture(15, 40).save(clean / "thin.png")
    (clean / "zcopy.png").write_bytes((clean / "00.png").read_bytes())
    with pytest.raises(ImageSetError, match=r"3 of 6 images cannot be used.*--skip-bad") as refused:
        build(clean, tmp_path / "set")
    for part in (
        "text.png: the file is no image",
        "thin.png: it has 15 x 40 pixels, and below 16",
        "is the same picture",
    ):
        assert part in str(refused.value)
    path = build(clean, tmp_path / "set", skip_bad=True)
    assert len({example.pair_id for example in load_curated(path).examples}) == 3
    assert len(json.loads((tmp_path / "set" / "ladder.json").read_text())["left_out"]) == 3


def test_nothing_to_damage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageSetError, match="none of 0 images can be used"):
        build_ladder([], tmp_path / "set")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"severities": [0.0, 1.0]}, ValueError, "severities are .*above 0 and at most 1"),
        ({"severities": []}, ValueError, "give one or more above 0"),
        ({"kinds": ["smaer"]}, UnknownNameError, "Did you mean 'smear'"),
        ({"prompts": ["one"]}, ValueError, "3 images and 1 prompts"),
    ],
    ids=["severity 0", "no severities", "kind", "prompts"],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(
    clean: Path,
    tmp_path: Path,
    options: dict,
    error: type[Exception],
    says: str,  # type: ignore[type-arg]
) -> None:
    with pytest.raises(error, match=says):
        build(clean, tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


def test_a_full_disk_says_so_and_the_same_call_continues(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = os.replace
    room = [5]

    def replace(source: str, target: str) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        replaced(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(RunFolderError, match="The disk is full: free some space"):
        build(clean, tmp_path / "set")
    monkeypatch.undo()
    assert len(load_curated(build(clean, tmp_path / "set")).examples) == 3 * NUM_VERSIONS


def test_a_file_that_went_away_between_the_looks_says_so(clean: Path, tmp_path: Path) -> None:
    def remove(done: int, total: int) -> None:
        (clean / "02.png").unlink(missing_ok=True)

    with pytest.raises(ImageSetError, match="could be read before, and now: there is no such file"):
        build(clean, tmp_path / "set", progress=remove)

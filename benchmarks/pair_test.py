"""The pair test of the pocket rewards: `python benchmarks/pair_test.py [OUT] [PICTURES] [MAP.png]`.

Renders clean pictures of prompts that nothing was trained on (split "eval") and damages them in two ways: with the
pocket world's own corruptions, most of which `artifact-pocket` was trained on, and with the ladder of `pyrite audit
probe`, which no pocket reward has seen. Both are scored and told by the commands a user would type; the tables at the
end are read from the numbers they write. The same command again continues. About 10 minutes on two shared cores with
OMP_NUM_THREADS=1. With MAP.png, Chromium draws the blind-spot map of the probe into that file.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pyrite.core.types import Prompt
from pyrite.records.jsonl import write_atomically
from pyrite.world.build.pool import SEEN_BY_ARTIFACT_MODEL, VISIBLE_RMS
from pyrite.world.corruptions import CORRUPTIONS, corrupt
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import Pixels, render, to_uint8

REWARDS = (
    "hps-pocket", "pickscore-pocket", "aesthetic-pocket", "artifact-pocket", "detector-pocket", "orm-pocket",
    "jpeg_compressibility", "jpeg_incompressibility", "saturation", "sharpness", "random", "constant",
)  # fmt: skip
SEVERITIES = (0.3, 0.6, 1.0)
SEED = 20


def pictures(num: int) -> Iterator[tuple[Prompt, Pixels]]:
    """Clean renders that satisfy prompts of the evaluation split."""
    rng = np.random.default_rng([SEED, 1])
    for prompt in sample_prompts("eval", num, SEED):
        yield prompt, render(random_scene(prompt, rng))


def save(pixels: Pixels, folder: Path, name: str) -> str:
    """Write one picture and return its path from the folder."""
    path = folder / "images" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_uint8(pixels)).save(path)
    return f"images/{name}.png"


def write_sets(folder: Path, num: int) -> tuple[Path, Path]:
    """The clean set, and the labelled set with the world's corruptions; damage nobody can see is left out of it."""
    clean, damaged = [], []
    for number, (prompt, picture) in enumerate(pictures(num)):
        facts = prompt.to_json()
        facts["prompt_id"] = facts.pop("id", "")
        name = f"p{number:03d}"
        row: dict[str, Any] = {**facts, "id": name, "image": save(picture, folder, name)}
        clean.append(row)
        damaged.append({**row, "label": 0, "pair_id": name})
        for kind in CORRUPTIONS:
            for severity in SEVERITIES:
                rng = np.random.default_rng([SEED, number, *kind.encode()])
                pixels = corrupt(picture, kind, severity, rng)
                if np.sqrt(np.square(pixels - picture).mean()) < VISIBLE_RMS:
                    continue
                called = f"{name}-{kind}-{severity:g}"
                labels = {"label": 1, "pair_id": name, "kind": kind, "severity": severity}
                damaged.append({**row, "id": called, "image": save(pixels, folder, called), **labels})
    paths = folder / "clean.jsonl", folder / "corruptions.jsonl"
    for path, rows in zip(paths, (clean, damaged), strict=True):
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))
    return paths


def run(*arguments: object) -> None:
    """A `pyrite` command; exit code 1 is a finding."""
    done = subprocess.run(["pyrite", *map(str, arguments)], stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)


def main() -> None:
    """Build, score, and print the tables as Markdown."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/pair_test").absolute()
    num = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    folder.mkdir(parents=True, exist_ok=True)
    clean, damaged = write_sets(folder, num)
    names, cache = ",".join(REWARDS), folder / "scores.sqlite"
    scored, world, probe = folder / "corruptions.scores", folder / "corruptions.pairs", folder / "ladder"
    run("score", damaged, "--rewards", names, "--out", scored, "--cache", cache)
    run("audit", "pairs", scored, "--set", damaged, "--out", world)
    run("audit", "probe", clean, "--rewards", names, "--out", probe, "--cache", cache)
    for title, where in (("The world's corruptions", world), ("The ladder", probe)):
        found = json.loads((where / "pairs.json").read_text())
        print(f"\n## {title}: {found['num_pairs']} pairs of {found['num_pictures']} pictures\n")
        print_tallies(found)
        print_kinds(found)
    print_seen(json.loads((world / "pairs.json").read_text()))
    print_combinations(json.loads((world / "pairs.json").read_text()))
    print_combinations(json.loads((probe / "pairs.json").read_text()))
    if len(sys.argv) > 3:
        draw_map(probe / "pairs.html", Path(sys.argv[3]))


def draw_map(page: Path, out: Path) -> None:
    """The blind-spot map of a page as a picture of few colours."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.audit.browser import visit

    where = (
        "(box => [box.left, box.top, box.right, box.bottom])(document.querySelector('#map').getBoundingClientRect())"
    )
    whole = out.with_suffix(".whole.png")
    seen = visit(page, {"map": where}, width=1000, picture=whole)
    left, top, right, bottom = seen.answers["map"]
    with Image.open(whole) as picture:
        picture.convert("RGB").crop((left, top + 20, right, bottom)).quantize(64).save(out, optimize=True)
    whole.unlink()


def print_tallies(found: dict[str, Any]) -> None:
    """Correct, tie, wrong and accuracy of each reward."""
    print("| reward | correct | tie | wrong | unscored | accuracy |\n|---|---|---|---|---|---|")
    for name, row in found["rewards"].items():
        counts = " | ".join(str(row[key]) for key in ("correct", "tie", "wrong", "unscored"))
        print(f"| {name} | {counts} | {row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}] |")


def print_kinds(found: dict[str, Any]) -> None:
    """Accuracy by reward and kind, bold where the reward is blind or prefers the damage."""
    kinds = list(dict.fromkeys(row["kind"] for row in found["kinds"]))
    cells = {(row["reward"], row["kind"]): row for row in found["kinds"]}
    print(f"\n| reward | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name in found["rewards"]:
        line = []
        for kind in kinds:
            row = cells[name, kind]
            text = f"{row['accuracy']:.2f}" if row["accuracy"] is not None else "-"
            line.append(f"**{text}**" if row["sight"] in ("blind", "prefers the damage") else text)
        print(f"| {name} | {' | '.join(line)} |")


def print_seen(found: dict[str, Any]) -> None:
    """`artifact-pocket` on the kinds it was trained on and on those it was not."""
    rows = [row for row in found["kinds"] if row["reward"] == "artifact-pocket"]
    for word, is_seen in (("trained on", True), ("never saw", False)):
        part = [row for row in rows if (row["kind"] in SEEN_BY_ARTIFACT_MODEL) == is_seen]
        correct, num = sum(r["correct"] for r in part), sum(r["correct"] + r["tie"] + r["wrong"] for r in part)
        print(f"\nartifact-pocket on the kinds it {word}: {correct} of {num} correct, {correct / num:.3f}")


def print_combinations(found: dict[str, Any]) -> None:
    """Two rewards together: gains beyond doubt first, then by accuracy; ties count one half."""
    print("\n| together | alone | at best | accuracy | gain |\n|---|---|---|---|---|")
    for row in found["combinations"][:5]:
        alone = ", ".join(f"{value:.2f}" for value in row["alone"])
        gain = "{estimate:+.3f} [{low:+.3f}, {high:+.3f}]".format(**row["gain"])
        together = f"{row['first']} + {row['second']} ({row['best']})"
        print(f"| {together} | {alone} | {row['either']:.2f} | {row['accuracy']:.2f} | {gain} |")


if __name__ == "__main__":
    main()

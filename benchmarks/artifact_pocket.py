"""How good the pocket artifact reward is on damage it was trained on and on damage it never saw.

    python benchmarks/artifact_pocket.py OUT

Writes four labelled sets of the same 100 pocket-world renders of evaluation prompts below OUT, each with four damaged
copies and, in the last set, four neutral ones; measures `artifact-pocket` on each with `pyrite judge classify --part
all`, and prints the tables of docs/reference/artifact-judge.md. Three minutes on two cores.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from typer.testing import CliRunner

from pyrite.artifact.ladder import ARTIFACTS, NEUTRAL
from pyrite.cli.main import app
from pyrite.core.types import Image
from pyrite.world.build.pool import SEEN_BY_ARTIFACT_MODEL, VISIBLE_RMS
from pyrite.world.corruptions import CORRUPTIONS, corrupt
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import Pixels, render, to_uint8

NUM_PICTURES, COPIES = 100, 4
SEED = 60

Damage = Callable[[Pixels, str, np.random.Generator], Image | None]


def main(out: Path) -> None:
    """Write the four sets, measure the model on each, and print what came out."""
    trained = list(SEEN_BY_ARTIFACT_MODEL)
    unseen = [kind for kind in CORRUPTIONS if kind not in trained]
    sets: dict[str, tuple[list[str], Damage, list[str]]] = {
        "trained": (trained, of_the_world, []),
        "unseen": (unseen, of_the_world, []),
        "ladder": (list(ARTIFACTS), of_the_ladder, []),
        "neutral": (list(ARTIFACTS), of_the_ladder, list(NEUTRAL)),
    }
    for name, (kinds, damage, neutral) in sets.items():
        path = write_set(out / name, kinds, damage, neutral)
        command = ["judge", "classify", str(path), "--judge", "artifact-pocket", "--part", "all", "--json"]
        done = CliRunner().invoke(
            app, [*command, "--cache", str(out / "scores.sqlite"), "--out", str(out / name / "judged")]
        )
        if done.exit_code:
            sys.exit(done.output)
        show(name, json.loads(done.stdout))


def of_the_world(picture: Pixels, kind: str, rng: np.random.Generator) -> Image | None:
    """Damage as the model was trained on it, of the strength it was trained on; None where it does not show."""
    damaged = corrupt(picture, kind, rng.uniform(0.3, 1.0), rng)
    return as_image(damaged) if np.sqrt(np.square(damaged - picture).mean()) >= VISIBLE_RMS else None


def of_the_ladder(picture: Pixels, kind: str, rng: np.random.Generator) -> Image:
    """Damage of the corruption ladder, over the same range of severity."""
    return ARTIFACTS[kind](as_image(picture), rng.uniform(0.3, 1.0), int(rng.integers(2**31))).image


def write_set(folder: Path, kinds: Sequence[str], damage: Damage, neutral: Sequence[str]) -> Path:
    """Write the images and their labels into a folder; returns the file of labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(row) for row in entries(folder, kinds, damage, neutral)]
    (folder / "set.jsonl").write_text("\n".join(rows) + "\n")
    return folder / "set.jsonl"


def entries(folder: Path, kinds: Sequence[str], damage: Damage, neutral: Sequence[str]) -> Iterator[dict[str, object]]:
    """Each picture, its neutral copies and its damaged ones; the pictures are the same for every set."""
    for number, prompt in enumerate(sample_prompts("eval", NUM_PICTURES, SEED)):
        rng = np.random.default_rng([SEED, number])
        picture = render(random_scene(prompt, rng))
        same = {"pair_id": str(number), "prompt": prompt.text}
        as_image(picture).save(folder / f"{number}.png")
        yield {"image": f"{number}.png", "label": 0, **same}
        for copy in range(COPIES if neutral else 0):
            kind = neutral[(number * COPIES + copy) % len(neutral)]
            severity, seed = rng.uniform(0.3, 1.0), int(rng.integers(2**31))
            NEUTRAL[kind](as_image(picture), severity, seed).image.save(folder / f"{number}-neutral-{copy}.png")
            yield {"image": f"{number}-neutral-{copy}.png", "label": 0, "kind": kind, **same}
        for copy in range(COPIES):
            kind = kinds[(number * COPIES + copy) % len(kinds)]
            while (damaged := damage(picture, kind, rng)) is None:
                kind = kinds[int(rng.integers(len(kinds)))]
            damaged.save(folder / f"{number}-{copy}.png")
            yield {"image": f"{number}-{copy}.png", "label": 1, "kind": kind, **same}


def as_image(picture: Pixels) -> Image:
    """The picture in 8 bits."""
    return PIL.Image.fromarray(to_uint8(picture))


def show(name: str, results: Mapping[str, Any]) -> None:
    """Print the metrics, the kinds and the conditions of one set."""
    for metric, value in results["metrics"].items():
        print(
            name, metric, *(None if value[end] is None else round(value[end], 3) for end in ("estimate", "low", "high"))
        )
    for kind in sorted(results["kinds"], key=lambda kind: -kind["right"]):
        auc = "" if kind["auc"] is None else f"AUC {kind['auc']:.3f}"
        print(name, kind["kind"] or "clean", kind["num"], f"right {kind['right']:.2f}", auc)
    for one in results["conditions"]:
        if "metrics" in one:
            values = (
                f"{metric} {one['metrics'][metric]['estimate']:.3f}" for metric in ("balanced_accuracy", "roc_auc")
            )
            print(name, one["name"], *values, f"{one['turned']} of {one['both']} verdicts turned")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

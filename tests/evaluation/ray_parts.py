"""Rewards that misbehave in the workers of a local Ray, and what is heard of it: run by test_ray_engine.py.

A program of its own, because Ray starts processes, changes the environment and warns of its own future.
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tests.evaluation.scored import CountingReward, make_folder, noise

from pyrite.core.cards import RewardCard
from pyrite.core.errors import PyriteError, RewardError
from pyrite.core.protocols import Reward
from pyrite.core.types import Image, Prompt, Scores
from pyrite.evaluation.image_sets import open_image_set
from pyrite.evaluation.ray_cluster import Cluster, open_cluster
from pyrite.evaluation.ray_engine import Load, score_on_ray
from pyrite.evaluation.score_images import score_images
from pyrite.records.store import ScoreStore

FILES = ("samples.jsonl", "results.json", "scores.parquet")
WORKERS = Cluster(2)


@dataclass
class Detailed:
    """A reward with details, a reason for dark images, and a prompt."""

    card: RewardCard

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """The first pixel, thirded; nothing for images whose first pixel is odd."""
        first = np.array([image.convert("RGB").getpixel((0, 0))[0] for image in images], np.float64)  # type: ignore[index]
        odd = {row: "its first pixel is odd" for row, value in enumerate(first) if value % 2}
        values = np.where(first % 2 == 1, np.nan, first / 3)
        lengths = np.array([len(prompt.text) for prompt in prompts], np.float64)
        return Scores(values, odd, {"length": lengths, "half": np.where(first % 2 == 1, np.nan, 0.5)})


@dataclass
class Deadly:
    """Wraps a reward; brings its process down at one image, as often as it is let."""

    reward: CountingReward
    flag: Path
    pixels: str
    times: int

    @property
    def card(self) -> RewardCard:
        """That of the reward."""
        return self.reward.card

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """The reward's, unless the image is among them."""
        if any(_key(image) == self.pixels for image in images):
            deaths = len(self.flag.read_text()) if self.flag.exists() else 0
            if deaths < self.times:
                self.flag.write_text("x" * (deaths + 1))
                os.kill(os.getpid(), signal.SIGKILL)
        return self.reward.score(images, prompts)


@dataclass
class Broken:
    """Raises at one image as long as a file is there."""

    reward: CountingReward
    while_there: Path
    pixels: str

    @property
    def card(self) -> RewardCard:
        """That of the reward."""
        return self.reward.card

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """The reward's, or an error."""
        if self.while_there.exists() and any(_key(image) == self.pixels for image in images):
            raise RewardError("the model's server is gone. Start it, then give the same command again.")
        return self.reward.score(images, prompts)


def _key(image: Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def panel(log: Path) -> Mapping[str, Reward]:
    """A reward whose scores are kept for all, one whose are not, and one with details."""
    return {
        "bright": CountingReward.create(log, "bright"),
        "drawn": CountingReward.create(log, "drawn", deterministic=False),
        "detailed": Detailed(RewardCard("detailed", "", (0.0, 85.0), reads_prompt=True)),
    }


def deadly(log: Path, flag: Path, pixels: str, times: int) -> Mapping[str, Reward]:
    """One that kills its worker."""
    return {"bright": Deadly(CountingReward.create(log, "bright"), flag, pixels, times)}


def broken(log: Path, while_there: Path, pixels: str) -> Mapping[str, Reward]:
    """One that raises."""
    return {"bright": Broken(CountingReward.create(log, "bright"), while_there, pixels)}


def differing(log: Path) -> Mapping[str, Reward]:
    """One with other weights in every process."""
    return {"bright": CountingReward.create(log, "bright", revision=str(os.getpid()))}


def main(root: Path, scenes: Sequence[str]) -> dict[str, Any]:
    """Scenes on one Ray, so that its start is waited for once; "again" comes after "parquet"."""
    folder = make_folder(root / "images", 50)
    (folder / "zz.png").write_text("no image")
    (root / "damaged.sqlite").write_text("this is no store, and was never one " * 30)
    deaths = partial(deadly, root / "d", root / "flag", _last(folder), 99)
    known: dict[str, Callable[[], Any]] = {
        "network": _listening,
        "equal": lambda: _both(folder, root / "equal"),
        "killed": lambda: _killed(folder, root / "killed"),
        "parquet": lambda: _both(_parquet(root / "set.parquet"), root / "inline"),
        "again": lambda: _again(root / "set.parquet", root / "inline"),
        "resumed": lambda: _resumed(folder, root / "resumed"),
        "deadly": lambda: _message(deaths, folder, root / "deadly"),
        "differing": lambda: _message(partial(differing, root / "o"), folder, root / "other"),
        "store": lambda: _message(partial(panel, root / "s"), folder, root / "stored", store=root / "damaged.sqlite"),
    }
    with open_cluster(WORKERS):
        return {name: known[name]() for name in scenes}


def _both(path: Path, root: Path) -> dict[str, Any]:
    images = open_image_set(path, prompt="a cube")
    with ScoreStore(root / "plain.sqlite") as store:
        plain = score_images(images, panel(root / "plain.log"), root / "plain", store=store, batch_size=8)
    load: Load = partial(panel, root / "ray.log")
    done = score_on_ray(
        images, load, root / "ray", store=root / "ray.sqlite", cluster=WORKERS, batch_size=8,
    )  # fmt: skip
    asked = [sorted((root / f"{engine}.log").read_text().splitlines()) for engine in ("plain", "ray")]
    return {
        "equal": {name: _bytes(root / "plain" / name) == _bytes(root / "ray" / name) for name in FILES},
        "num_asked": [dict(plain.num_asked), dict(done.num_asked)],
        "asked_alike": asked[0] == asked[1],
        "asked_once": len(set(asked[1])) == len(asked[1]),
        "left": sorted(file.name for file in (root / "ray").iterdir()),
    }


def _again(path: Path, root: Path) -> dict[str, Any]:
    images = open_image_set(path, prompt="a cube")
    before = (root / "ray.log").read_text()
    done = score_on_ray(
        images, partial(panel, root / "ray.log"), root / "ray", store=root / "ray.sqlite", cluster=WORKERS, batch_size=8
    )
    return {"num_asked": dict(done.num_asked), "asked_more": (root / "ray.log").read_text() != before}


def _killed(folder: Path, root: Path) -> dict[str, Any]:
    root.mkdir()
    images = open_image_set(folder)
    plain = {"bright": CountingReward.create(root / "plain.log", "bright")}
    score_images(images, plain, root / "plain", batch_size=8)
    load = partial(deadly, root / "ray.log", root / "flag", _last(folder), 1)
    score_on_ray(images, load, root / "ray", cluster=WORKERS, batch_size=8)
    asked = (root / "ray.log").read_text().splitlines()
    return {
        "deaths": len((root / "flag").read_text()),
        "equal": {name: _bytes(root / "plain" / name) == _bytes(root / "ray" / name) for name in FILES},
        "num_asked": len(asked),
        "num_distinct": len(set(asked)),
    }


def _resumed(folder: Path, root: Path) -> dict[str, Any]:
    root.mkdir()
    images = open_image_set(folder)
    (root / "gone").touch()
    load = partial(broken, root / "ray.log", root / "gone", _last(folder))
    message = _message(load, folder, root / "ray")
    before = (root / "ray.log").read_text().splitlines()
    (root / "gone").unlink()
    score_on_ray(images, load, root / "ray", cluster=WORKERS, batch_size=8)
    asked = (root / "ray.log").read_text().splitlines()
    plain = {"bright": CountingReward.create(root / "plain.log", "bright")}
    score_images(images, plain, root / "plain", batch_size=8)
    return {
        "message": message,
        "before": len(before),
        "num_asked": len(asked),
        "num_distinct": len(set(asked)),
        "equal": {name: _bytes(root / "plain" / name) == _bytes(root / "ray" / name) for name in FILES},
    }


def _message(load: Load, folder: Path, out: Path, store: Path | None = None) -> list[str]:
    try:
        score_on_ray(open_image_set(folder), load, out, store=store, cluster=WORKERS, batch_size=8)
    except PyriteError as error:
        return [type(error).__name__, str(error), str(out.exists() and sorted(file.name for file in out.iterdir()))]
    return ["", "", ""]


def _last(folder: Path) -> str:
    return _key(noise(49))


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _parquet(path: Path) -> Path:
    """A set whose images lie in the file itself, two of them twice."""
    import io

    import pyarrow
    import pyarrow.parquet

    rows = []
    for number in [*range(40), 3, 4]:
        file = io.BytesIO()
        noise(number).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "prompt": "" if number % 5 == 0 else f"cube {number}"})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def _listening() -> dict[str, Any]:
    """The addresses at which any process that this one started listens, and what they were told of usage statistics."""
    ours = [os.getpid()]
    for parent in ours:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            ours += map(int, task.read_text().split())
    inodes, usage = set(), set()
    for process in ours:
        try:
            for link in Path(f"/proc/{process}/fd").iterdir():
                inodes.add(os.readlink(link))
            told = Path(f"/proc/{process}/environ").read_text(errors="replace").split("\0")
        except OSError:
            continue
        if process != os.getpid():
            usage |= {line for line in told if line.startswith("RAY_USAGE_STATS_ENABLED=")}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in inodes:
                addresses.add(cells[1].rpartition(":")[0])
    return {"num_processes": len(ours), "addresses": sorted(addresses), "usage": sorted(usage)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))

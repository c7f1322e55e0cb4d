"""Scoring many tiny images, plain and on Ray: `python benchmarks/scoring_at_scale.py [IMAGES] [WORKERS]`.

Draws IMAGES pictures of 32 x 32 pixels (2,000 if not said) and scores them with three formulas that need no weights, by
the commands a user would type: once in one process, once with `--engine ray` and WORKERS workers (2) on this machine,
and on Ray again with every score known. Says images per second of the whole command, the time that its processes
computed, the largest memory of any one of them and of all together, and whether the files are equal.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

REWARDS = "sharpness,saturation,jpeg_incompressibility"
FILES = ("samples.jsonl", "results.json", "scores.parquet")
LOOK_EVERY_S = 1.0


def draw(folder: Path, num: int) -> None:
    """Pictures of noise on a colour; every one differs; 1,000 in a folder."""
    rng = np.random.default_rng(0)
    for number in range(num):
        place = folder / f"{number // 1000:05d}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        pixels = rng.integers(0, 256, (1, 1, 3)) // 2 + rng.integers(0, 128, (32, 32, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:08d}.png", compress_level=1)


def children(process: int) -> list[int]:
    """It and all that it started, and they."""
    found = [process]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def megabytes(process: int) -> float:
    """Its own part of the memory: what it shares with others is divided among them."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def processor_s(process: int) -> float:
    """Seconds that it has computed."""
    try:
        cells = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(cells[11]) + int(cells[12])) / os.sysconf("SC_CLK_TCK")


def timed(command: list[str]) -> tuple[float, float, float, float]:
    """Seconds, seconds computed by all of its processes, and the most MB of any of them and of all at once."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    most, most_together = 0.0, 0.0
    computed: dict[int, float] = {}
    while process.poll() is None:
        alive = children(process.pid)
        sizes = [megabytes(one) for one in alive]
        computed |= {one: max(computed.get(one, 0.0), processor_s(one)) for one in alive}
        most, most_together = max(most, *sizes), max(most_together, sum(sizes))
        time.sleep(LOOK_EVERY_S)
    if process.returncode != 0 and process.stderr is not None:
        sys.exit(process.stderr.read()[-2000:])
    return time.monotonic() - start, sum(computed.values()), most, most_together


def main(num: int, workers: int) -> None:
    """Draw, score three times, print."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        draw(root / "images", num)
        score = [str(Path(sys.executable).with_name("pyrite")), "score", str(root / "images"), "--rewards", REWARDS]
        ray = ["--engine", "ray", "--workers", str(workers)]
        runs = {
            "plain": (["--cache", str(root / "plain.sqlite")], "plain"),
            f"ray, {workers} workers": ([*ray, "--cache", str(root / "ray.sqlite")], "ray"),
            f"ray, {workers} workers, all known": ([*ray, "--cache", str(root / "ray.sqlite")], "again"),
        }
        print(f"{num:,} images of 32 x 32, {REWARDS}; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
        print("| engine | seconds | images/s | processor, ms per image | largest process, MB | all processes, MB |")
        print("|---|---|---|---|---|---|")
        for name, (options, out) in runs.items():
            seconds, computed, most, together = timed([*score, *options, "--out", str(root / out)])
            speed = f"{seconds:.0f} | {num / seconds:.0f} | {1000 * computed / num:.2f}"
            print(f"| {name} | {speed} | {most:.0f} | {together:.0f} |", flush=True)
        equal = all(
            (root / "plain" / file).read_bytes() == (root / out / file).read_bytes()
            for out in ("ray", "again")
            for file in FILES
        )
        size = (root / "ray.sqlite").stat().st_size
        print(f"\nfiles equal: {equal}; store: {size / num:.0f} bytes per image; load now {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000, int(sys.argv[2]) if len(sys.argv) > 2 else 2)

"""What a reward server adds to a reward: load, overhead, a soak, and a server that is killed while it is asked.

    python benchmarks/serving.py                      minutes; the measured rows are kept in serving.md
    python benchmarks/serving.py --soak-s 600         the full soak
    python benchmarks/serving.py --quick              seconds, to see that everything runs

The reward is tiny (`random`: a hash of the pixels of 64 x 64 pictures), so that what is measured is the server. Clients
and server share the machine's cores: a client on a machine of its own waits less.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image

import pyrite
from pyrite.core.types import Image, Prompt
from pyrite.records.store import ScoreStore
from pyrite.records.stored import Stored
from pyrite.rewards.remote import RemoteReward, remote

REWARD = "random"
PORT = 8765
URL = f"http://127.0.0.1:{PORT}"
SIZE_PX = 64
START_S = 60.0
SERVER = f"""
import pyrite, uvicorn
from pyrite.serving.app import create_app
app = create_app({{"{REWARD}": pyrite.load_reward("{REWARD}")}})
uvicorn.run(app, port={PORT}, timeout_keep_alive=75, access_log=False)
"""


def pictures(num: int, seed: int = 0) -> tuple[list[Image], list[Prompt]]:
    """Pictures that all differ."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 256, (num, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    return [PIL.Image.fromarray(pixels) for pixels in drawn], [Prompt("a red square")] * num


def start() -> subprocess.Popen[bytes]:
    """What `pyrite serve` runs, in a process of its own; without loading torch, so that fifty starts take minutes."""
    return subprocess.Popen([sys.executable, "-c", SERVER], stderr=subprocess.DEVNULL)


@contextmanager
def server() -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers."""
    process = start()
    try:
        remote(URL, REWARD, deadline_s=START_S)
        yield process
    finally:
        process.terminate()
        process.wait()


def resident_mb(process: subprocess.Popen[bytes]) -> float:
    """Memory that the process holds now."""
    for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def ask_for(seconds: float, reward: RemoteReward, images: Sequence[Image]) -> list[float]:
    """Ask one question after another; the seconds that each took."""
    end, took = time.monotonic() + seconds, []
    while (began := time.monotonic()) < end:
        scores = reward.score(images, [Prompt("a red square")] * len(images))
        assert not scores.reasons
        took.append(time.monotonic() - began)
    return took


def load(clients: int, per_request: int, seconds: float) -> dict[str, float]:
    """So many clients at once, each asking as soon as it has its answer."""
    images, _ = pictures(per_request)
    rewards = [remote(URL, REWARD, concurrency=1) for _ in range(clients)]
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        took = [one for many in pool.map(lambda reward: ask_for(seconds, reward, images), rewards) for one in many]
    spent = time.monotonic() - began
    quantiles = statistics.quantiles(took, n=100)
    return {
        "clients": clients,
        "images_per_request": per_request,
        "requests_per_second": round(len(took) / spent, 1),
        "images_per_second": round(len(took) * per_request / spent, 1),
        "p50_ms": round(1000 * quantiles[49], 1),
        "p99_ms": round(1000 * quantiles[98], 1),
    }


def overhead(rounds: int) -> dict[str, float]:
    """Seconds per image here and there, on the same batch of 64; the fastest round of each counts."""
    images, prompts = pictures(64)
    here, there = pyrite.load_reward(REWARD), remote(URL, REWARD)
    fastest = {}
    for name, reward in (("own", here), ("remote", there)):
        reward.score(images, prompts)
        seconds = []
        for _ in range(rounds):
            began = time.monotonic()
            reward.score(images, prompts)
            seconds.append(time.monotonic() - began)
        fastest[name] = 1000 * min(seconds) / len(images)
    assert np.array_equal(here.score(images, prompts).values, there.score(images, prompts).values)
    return {
        "own_ms_per_image": round(fastest["own"], 3),
        "remote_ms_per_image": round(fastest["remote"], 3),
        "overhead_ms_per_image": round(fastest["remote"] - fastest["own"], 3),
    }


def soak(process: subprocess.Popen[bytes], seconds: float) -> dict[str, float]:
    """Eight clients without a pause; the server's memory after a tenth of the time and at the end."""
    memory: list[tuple[float, float]] = []
    over = threading.Event()
    began = time.monotonic()

    def watch() -> None:
        while not over.wait(seconds / 50):
            memory.append((time.monotonic() - began, resident_mb(process)))

    watching = threading.Thread(target=watch)
    watching.start()
    found = load(8, 8, seconds)
    over.set()
    watching.join()
    early = max(mb for at, mb in memory if at < 0.2 * seconds)
    late = max(mb for at, mb in memory if at >= 0.2 * seconds)
    return {
        "seconds": seconds,
        "requests": round(found["requests_per_second"] * seconds),
        "images": round(found["images_per_second"] * seconds),
        "most_mb_in_the_first_fifth": round(early, 1),
        "most_mb_after_it": round(late, 1),
        "growth_frac": round(late / early - 1, 4),
    }


def kills(num: int) -> dict[str, float]:
    """Kill the server with SIGKILL in the middle of requests, start it again, and count every score at the end."""
    images, prompts = pictures(64 * num, seed=1)
    expected = pyrite.load_reward(REWARD).score(images, prompts).values
    process, killed, over = start(), 0, threading.Event()

    def kill_and_restart() -> None:
        nonlocal process, killed
        rng = np.random.default_rng(0)
        while not over.is_set() and killed < num:
            answered.wait(START_S)  # at least one request of this server's was answered
            answered.clear()
            time.sleep(rng.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            process = start()

    answered = threading.Event()
    try:
        with tempfile.TemporaryDirectory() as folder, ScoreStore(Path(folder) / "scores.sqlite") as store:
            reward = remote(URL, REWARD, deadline_s=START_S, batch_size=4)
            stored = Stored(reward, store)
            killer = threading.Thread(target=kill_and_restart)
            killer.start()
            values, while_counting = [], 0
            while len(values) < len(images) or killed < num:
                rows = slice(len(values) % len(images), len(values) % len(images) + 16)
                if len(values) < len(images):
                    values.extend(stored.score(images[rows], prompts[rows]).values.tolist())
                    while_counting = killed
                else:
                    reward.score(images[:16], prompts[:16])
                answered.set()
            over.set()
            killer.join()
            kept = sum(row.num for row in store.rewards())
    finally:
        over.set()
        process.kill()
        process.wait()
    return {
        "kills": killed,
        "of_them_while_scores_were_counted": while_counting,
        "images": len(images),
        "scores": len(values),
        "scores_in_the_store": kept,
        "wrong_scores": int((np.array(values) != expected).sum()),
    }


def main() -> None:
    """Print one JSON object per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--soak-s", type=float, default=60, help="seconds of the soak; 600 for the full one")
    parser.add_argument("--load-s", type=float, default=8, help="seconds of each measurement of load")
    parser.add_argument("--kills", type=int, default=50, help="how often the server is killed")
    parser.add_argument("--quick", action="store_true", help="a second of each and one kill")
    options = parser.parse_args()
    if options.quick:
        options.soak_s, options.load_s, options.kills = 2, 1, 1
    print(json.dumps({"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}))
    with server() as process:
        for clients in (1, 8, 64):
            for per_request in (1, 16):
                print(json.dumps({"load": load(clients, per_request, options.load_s)}), flush=True)
        print(json.dumps({"overhead": overhead(3 if options.quick else 30)}), flush=True)
        print(json.dumps({"soak": soak(process, options.soak_s)}), flush=True)
    print(json.dumps({"kills": kills(options.kills)}), flush=True)


if __name__ == "__main__":
    main()

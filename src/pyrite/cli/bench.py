"""`pyrite bench`: how fast the rewards and a step of training are on this machine, and how fast it can ask a judge."""

import functools
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrite.cli import bench_train

if TYPE_CHECKING:
    from pyrite.core.protocols import Reward
    from pyrite.evaluation.throughput import Batch, Texts

app = typer.Typer(help="How fast rewards, judges and training are on this machine.", no_args_is_help=True)
app.command("train")(bench_train.train)


@app.callback()
def bench() -> None:
    """How fast rewards, judges and training are on this machine."""


@app.command()
def rewards(
    names: Annotated[str, typer.Option("--rewards", help="Names, separated by commas.")] = "hpsv2.1",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    dtype: Annotated[str, typer.Option(help="Of the batch: float32, bfloat16 or float16.")] = "float32",
    batch: Annotated[int, typer.Option(help="Images per forward pass.")] = 64,
    prompts: Annotated[int, typer.Option(help="Distinct prompts in the batch.")] = 8,
    per_prompt: Annotated[int, typer.Option(help="Images for each of them.")] = 8,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 384,
    loop_images: Annotated[int, typer.Option(help="How many of them the plain loop is given.")] = 16,
    rounds: Annotated[int, typer.Option(help="Rounds of each; the fastest counts.")] = 2,
    stream: Annotated[int, typer.Option(help="Also stream so many small images and watch the peak memory.")] = 0,
    tiny: Annotated[bool, typer.Option("--tiny", help="Models of a toy size, to see that everything runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per reward.")] = False,
) -> None:
    """Images per second of each reward on a batch as GRPO makes it, and beside a plain loop over single images.

    The loop has the same weights in float32 and reads the prompt of every image. Published rewards get random weights,
    on which speed does not depend; their difference in score is then that of a random model.

    Examples: `pyrite bench rewards --dtype bfloat16`, `pyrite bench rewards --rewards "clipscore,hps-pocket" --json`
    """
    rows = []
    for name in (part.strip() for part in names.split(",") if part.strip()):
        typer.echo(f"measuring {name}", err=True)
        row = {"reward": name, "dtype": dtype, "batch": batch, **_where(device), "tiny": tiny}
        batches = [_batch(name, prompts, per_prompt, size, seed) for seed in range(rounds + 1)]
        fast = _reward(name, device, dtype, batch, tiny)
        plain = fast if dtype == "float32" else _reward(name, device, "float32", batch, tiny)
        row |= _speed(fast, plain, batches, loop_images, row["chip"])
        if stream:
            row |= _memory(fast, stream, batch, _texts(name))
        rows.append(row)
        if as_json:
            typer.echo(json.dumps(row))
    if not as_json:
        _print_table(rows)


@app.command()
def judge(
    url: Annotated[str, typer.Option(help="Of a server that runs; without it a practice judge is started.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model on that server.")] = "Qwen/Qwen2.5-VL-7B-Instruct",
    requests: Annotated[int, typer.Option(min=1, help="How many images are asked about, all at once.")] = 2000,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight at once.")] = 48,
    size: Annotated[int, typer.Option(min=1, help="Side of the images in pixels; larger ones cost encoding.")] = 32,
    delay_s: Annotated[float, typer.Option(help="Of the practice judge: seconds for an answer.")] = 0.1,
    at_once: Annotated[int, typer.Option(min=1, help="Of the practice judge: requests it takes up at once.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the fastest counts.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
) -> None:
    """Requests per second of `artifact-served`, and how much of what the judge can do that is.

    The practice judge answers after a fixed time, a fixed number of requests at once, so its ceiling is known: what is
    missing is this machine's own cost of preparing, sending and reading.

    Examples: `pyrite bench judge`, `pyrite bench judge --url http://127.0.0.1:8000/v1 --requests 500 --size 384`
    """
    from contextlib import nullcontext

    from pyrite.rewards.practice_judge import practice_judge

    ceiling = None if url else at_once / delay_s
    with nullcontext(url) if url else practice_judge(delay_s, at_once) as address:
        typer.echo(f"asking {address}", err=True)
        row: dict[str, Any] = {
            "requests": requests,
            "concurrency": concurrency,
            "size_px": size,
            "ceiling_per_second": ceiling,
        }
        row |= _asked(address, model, requests, concurrency, size, rounds)
    row["ceiling_frac"] = None if ceiling is None else round(requests / row["seconds"] / ceiling, 4)
    if as_json:
        typer.echo(json.dumps(row))
        return
    for key, value in row.items():
        typer.echo(f"{key:>22}  {'-' if value is None else value}")


def _asked(url: str, model: str, requests: int, concurrency: int, size: int, rounds: int) -> dict[str, Any]:
    import time

    import numpy as np
    from PIL import Image

    from pyrite.core.types import Prompt
    from pyrite.rewards.served_judges import load_artifact_served

    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)) for _ in range(requests)]
    prompts = [Prompt("")] * requests
    reward = load_artifact_served(base_url=url, model=model, concurrency=concurrency, audit="")
    reward.score(images[:concurrency], prompts[:concurrency])  # connections are opened, modules imported
    best, cpu_s, num_unscored = float("inf"), 0.0, 0
    for _ in range(rounds):
        start, start_cpu = time.perf_counter(), time.process_time()
        scores = reward.score(images, prompts)
        seconds = time.perf_counter() - start
        if seconds < best:
            best, cpu_s, num_unscored = seconds, time.process_time() - start_cpu, len(scores.reasons)
    reward.judge.close()
    return {
        "seconds": round(best, 3),
        "requests_per_second": round(requests / best, 2),
        "client_cpu_ms_per_request": round(1000 * cpu_s / requests, 3),
        "unscored": num_unscored,
    }


def _reward(name: str, device: str, dtype: str, batch: int, tiny: bool) -> "Reward":
    from pyrite.cli.assemble import load_reward
    from pyrite.rewards.random_weights import RANDOM_REWARDS, random_reward

    precision = None if dtype == "float32" else dtype
    if name in RANDOM_REWARDS:
        return random_reward(name, tiny=tiny, device=device, dtype=precision, batch_size=batch)
    return load_reward(name, device=device, dtype=precision, batch_size=batch)


def _texts(name: str) -> "Texts":
    """Prompts that the reward can read: the pocket rewards know the words of the pocket world."""
    from pyrite.evaluation.throughput import photo_texts

    if not name.endswith("-pocket"):
        return photo_texts
    import numpy as np

    from pyrite.world.prompts import random_prompt

    def scenes(seed: int, num: int) -> list[str]:
        rng = np.random.default_rng(seed)
        return [random_prompt(rng, "complex").text for _ in range(num)]

    return scenes


def _batch(name: str, prompts: int, per_prompt: int, size: int, seed: int) -> "Batch":
    from pyrite.evaluation.throughput import grpo_batch

    return grpo_batch(prompts, per_prompt, size, seed, _texts(name))


def _speed(fast: "Reward", plain: "Reward", batches: "Sequence[Batch]", loop_images: int, chip: str) -> dict[str, Any]:
    from pyrite.evaluation.throughput import count_flops, measure, peak_flops
    from pyrite.rewards.random_weights import as_in_a_plain_loop, without_memory

    found = measure(fast, as_in_a_plain_loop(plain), batches, loop_images=loop_images)
    images, prompts = batches[0]
    uncached = without_memory(fast)
    one, two = (count_flops(functools.partial(uncached.score, images[:n], prompts[:n])) for n in (1, 2))
    # The second image brings no new prompt; where it does, its prompt counts as part of it.
    flops = found.num_images * (two - one) + found.num_prompts * (2 * one - two)
    per_second = flops / found.num_images * found.images_per_second
    peak = peak_flops(chip)
    return {
        "images_per_second": round(found.images_per_second, 3),
        "loop_images_per_second": round(found.loop_images_per_second, 3),
        "ratio": round(found.ratio, 3),
        "max_difference": found.max_difference,
        "num_images": found.num_images,
        "num_prompts": found.num_prompts,
        "loop_images": found.loop_images,
        "teraflop_per_second": round(per_second / 1e12, 4),
        "bf16_peak_frac": round(per_second / peak, 4) if peak else None,
    }


def _memory(reward: "Reward", stream: int, batch: int, texts: "Texts") -> dict[str, Any]:
    from pyrite.evaluation.throughput import measure_memory

    use = measure_memory(reward, stream, batch=batch, size_px=64, texts=texts)
    return {
        "streamed_images": use.num_images,
        "peak_bytes_early": use.early_bytes,
        "peak_bytes_final": use.final_bytes,
        "peak_growth_frac": round(use.growth_frac, 5),
    }


def _where(device: str) -> dict[str, Any]:
    import platform

    import torch

    from pyrite.rewards.loading import choose_device

    place = choose_device(device)
    chip = torch.cuda.get_device_name(place) if place.type == "cuda" else platform.processor() or platform.machine()
    return {"device": str(place), "chip": chip, "threads": torch.get_num_threads(), "torch": torch.__version__}


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from pyrite.records.published import readable_size

    headings = ("reward", "dtype", "images", "images/s", "plain loop", "ratio", "max difference", "bf16 peak")
    streamed = any("streamed_images" in row for row in rows)
    table = Table(*headings, *(("streamed", "peak memory") if streamed else ()))
    for row in rows:
        share = row["bf16_peak_frac"]
        cells = [
            row["reward"] + (" (tiny)" if row["tiny"] else ""),
            row["dtype"],
            f"{row['num_images']} of {row['num_prompts']} prompts",
            f"{row['images_per_second']:.2f}",
            f"{row['loop_images_per_second']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['max_difference']:.1e}",
            "" if share is None else f"{share:.1%}",
        ]
        if streamed:
            growth = f"{readable_size(row['peak_bytes_final'])} ({row['peak_growth_frac']:+.1%})"
            cells += [str(row["streamed_images"]), growth]
        table.add_row(*cells)
    where = rows[0]
    table.title = f"{where['device']} ({where['chip']}), {where['threads']} threads, torch {where['torch']}"
    Console(file=sys.stdout).print(table)

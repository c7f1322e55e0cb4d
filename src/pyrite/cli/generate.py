"""`pyrite generate`: images from any policy for any list of prompts."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrite.cli.stopping import stopping

if TYPE_CHECKING:
    from pyrite.cli.policy_source import PolicySource
    from pyrite.evaluation.generate import Generated, Job

_Set = Annotated[list[str] | None, typer.Option("--set", help="An option of the policy: cfg_scale=5.")]


def generate(
    policy: Annotated[str, typer.Option(help="A name, a folder of weights, a run folder, or RUN@STEP.")],
    prompts: Annotated[Path, typer.Option(help="JSON lines, GenEval's metadata, WISE's JSON, or a text per line.")],
    out: Annotated[Path, typer.Option(help="Folder for the images.")],
    num: Annotated[int, typer.Option("--num", "-n", help="Images for each prompt.")] = 1,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images drawn at once.")] = 16,
    layout: Annotated[str, typer.Option(help="How images are named: plain, id-prompt or geneval.")] = "plain",
    image_format: Annotated[str, typer.Option("--format", help="png or jpeg; that of the layout if left out.")] = "",
    lora: Annotated[Path | None, typer.Option(help="Folder of an adapter for the weights.")] = None,
    overrides: _Set = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; found out if left out.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the policy: float32 or bfloat16.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only for so many prompts, from the first.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is there and what is not; draw nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per image on stdout.")] = False,
) -> None:
    """Draw images from a policy for a list of prompts; `pyrite score OUT` reads the result.

    Killed? The same command continues, and ends with the same files. Several processes share the work, and draw the
    same images as one: `torchrun --nproc-per-node 4 -m pyrite generate ...`, or `accelerate launch -m pyrite ...`.

    Examples: `pyrite generate --policy janus-pocket --prompts prompts.txt -n 4 --out drawn`,
    `pyrite generate --policy runs/pocket_hack@120 --prompts metadata.jsonl -n 4 --layout geneval --out drawn`
    """
    from pyrite.cli.policy_source import find_policy
    from pyrite.evaluation.generate import Job
    from pyrite.records.prompt_files import read_prompt_file

    rows = read_prompt_file(prompts)
    source = find_policy(policy, lora=lora, overrides=overrides or (), device=_own_device(device), dtype=dtype)
    settings = {key: value for key, value in source.options.items() if key != "device"}
    job = Job(rows, num, seed, layout, image_format, settings, limit)
    if dry_run:
        _print_plan(job, out, batch_size, as_json=as_json)
        return
    start = time.perf_counter()
    done = _draw(source, job, out, batch_size)
    _tell(done, out, time.perf_counter() - start, as_json=as_json)


def _draw(source: "PolicySource", job: "Job", out: Path, batch_size: int) -> "Generated":
    from transformers.utils import logging

    from pyrite.cli.score import progress_bar
    from pyrite.evaluation.generate import generate as draw_all
    from pyrite.evaluation.generation_folder import refuse_another_job

    refuse_another_job(out, job.facts)  # before minutes go into loading weights
    logging.disable_progress_bar()
    loaded = source.load()
    with stopping(f"what was drawn is in {out}"), progress_bar("drawing") as progress:
        return draw_all(
            loaded, job, out, batch_size=batch_size, rank=_rank(), num_processes=_num_processes(), progress=progress
        )


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _num_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _own_device(device: str | None) -> str | None:
    """The GPU of this process where several share the machine's."""
    if device is not None or _num_processes() == 1:
        return device
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def _print_plan(job: "Job", out: Path, batch_size: int, *, as_json: bool) -> None:
    from pyrite.evaluation.generate import missing_batches
    from pyrite.evaluation.generation_folder import known_images, refuse_another_job

    refuse_another_job(out, job.facts)
    known = known_images(out)
    places = job.places
    plan: dict[str, Any] = {
        "num_prompts": len({position for position, _ in places}),
        "num_images": len(places),
        "num_known": sum(place in known for place in places),
        "num_batches": len(list(missing_batches(job, known, batch_size))),
        "num_processes": _num_processes(),
        "out": str(out),
    }
    if as_json:
        typer.echo(json.dumps(plan))
        return
    for key, value in plan.items():
        typer.echo(f"{key:>14}  {value}")


def _tell(done: "Generated", out: Path, seconds: float, *, as_json: bool) -> None:
    from pyrite.evaluation.generation_folder import SAMPLES

    if as_json and done.is_complete:
        with (out / SAMPLES).open(encoding="utf-8") as rows:
            for row in rows:
                typer.echo(row, nl=False)
    speed = f" in {seconds:.1f} s, {done.num_drawn / seconds:.2f} images/s" if done.num_drawn else ""
    state = f"The set is complete: {out / SAMPLES}" if done.is_complete else "Other processes are still drawing."
    typer.echo(f"drawn now: {done.num_drawn}{speed}; there before: {done.num_known}. {state}", err=True)

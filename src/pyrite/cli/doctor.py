"""`pyrite doctor`: what is here, what is missing, and what would fit, before anything is loaded."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pyrite.records.memory_plan import Placement

BYTES_OF = {"float32": 4, "bfloat16": 2}

EXACT = ("gdino", "maniqa")
"""Weights that stay in float32: the detector's always do, and half precision moves MANIQA's scores by a tenth of their
range and more (docs/reference/parity.md)."""

LARGE = 2_000_000_000
"""Models of more parameters than this are published in half precision."""

SERVED = ("artifact", "unifiedreward-qwen")
"""Judges that any server of the OpenAI form can run."""


def doctor(
    rewards: Annotated[
        str, typer.Option(help="Names, separated by commas: which of them fit into one memory at once, and how.")
    ] = "",
    memory: Annotated[str, typer.Option(help="How much there is, such as 80GB; of this machine if not given.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the tables.")] = False,
) -> None:
    """Say what this machine has, which published weights are on it, and which of them would fit its memory.

    Examples: `pyrite doctor`, `pyrite doctor --json`, `pyrite doctor --rewards "hpsv2.1,orm,artifact" --memory 80GB`
    """
    from pyrite.records.environment import describe_environment
    from pyrite.records.machine import memory_bytes, num_cores

    accelerators, installed = _accelerators(), memory_bytes()
    room = _asked_for(memory) or max((gpu["memory_bytes"] for gpu in accelerators), default=installed)
    if rewards:
        _plan([name.strip() for name in rewards.split(",") if name.strip()], room, as_json=as_json)
        return
    machine = {"cores": num_cores(), "memory_bytes": installed, "accelerators": accelerators}
    found = {**describe_environment({}), **machine, "rewards": reward_rows(room)}
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print_tables(found)


def reward_rows(room_bytes: int) -> list[dict[str, Any]]:
    """One row for each reward with published weights: what of them is here, and in which precisions they fit.

    It fits where its weights do; what a batch takes comes on top, and `batch_size` limits it.
    """
    from pyrite.cli.weights import present
    from pyrite.records.published import num_parameters, published, published_names

    rows = []
    for name in published_names():
        missing = [role for role in published(name) if present(name, role) is None]
        needs = {dtype: num_parameters(name) * size for dtype, size in BYTES_OF.items()}
        fits = [dtype for dtype, need in needs.items() if need <= room_bytes]
        rows.append({"reward": name, "missing": missing, "weights_bytes": needs, "fits": fits})
    return rows


def _asked_for(memory: str) -> int:
    from pyrite.records.memory_plan import parse_bytes

    try:
        return parse_bytes(memory) if memory else 0
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--memory") from error


def _plan(names: list[str], room: int, *, as_json: bool) -> None:
    from pyrite.records.memory_plan import plan_memory
    from pyrite.records.published import num_parameters, published_names
    from pyrite.rewards.catalogue import REWARDS

    for name in names:
        REWARDS.entry(name)
    parameters = {name: num_parameters(name) if name in published_names() else 0 for name in names}
    placements = plan_memory(parameters, room, exact=EXACT, large=[n for n in names if parameters[n] >= LARGE])
    if as_json:
        typer.echo(json.dumps({"memory_bytes": room, "plan": [vars(placement) for placement in placements]}))
    else:
        _print_plan(placements, room)


def _print_plan(placements: "list[Placement]", room: int) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from pyrite.records.memory_plan import ELSEWHERE, WORKING_FRAC
    from pyrite.records.published import readable_size

    table = Table(Column("reward", no_wrap=True), "where", "weights")
    for placement in placements:
        where = f"here, {placement.precision}"
        if placement.precision == ELSEWHERE:
            where = "on a server of its own" if placement.reward in SERVED else "on another accelerator or machine"
        table.add_row(placement.reward, where, readable_size(placement.num_bytes) if placement.num_bytes else "-")
    Console(file=sys.stdout).print(table)
    total = sum(placement.num_bytes for placement in placements)
    typer.echo(f"{readable_size(total)} of weights in {readable_size(room)}; {WORKING_FRAC:.0%} is left to batches.")
    if any(placement.precision in ("8bit", "4bit") for placement in placements):
        typer.echo("Quantised weights give other scores; how much other has not been measured.")


def _accelerators() -> list[dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        return []
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": device.name, "memory_bytes": device.total_memory} for device in devices]


def _print_tables(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from pyrite.records.published import readable_size, weights_root

    typer.echo(f"python {found['python']} on {found['platform']}")
    typer.echo(", ".join(f"{name} {version or 'is not installed'}" for name, version in found["packages"].items()))
    typer.echo(f"{found['cores']} cores, {readable_size(found['memory_bytes'])} of memory")
    for gpu in found["accelerators"]:
        typer.echo(f"{gpu['name']} with {readable_size(gpu['memory_bytes'])}")
    if not found["accelerators"]:
        typer.echo("no accelerator that torch can use")
    table = Table(Column("model", no_wrap=True), "weights", "in float32", "in bfloat16", "fit")
    for row in found["rewards"]:
        sizes = (readable_size(row["weights_bytes"][dtype]) for dtype in BYTES_OF)
        here = f"no {', no '.join(row['missing'])}" if row["missing"] else "here"
        table.add_row(row["reward"], here, *sizes, " and ".join(row["fits"]) or "no")
    Console(file=sys.stdout).print(table)
    typer.echo("What a batch takes comes on top of the weights; batch_size limits it.", err=True)
    typer.echo(f"Weights are looked for in {weights_root()} and in the Hugging Face cache.", err=True)
    typer.echo("Missing ones: pyrite weights fetch NAME. The pocket rewards and the diagnostics need none.", err=True)

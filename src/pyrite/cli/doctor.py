"""`pyrite doctor`: what is here, what is missing, and what would fit, before anything is loaded."""

import json
import sys
from typing import Annotated, Any

import typer

BYTES_OF = {"float32": 4, "bfloat16": 2}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the tables.")] = False,
) -> None:
    """Say what this machine has, which published weights are on it, and which of them would fit its memory.

    Examples: `pyrite doctor`, `pyrite doctor --json`
    """
    from pyrite.records.environment import describe_environment
    from pyrite.records.machine import memory_bytes, num_cores

    accelerators, memory = _accelerators(), memory_bytes()
    room = max((gpu["memory_bytes"] for gpu in accelerators), default=memory)
    machine = {"cores": num_cores(), "memory_bytes": memory, "accelerators": accelerators}
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


def _accelerators() -> list[dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        return []
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": device.name, "memory_bytes": device.total_memory} for device in devices]


def _print_tables(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from pyrite.records.published import readable_size, weights_root

    typer.echo(f"python {found['python']} on {found['platform']}")
    typer.echo(", ".join(f"{name} {version or 'is not installed'}" for name, version in found["packages"].items()))
    typer.echo(f"{found['cores']} cores, {readable_size(found['memory_bytes'])} of memory")
    for gpu in found["accelerators"]:
        typer.echo(f"{gpu['name']} with {readable_size(gpu['memory_bytes'])}")
    if not found["accelerators"]:
        typer.echo("no accelerator that torch can use")
    table = Table("reward", "weights", "in float32", "in bfloat16", "fit")
    for row in found["rewards"]:
        sizes = (readable_size(row["weights_bytes"][dtype]) for dtype in BYTES_OF)
        here = f"no {', no '.join(row['missing'])}" if row["missing"] else "here"
        table.add_row(row["reward"], here, *sizes, " and ".join(row["fits"]) or "no")
    Console(file=sys.stdout).print(table)
    typer.echo("What a batch takes comes on top of the weights; batch_size limits it.", err=True)
    typer.echo(f"Weights are looked for in {weights_root()} and in the Hugging Face cache.", err=True)
    typer.echo("Missing ones: pyrite weights fetch NAME. The pocket rewards and the diagnostics need none.", err=True)

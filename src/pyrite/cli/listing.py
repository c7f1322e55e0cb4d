"""`pyrite list`: what can be named in a recipe, without loading any of it."""

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyrite.core.registry import Registry


class Kind(StrEnum):
    """What can be listed."""

    rewards = "rewards"
    policies = "policies"
    mitigations = "mitigations"
    benchmarks = "benchmarks"


def list_members(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """List what a recipe can name: rewards, policies, mitigations, benchmarks.

    Examples: `pyrite list`, `pyrite list rewards --json`
    """
    for listed in Kind if kind is None else (kind,):
        registry = registry_of(listed)
        if as_json:
            _print_json(registry)
        elif registry.names():
            _print_table(listed, registry)
        else:
            typer.echo(f"no {listed} are registered", err=True)


def registry_of(kind: Kind) -> "Registry":
    """The table of all members of a kind."""
    match kind:
        case Kind.rewards:
            from pyrite.rewards.catalogue import REWARDS

            return REWARDS
        case Kind.policies:
            from pyrite.policies.catalogue import POLICIES

            return POLICIES
        case Kind.mitigations:
            from pyrite.mitigation.catalogue import MITIGATIONS

            return MITIGATIONS
        case Kind.benchmarks:
            from pyrite.evaluation.benchmarks.catalogue import BENCHMARKS

            return BENCHMARKS


def _print_json(registry: "Registry") -> None:
    for name, entry in registry.entries().items():
        row = {"kind": registry.kind, "name": name, "summary": entry.summary, "package": entry.package or "pyrite"}
        typer.echo(json.dumps(row))


def _print_table(kind: Kind, registry: "Registry") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, title=kind.capitalize(), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, entry in registry.entries().items():
        table.add_row(name, entry.summary)
    Console(file=sys.stdout).print(table)

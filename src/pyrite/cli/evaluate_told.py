"""What `pyrite evaluate --benchmark` tells: the table on stdout, everything else on stderr."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pyrite.evaluation.benchmarks.images import FoundImages
    from pyrite.evaluation.benchmarks.protocol import Benchmark
    from pyrite.evaluation.benchmarks.run import Looked

_MOST_REASONS = 8
_MOST_IDS = 12


def print_plan(benchmark: "Benchmark", found: "FoundImages", out: Path, repeats: int, *, as_json: bool) -> None:
    """What would be judged and what is known already."""
    from pyrite.evaluation.benchmarks.folder import read_evidence, refuse_other
    from pyrite.evaluation.benchmarks.run import facts_of, num_wanted

    refuse_other(out, facts_of(benchmark))
    num_images = len(found.work)
    wanted = num_wanted(benchmark, found, read_evidence(out), repeats)
    plan: dict[str, Any] = {
        "benchmark": benchmark.name,
        "num_images": num_images,
        "num_without_image": len(found.missing),
        "num_to_judge": wanted,
        "num_known": repeats * num_images - wanted,
        "out": str(out),
    }
    if as_json:
        typer.echo(json.dumps(plan))
        return
    for key, value in plan.items():
        typer.echo(f"{key:>18}  {value}")


def print_table(results: Mapping[str, Any]) -> None:
    """The scores of all categories, and the overall one."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    def column(name: str) -> Column:
        return Column(name, justify="right", no_wrap=True)

    table = Table(
        Column(results["benchmark"], no_wrap=True), column("score"), column("95 % interval"),
        column("judged"), box=box.SIMPLE,
    )  # fmt: skip
    for row in [*results["categories"], results["overall"]]:
        score = "-" if row["score"] is None else f"{row['score']:.3f}"
        interval = "-" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        table.add_row(row["name"], score, interval, f"{row['num_judged']} of {row['num_expected']}")
    Console().print(table)


def tell_looked(looked: "Looked") -> None:
    """What came now, and why it ended early if it did."""
    typer.echo(
        f"replies now: {looked.num_new}; images known before: {looked.num_known}; left: {looked.num_left}", err=True
    )
    if looked.stop:
        typer.echo(
            f"stopped early: {looked.stop}, then give the same command again: what was answered is kept", err=True
        )


def tell(results: Mapping[str, Any], page: Path) -> None:
    """What has no score and why, what has to be said besides, where everything is."""
    from pyrite.evaluation.benchmarks.results import reasons_of

    for one in reasons_of(results["missing"])[:_MOST_REASONS]:
        more = f" and {len(one['ids']) - _MOST_IDS} more" if len(one["ids"]) > _MOST_IDS else ""
        typer.echo(f"no score: {len(one['ids'])}, {', '.join(one['ids'][:_MOST_IDS])}{more}: {one['reason']}", err=True)
    for note in results["notes"]:
        typer.echo(f"note: {note}", err=True)
    if results["overall"]["score"] is None:
        typer.echo(f"no overall score: {results['overall']['reason']}", err=True)
    typer.echo(f"Results and page: {page}", err=True)

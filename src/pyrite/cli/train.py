"""`pyrite train`: one recipe, one run folder; the same command again continues it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pyrite.records.recipe import Recipe

Progress = Callable[[int, int, Mapping[str, Any]], None]


def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML file; see recipes/.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a key: grpo.beta=0.1.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME if left out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    track: Annotated[
        list[str] | None, typer.Option(help="Show the run to a tracker too: tensorboard, wandb or trackio.")
    ] = None,
) -> None:
    """Train a policy with GRPO on any composition of rewards. Killed? The same command continues where it stopped.

    Examples: `pyrite train recipes/pocket_hack.yaml`,
    `pyrite train recipes/pocket_hack.yaml --set grpo.beta=0.3 --out runs/more_beta`
    """
    from pyrite.cli.progress import RunBars
    from pyrite.records.config import dump_recipe, load_recipe

    resolved = load_recipe(recipe, overrides or ())
    if dry_run:
        typer.echo(dump_recipe(resolved), nl=False)
        return
    folder = out or Path("runs") / resolved.name
    with RunBars(resolved.name) as bars:
        summary = run_recipe(resolved, folder, partial(bars.update, resolved.name), track or ())
    if is_main_process():
        print_summary(folder, summary)


def is_main_process() -> bool:
    """Whether this one writes for all that a launcher started."""
    import os

    return os.environ.get("RANK", "0") == "0"


def run_recipe(recipe: "Recipe", folder: Path, progress: Progress, trackers: Sequence[str] = ()) -> dict[str, Any]:
    """Begin or continue the run of a recipe in a folder; returns its summary (of the earlier run if it was done)."""
    from contextlib import nullcontext

    from pyrite.cli.assemble import assemble
    from pyrite.records.runs import RunFolder
    from pyrite.training.grpo import train as train_grpo

    parts = assemble(recipe)
    hashes = {reward.card.name: reward.card.revision for reward in {**parts.rewards, **parts.eval_rewards}.values()}
    hashes[parts.policy.card.name] = parts.policy.card.revision
    opened = RunFolder.create_or_resume(folder, recipe, checkpoint_hashes=hashes) if is_main_process() else None
    with opened or nullcontext() as run:
        return train_grpo(
            recipe,
            policy=parts.policy,
            rewards=parts.rewards,
            eval_rewards=parts.eval_rewards,
            gold=parts.gold,
            prompts=parts.prompts,
            eval_prompts=parts.eval_prompts,
            run=run,
            progress=progress,
            trackers=trackers,
        )


def print_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Say on stdout what a finished run came to and where it is."""
    from rich.console import Console
    from rich.table import Table

    from pyrite.records.samples import read_metrics

    looks = [row for row in read_metrics(folder) if row.get("split") == "eval"]
    names = [key for key in looks[-1] if key == "reward" or key == "kl" or key.endswith("/mean")] if looks else []
    table = Table("measure", "base policy", "trained", title=str(folder))
    for name in names:
        table.add_row(
            name, *(f"{row[name]:.4f}" if row.get(name) is not None else "-" for row in (looks[0], looks[-1]))
        )
    console = Console()
    console.print(table)
    console.print(f"{summary.get('steps', '?')} steps; samples, images and checkpoints are in {folder}")

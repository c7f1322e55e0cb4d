"""`pyrite world`: look at the pocket world, or build its checkpoints from nothing."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrite.core.protocols import Policy
    from pyrite.world.build.pipeline import Build, Neighbours

app = typer.Typer(help="The pocket world: synthetic scenes with a known gold reward.", no_args_is_help=True)


@app.command()
def show(
    out: Annotated[Path, typer.Option(help="Where to write the picture.")] = Path("pocket_world.png"),
    split: Annotated[str, typer.Option(help="pretrain, rl or eval.")] = "rl",
    seed: Annotated[int, typer.Option(help="Which scenes.")] = 0,
) -> None:
    """Draw scenes, their prompts and gold, and the ladder of damage, into one picture.

    Example: `pyrite world show --split eval --out scenes.png`
    """
    from pyrite.world.show import contact_sheet

    contact_sheet(split=split, seed=seed).save(out)
    typer.echo(str(out))


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder of the build; the same folder again continues it.")] = Path(
        "build/pocket"
    ),
    only: Annotated[list[str] | None, typer.Option(help="Build this part only (repeatable).")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="A useless world in minutes, to see that everything runs.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Parts made at the same time, sharing the cores.")] = 2,
    install: Annotated[bool, typer.Option("--install", help="Copy the result into the package.")] = False,
) -> None:
    """Train every pocket checkpoint from nothing; one to two hours on 2 cores. Killed? The same command continues.

    Use the result without installing it: PYRITE_CHECKPOINTS=build/pocket/checkpoints pyrite demo

    Examples: `pyrite world build --seed 1 --out build/second`, `pyrite world build --only artifact-pocket`
    """
    from pyrite.core.errors import UnknownNameError
    from pyrite.world.build.pipeline import PARTS

    for name in only or ():
        if name not in PARTS:
            raise UnknownNameError(f"there is no part '{name}' of the pocket world; its parts are {', '.join(PARTS)}")
    job = functools.partial(_job, out, seed, device, tiny)
    _run_parts(only or list(PARTS), job, jobs)
    if install:
        from pyrite.world.build.cards import install as install_checkpoints

        typer.echo(f"installed in {install_checkpoints(job().checkpoints)}", err=True)


def _job(out: Path, seed: int, device: str, tiny: bool) -> "Build":
    from pyrite.world.build.pipeline import SHIPPED, TINY, Build

    return Build(out, seed, _neighbours(device), TINY if tiny else SHIPPED, device)


def _neighbours(device: str) -> "Neighbours":
    import pyrite
    from pyrite.rewards.chat import Markup, Picture, Words, qwen_chat
    from pyrite.rewards.orm import QUESTION
    from pyrite.world.build.judge import Question
    from pyrite.world.build.pipeline import Neighbours

    pieces = qwen_chat(Picture(1), Words(QUESTION))
    texts = [piece.token if isinstance(piece, Markup) else getattr(piece, "text", "") for piece in pieces]
    place = next(index for index, piece in enumerate(pieces) if isinstance(piece, Picture))
    return Neighbours(
        load_policy=lambda folder: _sampler(folder, device),
        load_reward=lambda name, folder: pyrite.load_reward(name, folder, device=device),
        question=Question("".join(texts[:place]), "".join(texts[place:])),
    )


def _sampler(folder: Path, device: str) -> "Policy":
    """The base policy at the sampling settings of the demo, whose pictures the proxies' annotators look at."""
    from pyrite.cli.recipes import shipped_recipe
    from pyrite.policies.janus import load_janus
    from pyrite.records.config import load_recipe

    sampling: Any = load_recipe(shipped_recipe("pocket_hack.yaml")).policy.options
    return load_janus(str(folder), device=device, **sampling)


def _run_parts(parts: list[str], job: "Callable[[], Build]", jobs: int) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Table

    from pyrite.world.build.pipeline import PARTS
    from pyrite.world.build.side_by_side import run_side_by_side

    columns = (SpinnerColumn(), TextColumn("{task.description:18}"), BarColumn(), TextColumn("{task.fields[measures]}"))
    console = Console(stderr=True)
    table = Table("part", "seconds", "held-out quality")
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bars:
        shown = {}

        def show_progress(part: str, step: int, steps: int, measures: dict[str, float]) -> None:
            if part not in shown:
                shown[part] = bars.add_task(part, total=None, measures="")
            text = " ".join(f"{name} {value:.3g}" for name, value in measures.items())
            bars.update(shown[part], completed=step, total=steps, measures=text)

        def show_done(part: str, record: "dict[str, Any]") -> None:
            show_progress(part, 1, 1, {})
            bars.update(shown[part], measures="done")
            quality = ", ".join(f"{name} {value:.3g}" for name, value in record["quality"].items())
            table.add_row(part, str(record["seconds"]), quality)

        if jobs == 1:
            build = job()
            build.progress = show_progress
            for part in parts:
                show_done(part, build.run(part))
        else:
            needs = {part: [need for need in PARTS[part].needs if need in parts] for part in parts}
            run_side_by_side(needs, functools.partial(_make_part, job), jobs=jobs, heard=show_progress, done=show_done)
    Console().print(table)


def _make_part(job: "Callable[[], Build]", part: str) -> "dict[str, Any]":
    """Make a part in a process of its own."""
    from pyrite.world.build.side_by_side import report

    build = job()
    build.progress = report
    return build.run(part)

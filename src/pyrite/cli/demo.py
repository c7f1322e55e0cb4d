"""`pyrite demo`: the argument of the project in one command."""

import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from pyrite.records.recipe import Recipe

RUNS = {"plain": "pocket_hack.yaml", "guarded": "pocket_guarded.yaml"}
QUICK = (
    "grpo.steps=10",
    "evaluation.every=5",
    "evaluation.prompts.num=24",
    "evaluation.images_per_prompt=2",
    "checkpoint.every=5",
)
BEST_OF_N_PROMPTS, BEST_OF_N_SAMPLES = 30, 32


def demo(
    out: Annotated[Path, typer.Option(help="Where the runs and the report go.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps and images; the report says so.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a key of both recipes.")] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the report in the browser.")] = True,
) -> None:
    """Watch a pocket policy learn to cheat a learned reward, and the same run with ArtifactReward beside it.

    Both runs train at the same time, one core each; then best-of-n of the base policy is measured and one HTML report
    is written. Killed? The same command continues.

    Examples: `pyrite demo`, `pyrite demo --quick --no-open --out /tmp/demo`
    """
    recipes = {name: _recipe(file, seed, quick, overrides or ()) for name, file in RUNS.items()}
    typer.echo("training two policies from one base: on the proxy alone, and on the proxy + ArtifactReward", err=True)
    _train_all(recipes, out)
    typer.echo("measuring best-of-n of the base policy", err=True)
    curves = _best_of_n(recipes["guarded"], out / "best_of_n.json", quick)
    page = _report(out, curves, quick)
    typer.echo(str(page))
    if open_page:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())


def _recipe(file: str, seed: int, quick: bool, overrides: Sequence[str]) -> "Recipe":
    from pyrite.cli.recipes import shipped_recipe
    from pyrite.records.config import load_recipe

    return load_recipe(shipped_recipe(file), [f"seed={seed}", *(QUICK if quick else ()), *overrides])


def _train_all(recipes: Mapping[str, "Recipe"], out: Path) -> None:
    """One process and one thread per run: small matrices gain nothing from a second thread."""
    import threading

    from pyrite.cli.progress import RunBars
    from pyrite.core.errors import TrainingError

    context = multiprocessing.get_context("spawn")
    seen: Queue[tuple[str, int, int, dict[str, Any]] | None] = context.Queue()
    workers = {
        name: context.Process(target=_train_one, args=(recipe, out / name, name, seen), name=name)
        for name, recipe in recipes.items()
    }
    bars = RunBars(*recipes)

    def listen() -> None:
        while (message := seen.get()) is not None:
            bars.update(*message)

    listener = threading.Thread(target=listen, daemon=True)
    with bars:
        listener.start()
        for worker in workers.values():
            worker.start()
        try:
            for worker in workers.values():
                worker.join()
        except KeyboardInterrupt as stop:
            for worker in workers.values():
                worker.join()  # they heard it too: each finishes its step and writes a checkpoint
            raise KeyboardInterrupt(f"stopped; everything so far is in {out}. The same command continues.") from stop
        finally:
            seen.put(None)
            listener.join()
    failed = [name for name, worker in workers.items() if worker.exitcode != 0]
    if failed:
        raise TrainingError(
            f"the run {' and '.join(failed)} stopped before its end; what it said is above. "
            "Nothing that was written is lost: the same command continues."
        )


def _train_one(recipe: "Recipe", folder: Path, name: str, seen: "Queue[Any]") -> None:
    from pyrite.cli.train import run_recipe
    from pyrite.core.errors import PyriteError

    def tell(step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        seen.put((name, step, steps, dict(metrics)))

    try:
        run_recipe(recipe, folder, tell)
    except (PyriteError, KeyboardInterrupt) as error:
        typer.echo(f"{name}: {error}", err=True)
        raise SystemExit(3) from error


def _best_of_n(recipe: "Recipe", path: Path, quick: bool) -> Path:
    """What each reward would choose among n images of the base policy; resumed if it was killed."""
    from rich.console import Console
    from rich.progress import Progress

    from pyrite.cli.assemble import assemble
    from pyrite.evaluation.best_of_n import measure_best_of_n

    parts = assemble(recipe)
    prompts = parts.eval_prompts[: BEST_OF_N_PROMPTS // (4 if quick else 1)]
    with Progress(console=Console(stderr=True)) as bars:
        bar = bars.add_task("best of n", total=len(prompts))
        measure_best_of_n(
            parts.policy,
            {**parts.rewards, **parts.eval_rewards},
            parts.gold,
            prompts,
            samples_per_prompt=BEST_OF_N_SAMPLES // (2 if quick else 1),
            seed=recipe.seed,
            path=path,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    return path


def _report(out: Path, curves: Path, quick: bool) -> Path:
    from pyrite.audit.report.page import RunInput, write_report

    typer.echo("writing the report", err=True)
    return write_report(
        [RunInput(out / "plain", "proxy alone"), RunInput(out / "guarded", "proxy + ArtifactReward")],
        best_of_n=curves,
        out=out / "report.html",
        title="A pocket policy learns to cheat its reward",
        quick=quick,
    )

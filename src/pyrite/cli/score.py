"""`pyrite score`: any rewards on a set of images."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pyrite.core.protocols import Reward
    from pyrite.evaluation.image_sets import ImageSet
    from pyrite.evaluation.overlays import Explaining
    from pyrite.evaluation.score_images import Plan, Progress, Scored
    from pyrite.records.store import ScoreStore

BATCH_SIZE = 64


class Engine(StrEnum):
    """What the rewards run in."""

    PLAIN = "plain"
    RAY = "ray"


_MOST_REASONS = 10


def score(
    images: Annotated[
        Path,
        typer.Argument(help="A folder of images; JSON lines or Parquet with 'image' and 'prompt'; a saved dataset."),
    ],
    rewards: Annotated[str, typer.Option(help="Names, separated by commas; `pocket-gold` is one too.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the results; IMAGES.scores if left out.")] = None,
    prompt: Annotated[str, typer.Option(help="The prompt of images that bring none.")] = "",
    layout: Annotated[str | None, typer.Option(help="How the set is laid out, instead of finding out.")] = None,
    limit: Annotated[int | None, typer.Option(help="Score only so many images, from the first.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is known and what is not; score nothing.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; found out if left out.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the models' towers: float32, bfloat16 or float16.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most images that a model sees at once.")] = BATCH_SIZE,
    cache: Annotated[
        Path | None, typer.Option(help="File of the score store; $PYRITE_CACHE or ~/.cache/pyrite if left out.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep scores in the folder of the results only.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="plain: in this process. ray: in workers of Ray, here or on many machines.")
    ] = Engine.PLAIN,
    workers: Annotated[int, typer.Option(min=1, help="With --engine ray: workers, each with every reward.")] = 2,
    ray_address: Annotated[
        str, typer.Option(help="With --engine ray: a cluster, such as auto; workers on this machine if left out.")
    ] = "",
    worker_gpus: Annotated[
        float, typer.Option(min=0, help="With --engine ray: accelerators per worker; 0.5 lets two share one.")
    ] = 0,
    worker_cpus: Annotated[float, typer.Option(min=0, help="With --engine ray: processors of Ray's per worker.")] = 1,
    explain: Annotated[
        Path | None, typer.Option(help="Folder for a page of the images with the boxes that detectors found drawn in.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per image instead of the table.")] = False,
) -> None:
    """Score images with rewards; what cannot be scored is counted and explained, never a number.

    Killed? The same command continues, and nothing is scored twice. Other rewards join those that are there.

    Examples: `pyrite score photos --rewards artifact-pocket --prompt "a red cube"`,
    `pyrite score samples.jsonl --rewards "hps-pocket,pickscore-pocket" --json`,
    `pyrite score samples.jsonl --rewards gdino --explain boxes`,
    `pyrite score samples.parquet --rewards hps-pocket --engine ray --workers 4`
    """
    from pyrite.core.errors import RecipeError
    from pyrite.evaluation.image_sets import open_image_set
    from pyrite.evaluation.score_folder import PROGRESS, SAMPLES
    from pyrite.evaluation.score_images import plan_scores, score_images

    if engine is Engine.PLAIN and (ray_address or worker_gpus):
        raise RecipeError(
            "--ray-address and --worker-gpus say how Ray works, and without --engine ray the rewards run in this "
            "process alone. Add --engine ray, or leave them out."
        )
    image_set = open_image_set(images, layout=layout, prompt=prompt, limit=limit)
    load = partial(load_panel, rewards, device=device, dtype=dtype, batch_size=batch_size)
    # A head that only hands out work need not hold the models.
    panel = load() if engine is Engine.PLAIN or dry_run or explain is not None else {}
    drawn = _explaining(panel) if explain is not None else {}
    folder = out or images.absolute().with_name(f"{images.absolute().name}.scores")
    if dry_run:
        with open_store(folder / PROGRESS if no_cache else cache, must_exist=True) as known, progress_bar() as progress:
            plans = plan_scores(image_set, panel, known, progress=progress)
        _print_plans(plans, panel, as_json=as_json)
        return
    if engine is Engine.RAY:
        from pyrite.evaluation.ray_cluster import Cluster
        from pyrite.evaluation.ray_engine import score_on_ray
        from pyrite.records.store import default_store_path

        cluster = Cluster(workers, address=ray_address, gpus=worker_gpus, cpus=worker_cpus)
        kept = None if no_cache else cache or default_store_path()
        with progress_bar() as progress:
            done = score_on_ray(
                image_set, load, folder, store=kept, cluster=cluster, batch_size=batch_size, progress=progress
            )
    else:
        with open_store(cache, is_wanted=not no_cache) as store, progress_bar() as progress:
            done = score_images(image_set, panel, folder, store=store, batch_size=batch_size, progress=progress)
    if as_json:
        with (folder / SAMPLES).open(encoding="utf-8") as rows:
            for row in rows:
                typer.echo(row, nl=False)
    else:
        _print_table(done.results["rewards"])
    _tell(done, folder)
    if explain is not None:
        _explain(image_set, drawn, explain)


def _explaining(panel: Mapping[str, "Reward"]) -> dict[str, "Explaining"]:
    """The rewards that have boxes to draw; says on stderr which have none."""
    from pyrite.evaluation.overlays import explaining

    drawn = explaining(panel)
    if silent := [name for name in panel if name not in drawn]:
        typer.echo(f"--explain draws boxes, and {' and '.join(silent)} found none: left out of the page", err=True)
    return drawn


def _explain(image_set: "ImageSet", drawn: Mapping[str, "Explaining"], folder: Path) -> None:
    from pyrite.evaluation.overlays import PAGE, write_overlays

    num = write_overlays(image_set, drawn, folder)
    typer.echo(f"{num} images drawn: {folder / PAGE}", err=True)


def load_panel(names: str, *, device: str | None, dtype: str | None, batch_size: int) -> dict[str, "Reward"]:
    """The rewards named, each with those of the options that were given.

    Raises:
        RecipeError: no name, or one twice.
        UnknownNameError: no reward of that name.
        CheckpointError: weights that are missing or not what they should be.
    """
    from transformers.utils import logging

    from pyrite.cli.assemble import GOLD_NAME, load_gold, load_reward
    from pyrite.core.errors import RecipeError

    logging.disable_progress_bar()
    listed = [name.strip() for name in names.split(",") if name.strip()]
    if not listed or len(set(listed)) < len(listed):
        raise RecipeError(
            f"--rewards '{names}' names {'no reward' if not listed else 'a reward twice'}: a score has one place in "
            "the results. Give each name once, separated by commas; see them with `pyrite list rewards`."
        )
    given = {"device": device, "dtype": dtype, "batch_size": None if batch_size == BATCH_SIZE else batch_size}
    options = {key: value for key, value in given.items() if value is not None}
    return {name: load_gold(name) if name == GOLD_NAME else load_reward(name, **options) for name in listed}


@contextmanager
def open_store(path: Path | None, *, is_wanted: bool = True, must_exist: bool = False) -> Iterator["ScoreStore | None"]:
    """The score store at a path or in its usual place; None if it is not wanted, or has to be there and is not."""
    from pyrite.records.store import ScoreStore, default_store_path

    path = path or default_store_path()
    if not is_wanted or (must_exist and not path.exists()):
        yield None
        return
    with ScoreStore(path) as store:
        yield store


@contextmanager
def progress_bar(doing: str = "scoring") -> Iterator["Progress"]:
    """A bar on stderr, of images."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class ImagesPerSecond(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f} images/s" if task.speed else "")

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), ImagesPerSecond(), TimeLeft())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(doing, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _print_plans(plans: Mapping[str, "Plan"], panel: Mapping[str, "Reward"], *, as_json: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("reward", no_wrap=True), "known", "to score", "not scorable", "weights", box=box.SIMPLE)
    for name, plan in plans.items():
        num_bytes = weight_bytes(panel[name])
        if as_json:
            typer.echo(json.dumps({"reward": name, **vars(plan), "weight_bytes": num_bytes}))
        weights = f"{num_bytes / 1e6:.1f} MB" if num_bytes else "none seen"
        table.add_row(name, str(plan.num_known), str(plan.num_missing), str(plan.num_unscorable), weights)
    if not as_json:
        Console().print(table)


def weight_bytes(reward: "Reward") -> int:
    """Memory of the weights of every model that a reward holds; 0 if none is seen."""
    models: Iterable[Any] = (part for part in vars(reward).values() if callable(getattr(part, "parameters", None)))
    return sum(weight.numel() * weight.element_size() for model in models for weight in model.parameters())


def _print_table(rewards: Mapping[str, Mapping[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(
        Column("reward", no_wrap=True), "mean", "95 % interval", "lowest", "highest", "unscored", box=box.SIMPLE
    )
    for name, row in rewards.items():
        mean, low, high, lowest, highest = (
            "-" if row[key] is None else f"{row[key]:.4g}" for key in ("mean", "low", "high", "lowest", "highest")
        )
        table.add_row(name, mean, f"{low} to {high}", lowest, highest, str(row["num_unscored"]))
    Console().print(table)


def _tell(done: "Scored", folder: Path) -> None:
    """Notes on stderr: why images are unscored, what was known already, and where the results are."""
    reasons = [
        f"{name}: {entry['num']} unscored, the first '{entry['first']}': {entry['reason']}"
        for name, row in done.results["rewards"].items()
        for entry in row["unscored"]
    ]
    for line in reasons[:_MOST_REASONS]:
        typer.echo(line, err=True)
    if len(reasons) > _MOST_REASONS:
        typer.echo(f"and {len(reasons) - _MOST_REASONS} more reasons: see results.json", err=True)
    asked = ", ".join(f"{name} {num}" for name, num in done.num_asked.items())
    typer.echo(f"{done.results['num_images']} images; scored now: {asked}. Results: {folder}", err=True)

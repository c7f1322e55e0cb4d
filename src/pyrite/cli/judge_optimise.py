"""`pyrite judge optimise`: find the question that makes a judge of artifacts right most often, and prove it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pyrite.artifact.optimise.run import Told

PAGE = "lineage.html"


def optimise(
    curated: Annotated[Path, typer.Argument(metavar="SET", help="Labelled images: JSON lines with image and label.")],
    out: Annotated[Path, typer.Option(help="Folder of the search; the same command again continues it.")],
    config: Annotated[Path | None, typer.Option(help="A YAML file; without it, the defaults.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key: protegi.rounds=3, budget.calls=5000.")
    ] = None,
    optimiser: Annotated[str | None, typer.Option(help="protegi or gepa.")] = None,
    objective: Annotated[
        str | None, typer.Option(help="log_likelihood, auc, pair_accuracy or balanced_accuracy.")
    ] = None,
    question_file: Annotated[Path | None, typer.Option(help="A text file with the question to begin with.")] = None,
    url: Annotated[str | None, typer.Option(help="Of the judge's server; $PYRITE_JUDGE_URL if left out.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model on that server.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="File of the score store; $PYRITE_CACHE or ~/.cache/pyrite if left out.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad entries out, and count them.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved config and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The results as one JSON object instead of tables.")] = False,
) -> None:
    """Search for a better question on train, choose on validation, prove on test. Killed? The same command continues.

    Examples: `pyrite judge optimise set.jsonl --out runs/question --url http://127.0.0.1:8000/v1`,
    `pyrite judge optimise set.jsonl --out runs/q --objective auc --set budget.calls=5000 --optimiser gepa`
    """
    from pyrite.artifact.data import load_curated
    from pyrite.artifact.optimise.config import load_optimise_config
    from pyrite.artifact.optimise.run import optimise as search
    from pyrite.audit.lineage import write_lineage
    from pyrite.cli.judge import load_judge, open_store, the_question
    from pyrite.records.recipe_file import to_yaml

    begin_with = the_question("", question_file) if question_file is not None else None
    given = [f"judge.options.{key}={value}" for key, value in (("base_url", url), ("model", model)) if value]
    resolved = load_optimise_config(
        config, [*given, *(overrides or ())], optimiser=optimiser, objective=objective, question=begin_with
    )
    if dry_run:
        typer.echo(to_yaml(resolved.model_dump(mode="json")), nl=False)
        return
    data = load_curated(curated, skip_bad=skip_bad)
    for where, why in data.skipped.items():
        typer.echo(f"left out: {where}: {why}", err=True)
    with open_store(cache) as store, _bar() as told:
        judge = load_judge(resolved.judge.name, store, resolved.judge.options)
        try:
            done = search(resolved, data, judge, out, told)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(f"stopped; what was asked is kept, the same command continues {out}") from stop
    page = write_lineage(out, out / PAGE)
    if done.was_finished:
        typer.echo(f"{out} was finished already; nothing was asked.", err=True)
    if as_json:
        typer.echo(json.dumps(done.results, ensure_ascii=False))
    else:
        _print_proof(done.results)
    _tell(done.results, out, page)


@contextmanager
def _bar() -> Iterator["Told"]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from pyrite.artifact.optimise.budget import Spending

    columns = (TextColumn("optimising"), BarColumn(), TextColumn("{task.fields[numbers]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("optimising", total=None, numbers="")

        def told(spent: Spending, how_far: str) -> None:
            cost = f", {spent.cost_usd:.4f} USD" if spent.cost_usd == spent.cost_usd and spent.cost_usd else ""
            numbers = f"{spent.image_calls} image calls, {spent.text_calls} texts{cost}; {how_far}"
            bars.update(bar, completed=spent.calls, total=spent.limit.calls, numbers=numbers)

        yield told


def _print_proof(results: Mapping[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("on test", no_wrap=True), "start", "best", "difference", "95 % interval", box=box.SIMPLE)
    for name, change in results["difference"].items():
        start, best = results["start"]["test_metrics"][name], results["best"]["test_metrics"][name]
        low, high = _number(change["low"], sign=True), _number(change["high"], sign=True)
        label = f"{name} *" if name == results["objective"] else name
        interval = f"{low} to {high}" if change["low"] is not None else change.get("reason") or "-"
        table.add_row(label, _number(start), _number(best), _number(change["estimate"], sign=True), interval)
    console = Console()
    console.print(table)
    console.print(results["best"]["question"], markup=False)


def _number(value: float | None, *, sign: bool = False) -> str:
    return "-" if value is None else f"{value:+.4f}" if sign else f"{value:.4f}"


def _tell(results: Mapping[str, Any], folder: Path, page: Path) -> None:
    """Notes on stderr: what was spent, what failed, what to be careful about, how the question is used."""
    spent = results["spent"]
    cost = "unknown (no prices, or no token counts)" if spent["cost_usd"] is None else f"{spent['cost_usd']:.4f} USD"
    lines = [f"note: {note}" for note in results["notes"]]
    if results["stopped"]:
        lines.append(f"the search was stopped by its budget ({results['stopped']}); this is the best question so far")
    if results["best"]["id"] == results["start"]["id"]:
        lines.append("no question was better on the validation images than the one it began with")
    if spent["image_failures"]:
        reasons = [f"{num} x {why}" for why, num in results["unanswered"].items()]
        lines.append(f"{spent['image_failures']} calls of the judge got no answer: {'; '.join(reasons[:3])}")
    if results["dropped"]:
        lines.append("; ".join(f"{num} replies dropped: {why}" for why, num in results["dropped"].items()))
    lines.append(
        f"{spent['image_calls']} questions about images ({spent['image_calls_asked']} of them asked, the rest known), "
        f"{spent['text_calls']} texts, cost {cost}; {results['num_questions']} questions tried"
    )
    lines.append(f"use it: pyrite judge classify SET --question-file {folder / 'question.txt'}")
    lines.append(f"        in a recipe: rewards: [{{name: {results['judge']}, options: {{question: ...}}}}]")
    lines.append(f"page: {page}")
    for line in lines:
        typer.echo(line, err=True)

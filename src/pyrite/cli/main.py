"""The `pyrite` command: its verbs, and what happens when one fails.

A verb is a function in a module of its own whose heavy imports stand inside it, so that `pyrite --help` starts
without torch. Results go to stdout; progress, notes and errors go to stderr.

Exit codes: 0 fine; 1 an audit found something; 2 what was asked cannot be (a command, a recipe, a name); 3 what was
asked for could not be done here (a missing package, wrong weights, a folder, training that cannot go on); 130 stopped
by Ctrl-C or SIGTERM, and everything so far is kept.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pyrite.cli import (
    audit,
    bench,
    cache,
    demo,
    doctor,
    evaluate,
    generate,
    judge,
    listing,
    score,
    serve,
    train,
    weights,
    world,
)
from pyrite.core.errors import PyriteError

EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 130


class _TeachingGroup(TyperGroup):
    """Shows an error of ours as its message; anything else is a defect and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PyriteError as error:
            typer.echo(f"pyrite: {error}", err=True)
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt as stop:
            typer.echo(f"pyrite: {stop or 'interrupted'}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from stop


def exit_code(error: PyriteError) -> int:
    """2 if the request was wrong (errors that are also `ValueError` or `KeyError`), 3 if it could not be met."""
    return EXIT_USAGE if isinstance(error, ValueError | KeyError) else EXIT_ENVIRONMENT


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"pyrite {version('pyrite')}")
        raise typer.Exit


app = typer.Typer(
    name="pyrite",
    cls=_TeachingGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Examples: `pyrite list rewards` prints what can score an image; `pyrite list --json` prints one object "
    "per line. Exit codes: 0 fine, 1 an audit found something, 2 usage, 3 environment.",
)


@app.callback()
def pyrite(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Understand, measure and stop reward hacking in text-to-image reinforcement learning."""


# The verbs, in the order `pyrite --help` shows them.
app.command("demo")(demo.demo)
app.command("list")(listing.list_members)
app.command("score")(score.score)
app.command("generate")(generate.generate)
app.command("evaluate")(evaluate.evaluate)
app.command("train")(train.train)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.add_typer(audit.app, name="audit")
app.add_typer(judge.app, name="judge")
app.add_typer(weights.app, name="weights")
app.add_typer(cache.app, name="cache")
app.add_typer(bench.app, name="bench")
app.add_typer(world.app, name="world")

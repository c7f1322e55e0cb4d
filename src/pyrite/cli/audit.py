"""`pyrite audit`: does a reward, or a run, have something to hide."""

import typer

from pyrite.cli import audit_pairs, audit_probe

app = typer.Typer(help="What rewards are blind to. Exit code 1: something was found.", no_args_is_help=True)


@app.callback()
def audit() -> None:
    """What rewards are blind to. Exit code 1: something was found."""


app.command("pairs")(audit_pairs.pairs)
app.command("probe")(audit_probe.probe)

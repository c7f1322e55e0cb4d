"""`python -m pyrite`: the command, for `torchrun` and `accelerate launch`."""

from pyrite.cli.main import app

app()

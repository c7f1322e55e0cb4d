"""`pyrite weights`: published weights, what of them is here, and how to get the rest."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyrite.records.published_table import PublishedPart

app = typer.Typer(
    help="Published weights: list them, fetch them, verify them, write them as safetensors.", no_args_is_help=True
)

Names = Annotated[list[str], typer.Argument(help="Rewards, as `pyrite weights list` prints them.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Given = Annotated[str | None, typer.Option("--weights", help="A file, a folder or a hub id, in place of the usual.")]

Out = Annotated[Path | None, typer.Option("--out", help="Of janus: the folder to write, else one in PYRITE_WEIGHTS.")]
JANUS = "janus"


@app.command("list")
def list_weights(as_json: Json = False) -> None:
    """List the rewards with published weights: which are on this disk, how large they are, under which licence.

    Example: `pyrite weights list`
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from pyrite.records.published import published, published_names, readable_size

    table = Table("model", "part", "size", "licence", "from", "here", box=box.SIMPLE)
    for name in published_names():
        for role, part in published(name).items():
            path = present(name, role)
            if as_json:
                typer.echo(json.dumps(_row(name, part, path)))
            size = readable_size(part.num_bytes) if part.num_bytes else ""
            table.add_row(name, role, size, part.licence, _repository(part), str(path.parent) if path else "no")
    if not as_json:
        Console(file=sys.stdout).print(table)


@app.command()
def fetch(names: Names) -> None:
    """Download everything these rewards need; what is there already is left alone, what was begun is continued.

    Large files come from the Hugging Face hub into its cache, the others into PYRITE_WEIGHTS.

    Example: `pyrite weights fetch hpsv2.1 imagereward`
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    from pyrite.records.fetching import fetch as fetch_weights
    from pyrite.records.published import published

    for name in names:
        published(name)  # a misspelt name is told before hours go into the others
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def tell(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total or None)
            bars.update(tasks[file], completed=done)

        found = {name: fetch_weights(name, progress=tell) for name in names}
    for name, paths in found.items():
        for path in paths:
            typer.echo(f"{name}: {path}")


@app.command()
def verify(names: Names, given: Given = None, as_json: Json = False) -> None:
    """Compare files with the manifest: size, sha256, number of tensors. Exit code 3 if one is not what it should be.

    Examples: `pyrite weights verify hpsv2.1`, `pyrite weights verify maniqa --weights downloads/ckpt_koniq10k.pt`
    """
    from pyrite.core.errors import CheckpointError
    from pyrite.rewards.published import verify as verify_weights

    wrong = []
    for name in names:
        for finding in verify_weights(name, given):
            checked = ", ".join(finding.checked) or "nothing the manifest knows"
            row = {"reward": name, "role": finding.role, "path": str(finding.path), "checked": list(finding.checked)}
            verdict = finding.problem or f"as it should be ({checked})"
            typer.echo(json.dumps({**row, "problem": finding.problem}) if as_json else f"{finding.path}: {verdict}")
            wrong += [f"{finding.path}: {finding.problem}"] if finding.problem else []
    if wrong:
        raise CheckpointError(
            f"{len(wrong)} files are not what the manifest lists: {'; '.join(wrong)}. Scores made with them would pass "
            f"for another model's. Delete them and type: pyrite weights fetch {' '.join(names)}"
        )


@app.command()
def convert(names: Names, given: Given = None, out: Out = None) -> None:
    """Write the weights as safetensors once: they load faster, and no pickle is read again. Scores stay the same.

    Only tensors are read from the pickle; one that needs code is refused. The name `janus` stands for a Janus-Pro in
    the format of DeepSeek's own code, which becomes a folder in transformers' format.

    Examples: `pyrite weights convert hpsv2.1`, `pyrite weights convert janus --weights downloads/Janus-Pro-1B`
    """
    from pyrite.rewards.published import convert as convert_weights

    if out is not None and names != [JANUS]:
        raise typer.BadParameter(f"--out names the folder of one policy: pyrite weights convert {JANUS} --out FOLDER")
    for name in names:
        written = _convert_janus(given, out) if name == JANUS else convert_weights(name, given)
        typer.echo(f"{name}: {written or 'is safetensors already'}")


def _convert_janus(given: str | None, out: Path | None) -> Path:
    from transformers.utils import logging

    from pyrite.policies.janus_original import convert as convert_policy
    from pyrite.records.published import weights_root

    if given is None:
        raise typer.BadParameter(
            f"which Janus? Name the folder of the original: pyrite weights convert {JANUS} --weights Janus-Pro-1B. "
            "deepseek-community/Janus-Pro-1B is in transformers' format already and needs no conversion."
        )
    logging.disable_progress_bar()
    return convert_policy(Path(given), out or weights_root() / Path(given).name)


def present(name: str, role: str) -> Path | None:
    """Where a part lies on this disk; None if it does not."""
    from pyrite.core.errors import CheckpointError
    from pyrite.records.published import find_file

    try:
        return find_file(name, role)
    except CheckpointError:
        return None


def _row(name: str, part: "PublishedPart", path: Path | None) -> dict[str, object]:
    files: Sequence[str] = [file.name for file in part.files]
    return {
        "reward": name,
        "role": part.role,
        "files": files,
        "bytes": part.num_bytes,
        "licence": part.licence,
        "upstream": part.upstream,
        "source": _source(part),
        "path": str(path) if path else None,
    }


def _source(part: "PublishedPart") -> str:
    return part.repositories[0] if part.repositories else part.url


def _repository(part: "PublishedPart") -> str:
    """Where it comes from, short enough for a table."""
    from urllib.parse import urlsplit

    return "/".join(urlsplit(_source(part)).path.strip("/").split("/")[:2])

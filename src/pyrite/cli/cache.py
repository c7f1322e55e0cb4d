"""`pyrite cache`: look into the score store, make room in it, take scores out of it."""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyrite.records.store import ScoreStore

app = typer.Typer(help="The score store: what has been scored and need not be scored again.", no_args_is_help=True)
Cache = Annotated[Path | None, typer.Option(help="File of the store; $PYRITE_CACHE or ~/.cache/pyrite if left out.")]

_SECONDS_PER_DAY = 86_400
_ROWS_PER_GROUP = 10_000


@app.command("list")
def list_scores(
    cache: Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """List the rewards in the store with their settings, how many scores each has, and the size of the file.

    Examples: `pyrite cache list`, `pyrite cache list --json`
    """
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    with _existing(cache) as store:
        kept, num_bytes, path = store.rewards(), store.num_bytes(), store.path
    name = Column("reward", no_wrap=True)
    table = Table(name, "key", "dtype", "revision", "scores", "unscored", "newest", box=box.SIMPLE)
    for entry in kept:
        if as_json:
            numbers = {"num_scores": entry.num, "num_unscored": entry.num_unscored, "newest": entry.newest}
            typer.echo(json.dumps({"reward": entry.name, "key": entry.key, **entry.card, **numbers}))
        revision = str(entry.card["revision"])[:8]
        counts = (str(entry.num), str(entry.num_unscored))
        table.add_row(entry.name, entry.key[:8], str(entry.card["dtype"]), revision, *counts, entry.newest[:10])
    if not as_json:
        Console().print(table)
    typer.echo(f"{sum(entry.num for entry in kept)} scores, {num_bytes / 1e6:.1f} MB: {path}", err=True)


@app.command()
def prune(
    reward: Annotated[str | None, typer.Option(help="Only scores of this reward.")] = None,
    key: Annotated[str | None, typer.Option(help="Only of this key, or of those that begin so.")] = None,
    older_than: Annotated[float | None, typer.Option(min=0, help="Only scores older than so many days.")] = None,
    unscored: Annotated[bool, typer.Option("--unscored", help="Only what is NaN with a reason.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Everything that is in the store.")] = False,
    cache: Cache = None,
) -> None:
    """Forget scores to which all that is given applies; they are computed again when they are next asked for.

    Examples: `pyrite cache prune --reward hpsv2.1 --older-than 30`, `pyrite cache prune --unscored`
    """
    from pyrite.core.errors import RecipeError

    if everything == any((reward, key, older_than is not None, unscored)):
        raise RecipeError(
            "`pyrite cache prune` was told "
            + ("both what to forget and --all" if everything else "nothing, and that would forget every score")
            + ". Say which scores: --reward, --key, --older-than, --unscored; or only --all."
        )
    older_than_s = None if older_than is None else older_than * _SECONDS_PER_DAY
    with _existing(cache) as store:
        num = store.prune(name=reward, key=key, older_than_s=older_than_s, only_unscored=unscored)
    typer.echo(f"{num} scores forgotten", err=True)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="File to write: its suffix is .jsonl or .parquet.")],
    cache: Cache = None,
) -> None:
    """Write every score of the store into a table: reward, key, image, prompt, score, reason, details, time.

    Examples: `pyrite cache export scores.parquet`, `pyrite cache export scores.jsonl`
    """
    from pyrite.core.errors import RecipeError

    writers = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if out.suffix not in writers:
        raise RecipeError(f"'{out.name}' is neither a .jsonl nor a .parquet file. Give it one of these suffixes.")
    with _existing(cache) as store:
        num = writers[out.suffix](store, out)
    typer.echo(f"{num} scores in {out}", err=True)


def _existing(path: Path | None) -> "ScoreStore":
    from pyrite.core.errors import RecipeError
    from pyrite.records.store import ScoreStore, default_store_path

    path = path or default_store_path()
    if not path.exists():
        raise RecipeError(
            f"there is no score store at {path}. `pyrite score` makes one; or name another: --cache FILE."
        )
    return ScoreStore(path)


def _write_jsonl(store: "ScoreStore", out: Path) -> int:
    from pyrite.records.jsonl import JsonLines, teaching_os_errors

    with teaching_os_errors(f"write {out}"):
        out.unlink(missing_ok=True)
    lines, num = JsonLines(out), 0
    for row in store.rows():
        lines.append([row])
        num += 1
    lines.close()
    return num


def _write_parquet(store: "ScoreStore", out: Path) -> int:
    import pyarrow
    import pyarrow.parquet as parquet

    from pyrite.records.jsonl import teaching_os_errors

    texts = ("reward", "key", "image_sha256", "prompt", "reason", "details", "written")
    schema = pyarrow.schema([(name, pyarrow.string()) for name in texts]).insert(
        4, pyarrow.field("score", pyarrow.float64())
    )
    rows, num = store.rows(), 0
    with teaching_os_errors(f"write {out}"), parquet.ParquetWriter(out, schema) as writer:
        while group := list(islice(rows, _ROWS_PER_GROUP)):
            flat = [{**row, "details": json.dumps(row["details"])} for row in group]
            writer.write_table(pyarrow.Table.from_pylist(flat, schema=schema))
            num += len(group)
    return num

"""`pyrite audit pairs`: the pair test on scores that are there already."""

from pathlib import Path
from typing import Annotated

import typer

from pyrite.cli.audit_card import BlindBelow, TieSd, tell


def pairs(
    scored: Annotated[
        Path, typer.Argument(help="A folder of `pyrite score`, or a CSV, JSONL or Parquet with labels and scores.")
    ],
    labels: Annotated[
        Path | None, typer.Option("--set", help="The labelled set that was scored, if SCORED holds no labels.")
    ] = None,
    rewards: Annotated[str, typer.Option(help="Look at these only; names, separated by commas.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the page; SCORED.pairs if left out.")] = None,
    blind_below: BlindBelow = 0.75,
    tie_sd: TieSd = 0.0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out what is in no pair or has no scores, and count it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per reward and kind.")] = False,
) -> None:
    """Which image of a pair does each reward prefer, the clean one or the one with an artifact? Loads no model.

    Exit code 1 if a reward is blind to a kind of damage.

    Examples: `pyrite audit pairs set.jsonl.scores --set set.jsonl`,
    `pyrite audit pairs table.csv --rewards "hpsv2.1,artifact" --json`
    """
    from pyrite.audit.pairs.card import make_card
    from pyrite.audit.pairs.images import pair_up
    from pyrite.audit.pairs.reading import choose_rewards, read_scored
    from pyrite.audit.pairs.tables import read_table
    from pyrite.core.errors import ImageSetError

    if labels is not None:
        found = read_scored(scored, labels, skip_bad=skip_bad)
    elif scored.is_dir():
        raise ImageSetError(
            f"{scored} is a folder of scores, and scores alone do not say which image has artifacts. Name the labelled "
            f"set they are of: pyrite audit pairs {scored} --set LABELS.jsonl."
        )
    else:
        found = read_table(scored, skip_bad=skip_bad)
    chosen = choose_rewards(found, [name.strip() for name in rewards.split(",") if name.strip()])
    card = make_card(pair_up(chosen, skip_bad=skip_bad), threshold=blind_below, tie_sd=tie_sd)
    folder = out or scored.absolute().with_name(f"{scored.absolute().name}.pairs")
    tell(card, folder, title=f"Pair test of {scored.absolute().name}", as_json=as_json)

"""What the commands of `pyrite audit` on pairs have in common: options, and how they tell what they found."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyrite.audit.pairs.card import Card

PAGE, RESULTS = "pairs.html", "pairs.json"
EXIT_FOUND = 1

BlindBelow = Annotated[
    float, typer.Option(min=0.01, max=1.0, help="Accuracy that counts as seeing; blind: surely below it.")
]
TieSd = Annotated[
    float, typer.Option(min=0.0, help="Scores so many standard deviations apart are a tie; 0: equal ones only.")
]


def tell(card: "Card", folder: Path, *, title: str, as_json: bool) -> None:
    """Write the page and its numbers, print what was found, and end with exit code 1 if a reward is blind.

    Raises:
        RunFolderError: the folder cannot be written.
        typer.Exit: a reward is blind to a kind.
    """
    from pyrite.audit.pairs.blind_spots import sentence
    from pyrite.audit.pairs.card import as_json as as_object
    from pyrite.audit.pairs.card import rows
    from pyrite.audit.report.pair_page import write_pair_page
    from pyrite.records.jsonl import teaching_os_errors, write_json

    with teaching_os_errors(f"write into {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    write_pair_page(card, folder / PAGE, title=title)
    write_json(folder / RESULTS, as_object(card))
    for note in card.notes:
        typer.echo(note, err=True)
    if as_json:
        for row in rows(card):
            typer.echo(json.dumps({key: _plain(value) for key, value in row.items()}))
    else:
        _print_table(card)
        for name in card.test.overall:
            typer.echo(sentence(card.spots_of(name)))
    typer.echo(f"The page: {folder / PAGE}; its numbers: {folder / RESULTS}", err=True)
    if card.is_blind_somewhere:
        raise typer.Exit(EXIT_FOUND)


def _print_table(card: "Card") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    heads = ("correct", "tie", "wrong", "unscored", "accuracy", "95 % interval", "blind to")
    table = Table(Column("reward", no_wrap=True), *heads, box=box.SIMPLE)
    for name, tally in card.test.overall.items():
        counts = (tally.num_correct, tally.num_tie, tally.num_wrong, tally.num_unscored)
        ends = tally.accuracy
        interval = f"{ends.low:.2f} to {ends.high:.2f}" if math.isfinite(ends.low) else "too few"
        spots = card.spots_of(name)
        blind = f"{sum(spot.is_blind for spot in spots)} of {len(spots)}"
        table.add_row(name, *map(str, counts), f"{ends.estimate:.2f}", interval, blind)
    Console().print(table)


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value

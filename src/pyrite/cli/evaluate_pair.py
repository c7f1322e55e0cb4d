"""`pyrite evaluate IMAGES_A IMAGES_B --rewards …`: two image sets against each other."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pyrite.cli.score import load_panel, open_store, progress_bar

if TYPE_CHECKING:
    from pyrite.evaluation.matching import Matched

_MOST_ALONE = 5


def evaluate_pair(
    images_a: Path,
    images_b: Path,
    rewards: str = "",
    *,
    out: Path | None = None,
    match: str = "auto",
    prompt: str = "",
    layout: str | None = None,
    limit: int | None = None,
    judge: bool = False,
    judge_settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_size: int = 64,
    cache: Path | None = None,
    no_cache: bool = False,
    as_json: bool = False,
) -> None:
    """Compare two image sets pair by pair, write the folder of `evaluation/compare.py` and its page, and tell.

    Args:
        images_a: a set, as for `pyrite score`.
        images_b: the other.
        rewards: names, separated by commas; may be empty where a judge is asked.
        out: folder for the results; IMAGES_A.vs.NAME_OF_B if left out.
        match: rule of `evaluation/matching.py`.
        prompt: of images that bring none.
        layout: of both sets, instead of finding out.
        limit: only so many images of each set.
        judge: ask a judge behind a server, too.
        judge_settings: its options, as for `load_pairwise_judge`.
        device: of the models.
        dtype: of the models.
        batch_size: most images that a model sees at once.
        cache: file of the score store.
        no_cache: keep scores in the folder alone.
        as_json: one JSON object per reward instead of the table.

    Raises:
        PyriteError: see `compare_sets`.
    """
    from pyrite.audit.report.compare_page import write_compare_page
    from pyrite.evaluation.compare import compare_sets
    from pyrite.evaluation.image_sets import open_image_set, survey
    from pyrite.evaluation.matching import match as match_sets
    from pyrite.rewards.pairwise import load_pairwise_judge

    a, b = (open_image_set(path, layout=layout, prompt=prompt, limit=limit) for path in (images_a, images_b))
    for images in (a, b):
        survey(images)
    matched = match_sets(a, b, rule=match)
    _tell_alone(matched)
    asked = load_pairwise_judge(**(judge_settings or {})) if judge else None
    panel = load_panel(rewards, device=device, dtype=dtype, batch_size=batch_size) if rewards else {}
    folder = out or images_a.absolute().with_name(f"{images_a.absolute().name}.vs.{images_b.absolute().name}")
    with open_store(cache, is_wanted=not no_cache) as store:
        done = compare_sets(
            a, b, matched, panel, folder, store=store, judge=asked, batch_size=batch_size, bar=progress_bar
        )
    page = write_compare_page(folder, folder / "report.html")
    _print(done.results, as_json=as_json)
    typer.echo(f"Results: {folder}, page: {page}", err=True)


def _tell_alone(matched: "Matched") -> None:
    say = partial(typer.echo, err=True)
    say(f"{len(matched.pairs)} pairs, matched by {matched.rule}")
    for one in matched.alone[:_MOST_ALONE]:
        say(f"{one.side}, '{one.id}' has no partner: {one.reason}")
    if len(matched.alone) > _MOST_ALONE:
        say(f"and {len(matched.alone) - _MOST_ALONE} more without a partner: see unmatched.jsonl")


def _print(results: Mapping[str, Any], *, as_json: bool) -> None:
    found = {**results["rewards"], **({"judge": results["judge"]} if results["judge"] else {})}
    if as_json:
        for name, entry in found.items():
            typer.echo(json.dumps({"reward": name, **entry}, ensure_ascii=False))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(
        Column("reward", no_wrap=True), "A - B", "95 % interval", "win/tie/loss", "win rate", "unscored", box=box.SIMPLE
    )
    for name, entry in found.items():
        change, rate = entry["difference"], entry["win_rate"]
        ends = "-" if change["low"] is None else f"{_number(change['low'], '+')} to {_number(change['high'], '+')}"
        counts = f"{entry['wins']}/{entry['ties']}/{entry['losses']}"
        scale = [_number(change["estimate"], "+"), ends] if name != "judge" else ["-", "-"]
        table.add_row(name, *scale, counts, _number(rate["estimate"]), str(entry["num_missing"]))
    Console().print(table)
    for name, entry in found.items():
        for one in entry["unscored"][:_MOST_ALONE]:
            typer.echo(f"{name}: {one['num']} pairs without a number: {one['reason']}", err=True)
    if results["judge"]:
        position = results["judge"]["position"]
        typer.echo(
            f"judge: of {position['num_decided']} preferences {_share(position['shown_first_frac'])} were for the "
            f"image shown first; {_share(position['turned_frac'])} of {position['num_both']} pairs turned round with "
            "the order",
            err=True,
        )


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"

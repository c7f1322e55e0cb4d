"""`pyrite audit probe`: damage clean images on purpose, score them, and say what the rewards do not see."""

from pathlib import Path
from typing import Annotated

import typer

from pyrite.cli.audit_card import BlindBelow, TieSd, tell
from pyrite.cli.judge_show import severity_levels
from pyrite.cli.score import BATCH_SIZE, load_panel, open_store, progress_bar


def probe(
    images: Annotated[Path, typer.Argument(help="Your own clean images; any form that `pyrite score` takes.")],
    rewards: Annotated[str, typer.Option(help="Names, separated by commas.")],
    out: Annotated[Path | None, typer.Option(help="Folder for everything; IMAGES.probe if left out.")] = None,
    prompt: Annotated[str, typer.Option(help="The prompt of images that bring none.")] = "",
    layout: Annotated[str | None, typer.Option(help="How the set is laid out, instead of finding out.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take only so many images, from the first.")] = None,
    kinds: Annotated[str, typer.Option(help="Only these changes, separated by commas; all if left out.")] = "",
    severities: Annotated[str, typer.Option(help="Above 0, at most 1, separated by commas.")] = "0.25,0.5,0.75,1",
    seed: Annotated[int, typer.Option(min=0, help="Of where and how images are damaged.")] = 0,
    blind_below: BlindBelow = 0.75,
    tie_sd: TieSd = 0.0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be used.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; found out if left out.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the models' towers: float32, bfloat16 or float16.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most images that a model sees at once.")] = BATCH_SIZE,
    cache: Annotated[
        Path | None, typer.Option(help="File of the score store; $PYRITE_CACHE or ~/.cache/pyrite if left out.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep scores in OUT only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per reward and kind.")] = False,
) -> None:
    """A reward's card before any training: what it does not see, what it pays for, what it should not mind and does.

    Plants artifacts of every kind in clean images at several severities, and changes them neutrally besides. Killed?
    The same command continues, and nothing is scored twice. Exit code 1 if a reward is blind to a kind of damage.

    Examples: `pyrite audit probe photos --rewards "artifact-pocket,hps-pocket" --prompt "a red cube"`,
    `pyrite audit probe set.jsonl --rewards hpsv2.1 --limit 50 --severities 0.5,1 --json`
    """
    from pyrite.audit.pairs.card import make_card
    from pyrite.audit.pairs.images import pair_up
    from pyrite.audit.pairs.ladder_set import SCORES, write_ladder_set
    from pyrite.audit.pairs.reading import read_scored
    from pyrite.evaluation.image_sets import open_image_set
    from pyrite.evaluation.score_images import score_images

    levels = severity_levels(severities)
    chosen = [name.strip() for name in kinds.split(",") if name.strip()]
    clean = open_image_set(images, layout=layout, prompt=prompt, limit=limit)
    panel = load_panel(rewards, device=device, dtype=dtype, batch_size=batch_size)
    folder = out or images.absolute().with_name(f"{images.absolute().name}.probe")
    with progress_bar("damaging") as progress:
        labels = write_ladder_set(clean, folder, chosen, levels, seed=seed, skip_bad=skip_bad, progress=progress)
    with open_store(cache, is_wanted=not no_cache) as store, progress_bar() as progress:
        done = score_images(
            open_image_set(labels), panel, folder / SCORES, store=store, batch_size=batch_size, progress=progress
        )
    asked = ", ".join(f"{name} {num}" for name, num in done.num_asked.items())
    typer.echo(f"{done.results['num_images']} images; scored now: {asked}.", err=True)
    card = make_card(pair_up(read_scored(folder / SCORES, labels)), threshold=blind_below, tie_sd=tie_sd)
    tell(card, folder, title=f"Probe of {', '.join(panel)}", as_json=as_json)

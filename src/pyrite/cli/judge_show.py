"""`pyrite judge show` and `pyrite judge ladder`: look at a labelled set, or make one of clean images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyrite.core.types import Image
    from pyrite.evaluation.image_sets import ImageSet

_MOST_REASONS = 10
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Kinds = Annotated[str, typer.Option(help="Which changes, separated by commas; all of them if left out.")]
Severities = Annotated[str, typer.Option(help="How severe, each above 0 and at most 1, separated by commas.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave bad entries out, and count them.")]


def show(
    source: Annotated[Path, typer.Argument(metavar="SET|IMAGES", help="A labelled set; with --ladder, clean images.")],
    out: Annotated[Path, typer.Option(help="The picture: .jpg, .png or .webp.")] = Path("curated.jpg"),
    ladder: Annotated[
        bool, typer.Option("--ladder", help="Draw the corruption ladder of one's own images instead.")
    ] = False,
    num: Annotated[
        int | None, typer.Option(min=1, help="Most pictures on the sheet; 12 if left out, and 2 with --ladder.")
    ] = None,
    kinds: Kinds = "",
    severities: Severities = "0.25,0.5,0.75,1",
    shares: Annotated[str, typer.Option(help="Of the set for train, validation and test.")] = "0.6,0.2,0.2",
    seed: Annotated[int, typer.Option(min=0, help="Of the split, or of the ladder.")] = 0,
    tile: Annotated[int, typer.Option(min=48, max=512, help="Longer side of each image in pixels.")] = 160,
    skip_bad: SkipBad = False,
) -> None:
    """Draw a labelled set on one picture: label, kind, severity and part of each image, the versions side by side.

    With --ladder: what each kind of artifact and of harmless change does to the first of one's own images.

    Examples: `pyrite judge show set.jsonl --out set.jpg`, `pyrite judge show photos --ladder --kinds smear,seam`
    """
    from pyrite.artifact.data import load_curated, split_examples
    from pyrite.artifact.ladder import operations
    from pyrite.artifact.sheet import ladder_sheet, set_sheet
    from pyrite.cli.judge import the_shares

    _refuse_other_suffix(out)
    if ladder:
        wanted, severe = operations(names(kinds)), severity_levels(severities)
        sheet = ladder_sheet(_opened(source, num or 2, skip_bad), wanted, severe, seed=seed, tile_px=tile)
    else:
        curated = load_curated(source, skip_bad=skip_bad)
        split = split_examples(curated.examples, shares=the_shares(shares), seed=seed)
        sheet = set_sheet(curated, split, num=num or 12, tile_px=tile)
        tell_left_out(curated.skipped)
        for note in split.shortcomings:
            typer.echo(f"note: {note}", err=True)
    _save(sheet, out)
    typer.echo(str(out))


def ladder(
    images: Annotated[Path, typer.Argument(help="Clean images: a folder, JSON lines, Parquet, a saved dataset.")],
    out: Annotated[Path, typer.Option(help="Folder of the set; the same folder again continues it.")] = Path("ladder"),
    kinds: Kinds = "",
    severities: Severities = "0.25,0.5,0.75,1",
    seed: Annotated[int, typer.Option(min=0, help="Other places and directions.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many images, from the first.")] = None,
    skip_bad: SkipBad = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
) -> None:
    """Make a labelled set of clean images: artifacts planted at graded severity, and changes that are none.

    Killed? The same command continues, and ends with the same files.

    Examples: `pyrite judge ladder photos --out set`,
    `pyrite judge ladder photos --kinds smear,seam,crop,jpeg --severities 0.3,0.6 --out set`
    """
    from pyrite.artifact.ladder import build_ladder
    from pyrite.artifact.ladder_folder import LADDER
    from pyrite.cli.score import progress_bar
    from pyrite.evaluation.image_sets import open_image_set

    severe = severity_levels(severities)
    sources, prompts = _sources(open_image_set(images, limit=limit))
    with progress_bar("changing") as progress:
        path = build_ladder(
            sources,
            out,
            kinds=names(kinds),
            severities=severe,
            seed=seed,
            prompts=prompts,
            skip_bad=skip_bad,
            progress=progress,
        )
    made = json.loads((out / LADDER).read_text(encoding="utf-8"))
    tell_left_out(made["left_out"])
    if as_json:
        typer.echo(json.dumps({"set": str(path), **made}, ensure_ascii=False))
    else:
        typer.echo(str(path))
    typer.echo(f"{made['num_images']} images; look at them: pyrite judge show {path}", err=True)


def names(kinds: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in kinds.split(",") if name.strip()]


def severity_levels(severities: str) -> list[float]:
    """Severities separated by commas.

    Raises:
        RecipeError: one is no number above 0 and at most 1, or there is none.
    """
    from pyrite.core.errors import RecipeError

    try:
        found = [float(level) for level in severities.split(",") if level.strip()]
    except ValueError:
        found = []
    if not found or not all(0 < level <= 1 for level in found):
        raise RecipeError(
            f"--severities {severities}: a severity is a number above 0 (nothing happens) and at most 1 (as bad as it "
            "gets). Give e.g. 0.25,0.5,1."
        )
    return found


def tell_left_out(left_out: Mapping[str, str]) -> None:
    """How many were left out, the first ones and why, on stderr."""
    for name, reason in list(left_out.items())[:_MOST_REASONS]:
        typer.echo(f"left out {name}: {reason}", err=True)
    if left_out:
        typer.echo(f"{len(left_out)} left out in all", err=True)


def _sources(image_set: "ImageSet") -> tuple[list["Path | Image"], list[str]]:
    """Where the images of a set are, or the images themselves where they lie in its file, and their prompts."""
    from pyrite.core.errors import ImageSetError
    from pyrite.evaluation.image_sets import survey
    from pyrite.records.image_files import bombs_are_errors, decode, read_image_file

    survey(image_set)
    found: list[Path | Image] = []
    prompts = []
    with bombs_are_errors():
        for item in image_set.items():
            prompts.append(item.prompt.text)
            if isinstance(item.source, Path):
                found.append(item.source)
                continue
            file = read_image_file(item.source)
            image = file if isinstance(file, str) else decode(file)
            if isinstance(image, str):
                raise ImageSetError(f"{image_set.path}, '{item.id}': {image}. Take that row out of the file.")
            found.append(image)
    return found, prompts


def _opened(path: Path, num: int, skip_bad: bool) -> list["Image"]:
    """The first images of a set that can be used."""
    from pyrite.artifact.ladder_folder import find_sources
    from pyrite.evaluation.image_sets import open_image_set

    sources, left_out = find_sources(*_sources(open_image_set(path, limit=num)), skip_bad=skip_bad)
    tell_left_out(left_out)
    return [source.open() for source in sources]


def _refuse_other_suffix(out: Path) -> None:
    from pyrite.core.errors import RecipeError

    if out.suffix.lower() not in _SUFFIXES:
        raise RecipeError(f"--out {out}: a sheet is one picture. Give a name that ends in {', '.join(_SUFFIXES)}.")


def _save(sheet: "Image", out: Path) -> None:
    from pyrite.records.jsonl import teaching_os_errors

    with teaching_os_errors(f"write {out}"):
        sheet.save(out, quality=85)

"""`pyrite score`: any rewards on a set of images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyrite.core.protocols import Reward
    from pyrite.core.types import Image, Prompt, Scores

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
BATCH = 64


def score(
    images: Annotated[Path, typer.Argument(help="A folder of images, or JSON lines with 'image' and 'prompt'.")],
    rewards: Annotated[str, typer.Option(help="Names, separated by commas; `pocket-gold` is one too.")],
    prompt: Annotated[str, typer.Option(help="The prompt of every image of a folder.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per image instead of the table.")] = False,
) -> None:
    """Score images with rewards; what cannot be scored is counted and explained, never a number.

    Examples: `pyrite score photos --rewards artifact-pocket`,
    `pyrite score samples.jsonl --rewards "hps-pocket,pickscore-pocket" --json`
    """
    from rich.console import Console
    from rich.progress import track

    from pyrite.cli.assemble import GOLD_NAME, load_gold, load_reward
    from pyrite.core.types import Scores

    items = find_items(images, prompt)
    names = [name.strip() for name in rewards.split(",") if name.strip()]
    panel = {name: load_gold(name) if name == GOLD_NAME else load_reward(name) for name in names}
    starts = track(range(0, len(items), BATCH), "scoring", console=Console(stderr=True))
    parts = [_score_batch(panel, items[start : start + BATCH]) for start in starts]
    scores = {name: Scores.concatenate([part[name] for part in parts]) for name in panel}
    if as_json:
        _print_lines(items, scores)
    else:
        _print_table(scores)


def find_items(images: Path, prompt: str) -> list[tuple[Path, "Prompt"]]:
    """The image files to score, in a stable order, each with its prompt.

    Raises:
        RecipeError: nothing is there, or a line names no image.
    """
    from pyrite.core.errors import RecipeError
    from pyrite.core.types import Prompt

    if images.is_dir():
        found = sorted(path for path in images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise RecipeError(f"{images} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        return [(path, Prompt(prompt)) for path in found]
    if not images.is_file():
        raise RecipeError(f"there is nothing at {images}. Give a folder of images or a JSON-lines file.")
    items = []
    for number, line in enumerate(images.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            items.append((images.parent / row["image"], Prompt.from_json(row)))
        except (ValueError, TypeError, KeyError) as error:
            raise RecipeError(
                f"{images}, line {number}: {error}. Every line needs 'image' (a path beside the file) and 'prompt'."
            ) from error
    return items


def _score_batch(panel: dict[str, "Reward"], items: list[tuple[Path, "Prompt"]]) -> dict[str, "Scores"]:
    import numpy as np

    from pyrite.core.scoring import score_checked
    from pyrite.core.types import Scores

    opened: dict[int, Image] = {}
    unread: dict[int, str] = {}
    for row, (path, _) in enumerate(items):
        image = _open(path)
        if isinstance(image, str):
            unread[row] = image
        else:
            opened[row] = image
    rows = list(opened)
    result = {}
    for name, reward in panel.items():
        values, reasons = np.full(len(items), np.nan), dict(unread)
        if rows:
            part = score_checked(name, reward, [opened[row] for row in rows], [items[row][1] for row in rows])
            values[rows] = part.values
            reasons |= {rows[index]: why for index, why in part.reasons.items()}
        result[name] = Scores(values, reasons)
    return result


def _open(path: Path) -> "Image | str":
    """The image, or why it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            return image.copy()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        return f"cannot be read: {error}"


def _print_lines(items: list[tuple[Path, "Prompt"]], scores: dict[str, "Scores"]) -> None:
    for row, (path, prompt) in enumerate(items):
        unscored = {name: column.reasons[row] for name, column in scores.items() if row in column.reasons}
        line = {
            "image": str(path),
            "prompt": prompt.text,
            "scores": {
                name: None if row in column.reasons else float(column.values[row]) for name, column in scores.items()
            },
        }
        typer.echo(json.dumps({**line, "reasons": unscored} if unscored else line))


def _print_table(scores: dict[str, "Scores"]) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from pyrite.stats.intervals import bootstrap_mean

    table = Table("reward", "mean", "95 % interval", "lowest", "highest", "unscored")
    for name, column in scores.items():
        values = column.values[~np.isnan(column.values)]
        interval = bootstrap_mean(column.values, rng=np.random.default_rng(0))
        lowest, highest = (values.min(), values.max()) if len(values) else (np.nan, np.nan)
        numbers = (interval.estimate, interval.low, interval.high, lowest, highest)
        mean, low, high, lowest, highest = (f"{number:.4f}" for number in numbers)
        table.add_row(name, mean, f"{low} to {high}", lowest, highest, str(len(column.reasons)))
    Console().print(table)
    reasons = sorted({f"{name}: {why}" for name, column in scores.items() for why in column.reasons.values()})
    for reason in reasons[:10]:
        typer.echo(reason, err=True)

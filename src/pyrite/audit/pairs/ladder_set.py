"""From clean images to the labelled set that a probe scores: the ladder, with all that rewards read of a prompt.

OUT/
  ladder/          what `pyrite.artifact.ladder.build_ladder` makes
  set.jsonl        its images with their labels, and the prompts in full
  scores/          what `pyrite.evaluation.score_images` makes of them
"""

import json
from collections.abc import Sequence
from pathlib import Path

from pyrite.artifact.ladder import build_ladder
from pyrite.core.errors import ImageSetError
from pyrite.core.types import Image
from pyrite.evaluation.image_sets import ImageSet, Item
from pyrite.evaluation.score_images import Progress
from pyrite.records.image_files import decode, read_image_file
from pyrite.records.jsonl import read_jsonl, write_atomically

LADDER, SET, SCORES = "ladder", "set.jsonl", "scores"


def write_ladder_set(
    clean: ImageSet,
    folder: Path,
    kinds: Sequence[str],
    severities: Sequence[float],
    *,
    seed: int,
    skip_bad: bool,
    progress: Progress,
) -> Path:
    """Build the ladder of a set of clean images and return the path of the labelled set; the same call continues.

    The ladder itself keeps the text of a prompt. Nouns, numbers and places, which detectors read, are added here, from
    the image of the set with the same text.

    Args:
        clean: the images.
        folder: of the probe.
        kinds: of damage and of neutral changes; all of them if empty.
        severities: above 0, at most 1.
        seed: of where and how images are damaged.
        skip_bad: leave out images that cannot be used.
        progress: told how many versions of how many are made.

    Raises:
        ImageSetError: images that cannot be used.
        UnknownNameError: a kind that is none.
        RunFolderError: the folder holds something else, or cannot be written.
    """
    items = list(clean.items())
    prompts = [item.prompt for item in items]
    built = build_ladder(
        [_source(clean, item) for item in items],
        folder / LADDER,
        kinds=kinds,
        severities=severities,
        seed=seed,
        prompts=[prompt.text for prompt in prompts],
        skip_bad=skip_bad,
        progress=progress,
    )
    known = {prompt.text: prompt.to_json() for prompt in prompts if prompt.text}
    lines = []
    for row in read_jsonl(built)[0]:
        facts = dict(known.get(row.get("prompt", ""), {}))
        facts["prompt_id"] = facts.pop("id", "")
        whole = {**facts, **row, "id": row["image"], "image": f"{LADDER}/{row['image']}"}
        lines.append(json.dumps(whole, ensure_ascii=False))
    write_atomically(folder / SET, "".join(f"{line}\n" for line in lines))
    return folder / SET


def _source(clean: ImageSet, item: Item) -> Path | Image:
    if isinstance(item.source, Path):
        return item.source
    found = read_image_file(item.source)
    image = found if isinstance(found, str) else decode(found)
    if isinstance(image, str):
        raise ImageSetError(f"{clean.path}, image '{item.id}': {image}. Repair it, or take it out of the set.")
    return image

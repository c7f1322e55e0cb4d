"""Drawing images for a list of prompts: resumable, shared out over processes, the same images in every case.

What an image shows depends on the seed, the position of its prompt in the file and its own number alone. To the last
bit it depends on its batch too, through the rounding of matrix products; so batches are cut from the list of all
images before it is shared out, and a batch of which one image is missing is drawn again as a whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.core.errors import PromptFileError, RecipeError
from pyrite.core.protocols import Policy
from pyrite.core.types import Image
from pyrite.evaluation.generation_folder import GenerationFolder, Place, prompts_digest
from pyrite.evaluation.generation_layouts import LAYOUTS, refuse_unfit_ids
from pyrite.records.prompt_files import PromptRow

JPEG_QUALITY = 75
"""Pillow's default, which the reference's scripts take."""

Progress = Callable[[int, int], None]
"""Told after each batch how many of this process's images are there, and how many there will be."""


@dataclass(frozen=True)
class Job:
    """A set of images to draw.

    Args:
        prompts: all of the file, also with a limit: the place in it decides what is drawn.
        images_per_prompt: of each.
        seed: of all randomness.
        layout: a name of `generation_layouts.LAYOUTS`.
        format: "png", "jpeg", or "" for that of the layout.
        settings: of the policy, as they are to be written down: name, temperature, ...
        limit: draw for so many prompts, from the first; None for all.

    Raises:
        RecipeError: an unknown layout or format, or a number below 1.
        PromptFileError: the layout cannot hold an id.
    """

    prompts: Sequence[PromptRow]
    images_per_prompt: int = 1
    seed: int = 0
    layout: str = "plain"
    format: str = ""
    settings: Mapping[str, Any] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise RecipeError(f"there is no layout '{self.layout}' to write images in. There is: {', '.join(LAYOUTS)}.")
        if self.format not in ("", "png", "jpeg"):
            raise RecipeError(f"images are written as png or jpeg, not as '{self.format}'. Choose one with --format.")
        if self.images_per_prompt < 1 or (self.limit is not None and self.limit < 1):
            raise RecipeError(
                f"{self.images_per_prompt} images for each of {self.limit} prompts leaves nothing to draw. "
                "Give 1 or more."
            )
        refuse_unfit_ids(self.layout, self.prompts)

    @property
    def image_format(self) -> str:
        """The format in force."""
        return self.format or LAYOUTS[self.layout].format

    @property
    def places(self) -> list[Place]:
        """Every image, prompt by prompt."""
        num = len(self.prompts) if self.limit is None else min(self.limit, len(self.prompts))
        return [(position, n) for position in range(num) for n in range(self.images_per_prompt)]

    @property
    def facts(self) -> dict[str, Any]:
        """What decides about the images and is known without the policy: `generation.json` but for its revision."""
        return {
            **({} if self.settings is None else {"settings": dict(self.settings)}),
            "prompts": prompts_digest(self.prompts),
            "num_prompts": len(self.prompts),
            "images_per_prompt": self.images_per_prompt,
            "seed": self.seed,
            "layout": self.layout,
            "format": self.image_format,
            **({"quality": JPEG_QUALITY} if self.image_format == "jpeg" else {}),
        }


@dataclass(frozen=True)
class Generated:
    """What one process did.

    Args:
        num_drawn: images drawn now and written.
        num_known: of its share, images that were there.
        is_complete: the whole set is there, and samples.jsonl with it.
    """

    num_drawn: int
    num_known: int
    is_complete: bool


def image_generator(seed: int, position: int, n: int) -> np.random.Generator:
    """The random numbers of image `n` of the prompt at `position`, both from 0."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(position, n)))


def generate(
    policy: Policy,
    job: Job,
    out: Path,
    *,
    batch_size: int = 16,
    rank: int = 0,
    num_processes: int = 1,
    progress: Progress = lambda done, total: None,
) -> Generated:
    """Draw this process's share of a set that is not there yet.

    Args:
        policy: draws.
        job: what.
        out: folder, see `generation_folder`.
        batch_size: images drawn at once; the same images to rounding, whatever it is.
        rank: of this process, from 0.
        num_processes: that share the job; each takes whole batches in turn.
        progress: told after each batch.

    Raises:
        PromptFileError: the policy cannot read a prompt.
        RunFolderError: the folder cannot be written, is in use, or holds another job.
        TrainingError: the policy gives no finite probabilities.
    """
    facts = {"policy": policy.card.name, "revision": policy.card.revision, **job.facts}
    places = job.places
    batches = [places[start : start + batch_size] for start in range(0, len(places), batch_size)]
    own = batches[rank::num_processes]
    num_own = sum(map(len, own))
    with GenerationFolder.open(out, facts, rank=rank) as folder:
        num_known = done = sum(place in folder.known for batch in own for place in batch)
        progress(done, num_own)
        for batch in own:
            if missing := [place for place in batch if place not in folder.known]:
                drawn = _draw(policy, job, batch)
                _keep(folder, job, facts, {place: drawn[place] for place in missing})
                done += len(missing)
                progress(done, num_own)
        return Generated(done - num_known, num_known, folder.finish(places))


def _draw(policy: Policy, job: Job, batch: Sequence[Place]) -> dict[Place, Image]:
    prompts = [job.prompts[position].prompt for position, _ in batch]
    rngs = [image_generator(job.seed, position, n) for position, n in batch]
    try:
        rollouts = policy.sample(prompts, group_size=1, rngs=rngs)
    except ValueError as error:
        raise PromptFileError(
            f"the policy '{policy.card.name}' cannot draw for the prompts {prompts[0].id} to {prompts[-1].id}: {error} "
            "Everything drawn before is kept; take the prompt out, or choose another policy, and another --out."
        ) from error
    return dict(zip(batch, rollouts.images, strict=True))


def _keep(folder: GenerationFolder, job: Job, facts: Mapping[str, Any], drawn: Mapping[Place, Image]) -> None:
    layout = LAYOUTS[job.layout]
    suffix = {"png": ".png", "jpeg": ".jpg"}[job.image_format]
    images, rows = {}, {}
    for (position, n), image in drawn.items():
        row = job.prompts[position]
        name = layout.path(row, position, n) + suffix
        images[name] = image
        rows[position, n] = {
            **row.prompt.to_json(),
            "id": f"{row.prompt.id}_{n}",
            "prompt_id": row.prompt.id,
            "image": name,
            "position": position,
            "n": n,
            "seed": job.seed,
            "policy": facts["policy"],
            "policy_revision": facts["revision"],
            "settings": dict(job.settings or {}),
        }
        if layout.has_metadata and n == 0:
            folder.describe(f"{name.partition('/')[0]}/metadata.jsonl", row.row)
    options = {"format": "PNG"} if job.image_format == "png" else {"format": "JPEG", "quality": JPEG_QUALITY}
    folder.keep(images, rows, options)


def missing_batches(job: Job, known: Mapping[Place, Any], batch_size: int) -> Iterator[list[Place]]:
    """The batches of which something is missing."""
    places = job.places
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        if any(place not in known for place in batch):
            yield batch

"""Looking at the policy without training it: the same prompts and random numbers each time, every reward, gold.

What differs between two looks is therefore the policy alone.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image as PILImage

from pyrite.core.protocols import Reward
from pyrite.core.types import FloatArray, Image, Prompt
from pyrite.records.recipe import Recipe
from pyrite.training.draws import Purpose, generator
from pyrite.training.learner import Divergence, Learner
from pyrite.training.logged import Diary, Row, eval_row, sample_rows
from pyrite.training.processes import Processes
from pyrite.training.scoring import ScoreTable, gather_table, join_tables, score_gold, score_panel

NUM_OFFENDERS = 8
"""Images kept of each look because the proxy ranks them far above gold, beside the first `keep_images`."""

GRID_ROWS = GRID_COLUMNS = 8
"""Prompts, and images of each, that the grid of a look shows at most."""


@dataclass(frozen=True)
class Looked:
    """What a look saw, of all processes; N images, grouped by prompt.

    Args:
        prompts: N.
        scores: of every reward, and gold.
        divergence: from the base policy.
        images: index -> image, of this process only.
    """

    prompts: Sequence[Prompt]
    scores: ScoreTable
    divergence: Divergence
    images: Mapping[int, Image]


@dataclass(frozen=True)
class Looker:
    """Draws and scores the evaluation images.

    Args:
        recipe: how many images per prompt, from which seed.
        learner: the policy and its reference.
        rewards: trained and held-out ones.
        gold: or None.
        prompts: of the evaluation.
        processes: share the prompts.
    """

    recipe: Recipe
    learner: Learner
    rewards: Mapping[str, Reward]
    gold: Reward | None
    prompts: Sequence[Prompt]
    processes: Processes

    def look(self) -> Looked:
        """Draw and score every evaluation prompt; all processes take part and get the same numbers."""
        with self.learner.engine.whole():
            return self._look()

    def _look(self) -> Looked:
        size = self.recipe.evaluation.images_per_prompt
        settings = self.recipe.grpo
        # As many images at a time as a training step has: what fits into memory there fits here.
        per_batch = max(1, settings.prompts_per_step * settings.num_generations // size)
        share = self.processes.share(len(self.prompts))
        tables: list[ScoreTable] = []
        parts: list[Divergence] = []
        images: dict[int, Image] = {}
        for start in range(share.start, share.stop, per_batch):
            positions = range(start, min(start + per_batch, share.stop))
            rngs = [generator(self.recipe.seed, Purpose.LOOK, step=0, position=i) for i in positions]
            rollouts = self.learner.policy.sample([self.prompts[i] for i in positions], group_size=size, rngs=rngs)
            table = score_panel(self.rewards, rollouts.images, rollouts.prompts)
            if self.gold is not None:
                table |= score_gold(self.gold, rollouts.images, rollouts.prompts)
            tables.append(table)
            parts.append(self.learner.divergence(rollouts))
            images |= dict(enumerate(rollouts.images, start * size))
        return Looked(
            [prompt for prompt in self.prompts for _ in range(size)],
            gather_table(join_tables(tables), self.processes),
            gather_divergence(parts, self.processes),
            images,
        )

    def keep(self, diary: Diary, step: int, looked: Looked, rewards: FloatArray, seconds: Row) -> None:
        """Write down a look; the main process, which alone has the run folder, writes for all.

        Args:
            diary: where to.
            step: of training.
            looked: what was seen.
            rewards: (N,) training rewards of it.
            seconds: what it took.
        """
        wanted = set(range(min(self.recipe.evaluation.keep_images, len(looked.prompts))))
        wanted |= worst_offenders(rewards, looked)
        images = {index: looked.images[index] for index in sorted(wanted & set(looked.images))}
        sent = {} if diary.run is not None else {index: _to_text(image) for index, image in images.items()}
        for part in self.processes.gather(sent):
            images |= {int(index): _from_text(text) for index, text in part.items()}
        if diary.run is None:
            return
        paths = {index: diary.run.save_image(step, f"eval_{index:04d}", image) for index, image in images.items()}
        grid = grid_of(images, self.recipe.evaluation.images_per_prompt)
        if grid is not None:
            diary.run.save_image(step, "grid", grid)
            diary.tracking.show_grid(step, grid)
        samples = sample_rows(
            step, "eval", looked.prompts, scores=looked.scores, rewards=rewards, kl=looked.divergence.kl, images=paths
        )
        row = eval_row(step, rewards, scores=looked.scores, divergence=looked.divergence)
        diary.write(row | seconds, samples)


def worst_offenders(rewards: FloatArray, looked: Looked) -> set[int]:
    """Indices whose reward ranks furthest above their gold, at most one per prompt; none without gold."""
    if "gold" not in looked.scores:
        return set()
    gold = looked.scores["gold"].values
    rows = np.flatnonzero(~np.isnan(gold) & ~np.isnan(rewards))
    lead = rewards[rows].argsort(kind="stable").argsort() - gold[rows].argsort(kind="stable").argsort()
    found: dict[str, int] = {}
    for row in rows[np.argsort(-lead, kind="stable")].tolist():
        found.setdefault(looked.prompts[row].text, row)
        if len(found) == NUM_OFFENDERS:
            break
    return set(found.values())


def grid_of(images: Mapping[int, Image], per_prompt: int) -> Image | None:
    """The first images of a look as one picture, a row per prompt; None if none of them was kept.

    The same place is the same prompt and seed in every look.

    Args:
        images: index -> image; only the first rows that are all there are shown.
        per_prompt: images of a row.
    """
    columns = min(per_prompt, GRID_COLUMNS)
    rows = 0
    while rows < GRID_ROWS and all(rows * per_prompt + column in images for column in range(columns)):
        rows += 1
    if not rows:
        return None
    width, height = images[0].size
    grid = PILImage.new("RGB", (columns * width, rows * height))
    for row in range(rows):
        for column in range(columns):
            grid.paste(images[row * per_prompt + column], (column * width, row * height))
    return grid


def gather_divergence(parts: Sequence[Divergence], processes: Processes) -> Divergence:
    """The parts of every process, one after the other."""
    names = Divergence.__dataclass_fields__
    own = {name: np.concatenate([asdict(part)[name] for part in parts] or [np.empty(0)]).tolist() for name in names}
    gathered = processes.gather(own)
    return Divergence(**{name: np.concatenate([np.array(part[name]) for part in gathered]) for name in names})


def _to_text(image: Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _from_text(text: str) -> Image:
    return PILImage.open(io.BytesIO(base64.b64decode(text)))

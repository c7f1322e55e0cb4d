"""The pictures that the pocket models learn from: mostly clean scenes, some that break their prompt or are damaged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyrite.core.types import Prompt
from pyrite.world.corruptions import corrupt
from pyrite.world.prompts import COLOUR_NAMES, HELD_OUT_PAIRS, random_scene, requirements, sample_prompts, spoil
from pyrite.world.scenes import SHAPES, SIZE_PX, Scene, render, to_uint8
from pyrite.world.vocabulary import NOTHING, plan_words

SEEN_PAIRS = frozenset((c, s) for c in COLOUR_NAMES for s in SHAPES) - HELD_OUT_PAIRS
PRETRAINING_DAMAGE = ("mosaic", "smear", "blotch", "warp", "erase")


@dataclass(frozen=True)
class PictureSet:
    """Pictures with their prompts and layouts.

    Args:
        images: (N, 64, 64, 3) bytes.
        prompts: N prompts.
        plans: N layout plans of 20 words each (`world.vocabulary.plan_words`).
        object_cells: (N, 64) which of the 8x8 image tokens touch an object.
    """

    images: npt.NDArray[np.uint8]
    prompts: list[Prompt]
    plans: list[list[str]]
    object_cells: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.prompts)


def draw_pictures(num: int, seed: int, *, wrong_frac: float, damaged_frac: float) -> PictureSet:
    """Pictures of the pretrain split: `wrong_frac` of the scenes break their prompt, `damaged_frac` are damaged."""
    prompts = sample_prompts("pretrain", num, seed)
    rng = np.random.default_rng([seed, 1])
    images = np.empty((num, SIZE_PX, SIZE_PX, 3), np.uint8)
    cells = np.empty((num, 64), bool)
    plans = []
    for index, prompt in enumerate(prompts):
        scene = random_scene(prompt, rng, allowed=SEEN_PAIRS)
        if rng.random() < wrong_frac:
            scene = _spoiled(prompt, rng)
        picture = render(scene)
        if rng.random() < damaged_frac:
            kind = PRETRAINING_DAMAGE[rng.integers(len(PRETRAINING_DAMAGE))]
            picture = corrupt(picture, kind, rng.uniform(0.1, 0.6), rng)
        images[index], cells[index] = to_uint8(picture), object_cells(scene)
        plans.append(plan_words(scene))
    return PictureSet(images, prompts, plans, cells)


def draw_in_parallel(
    num: int, seed: int, *, shards: int = 6, progress: Callable[[int, int], None] = lambda done, total: None
) -> PictureSet:
    """The pre-training set: a fifth of the scenes break their prompt, a fifth are damaged. One process per core."""
    import concurrent.futures

    sizes = [len(part) for part in np.array_split(np.arange(num), shards)]
    with concurrent.futures.ProcessPoolExecutor() as workers:
        jobs = [workers.submit(_draw_shard, size, seed + 100 + k) for k, size in enumerate(sizes)]
        for done, _ in enumerate(concurrent.futures.as_completed(jobs), 1):
            progress(done, shards)
    parts = [job.result() for job in jobs]
    return PictureSet(
        np.concatenate([part.images for part in parts]),
        [prompt for part in parts for prompt in part.prompts],
        [plan for part in parts for plan in part.plans],
        np.concatenate([part.object_cells for part in parts]),
    )


def _draw_shard(num: int, seed: int) -> PictureSet:
    return draw_pictures(num, seed, wrong_frac=0.2, damaged_frac=0.2)


def keeps_its_prompt(prompt: Prompt, plan: Sequence[str]) -> bool:
    """Whether the objects of a plan are those that the prompt asks for (spoiled scenes always have others)."""
    shown = [(plan[k], plan[k + 1]) for k in range(0, len(plan), 5) if plan[k] != NOTHING]
    needs = requirements(prompt)
    return len(shown) == sum(need.count for need in needs) and all(
        sum(shape == need.shape and need.colour in (None, colour) for colour, shape in shown) == need.count
        for need in needs
    )


def _spoiled(prompt: Prompt, rng: np.random.Generator) -> Scene:
    """A scene that breaks the prompt without showing a held-out pair."""
    while True:
        scene = spoil(prompt, rng)
        if all((item.colour, item.shape) in SEEN_PAIRS for item in scene.objects):
            return scene


def object_cells(scene: Scene) -> npt.NDArray[np.bool_]:
    """(64,) which cells of the 8x8 token grid, in raster order, an object or its shadow touches."""
    start = np.arange(8) * 8.0
    mask = np.zeros((8, 8), bool)
    for item in scene.objects:
        reach = 1.15 * item.radius + 2
        across = (start < item.x + reach) & (start + 8 > item.x - reach)
        down = (start < item.y + reach) & (start + 8 > item.y - reach)
        mask |= down[:, None] & across[None]
    flat: npt.NDArray[np.bool_] = mask.ravel()
    return flat

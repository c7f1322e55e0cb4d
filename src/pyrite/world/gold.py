"""The gold reward of the pocket world: is the prompt satisfied, and could the world have drawn this?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyrite.core.cards import RewardCard
from pyrite.core.types import FloatArray, Image, Prompt, Scores
from pyrite.world.parser import ParsedScene, parse_batch
from pyrite.world.prompts import LOCALITIES, Requirement, locality_holds, requirements
from pyrite.world.scenes import MAX_OBJECTS, SIZE_PX, Pixels, SceneObject

BROKEN_RELATION_FACTOR = 0.25
RELATION_SLACK_PX = 0.5
_BATCH = 64
_RMSE_FLOOR, _RMSE_SCALE = 0.025, 0.035
_BLOCK_FLOOR, _BLOCK_SCALE = 0.06, 0.08
_OVERLAP_SCALE_PX = 3.0
_FRAGMENT_FACTOR, _STRANGER_FACTOR = 0.9, 0.6


@dataclass(frozen=True)
class GoldScores:
    """Two judgements of N images, each (N,) in [0, 1]; NaN where the prompt is not of this world.

    Args:
        alignment: how far the prompt is satisfied.
        realism: how well the best-fitting scene explains the pixels.
        reasons: row -> why it is NaN.
    """

    alignment: FloatArray
    realism: FloatArray
    reasons: dict[int, str]

    @property
    def gold(self) -> FloatArray:
        """Their product."""
        return self.alignment * self.realism


def gold_scores(images: Pixels, prompts: Sequence[Prompt]) -> GoldScores:
    """Judge (N, 64, 64, 3) images in [0, 1], image i for prompt i.

    Raises:
        ValueError: another shape, or not as many prompts as images.
    """
    _check_pairs(len(images), len(prompts))
    alignment, realism = np.full(len(images), np.nan), np.full(len(images), np.nan)
    reasons: dict[int, str] = {}
    for start in range(0, len(images), _BATCH):
        for row, parsed in enumerate(parse_batch(images[start : start + _BATCH]), start):
            try:
                alignment[row] = alignment_score(parsed, prompts[row])
            except ValueError as error:
                reasons[row] = str(error)
            else:
                realism[row] = realism_score(parsed)
    return GoldScores(alignment, realism, reasons)


def _check_pairs(num_images: int, num_prompts: int) -> None:
    if num_images != num_prompts:
        raise ValueError(f"{num_images} images and {num_prompts} prompts: repeat the prompt for each of its images.")


def alignment_score(parsed: ParsedScene, prompt: Prompt) -> float:
    """How far the objects found are the objects asked for, in [0, 1].

    (m / max(n_req, n_det)) ** 2 with m required objects found (shape and, where named, colour; one to one), n_req
    required and n_det coloured regions as large as an object; a quarter of it if a spatial relation is asked for and
    does not hold. Three of four right earn 0.56, one of two 0.25, none 0.

    Raises:
        ValueError: the prompt is not of this world.
    """
    needs = _checked_requirements(prompt)
    free, matched = list(parsed.scene.objects), list[SceneObject]()
    # Named colours choose first: what they can take is a subset of what a bare shape can take.
    for need in sorted(needs, key=lambda need: need.colour is None):
        taken = [item for item in free if item.shape == need.shape and need.colour in (None, item.colour)][: need.count]
        free = [item for item in free if item not in taken]
        matched += taken
    num_required = sum(need.count for need in needs)
    score = (len(matched) / max(num_required, parsed.num_found, 1)) ** 2
    return score if _relation_holds(prompt, matched) else BROKEN_RELATION_FACTOR * score


def _checked_requirements(prompt: Prompt) -> tuple[Requirement, ...]:
    needs = requirements(prompt)
    if not needs:
        raise ValueError(
            f"the prompt '{prompt.text}' names no objects in its field 'nouns', so nothing says what it asks for. "
            "Use prompts of the pocket world, or a gold reward of your own."
        )
    if prompt.spatial_info is not None and prompt.spatial_info.get("locality") not in LOCALITIES:
        raise ValueError(
            f"the pocket world has no relation '{prompt.spatial_info.get('locality')}' (prompt '{prompt.text}'); "
            f"it has {', '.join(LOCALITIES)}."
        )
    return needs


def _relation_holds(prompt: Prompt, objects: Sequence[SceneObject]) -> bool:
    """Whether some pair of the matched objects stands as the prompt says, within the parser's precision."""
    relation = prompt.spatial_info
    if relation is None:
        return True
    right = {"left of": 1, "right of": -1}.get(relation["locality"], 0)
    down = {"above": 1, "below": -1}.get(relation["locality"], 0)
    return any(
        locality_holds(
            relation["locality"], (a.x, a.y), (b.x + right * RELATION_SLACK_PX, b.y + down * RELATION_SLACK_PX)
        )
        for a in objects
        for b in objects
        if (a.shape, b.shape) == (relation["obj1"], relation["obj2"])
    )


def realism_score(parsed: ParsedScene) -> float:
    """How well the best-fitting scene explains the pixels, in [0, 1].

    A product of exponentials of what is unexplained over the whole picture and in its worst blocks, both beyond what a
    decoder's softness costs, of how far objects overlap, and factors for coloured regions that are no object of the
    world and for objects beyond the fourth.
    """
    unexplained = (
        max(0.0, parsed.rmse - _RMSE_FLOOR) / _RMSE_SCALE
        + max(0.0, parsed.block_rmse - _BLOCK_FLOOR) / _BLOCK_SCALE
        + parsed.overlap_px / _OVERLAP_SCALE_PX
    )
    num_strangers = parsed.num_misfits + max(0, parsed.num_found - MAX_OBJECTS)
    return math.exp(-unexplained) * _FRAGMENT_FACTOR**parsed.num_fragments * _STRANGER_FACTOR**num_strangers


class PocketGold:
    """Gold of 64x64 RGB images: alignment times realism, in [0, 1]."""

    card = RewardCard(
        name="pocket-gold",
        summary="The picture shows what the prompt asks for, and the world's renderer could have drawn it.",
        range=(0.0, 1.0),
        reads_prompt=True,
        deterministic=True,
        revision="1",
        licence="Apache-2.0",
    )

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i; an image of another size or mode is unscored."""
        num = len(images)
        _check_pairs(num, len(prompts))
        reasons = {row: why for row, image in enumerate(images) if (why := _unreadable(image))}
        rows = [row for row in range(num) if row not in reasons]
        alignment, realism = np.full(num, np.nan), np.full(num, np.nan)
        if rows:
            pixels = np.stack([np.asarray(images[row], np.float32) for row in rows]) / np.float32(255)
            judged = gold_scores(pixels, [prompts[row] for row in rows])
            alignment[rows], realism[rows] = judged.alignment, judged.realism
            reasons |= {rows[k]: why for k, why in judged.reasons.items()}
        return Scores(alignment * realism, reasons, {"gold_alignment": alignment, "gold_realism": realism})


def _unreadable(image: Image) -> str:
    if image.size != (SIZE_PX, SIZE_PX) or image.mode != "RGB":
        return (
            f"the pocket world is drawn in {SIZE_PX}x{SIZE_PX} RGB and this image is {image.size[0]}x{image.size[1]} "
            f"{image.mode}: resizing or converting would change what gold measures."
        )
    return ""

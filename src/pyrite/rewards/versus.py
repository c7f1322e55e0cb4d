"""How much better an image is than an earlier one of the same prompt, by any reward.

Training against a fixed earlier image takes away what a prompt brings along: some prompts score high whoever draws
them. The ArtifactReward code base does this for HPSv2 alone and encodes the prompt again for each image
(`HPSv2Compare`); here the earlier image is scored once and remembered.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError
from pyrite.core.protocols import Reward
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.weights import file_sha256
from pyrite.rewards.images import check_pairs

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


@dataclass(frozen=True)
class VersusReward:
    """Scores an image by another reward, minus what that reward gives the earlier image of the same prompt.

    0 where both are equally good; the range is that of all differences. Details: `image` and `baseline`, the two
    scores. An image is unscored where either of the two is, or where its prompt has no earlier image.

    Args:
        card: what it claims; made by `versus`.
        reward: the reward that scores both.
        baselines: prompt id -> the earlier image, or the file it is in.
    """

    card: RewardCard
    reward: Reward
    baselines: Mapping[str, Image | Path]
    _remembered: dict[tuple[str, str], float | str] = field(default_factory=dict, repr=False)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i against the earlier image whose name is the id of prompt i."""
        check_pairs(images, prompts)
        passing = self._remember(prompts)
        found = self.reward.score(images, prompts)
        reasons, transient = dict(found.reasons), set(found.transient)
        baseline = np.full(len(images), np.nan)
        for row, prompt in enumerate(prompts):
            key = (prompt.id, prompt.text)
            known = passing[key] if key in passing else self._remembered[key]
            if not isinstance(known, str):
                baseline[row] = known
            elif row not in reasons:
                reasons[row] = known
                transient |= {row} if key in passing else set()
        details = {"image": found.values, "baseline": baseline}
        return Scores(found.values - baseline, reasons, details, frozenset(transient))

    def _remember(self, prompts: Sequence[Prompt]) -> dict[tuple[str, str], str]:
        """Score the earlier images that were not asked for before, all in one call.

        Returns:
            Why the others have no score this time; the next call asks for them again.
        """
        images: list[Image] = []
        of_images: list[Prompt] = []
        for key, prompt in {(prompt.id, prompt.text): prompt for prompt in prompts}.items():
            if key in self._remembered:
                continue
            image = self._earlier(prompt)
            if isinstance(image, str):
                self._remembered[key] = image
            else:
                images.append(image)
                of_images.append(prompt)
        passing: dict[tuple[str, str], str] = {}
        if not images:
            return passing
        scores = self.reward.score(images, of_images)
        for row, prompt in enumerate(of_images):
            why = scores.reasons.get(row)
            told = float(scores.values[row]) if why is None else f"the earlier image of prompt '{prompt.id}': {why}"
            if row in scores.transient:
                passing[prompt.id, prompt.text] = str(told)
            else:
                self._remembered[prompt.id, prompt.text] = told
        return passing

    def _earlier(self, prompt: Prompt) -> Image | str:
        """The earlier image of a prompt, or why there is none."""
        if not prompt.id:
            return f"the prompt '{prompt.text}' has no id, and the earlier image is the one named after it"
        earlier = self.baselines.get(prompt.id)
        if earlier is None:
            return f"there is no earlier image of prompt '{prompt.id}'"
        if not isinstance(earlier, Path):
            return earlier
        try:
            with PIL.Image.open(earlier) as image:
                image.load()
                return image
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
            return f"the earlier image of prompt '{prompt.id}' cannot be read from {earlier}: {error}"


def versus(reward: Reward, baseline: str | Path | Mapping[str, Image | str | Path]) -> VersusReward:
    """Score images against earlier ones: `versus(load_reward("hpsv2.1"), "base_images").score(images, prompts)`.

    Args:
        reward: any reward.
        baseline: a folder of images, each called as the id of its prompt (`17.png`), or id -> image or file.

    Raises:
        RewardError: there is no such folder, it holds no image, or two images in it have one name.
    """
    baselines = (
        _in_folder(Path(baseline))
        if isinstance(baseline, str | Path)
        else {name: Path(image) if isinstance(image, str) else image for name, image in baseline.items()}
    )
    of, (low, high) = reward.card, reward.card.range
    hashes = {name: _content_hash(image) for name, image in sorted(baselines.items())}
    card = RewardCard(
        name="versus",
        summary=f"The image is better than an earlier one of its prompt, by {of.name}.",
        range=(low - high, high - low),
        reads_prompt=True,
        deterministic=of.deterministic,
        revision=hashlib.sha256(json.dumps([of.store_key, hashes]).encode()).hexdigest()[:12],
        upstream=of.upstream,
        licence=of.licence,
        cites=of.cites,
        options={"reward": of.name},
        preprocessing=of.preprocessing,
        dtype=of.dtype,
    )
    return VersusReward(card, reward, baselines)


def load_versus(
    weights: str | Path | None = None, *, reward: str = "", baseline: str | Path = "", **options: Any
) -> VersusReward:
    """A registered reward against a folder of earlier images: in a recipe, `name: versus` with these options.

    Args:
        weights: for the reward that scores both.
        reward: its name.
        baseline: folder of images, each called as the id of its prompt.
        options: for its factory.

    Raises:
        RewardError: `reward` or `baseline` is missing, or the folder cannot be used.
        UnknownNameError: no reward of that name.
    """
    from pyrite.rewards.catalogue import REWARDS

    if not (reward and baseline):
        raise RewardError(
            f"versus compares by a reward with earlier images, and here reward='{reward}' and baseline='{baseline}'. "
            "Say both: {name: versus, options: {reward: hpsv2.1, baseline: folder_of_images}}"
        )
    given = {} if weights is None else {"weights": weights}
    return versus(REWARDS.load(reward)(**given, **options), baseline)


def _in_folder(folder: Path) -> dict[str, Image | Path]:
    if not folder.is_dir():
        raise RewardError(
            f"there is no folder of earlier images at {folder.absolute()}. Name one whose images are called as the "
            "ids of their prompts, such as 17.png."
        )
    found: dict[str, Image | Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.stem in found:
            raise RewardError(
                f"{folder} holds {found[path.stem]} and {path}, both for prompt '{path.stem}': nobody can tell which "
                "one to compare with. Remove one."
            )
        found[path.stem] = path
    if not found:
        raise RewardError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}), so nothing can be compared.")
    return found


def _content_hash(image: Image | Path) -> str:
    if isinstance(image, Path):
        return file_sha256(image) if image.is_file() else "missing"
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()

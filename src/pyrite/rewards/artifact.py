"""Artifact score from an image classifier: the probability that nothing is broken in the picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.weights import checkpoint_revision, resolve_checkpoint
from pyrite.rewards.images import check_pairs
from pyrite.rewards.loading import choose_device, choose_dtype, dtype_name, load_model
from pyrite.rewards.pixels import PixelPreparation, Preparation, run_on_images

CLEAN_LABEL = "clean"


@dataclass(frozen=True)
class ArtifactClassifierReward:
    """Scores an image alone: P(no artifact) in [0, 1], so that higher is better.

    Details: the probability of every label under the label's own name, `clean` and the kinds of artifact, where a
    higher number means more of that kind.

    Args:
        card: what it claims.
        model: a transformers image classifier with one label "clean".
        preparation: its image preprocessing.
        batch_size: images per forward pass.
    """

    card: RewardCard
    model: Any
    preparation: Preparation
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score the images; the prompts are not read."""
        check_pairs(images, prompts)
        probabilities, reasons = run_on_images(
            self._classify,
            images,
            preparation=self.preparation,
            num_outputs=self.model.config.num_labels,
            batch_size=self.batch_size,
            device=self.model.device,
        )
        labels: dict[int, str] = self.model.config.id2label
        details = {name: probabilities[:, index].astype(np.float64) for index, name in labels.items()}
        return Scores(details[CLEAN_LABEL], reasons, details)

    def _classify(self, pixels: Tensor, _: Sequence[int]) -> Tensor:
        probabilities: Tensor = self.model(pixel_values=pixels.to(self.model.dtype)).logits.float().softmax(-1)
        return probabilities


def load_artifact(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
) -> ArtifactClassifierReward:
    """A pocket image classifier that tells clean images from broken ones.

    Args:
        weights: a folder, or the name of a pocket checkpoint; None for the one shipped.
        config: laid over the folder's config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images per forward pass.

    Raises:
        CheckpointError: the folder is missing or damaged, or its classifier has no label "clean".
    """
    from transformers import AutoModelForImageClassification

    folder = resolve_checkpoint(weights or "artifact-pocket")
    model = load_model(AutoModelForImageClassification, folder, config=config, dtype=choose_dtype(dtype))
    labels = list(model.config.id2label.values())
    if labels.count(CLEAN_LABEL) != 1 or len(labels) < 2:
        raise CheckpointError(
            f"{folder}: the classifier's labels are {', '.join(labels)}; an artifact model needs exactly one called "
            f"'{CLEAN_LABEL}' and at least one other, or nobody knows which direction is good. Set id2label."
        )
    card = RewardCard(
        name="artifact-pocket",
        summary="Probability that the image has no artifact.",
        range=(0.0, 1.0),
        reads_prompt=False,
        revision=checkpoint_revision(weights or "artifact-pocket"),
        preprocessing="folder/1",
        dtype=dtype_name(model.dtype),
    )
    model = model.to(choose_device(device))
    return ArtifactClassifierReward(card, model, PixelPreparation.load(folder), batch_size)

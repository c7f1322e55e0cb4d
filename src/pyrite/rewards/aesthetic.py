"""Aesthetic score in the form of LAION's predictor: a small head on the unit image embedding of a CLIP tower.

The head is one linear layer (LAION v1) or a stack of them, with or without ReLU between (v2 is five without).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.weights import checkpoint_revision, resolve_checkpoint
from pyrite.rewards.loading import choose_device, load_model, read_json
from pyrite.rewards.pixels import PixelPreparation, check_pairs, run_on_images

_BETWEEN: dict[str, type[nn.Module]] = {"none": nn.Identity, "relu": nn.ReLU}


@dataclass(frozen=True)
class AestheticReward:
    """Scores an image alone: the head's output, unbounded, on the scale of the ratings it was trained on.

    Args:
        card: what it claims.
        tower: a transformers `CLIPVisionModelWithProjection`.
        head: unit embedding (M, E) -> (M, 1).
        preparation: the tower's image preprocessing.
        batch_size: images per forward pass.
    """

    card: RewardCard
    tower: Any
    head: nn.Module
    preparation: PixelPreparation
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score the images; the prompts are not read."""
        check_pairs(images, prompts)
        outputs, reasons = run_on_images(
            self._rate,
            images,
            preparation=self.preparation,
            num_outputs=1,
            batch_size=self.batch_size,
            device=self.tower.device,
        )
        return Scores(outputs[:, 0].astype(np.float64), reasons)

    def _rate(self, pixels: Tensor) -> Tensor:
        rating: Tensor = self.head(F.normalize(self.tower(pixel_values=pixels).image_embeds.float(), dim=-1))
        return rating


def load_aesthetic(
    name_or_path: str | Path = "aesthetic-pocket", *, device: str = "auto", batch_size: int = 64
) -> AestheticReward:
    """Load a CLIP image tower with an aesthetic head.

    Raises:
        CheckpointError: the folder is missing or damaged, holds another architecture, or has no head that fits.
    """
    from transformers import CLIPVisionModelWithProjection

    folder = resolve_checkpoint(name_or_path)
    place = choose_device(device)
    tower = load_model(CLIPVisionModelWithProjection, folder, model_type="clip_vision_model").to(place)
    head = _load_head(folder, tower.config.projection_dim).to(place)
    card = RewardCard(
        name=folder.name,
        summary="The image is pleasant to look at, whatever its prompt.",
        range=(-math.inf, math.inf),
        reads_prompt=False,
        revision=checkpoint_revision(name_or_path),
        cites=("arXiv:2210.08402",),
    )
    return AestheticReward(card, tower, head, PixelPreparation.load(folder), batch_size)


def _load_head(folder: Path, embedding_width: int) -> nn.Module:
    config = read_json(folder / "head_config.json")
    widths, between = config.get("widths"), config.get("activation")
    if not isinstance(widths, list) or widths[:1] != [embedding_width] or widths[-1:] != [1] or between not in _BETWEEN:
        raise CheckpointError(
            f"{folder}/head_config.json: widths {widths} and activation '{between}' do not describe a head for this "
            f"tower. Widths start with its embedding, {embedding_width}, and end with 1; activation is "
            f"{' or '.join(_BETWEEN)}."
        )
    layers = nn.ModuleList(nn.Linear(wide, narrow) for wide, narrow in itertools.pairwise(widths))
    path = folder / "head.safetensors"
    try:
        tensors = load_file(path)
        layers.load_state_dict({name.removeprefix("layers."): tensor.float() for name, tensor in tensors.items()})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"no aesthetic head could be read from {path}: {error}. It holds layers.K.weight and layers.K.bias for "
            f"the widths in head_config.json. Rebuild it: pyrite world build --only {folder.name}"
        ) from error
    stack: list[nn.Module] = []
    for layer in layers:
        stack += [layer, _BETWEEN[between]()]
    return nn.Sequential(*stack[:-1]).eval().requires_grad_(False)

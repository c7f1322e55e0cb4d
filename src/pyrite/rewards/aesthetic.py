"""Aesthetic score in the form of LAION's predictor: a small head on the unit image embedding of a CLIP tower.

The head is one linear layer (LAION v1) or a stack of them, with or without ReLU between (v2 is five without, so an
affine map too). The tower of both published heads is OpenAI's ViT-L/14 with its QuickGELU; recent versions of open_clip
load it with another activation and only warn, so scores made with them are off.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
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
from pyrite.records.published import find_file
from pyrite.records.weights import checkpoint_revision, resolve_checkpoint
from pyrite.rewards.clip_published import VIT_L_14
from pyrite.rewards.clip_weights import load_clip_vision
from pyrite.rewards.images import check_pairs
from pyrite.rewards.loading import (
    choose_device,
    choose_dtype,
    dtype_name,
    files_revision,
    linear_stack,
    load_model,
    read_json,
    read_tensors,
    require_fit,
)
from pyrite.rewards.measured import parity_error
from pyrite.rewards.pixels import PixelPreparation, Preparation, run_on_images
from pyrite.rewards.preprocessing import openai_pixels

_BETWEEN: dict[str, type[nn.Module]] = {"none": nn.Identity, "relu": nn.ReLU}

# Linear layers of the published heads: their place in the file, and the widths between the embedding and the score.
_V1_LAYERS, _V1_WIDTHS = ("",), ()
_V2_LAYERS, _V2_WIDTHS = ("layers.0.", "layers.2.", "layers.4.", "layers.6.", "layers.7."), (1024, 128, 64, 16)


@dataclass(frozen=True)
class AestheticReward:
    """Scores an image alone: the head's output, unbounded, on the scale of the ratings it was trained on.

    Args:
        card: what it claims.
        tower: a transformers `CLIPVisionModelWithProjection`, in any precision.
        head: unit embedding (M, E) -> (M, 1), in float32.
        preparation: the tower's image preprocessing.
        batch_size: images per forward pass.
    """

    card: RewardCard
    tower: Any
    head: nn.Module
    preparation: Preparation
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

    def _rate(self, pixels: Tensor, _: Sequence[int]) -> Tensor:
        embedding = self.tower(pixel_values=pixels.to(self.tower.dtype)).image_embeds
        rating: Tensor = self.head(F.normalize(embedding.float(), dim=-1))
        return rating


def load_aesthetic(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
) -> AestheticReward:
    """A pocket CLIP image tower with an aesthetic head.

    Args:
        weights: a folder, or the name of a pocket checkpoint; None for the one shipped.
        config: laid over the folder's config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the tower: float32 (None), bfloat16 or float16.
        batch_size: images per forward pass.

    Raises:
        CheckpointError: the folder is missing or damaged, holds another architecture, or has no head that fits.
    """
    from transformers import CLIPVisionModelWithProjection

    folder = resolve_checkpoint(weights or "aesthetic-pocket")
    place = choose_device(device)
    tower = load_model(
        CLIPVisionModelWithProjection, folder, model_type="clip_vision_model", config=config, dtype=choose_dtype(dtype)
    ).to(place)
    head = _load_pocket_head(folder, tower.config.projection_dim).to(place)
    card = RewardCard(
        name="aesthetic-pocket",
        summary="The image is pleasant to look at, whatever its prompt.",
        range=(-math.inf, math.inf),
        reads_prompt=False,
        revision=checkpoint_revision(weights or "aesthetic-pocket"),
        cites=("arXiv:2210.08402",),
        preprocessing="folder/1",
        dtype=dtype_name(tower.dtype),
    )
    return AestheticReward(card, tower, head, PixelPreparation.load(folder), batch_size)


def load_aesthetic_v1(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    tower: str | Path | None = None,
) -> AestheticReward:
    """LAION's first aesthetic predictor: one linear layer on ViT-L/14; about 1 to 10, typically 4 to 7.

    Args:
        weights: sa_0_4_vit_l_14_linear.pth or its folder; None for where it lies on this disk.
        config: dimensions of a tiny test model, as in transformers' or open_clip's configuration.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the tower: float32 (None), bfloat16 or float16; the head is always float32.
        batch_size: images per forward pass.
        tower: folder of openai/clip-vit-large-patch14, or a file of its tensors in transformers' or OpenAI's names;
            None for beside the weights, or where it lies on this disk.

    Raises:
        CheckpointError: a file is missing, damaged, needs code to be read, or is another model's.
    """
    return _load_published(
        "aesthetic-v1",
        weights,
        config,
        device,
        dtype,
        batch_size,
        tower,
        layers=_V1_LAYERS,
        widths=_V1_WIDTHS,
        upstream="LAION-AI/aesthetic-predictor@6d122ad",
        licence="MIT",
    )


def load_aesthetic_v2(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    tower: str | Path | None = None,
) -> AestheticReward:
    """The improved aesthetic predictor (DDPO and Flow-GRPO train on it): five linear layers, typically 4 to 7.

    Args:
        weights: sac+logos+ava1-l14-linearMSE.pth or its folder; None for where it lies on this disk.
        config: dimensions of a tiny test model, as in transformers' or open_clip's configuration.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the tower: float32 (None), bfloat16 or float16; the head is always float32.
        batch_size: images per forward pass.
        tower: as for `load_aesthetic_v1`; the two share it while both are in use.

    Raises:
        CheckpointError: a file is missing, damaged, needs code to be read, or is another model's.
    """
    return _load_published(
        "aesthetic-v2",
        weights,
        config,
        device,
        dtype,
        batch_size,
        tower,
        layers=_V2_LAYERS,
        widths=_V2_WIDTHS,
        upstream="christophschuhmann/improved-aesthetic-predictor@6934dd8",
        licence="Apache-2.0",
    )


def _load_published(
    name: str,
    weights: str | Path | None,
    config: Mapping[str, Any] | None,
    device: str,
    dtype: str | None,
    batch_size: int,
    tower: str | Path | None,
    *,
    layers: tuple[str, ...],
    widths: tuple[int, ...],
    upstream: str,
    licence: str,
) -> AestheticReward:
    head_path = find_file(name, "weights", weights)
    tower_path = Path(tower) if tower and Path(tower).is_file() else find_file(name, "tower", tower or weights)
    place = choose_device(device)
    vision = load_clip_vision(name, tower_path, VIT_L_14, config, place, choose_dtype(dtype))
    head = load_head(name, head_path, (vision.config.projection_dim, *widths, 1), layers).to(place)
    card = RewardCard(
        name=name,
        summary="The image is pleasant to look at, whatever its prompt.",
        range=(-math.inf, math.inf),
        reads_prompt=False,
        revision=files_revision([head_path, tower_path]),
        upstream=upstream,
        parity_error=parity_error(name, dtype_name(vision.dtype)),
        licence=licence,
        cites=("arXiv:2210.08402",),
        preprocessing="openai/1",
        dtype=dtype_name(vision.dtype),
    )
    return AestheticReward(card, vision, head, openai_pixels, batch_size)


def load_head(name: str, path: Path, widths: Sequence[int], layers: Sequence[str]) -> nn.Sequential:
    """The linear layers of a published head, with nothing between them, in float32.

    Args:
        name: of the reward, for messages.
        path: of the file.
        widths: from the embedding to 1.
        layers: how the names of each layer's tensors begin in the file.

    Raises:
        CheckpointError: the file is damaged or does not hold exactly these layers.
    """
    stack = linear_stack(*widths)
    homes = {f"{layer}{kind}": f"{index}.{kind}" for index, layer in enumerate(layers) for kind in ("weight", "bias")}
    own = stack.state_dict()
    tensors = read_tensors(path)
    require_fit(name, path, tensors, {theirs: own[ours] for theirs, ours in homes.items()})
    stack.load_state_dict({ours: tensors[theirs].float() for theirs, ours in homes.items()})
    return stack.eval().requires_grad_(False)


def _load_pocket_head(folder: Path, embedding_width: int) -> nn.Module:
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

"""The pocket detector: an OWL-ViT that learns from rendered scenes where each shape and each coloured shape is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrite.core.types import Prompt
from pyrite.world.build.clip import clip_optimiser, new_clip, normalise, save_processor
from pyrite.world.build.optimisers import trapezoid
from pyrite.world.build.vq import Device, Progress
from pyrite.world.corruptions import corrupt
from pyrite.world.prompts import random_scene
from pyrite.world.scenes import COLOURS, MAX_OBJECTS, SHAPES, SIZE_PX, SceneObject, extent, render, to_uint8
from pyrite.world.vocabulary import PROMPT_TOKENS, clip_tokenizer

if TYPE_CHECKING:
    from transformers import OwlViTForObjectDetection

PHRASES = (*SHAPES, *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES))
BATCH = 48
DAMAGED_FRAC = 0.2
DAMAGE = ("noise", "mosaic", "smear", "blotch", "warp")
# Distance in cells of the token grid from a cell to the centre of an object: nearer ones are the object's, and between
# the two distances it may say what it likes.
OWN_CELLS, FREE_CELLS = 0.75, 1.3
_FOCUS = 1.5
_BOX_WEIGHT, _CORNER_WEIGHT = 3.0, 1.0


@dataclass(frozen=True)
class Layouts:
    """Pictures with the boxes of what is in them.

    Args:
        images: (N, 3, 64, 64) bytes.
        boxes: (N, 4, 4) corners (left, top, right, bottom) in parts of the image; 0 where there is no object.
        phrases: (N, 4, 2) numbers in `PHRASES` of the shape and of the coloured shape; -1 where there is no object.
    """

    images: Tensor
    boxes: Tensor
    phrases: Tensor

    def split(self, num_held_out: int) -> "tuple[Layouts, Layouts]":
        """All but the last `num_held_out` pictures, and those."""
        parts = [
            tensor.tensor_split([len(tensor) - num_held_out]) for tensor in (self.images, self.boxes, self.phrases)
        ]
        return Layouts(*(part[0] for part in parts)), Layouts(*(part[1] for part in parts))


def draw_layouts(prompts: Sequence[Prompt], seed: int) -> Layouts:
    """One scene for each prompt; a fifth of the pictures are slightly damaged."""
    rng = np.random.default_rng(seed)
    images = np.empty((len(prompts), SIZE_PX, SIZE_PX, 3), np.uint8)
    boxes = np.zeros((len(prompts), MAX_OBJECTS, 4), np.float32)
    phrases = np.full((len(prompts), MAX_OBJECTS, 2), -1, np.int64)
    for row, prompt in enumerate(prompts):
        scene = random_scene(prompt, rng)
        picture = render(scene)
        if rng.random() < DAMAGED_FRAC:
            picture = corrupt(picture, DAMAGE[rng.integers(len(DAMAGE))], rng.uniform(0.1, 0.5), rng)
        images[row] = to_uint8(picture)
        for k, item in enumerate(scene.objects):
            boxes[row, k] = box_of(item)
            phrases[row, k] = PHRASES.index(item.shape), PHRASES.index(f"{item.colour} {item.shape}")
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Layouts(pictures, torch.from_numpy(boxes), torch.from_numpy(phrases))


def box_of(item: SceneObject) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of an object in parts of the image, its shadow not included."""
    left, top, right, bottom = (
        min(max((centre + reach * item.radius + 0.5) / SIZE_PX, 0.0), 1.0)
        for centre, reach in zip((item.x, item.y) * 2, extent(item.shape), strict=True)
    )
    return left, top, right, bottom


def new_detector() -> "OwlViTForObjectDetection":
    """An untrained detector of the pocket CLIP's size."""
    from transformers import OwlViTConfig, OwlViTForObjectDetection

    towers = new_clip().config
    shapes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    text = {key: getattr(towers.text_config, key) for key in (*shapes, "vocab_size", "pad_token_id", "bos_token_id")}
    vision = {key: getattr(towers.vision_config, key) for key in (*shapes, "image_size", "patch_size")}
    config = OwlViTConfig(
        text_config={
            **text,
            "eos_token_id": towers.text_config.eos_token_id,
            "max_position_embeddings": PROMPT_TOKENS + 2,
        },
        vision_config=vision,
        projection_dim=towers.projection_dim,
    )
    model = OwlViTForObjectDetection(config)
    # The library draws these heads so wide that every box begins at the edge of the image, where nothing is learnt.
    heads = [*model.box_head.modules(), *model.class_head.modules()]
    for layer in (module for module in heads if isinstance(module, nn.Linear)):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    for layer in (model.box_head.dense2, model.class_head.logit_scale, model.class_head.logit_shift):
        nn.init.normal_(layer.weight, std=0.002)
    nn.init.constant_(model.class_head.logit_scale.bias, 9.0)
    nn.init.constant_(model.class_head.logit_shift.bias, -0.5)
    nn.init.ones_(model.layer_norm.weight)
    return model


def take_towers(model: "OwlViTForObjectDetection", clip: Any) -> None:
    """Begin with the towers of a contrastively trained CLIP, as OWL-ViT does."""
    given = {
        f"owlvit.{key.replace('pre_layrnorm', 'pre_layernorm')}": tensor for key, tensor in clip.state_dict().items()
    }
    own = model.state_dict()
    model.load_state_dict({key: tensor for key, tensor in given.items() if key in own}, strict=False)


def train_detector(
    clip: Any, layouts: Layouts, *, steps: int, seed: int, progress: Progress, device: Device = "cpu"
) -> "OwlViTForObjectDetection":
    """Train on all phrases at once: every cell near the centre of an object learns its names and its box.

    Unlike OWL-ViT's, the assignment is fixed (a cell answers for the object whose centre is near), which needs no
    matching and hundreds of steps instead of many thousands.
    """
    torch.manual_seed(seed)
    model = new_detector()
    take_towers(model, clip)
    model.train().to(device)
    optimiser = clip_optimiser(model, muon_lr=4e-3, adamw_lr=1.5e-3)
    ids = phrase_ids()
    owner, cells = cells_of(layouts.boxes, layouts.phrases[..., 0] >= 0, model.num_patches_height)
    for step in range(steps):
        rows = torch.randint(0, len(layouts.images), (BATCH,))
        logits, boxes = look(model, layouts.images[rows], ids)
        own = cells[rows] <= OWN_CELLS
        ignored = ~own & (cells[rows] < FREE_CELLS)
        names = layouts.phrases[rows].gather(1, owner[rows][..., None].expand(-1, -1, 2)).clamp(min=0)
        labels = torch.zeros(logits.shape).scatter_(2, names, own[..., None].expand(-1, -1, 2).float()).to(device)
        corners = layouts.boxes[rows].gather(1, owner[rows][..., None].expand(-1, -1, 4))[own].to(device)
        naming = (
            F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            * (labels - logits.sigmoid()).abs().detach() ** _FOCUS
        )
        placing = _CORNER_WEIGHT * (1 - generalised_iou(boxes[own.to(device)], corners)).mean()
        placing = placing + _BOX_WEIGHT * (boxes[own.to(device)] - by_centre(corners)).abs().sum(-1).mean()
        loss = (naming * ~ignored[..., None].to(device)).sum() / own.sum() + placing
        optimiser.step(loss, trapezoid(step, steps, decay_from=0.4))
        if step % 25 == 0:
            progress(step, steps, {"loss": loss.item()})
    return model.eval()


def phrase_ids() -> dict[str, Tensor]:
    """Token ids and mask of all `PHRASES`."""
    batch = clip_tokenizer()(list(PHRASES), padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def look(model: "OwlViTForObjectDetection", images: Tensor, ids: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(B, 64, P) logits of P phrases, and (B, 64, 4) boxes by centre and size, for bytes."""
    grid, _ = model.image_embedder(pixel_values=normalise(images.to(model.device)))
    cells = grid.flatten(1, 2)
    pooled = model.owlvit.text_model(**{name: column.to(model.device) for name, column in ids.items()}).pooler_output
    queries = F.normalize(model.owlvit.text_projection(pooled), dim=-1)
    logits, _ = model.class_predictor(cells, queries[None].expand(len(images), -1, -1))
    return logits, model.box_predictor(cells, grid)


def cells_of(boxes: Tensor, is_there: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """(N, side ** 2) number of the object nearest to each cell, and how many cells its centre is away (sup norm)."""
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    middles = (torch.arange(side) + 0.5) / side
    grid = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), -1).flatten(0, 1)
    distance = (grid - centres[:, :, None]).abs().amax(-1) * side
    nearest = distance.masked_fill(~is_there[..., None], torch.inf).min(1)
    return nearest.indices, nearest.values


def by_centre(corners: Tensor) -> Tensor:
    """(..., 4) boxes by corners -> by centre and size."""
    return torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)


def generalised_iou(boxes: Tensor, corners: Tensor) -> Tensor:
    """(M,) generalised intersection over union (arXiv:1902.09630) of boxes by centre and boxes by corners."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    shared = (torch.minimum(high, corners[:, 2:]) - torch.maximum(low, corners[:, :2])).clamp(min=0).prod(-1)
    union = boxes[:, 2:].prod(-1) + (corners[:, 2:] - corners[:, :2]).prod(-1) - shared
    hull = (torch.maximum(high, corners[:, 2:]) - torch.minimum(low, corners[:, :2])).prod(-1)
    return shared / union - (hull - union) / hull


@torch.no_grad()
def detection_quality(model: Any, layouts: Layouts, threshold: float) -> dict[str, float]:
    """Share of the phrases that are there and found, and of those that are not there and found all the same."""
    ids = phrase_ids()
    best = torch.cat([look(model, part, ids)[0].sigmoid().amax(1).cpu() for part in layouts.images.split(256)])
    shown = torch.zeros(best.shape, dtype=torch.bool)
    named = layouts.phrases.flatten(1)
    rows = torch.arange(len(named))[:, None].expand_as(named)
    shown[rows[named >= 0], named[named >= 0]] = True
    found = best > threshold
    return {
        "phrases_found": found[shown].double().mean().item(),
        "phrases_imagined": found[~shown].double().mean().item(),
    }


def save_detector(model: Any, folder: Path) -> None:
    """Write the checkpoint folder that `rewards/detector.py` loads, weights in half precision."""
    model.half().save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    save_processor(folder)

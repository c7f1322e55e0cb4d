"""Contrastive pre-training of a pocket CLIP: what makes preference models from a few thousand noisy pairs possible."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from pyrite.core.types import Prompt
from pyrite.world.build.optimisers import MuonAdamW, trapezoid
from pyrite.world.build.vq import Device, Progress
from pyrite.world.prompts import near_miss
from pyrite.world.vocabulary import PROMPT_TOKENS, clip_tokenizer

if TYPE_CHECKING:
    from transformers import CLIPModel

BATCH = 128
NEAR_MISSES, NEAR_MISSES_PER_STEP = 4, 2
WIDTH = 64
IMAGE_MEAN, IMAGE_STD = (0.8, 0.8, 0.8), (0.2, 0.2, 0.2)
_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": PROMPT_TOKENS + 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "projection_dim": WIDTH,
}
_VISION = {
    "hidden_size": 96,
    "intermediate_size": 288,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "image_size": 64,
    "patch_size": 8,
    "projection_dim": WIDTH,
}


def new_clip() -> "CLIPModel":
    """An untrained `CLIPModel` of 0.6 M parameters."""
    from transformers import CLIPConfig, CLIPModel

    text = {**_TEXT, "vocab_size": len(clip_tokenizer())}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=WIDTH))


def text_ids(texts: list[str]) -> dict[str, Tensor]:
    """Token ids and mask, padded to one length so that rows can be picked by index."""
    batch = clip_tokenizer()(texts, padding="max_length", return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def normalise(images: Tensor) -> Tensor:
    """(B, 3, 64, 64) bytes -> the pixel values of the image processor that ships with the model."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    return (images.float() / 255 - mean) / std


def embed_images(model: Any, images: Tensor) -> Tensor:
    """(B, D) unit image embeddings of bytes."""
    features = model.visual_projection(
        model.vision_model(pixel_values=normalise(images.to(model.device))).pooler_output
    )
    return F.normalize(features, dim=-1)


def embed_texts(model: Any, ids: dict[str, Tensor]) -> Tensor:
    """(B, D) unit text embeddings."""
    ids = {name: column.to(model.device) for name, column in ids.items()}
    return F.normalize(model.text_projection(model.text_model(**ids).pooler_output), dim=-1)


def clip_optimiser(model: nn.Module, *, muon_lr: float, adamw_lr: float) -> MuonAdamW:
    """Muon on the transformers' matrices, AdamW on embeddings, projections, norms and biases."""
    named = list(model.named_parameters())
    is_matrix = [weight.ndim == 2 and ".layers." in name for name, weight in named]
    return MuonAdamW(
        [weight for (_, weight), matrix in zip(named, is_matrix, strict=True) if matrix],
        [weight for (_, weight), matrix in zip(named, is_matrix, strict=True) if not matrix],
        muon_lr=muon_lr,
        adamw_lr=adamw_lr,
    )


def train_clip(
    images: Tensor,
    prompts: Sequence[Prompt],
    *,
    steps: int,
    seed: int,
    progress: Progress,
    device: Device = "cpu",
) -> "CLIPModel":
    """InfoNCE on (N, 3, 64, 64) bytes and N prompts, with near misses of each prompt among the texts.

    Without them a few hundred steps learn little more than which colours are there; with them (as NegCLIP, Yuksekgonul
    et al. 2023, arXiv 2210.01936) shapes, numbers and places count. Equal texts in a batch are not each other's
    negatives.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = new_clip().train().to(device)
    optimiser = clip_optimiser(model, muon_lr=1e-2, adamw_lr=2e-3)
    ids = [text_ids([prompt.text for prompt in prompts])]
    ids += [text_ids([near_miss(prompt, rng).text for prompt in prompts]) for _ in range(NEAR_MISSES)]
    target = torch.arange(BATCH, device=device)
    own = torch.arange(BATCH)
    for step in range(steps):
        rows = torch.randint(0, len(images), (BATCH,))
        chosen = [ids[0], *(ids[k] for k in 1 + torch.randperm(NEAR_MISSES)[:NEAR_MISSES_PER_STEP])]
        batch = {name: torch.cat([column[name][rows] for column in chosen]) for name in ids[0]}
        cosines = embed_images(model, images[rows]) @ embed_texts(model, batch).T
        same = (batch["input_ids"][:BATCH, None] == batch["input_ids"][None]).all(-1)
        same[own, own] = False
        logits = (model.logit_scale.exp().clamp(max=100) * cosines).masked_fill(same.to(device), -1e4)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits[:, :BATCH].T, target)) / 2
        optimiser.step(loss, trapezoid(step, steps, decay_from=0.3))
        if step % 25 == 0:
            accuracy = (logits.argmax(1) == target).float().mean().item()
            progress(step, steps, {"loss": loss.item(), "accuracy": accuracy})
    return model.eval()


@torch.no_grad()
def retrieval_quality(model: Any, images: Tensor, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Accuracy of picking the right one of the distinct texts for each image."""
    texts = [prompt.text for prompt in prompts]
    distinct = sorted(set(texts))
    target = torch.tensor([distinct.index(text) for text in texts])
    cosines = embed_images(model, images) @ embed_texts(model, text_ids(distinct)).T
    accuracy = (cosines.argmax(1).cpu() == target).float().mean().item()
    return {"retrieval_accuracy": accuracy, "of_texts": float(len(distinct))}


def save_clip(model: Any, folder: Path) -> None:
    """Write the checkpoint folder that `rewards/clip.py` loads, weights in half precision."""
    model.half().save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    save_processor(folder)


def save_processor(folder: Path, size_px: int = 64) -> None:
    """Write the `preprocessor_config.json` of a pocket reward; larger sizes repeat pixels."""
    from transformers import CLIPImageProcessorPil

    CLIPImageProcessorPil(
        size={"shortest_edge": size_px},
        crop_size={"height": size_px, "width": size_px},
        resample=Image.Resampling.BICUBIC if size_px == 64 else Image.Resampling.NEAREST,
        image_mean=list(IMAGE_MEAN),
        image_std=list(IMAGE_STD),
    ).save_pretrained(folder)

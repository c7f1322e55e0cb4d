"""Pictures rated by the gold reward: what annotators see, and how good tokeniser, decoder and policy are."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyrite.core.protocols import Policy
from pyrite.core.types import Prompt
from pyrite.world.build import vq
from pyrite.world.build.proxies import GROUP, RatedPool
from pyrite.world.corruptions import CORRUPTIONS, corrupt
from pyrite.world.gold import gold_scores
from pyrite.world.prompts import random_scene, sample_prompts, spoil
from pyrite.world.scenes import Pixels, render, to_uint8

SEEN_BY_ARTIFACT_MODEL = ("noise", "blur", "stripes", "mosaic", "smear", "blotch", "warp", "erase")
SEEN_BY_ANNOTATORS = ("noise", "mosaic", "smear", "blotch", "burn")
VISIBLE_RMS = 0.035
_QUALITY_PROMPTS = 300


def rate_pixels(images: Tensor, prompts: list[Prompt]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Gold alignment and realism, each (N,), of (N, 3, 64, 64) bytes."""
    scores = gold_scores((images.permute(0, 2, 3, 1).float() / 255).numpy(), prompts)
    return np.asarray(scores.alignment), np.asarray(scores.realism)


def to_bytes(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] as bytes on the CPU."""
    return (pixels.clamp(0, 1) * 255 + 0.5).to("cpu", torch.uint8)


@torch.no_grad()
def through_teacher(teacher: Any, codes: Tensor) -> Tensor:
    """(N, 3, 64, 64) bytes of codes drawn by the teacher network."""
    parts = [vq.from_cells(vq.decode(teacher, vq.latents_of(teacher, part))) for part in codes.split(250)]
    return torch.cat([to_bytes(part) for part in parts])


@torch.no_grad()
def reconstruct(network: Any, images: Tensor, *, native: bool) -> Tensor:
    """(N, 3, 64, 64) bytes read and drawn again by a tokeniser."""
    codes = vq.encode_all(network, images, native=native)
    if not native:
        return through_teacher(network, codes)
    parts = [(vq.decode(network, vq.latents_of(network, part)) + 1) / 2 for part in codes.split(50)]
    return torch.cat([to_bytes(part) for part in parts])


def clean_pictures(prompts: list[Prompt], rng: np.random.Generator) -> Tensor:
    """(N, 3, 64, 64) bytes of renders that satisfy their prompts."""
    array = np.stack([to_uint8(render(random_scene(prompt, rng))) for prompt in prompts])
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def reconstruction_quality(network: Any, seed: int, *, native: bool) -> dict[str, float]:
    """Gold of reconstructed clean renders of evaluation prompts, which no part trains on."""
    prompts = sample_prompts("eval", _QUALITY_PROMPTS, seed + 7)
    images = clean_pictures(prompts, np.random.default_rng([seed, 7]))
    drawn = reconstruct(network, images, native=native)
    alignment, realism = rate_pixels(drawn, prompts)
    rmse = ((drawn.float() - images.float()) / 255).square().mean().sqrt().item()
    return {"rmse": rmse, "alignment": float(alignment.mean()), "realism": float(realism.mean())}


def draw(policy: Policy, prompts: list[Prompt], per_prompt: int, seed: int, batch: int = 16) -> Tensor:
    """(P * per_prompt, 3, 64, 64) bytes drawn by a policy, grouped by prompt."""
    rows = []
    for start in range(0, len(prompts), batch):
        chosen = prompts[start : start + batch]
        rngs = [np.random.default_rng([seed, start + k]) for k in range(len(chosen))]
        images = policy.sample(chosen, group_size=per_prompt, rngs=rngs).images
        rows.append(torch.from_numpy(np.stack([np.asarray(image) for image in images])))
    return torch.cat(rows).permute(0, 3, 1, 2).contiguous()


def policy_quality(policy: Policy, seed: int) -> dict[str, float]:
    """Gold of one sample for each of 300 prompts of the RL split."""
    prompts = sample_prompts("rl", _QUALITY_PROMPTS, seed + 8)
    alignment, realism = rate_pixels(draw(policy, prompts, 1, seed + 8), prompts)
    return {
        "alignment": float(alignment.mean()),
        "realism": float(realism.mean()),
        "gold": float((alignment * realism).mean()),
    }


def rate(
    policy: Policy, native: Any, *, policy_prompts: int, rendered_prompts: int, seed: int, progress: vq.Progress
) -> RatedPool:
    """Four pictures for each prompt: samples of the base policy, then renders (right, spoiled, damaged)."""
    prompts = sample_prompts("rl", policy_prompts + rendered_prompts, seed + 5)
    drawn = []
    for start in range(0, policy_prompts, 32):
        progress(start, policy_prompts, {})
        drawn.append(draw(policy, prompts[start : min(start + 32, policy_prompts)], GROUP, seed + 1000 + start))
    rng = np.random.default_rng([seed, 5])
    rendered = [_annotated(prompt, k, rng) for prompt in prompts[policy_prompts:] for k in range(GROUP)]
    pictures = torch.from_numpy(np.stack(rendered)).permute(0, 3, 1, 2).contiguous()
    pictures[::2] = reconstruct(native, pictures[::2], native=True)  # or "rendered" could be told from "drawn"
    images = torch.cat([*drawn, pictures])
    alignment, realism = rate_pixels(images, [prompt for prompt in prompts for _ in range(GROUP)])
    from_policy = np.arange(len(images)) < policy_prompts * GROUP
    return RatedPool(images, prompts, alignment, realism, from_policy)


def _annotated(prompt: Prompt, index: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    picture = render(random_scene(prompt, rng) if index < GROUP // 2 else spoil(prompt, rng))
    if rng.random() < 0.35:
        kind = SEEN_BY_ANNOTATORS[rng.integers(len(SEEN_BY_ANNOTATORS))]
        picture = corrupt(picture, kind, rng.uniform(0.1, 0.6), rng)
    return to_uint8(picture)


def artifact_pictures(native: Any, num: int, seed: int) -> tuple[Tensor, Tensor]:
    """`num` clean and `num` damaged renders, every second one seen through the tokeniser; (2 num,) labels."""
    rng = np.random.default_rng([seed, 6])
    prompts = sample_prompts("rl", 2 * num, seed + 6)
    pictures = []
    for index, prompt in enumerate(prompts):
        picture = render(random_scene(prompt, rng))
        pictures.append(to_uint8(picture if index < num else visibly_damaged(picture, SEEN_BY_ARTIFACT_MODEL, rng)))
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    images[::2] = reconstruct(native, images[::2], native=True)
    order = torch.from_numpy(rng.permutation(2 * num))
    return images[order], (torch.arange(2 * num) < num)[order]


def visibly_damaged(picture: Pixels, kinds: Sequence[str], rng: np.random.Generator) -> Pixels:
    """The picture with damage that can be seen: a hole or a smear in empty background is no artifact."""
    while True:
        kind = kinds[int(rng.integers(len(kinds)))]
        damaged = corrupt(picture, kind, rng.uniform(0.3, 1.0), rng)
        if np.sqrt(np.square(damaged - picture).mean()) >= VISIBLE_RMS:
            return damaged


def unseen_damage(seed: int, num: int = 200) -> Tensor:
    """Renders with the kinds of damage that the artifact model never saw in training."""
    rng = np.random.default_rng([seed, 9])
    kinds = [kind for kind in CORRUPTIONS if kind not in SEEN_BY_ARTIFACT_MODEL]
    prompts = sample_prompts("eval", num, seed + 9)
    array = [to_uint8(visibly_damaged(render(random_scene(prompt, rng)), kinds, rng)) for prompt in prompts]
    return torch.from_numpy(np.stack(array)).permute(0, 3, 1, 2).contiguous()


def save(pool: RatedPool, folder: Path) -> None:
    """Write a pool as arrays and JSON lines."""
    np.savez(
        folder / "pool.npz",
        images=pool.images.numpy(),
        alignment=pool.alignment,
        realism=pool.realism,
        from_policy=pool.from_policy,
    )
    lines = [json.dumps(prompt.to_json()) + "\n" for prompt in pool.prompts]
    (folder / "prompts.jsonl").write_text("".join(lines))


def load(folder: Path) -> RatedPool:
    """Read what `save` wrote."""
    arrays = np.load(folder / "pool.npz", allow_pickle=False)
    lines = (folder / "prompts.jsonl").read_text().splitlines()
    return RatedPool(
        torch.from_numpy(arrays["images"]),
        [Prompt.from_json(json.loads(line)) for line in lines],
        arrays["alignment"],
        arrays["realism"],
        arrays["from_policy"],
    )

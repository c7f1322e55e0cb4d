"""How fast a reward scores, beside the plain loop over single images that it replaces, and how much memory it keeps.

Both are measured in one process on the same images and weights, so that a busy or slow machine slows both.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from pyrite.core.errors import RewardError
from pyrite.core.protocols import Reward
from pyrite.core.types import FloatArray, Image, Prompt

SUBJECTS = ("a red fox", "an old lighthouse", "two glass bottles", "a crowded market", "a paper boat", "a blue piano")
PLACES = ("in deep snow", "on a wooden table", "under a stormy sky", "at night, lit by lanterns", "seen from above")
BF16_PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bfloat16 operations per second, without sparsity, from NVIDIA's data sheets (SXM forms of H100 and A100)."""

Batch = tuple[list[Image], list[Prompt]]
Texts = Callable[[int, int], list[str]]
"""Seed and number -> so many prompts."""

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells a process its peak memory, and where writing 5 makes it start again from what is held now."""


@dataclass(frozen=True)
class Throughput:
    """What was measured; higher is better but for the difference.

    Args:
        num_images: in the batch.
        num_prompts: distinct ones among them.
        images_per_second: of the batch in one call, the prompts new to the reward; the fastest round.
        loop_images_per_second: of the plain loop, one image and one prompt at a time; the fastest round.
        max_difference: largest absolute difference of the two scores of an image, over the images of the loop.
        loop_images: how many images the loop was given.
    """

    num_images: int
    num_prompts: int
    images_per_second: float
    loop_images_per_second: float
    max_difference: float
    loop_images: int

    @property
    def ratio(self) -> float:
        """How many times as fast the batch is."""
        return self.images_per_second / self.loop_images_per_second


@dataclass(frozen=True)
class MemoryUse:
    """How the peak memory of this process grew while images were streamed through a reward.

    Args:
        num_images: in all.
        early_bytes: the peak after the first tenth of them.
        final_bytes: the peak after the last.
    """

    num_images: int
    early_bytes: int
    final_bytes: int

    @property
    def growth_frac(self) -> float:
        """Growth over the last nine tenths, as a part of the early peak: 0 where memory stays flat."""
        return (self.final_bytes - self.early_bytes) / self.early_bytes


def photo_texts(seed: int, num: int) -> list[str]:
    """`num` prompts that no other seed has."""
    return [
        f"{SUBJECTS[k % len(SUBJECTS)]} {PLACES[k // len(SUBJECTS) % len(PLACES)]}, photograph number {seed}-{k}"
        for k in range(num)
    ]


def grpo_batch(num_prompts: int, images_per_prompt: int, size_px: int, seed: int, texts: Texts = photo_texts) -> Batch:
    """Images and prompts as a step of GRPO brings them: each prompt repeated, rows grouped by prompt.

    The images are coloured clouds of the given side; every one differs. `texts` gives the prompts of a seed, for
    rewards that know few words.
    """
    rng = np.random.default_rng(seed)
    prompts = [_described(text) for text in texts(seed, num_prompts) for _ in range(images_per_prompt)]
    return [_clouds(rng, size_px) for _ in prompts], prompts


def measure(
    fast: Reward,
    plain: Reward,
    batches: Sequence[Batch],
    *,
    loop_images: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Throughput:
    """Time one call on the whole batch against one call per image.

    Args:
        fast: scores the batch.
        plain: scores the images one by one; the same weights, in float32, reading prompts as official codes do.
        batches: of N images with prompts that are in no other; the first warms up, each further one is a round.
        loop_images: how many of each batch, evenly spread, the loop is given.
        clock: in seconds.

    Raises:
        RewardError: an image could not be scored; how fast that fails is no measure of speed.
    """
    (first_images, first_prompts), rounds = batches[0], batches[1:]
    num = len(first_images)
    rows = np.linspace(0, num - 1, min(loop_images, num)).round().astype(int).tolist()
    for reward in (fast, plain):
        if reasons := reward.score(first_images[:1], first_prompts[:1]).reasons:
            raise RewardError(
                f"the reward '{reward.card.name}' ({reward.card.dtype}) could not score an image of the benchmark: "
                f"{reasons[0]}. How fast it fails is no measure of speed. Try another --dtype or --size."
            )
    batch_seconds, loop_seconds = [], []
    difference = 0.0
    for images, prompts in rounds:
        start = clock()
        batch = fast.score(images, prompts).values
        batch_seconds.append(clock() - start)
        start = clock()
        alone: FloatArray = np.array([plain.score([images[row]], [prompts[row]]).values[0] for row in rows])
        loop_seconds.append(clock() - start)
        difference = max(difference, float(np.abs(batch[rows] - alone).max()))
    return Throughput(
        num_images=num,
        num_prompts=len({prompt.text for prompt in first_prompts}),
        images_per_second=num / min(batch_seconds),
        loop_images_per_second=len(rows) / min(loop_seconds),
        max_difference=difference,
        loop_images=len(rows),
    )


def measure_memory(
    reward: Reward, num_images: int, *, batch: int, size_px: int, seed: int = 0, texts: Texts = photo_texts
) -> MemoryUse:
    """Stream images through a reward, a batch at a time, and watch the peak memory of the process.

    Args:
        reward: any.
        num_images: in all; every batch has images and prompts of its own.
        batch: images per call.
        size_px: their side.
        seed: of the images.
        texts: gives the prompts, see `grpo_batch`.

    Raises:
        RewardError: this system does not let a process forget its earlier peak, which would hide any growth below it.
    """
    _forget_peak()
    early = 0
    for start in range(0, num_images, batch):
        num = min(batch, num_images - start)
        reward.score(*grpo_batch(num, 1, size_px, seed + start, texts))
        if not early and start + num >= num_images / 10:
            early = peak_memory_bytes()
    return MemoryUse(num_images, early, peak_memory_bytes())


def count_flops(call: Callable[[], object]) -> int:
    """Operations of the matrix products in a call of torch code; a multiplication with its addition counts two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def peak_flops(chip: str) -> float | None:
    """Dense bfloat16 operations per second of a chip by its maker's data sheet; None for one not listed."""
    return next((peak for name, peak in BF16_PEAK.items() if name in chip), None)


def peak_memory_bytes() -> int:
    """The most memory this process has held since it began, or since `measure_memory` began."""
    with STATUS.open(encoding="utf-8") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _described(text: str) -> Prompt:
    """The prompt with its subject as metadata, for rewards that read that alone: "red fox" of "a red fox in ..."."""
    words = text.split()
    subject = " ".join(words[1:3]) or text
    return Prompt(text, nouns=(subject,), attr_nouns=(" ".join(words[:3]) or text,))


def _forget_peak() -> None:
    try:
        FORGET.write_text("5", encoding="utf-8")
    except OSError as error:
        raise RewardError(
            f"the peak of this process's memory cannot be reset ({error}), so what was held before would hide what "
            "streaming adds. Measure memory on Linux, or leave --stream out."
        ) from error


def _clouds(rng: np.random.Generator, size_px: int) -> Image:
    coarse = PIL.Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    return coarse.resize((size_px, size_px), PIL.Image.Resampling.BICUBIC)

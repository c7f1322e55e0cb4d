import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.evaluation.throughput import (
    MemoryUse,
    Throughput,
    count_flops,
    grpo_batch,
    measure,
    measure_memory,
    peak_flops,
    peak_memory_bytes,
)


class Timed:
    """Takes a second for each call and a tenth for each image, on a clock of its own; remembers what it was asked."""

    card = RewardCard(name="timed", summary="Time.", range=(0.0, 1.0), reads_prompt=True, revision="1")

    def __init__(self, offset: float = 0.0) -> None:
        self.offset, self.now = offset, 0.0
        self.asked: list[list[str]] = []

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        self.asked.append([prompt.text for prompt in prompts])
        self.now += 1 + 0.1 * len(images)
        return Scores(np.array([np.asarray(image).mean() for image in images]) + self.offset)


def held(num_bytes: int) -> mmap.mmap:
    """Memory in use, asked of the system itself: an allocator may keep what is freed and hand it out again."""
    memory = mmap.mmap(-1, num_bytes)
    memory.write(b"x" * num_bytes)
    return memory


def test_a_grpo_batch_repeats_each_prompt_for_its_images_and_no_image() -> None:
    images, prompts = grpo_batch(3, 4, 32, seed=0)
    assert [prompt.text for prompt in prompts] == [prompts[4 * k].text for k in range(3) for _ in range(4)]
    assert len({prompt.text for prompt in prompts}) == 3
    assert len({image.tobytes() for image in images}) == 12
    assert {image.size for image in images} == {(32, 32)}


def test_speed_and_ratio_are_those_of_the_clock() -> None:
    """A call costs 1 s and an image 0.1 s: 20 images take 3 s in one call, and 1.1 s each in the loop."""
    timed = Timed()
    batches = [grpo_batch(4, 5, 8, seed) for seed in range(4)]
    found = measure(timed, timed, batches, loop_images=10, clock=lambda: timed.now)
    assert found.images_per_second == pytest.approx(20 / 3)
    assert found.loop_images_per_second == pytest.approx(1 / 1.1)
    assert found.ratio == pytest.approx(20 / 3 * 1.1)
    assert (found.num_images, found.num_prompts, found.loop_images) == (20, 4, 10)


def test_the_batch_of_every_seed_has_prompts_of_its_own() -> None:
    fast = Timed()
    measure(fast, Timed(), [grpo_batch(2, 2, 8, seed) for seed in range(4)], loop_images=2)
    rounds = [set(texts) for texts in fast.asked]
    assert len(rounds) == 4
    assert all(not earlier & later for row, earlier in enumerate(rounds) for later in rounds[row + 1 :])


def test_the_difference_is_the_largest_between_batch_and_loop() -> None:
    found = measure(Timed(offset=0.25), Timed(), [grpo_batch(2, 2, 8, seed) for seed in range(2)], loop_images=4)
    assert found.max_difference == pytest.approx(0.25)


def test_a_reward_that_cannot_score_has_no_speed() -> None:
    class Failing(Timed):
        def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
            return Scores.unscored(len(images), "overflow")

    with pytest.raises(RewardError, match=r"'timed' \(float32\) could not score .*: overflow. How fast it fails"):
        measure(Timed(), Failing(), [grpo_batch(2, 2, 8, seed) for seed in range(2)], loop_images=2)


def test_streaming_gives_every_image_once_in_batches() -> None:
    timed = Timed()
    use = measure_memory(timed, 25, batch=10, size_px=8)
    assert [len(texts) for texts in timed.asked] == [10, 10, 5]
    assert use.num_images == 25
    assert 0 < use.early_bytes <= use.final_bytes == peak_memory_bytes()


def test_a_reward_that_keeps_its_images_is_seen_to_grow() -> None:
    class Hoarding(Timed):
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[mmap.mmap] = []

        def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
            self.kept.append(held(60_000_000))
            return super().score(images, prompts)

    # The first of ten batches has its 60 MB before the early measurement; nine more follow.
    use = measure_memory(Hoarding(), 100, batch=10, size_px=8)
    assert use.final_bytes - use.early_bytes > 8.5 * 60_000_000
    assert use.growth_frac > 0


def test_what_was_held_before_does_not_hide_growth() -> None:
    before = held(400_000_000)
    high = peak_memory_bytes()
    before.close()
    assert measure_memory(Timed(), 10, batch=10, size_px=8).final_bytes < high - 300_000_000


def test_a_system_that_cannot_forget_its_peak_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrite.evaluation.throughput.FORGET", tmp_path / "absent" / "clear_refs")
    with pytest.raises(RewardError, match=r"cannot be reset .* leave --stream out"):
        measure_memory(Timed(), 10, batch=10, size_px=8)


def test_growth_is_a_part_of_the_early_peak() -> None:
    assert MemoryUse(10, early_bytes=200, final_bytes=250).growth_frac == 0.25


def test_a_matrix_product_counts_two_operations_for_each_multiplication() -> None:
    assert count_flops(lambda: torch.zeros(3, 4) @ torch.zeros(4, 5)) == 2 * 3 * 4 * 5


def test_the_peak_of_a_chip_is_known_by_its_name_or_not_at_all() -> None:
    assert peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("NVIDIA L40S") == 362e12
    assert peak_flops("x86_64") is None


def test_the_ratio_says_how_many_times_as_fast() -> None:
    assert Throughput(8, 2, 30.0, 5.0, 0.0, 8).ratio == 6

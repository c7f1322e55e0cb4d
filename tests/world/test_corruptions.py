import numpy as np
import pytest

from pyrite.world.corruptions import CORRUPTIONS, corrupt
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import render


@pytest.fixture(scope="module")
def image():
    return render(random_scene(sample_prompts("rl", 6, 0)[-1], np.random.default_rng(0)))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_no_severity_is_no_damage(kind, image):
    damaged = corrupt(image, kind, 0, np.random.default_rng(1))
    assert np.array_equal(damaged, image)
    assert damaged is not image


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_damage_repeats_with_its_generator(kind, image):
    first, second = (corrupt(image, kind, 0.7, np.random.default_rng(2)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_damage_leaves_its_input_alone_and_stays_in_range(kind, image):
    before = image.copy()
    damaged = corrupt(image, kind, 1.0, np.random.default_rng(3))
    assert np.array_equal(image, before)
    assert (damaged.shape, damaged.dtype) == (image.shape, np.float32)
    assert damaged.min() >= 0
    assert damaged.max() <= 1


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_more_severe_is_farther_from_the_original(kind, image):
    rngs = [[np.random.default_rng([4, k]) for k in range(12)] for _ in range(2)]
    mild, severe = (
        np.mean([np.abs(corrupt(image, kind, severity, rng) - image).mean() for rng in row])
        for severity, row in zip((0.2, 1.0), rngs, strict=True)
    )
    assert 0 < mild < severe

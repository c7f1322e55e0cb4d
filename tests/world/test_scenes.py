import numpy as np
import pytest

from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import (
    COLOURS,
    MAX_OBJECTS,
    MAX_RADIUS,
    MIN_RADIUS,
    SHAPES,
    TEXTURES,
    Background,
    Scene,
    SceneObject,
    coverage,
    random_background,
    render,
    render_background,
    shadow,
    signed_distance,
    texture_pattern,
    to_uint8,
)

PLAIN = Background((0.88, 0.88, 0.88), (0.0, 0.0))


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(0)
    return [random_scene(prompt, rng) for prompt in sample_prompts("eval", 300, 0)]


def test_objects_keep_apart(scenes):
    for scene in scenes:
        for k, a in enumerate(scene.objects):
            for b in scene.objects[:k]:
                assert np.hypot(a.x - b.x, a.y - b.y) > 1.15 * (a.radius + b.radius)


def test_no_object_or_shadow_leaves_the_picture(scenes):
    for scene in scenes:
        image, paper = render(scene), np.clip(render_background(scene.background), 0, 1)
        changed = np.abs(image - paper).max(2) > 0.3
        frame = np.concatenate([changed[0], changed[-1], changed[:, 0], changed[:, -1]])
        assert not frame.any()


def test_scenes_stay_within_the_worlds_bounds(scenes):
    assert {len(scene.objects) for scene in scenes} == set(range(1, MAX_OBJECTS + 1))
    items = [item for scene in scenes for item in scene.objects]
    assert {item.shape for item in items} == set(SHAPES)
    assert {item.colour for item in items} == set(COLOURS)
    assert all(MIN_RADIUS <= item.radius <= MAX_RADIUS for item in items)
    assert {scene.background.texture for scene in scenes} == set(TEXTURES)


def test_pictures_are_float32_in_the_unit_range(scenes):
    image = render(scenes[0])
    assert (image.shape, image.dtype) == ((64, 64, 3), np.float32)
    assert image.min() >= 0
    assert image.max() <= 1


def test_rendering_is_repeatable(scenes):
    assert np.array_equal(render(scenes[0]), render(scenes[0]))


@pytest.mark.parametrize("shape", SHAPES)
def test_distance_is_negative_inside_and_grows_by_a_pixel_per_pixel(shape):
    line = np.arange(20, 40, dtype=np.float32)
    zero = np.zeros_like(line)
    assert signed_distance(shape, zero[:1], zero[:1], 9.0) < 0
    along = signed_distance(shape, zero, -line, 9.0)
    assert np.allclose(np.diff(along), 1, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_outline_scales_with_its_radius(shape):
    x, y = np.random.default_rng(0).uniform(-1.5, 1.5, (2, 200)).astype(np.float32)
    unit = signed_distance(shape, x, y, 1.0)
    assert np.allclose(signed_distance(shape, 9 * x, 9 * y, 9.0), 9 * unit, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("circle", np.pi * 0.96**2),
        ("square", 1.68**2),
        ("triangle", 1.04 * 1.88),
        ("star", 10 * 0.5 * 1.18 * 0.48 * np.sin(np.pi / 5)),
        ("cross", 4 * 0.68 * 1.02 - 0.68**2),
    ],
    ids=SHAPES,
)
def test_the_covered_area_is_that_of_the_polygon(shape, area):
    y, x = np.mgrid[-16:17, -16:17].astype(np.float32)
    covered = coverage(signed_distance(shape, x, y, 10.0)).sum()
    # Coverage from the distance rounds corners off: a few of the hundred edge pixels.
    assert covered == pytest.approx(100 * area, rel=0.02)


def test_shadows_are_grey_and_fall_to_the_lower_right():
    image = render(Scene((SceneObject("square", "blue", 31.5, 31.5, 10.0),), PLAIN))
    below, above = image[41, 34], image[20, 29]
    assert below.max() - below.min() < 1e-6
    assert below[0] < 0.8 < 0.87 < above[0]
    assert shadow(np.array([-9.0, 9.0], np.float32)).tolist() == pytest.approx([0.16, 0.0])


def test_objects_are_lit_from_the_upper_left():
    image = render(Scene((SceneObject("circle", "green", 31.5, 31.5, 10.0),), PLAIN))
    assert image[26, 26, 1] > image[31, 31, 1] > image[36, 36, 1]


@pytest.mark.parametrize("texture", TEXTURES)
def test_textures_tile(texture):
    pattern = texture_pattern(texture)
    assert np.allclose(pattern[16:], pattern[:-16], atol=1e-5)
    assert np.abs(pattern).max() <= 1


def test_backgrounds_are_light_greys():
    rng = np.random.default_rng(1)
    for _ in range(50):
        base = random_background(rng).base
        assert 0.8 < min(base) <= max(base) < 0.95
        assert max(base) - min(base) < 0.025


def test_bytes_round_to_the_nearest():
    assert to_uint8(np.array([0, 0.001, 0.5, 1], np.float32)).tolist() == [0, 0, 128, 255]

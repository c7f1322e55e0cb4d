import numpy as np
import pytest

from pyrite.world.parser import parse, parse_batch
from pyrite.world.prompts import random_scene, sample_prompts
from pyrite.world.scenes import COLOURS, SHAPES, Background, Scene, SceneObject, render

PLAIN = Background((0.88, 0.88, 0.88), (0.0, 0.0))


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    scenes = [random_scene(prompt, rng) for prompt in sample_prompts("rl", 120, 0)]
    return scenes, np.stack([render(scene) for scene in scenes])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_kind_of_object_is_recognised_at_both_ends_of_its_size(shape, colour):
    for radius in (7.0, 12.0):
        parsed = parse(render(Scene((SceneObject(shape, colour, 30.3, 33.8, radius),), PLAIN)))
        (item,) = parsed.scene.objects
        assert (item.shape, item.colour) == (shape, colour)
        # A tenth of a pixel: anti-aliasing tells an edge's place to a few grey levels in 255.
        assert np.allclose([item.x, item.y, item.radius], [30.3, 33.8, radius], atol=0.1)


def test_objects_and_background_are_found_where_they_were_drawn(drawn):
    scenes, images = drawn
    for scene, parsed in zip(scenes, parse_batch(images), strict=True):
        truth = sorted(scene.objects, key=lambda item: (item.x, item.y))
        found = sorted(parsed.scene.objects, key=lambda item: (item.x, item.y))
        assert [(item.shape, item.colour) for item in found] == [(item.shape, item.colour) for item in truth]
        places = [[(item.x, item.y, item.radius) for item in row] for row in (truth, found)]
        assert np.abs(np.subtract(*places)).max() < 0.25
        assert parsed.scene.background.texture == scene.background.texture
        assert (parsed.num_misfits, parsed.num_fragments, parsed.overlap_px) == (0, 0, 0.0)
        assert parsed.rmse < 0.01


def test_an_image_is_parsed_the_same_alone_and_in_company(drawn):
    images = drawn[1][:20].copy()
    images[::2] = (images[::2] + np.random.default_rng(1).normal(0, 0.1, images[::2].shape)).clip(0, 1)
    assert [parse(image) for image in images] == parse_batch(images)


def test_no_images_parse_to_nothing():
    assert parse_batch(np.empty((0, 64, 64, 3), np.float32)) == []


def test_an_empty_scene_has_no_objects():
    parsed = parse(render(Scene((), PLAIN)))
    assert parsed.scene.objects == ()
    assert parsed.rmse < 0.001


def test_a_shadow_is_not_an_object():
    parsed = parse(render(Scene((SceneObject("cross", "purple", 20.0, 20.0, 9.0),), PLAIN)))
    assert parsed.num_found == 1
    assert parsed.num_fragments == 0


def test_a_grey_blob_stays_in_the_residual():
    image = render(Scene((), PLAIN))
    image[20:32, 20:32] = 0.5
    parsed = parse(image)
    assert parsed.num_found == 0
    assert parsed.block_rmse > 0.2


def test_an_object_beyond_the_worlds_sizes_is_not_explained():
    clean = parse(render(Scene((SceneObject("circle", "red", 31.5, 31.5, 12.0),), PLAIN)))
    huge = parse(render(Scene((SceneObject("circle", "red", 31.5, 31.5, 20.0),), PLAIN)))
    assert clean.rmse < 0.01 < 0.1 < huge.rmse


def test_overlapping_objects_are_measured():
    items = (SceneObject("circle", "red", 26.0, 32.0, 9.0), SceneObject("circle", "blue", 39.0, 32.0, 9.0))
    # Five pixels were drawn; the hidden part of the lower circle makes it look a little smaller.
    assert 2.0 < parse(render(Scene(items, PLAIN))).overlap_px < 5.5


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 3, 64, 64), (1, 32, 32, 3)], ids=["no batch", "channels", "small"])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(N, 64, 64, 3\), got"):
        parse_batch(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [200.0, -0.5, np.nan], ids=["bytes", "negative", "nan"])
def test_values_that_are_no_colours_are_refused(value):
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\], got .* Divide bytes by 255"):
        parse_batch(np.full((1, 64, 64, 3), value, np.float32))

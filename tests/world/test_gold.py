from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from pyrite.core.types import Prompt
from pyrite.world.corruptions import CORRUPTIONS, corrupt
from pyrite.world.gold import PocketGold, gold_scores
from pyrite.world.prompts import Requirement, build_prompt, random_scene, requirements, sample_prompts, spoil
from pyrite.world.scenes import Background, Scene, SceneObject, render, to_uint8

SEVERITIES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
PLAIN = Background((0.88, 0.88, 0.88), (0.0, 0.0))
PLACES = ((15.0, 15.0), (48.0, 15.0), (15.0, 48.0), (48.0, 48.0))


@pytest.fixture(scope="module")
def clean():
    rng = np.random.default_rng(0)
    prompts = sample_prompts("rl", 250, 0) + sample_prompts("eval", 250, 0)
    return prompts, np.stack([to_uint8(render(random_scene(prompt, rng))) / np.float32(255) for prompt in prompts])


def picture(*kinds):
    return render(
        Scene(
            tuple(SceneObject(s, c, *place, 8.0) for (c, s), place in zip(kinds, PLACES, strict=False)),
            PLAIN,
        )
    )


def alignment(image, prompt):
    return gold_scores(image[None], [prompt]).alignment[0]


def test_clean_pictures_of_their_prompt_score_at_least_097(clean):
    prompts, images = clean
    assert gold_scores(images, prompts).gold.mean() >= 0.97


def test_pictures_of_other_prompts_score_near_zero(clean):
    # First without any shape in common; then any other prompt that the picture does not satisfy: 0.023 on 2026-11-21.
    prompts, images = clean
    shapes = [{need.shape for need in requirements(prompt)} for prompt in prompts]
    others = [
        next(prompts[(k + step) % 500] for step in range(1, 500) if not shapes[k] & shapes[(k + step) % 500])
        for k in range(500)
    ]
    assert gold_scores(images, others).alignment.max() == 0.0
    shuffled = [prompts[(k + 7) % 500] for k in range(500)]
    scores = gold_scores(images, shuffled).alignment
    unsatisfied = scores < 1
    assert unsatisfied.mean() > 0.9
    assert scores[unsatisfied].mean() < 0.1


def test_near_misses_score_far_below_satisfied_prompts(clean):
    rng = np.random.default_rng(3)
    prompts = clean[0][:200]
    scores = gold_scores(np.stack([render(spoil(prompt, rng)) for prompt in prompts]), prompts)
    assert scores.alignment.max() < 0.6
    assert scores.alignment.mean() < 0.3
    assert scores.realism.mean() > 0.97


FOUR_CIRCLES = build_prompt("numeracy", [Requirement("circle", "red", 4)])
STAR_LEFT_OF_CROSS = build_prompt("spatial", [Requirement("star", "red"), Requirement("cross", "blue")], "left of")


@pytest.mark.parametrize(
    ("kinds", "prompt", "expected"),
    [
        ([("red", "circle")] * 4, FOUR_CIRCLES, 1.0),
        ([("red", "circle")] * 3, FOUR_CIRCLES, 9 / 16),
        ([("red", "circle")] * 3 + [("blue", "circle")], FOUR_CIRCLES, 9 / 16),
        ([("red", "circle"), ("red", "square")], build_prompt("color", [Requirement("circle", "red")]), 1 / 4),
        ([("blue", "circle")], build_prompt("color", [Requirement("circle", "red")]), 0.0),
        ([("blue", "circle")], build_prompt("object", [Requirement("circle")]), 1.0),
        ([("red", "star"), ("blue", "cross")], STAR_LEFT_OF_CROSS, 1.0),
        ([("blue", "cross"), ("red", "star")], STAR_LEFT_OF_CROSS, 1 / 4),
        ([("red", "star")], STAR_LEFT_OF_CROSS, 1 / 16),
        ([], FOUR_CIRCLES, 0.0),
    ],
    ids=[
        *("all four", "one missing", "one of another colour", "one too many", "wrong colour", "any colour"),
        *("relation holds", "relation broken", "half of a relation", "nothing"),
    ],
)
def test_partial_credit_is_as_documented(kinds, prompt, expected):
    assert alignment(picture(*kinds), prompt) == pytest.approx(expected)


def test_a_named_colour_is_matched_before_a_bare_shape():
    prompt = Prompt(text="a circle and a red circle", nouns=("circle", "circle"), attr_nouns=("circle", "red circle"))
    assert alignment(picture(("red", "circle"), ("blue", "circle")), prompt) == 1.0


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_gold_falls_with_the_severity_of_damage(kind, clean):
    prompts, images = clean[0][:60], clean[1][:60]
    means = []
    for severity in SEVERITIES:
        rngs = [np.random.default_rng([k, 7]) for k in range(60)]
        damaged = [corrupt(image, kind, severity, rng) for image, rng in zip(images, rngs, strict=True)]
        means.append(gold_scores(np.stack(damaged), prompts).gold.mean())
    assert spearmanr(SEVERITIES, means).statistic <= -0.9
    assert means[0] > 0.97
    assert means[-1] < 0.35


def test_the_softness_of_a_decoder_costs_little(clean):
    soft = gaussian_filter(clean[1][:120], (0, 0.5, 0.5, 0))
    scores = gold_scores(soft, clean[0][:120])
    assert scores.realism.mean() > 0.95
    assert scores.realism.min() > 0.85
    assert scores.alignment.mean() > 0.97


def _flat(scene, rng):
    return render(Scene((), scene.background)) * 0 + render(scene)[int(scene.objects[0].y), int(scene.objects[0].x)]


def _empty(scene, rng):
    return render(Scene((), scene.background))


def _tiled(scene, rng):
    return np.tile(render(scene).reshape(16, 4, 16, 4, 3).mean((1, 3)), (4, 4, 1))


def _scattered_pixels(scene, rng):
    image, paper = render(scene), render(Scene((), scene.background))
    coloured = np.abs(image - paper).max(2) > 0.25
    out = np.where(coloured[..., None], paper, image)
    out.reshape(-1, 3)[rng.permutation(64 * 64)[: coloured.sum()]] = image[coloured]
    return out


def _scattered_cells(scene, rng):
    cells = render(scene).reshape(8, 8, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(64, 8, 8, 3)[rng.permutation(64)]
    return cells.reshape(8, 8, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(64, 64, 3)


def _one_huge_object(scene, rng):
    return render(replace(scene, objects=(replace(scene.objects[0], x=31.5, y=31.5, radius=26.0),)))


def _noise_of_the_same_colours(scene, rng):
    return rng.permutation(render(scene).reshape(-1, 3)).reshape(64, 64, 3)


def _gaussian_noise_of_the_same_covariance(scene, rng):
    pixels = render(scene).reshape(-1, 3).astype(float)
    drawn = rng.multivariate_normal(pixels.mean(0), np.cov(pixels.T), 64 * 64)
    return drawn.reshape(64, 64, 3).clip(0, 1).astype(np.float32)


def _blobs_of_the_same_colours(scene, rng):
    pixels = render(scene).reshape(-1, 3)
    field = gaussian_filter(rng.normal(size=(64, 64)), 3).ravel()
    return pixels[pixels.mean(1).argsort()][field.argsort().argsort()].reshape(64, 64, 3)


def _outlines_only(scene, rng):
    image, inner = render(scene), replace(scene, objects=tuple(replace(o, radius=o.radius - 3) for o in scene.objects))
    paper = render(Scene((), scene.background))
    hole = np.abs(render(inner) - paper).max(2, keepdims=True) > 0.25
    return np.where(hole, paper, image)


def _second_scene_blended_in(scene, rng):
    other = random_scene(build_prompt("object", [Requirement("cross", None, 3)]), rng)
    return (render(scene) + render(other)) / 2


def _everything_in_one_place(scene, rng):
    items = scene.objects * 3 if len(scene.objects) == 1 else scene.objects
    return render(replace(scene, objects=tuple(replace(o, x=30.0 + k * 3, y=32.0) for k, o in enumerate(items))))


def _burnt(scene, rng):
    image = render(scene)
    grey = image.mean(2, keepdims=True)
    return ((grey + (image - grey) * 3.5 - 0.5) * 2.2 + 0.5).clip(0, 1).astype(np.float32)


def _tiny(scene, rng):
    return render(replace(scene, objects=tuple(replace(o, radius=4.0) for o in scene.objects)))


@pytest.mark.parametrize(
    "attack",
    [
        _flat,
        _empty,
        _tiled,
        _scattered_pixels,
        _scattered_cells,
        _one_huge_object,
        _noise_of_the_same_colours,
        _gaussian_noise_of_the_same_covariance,
        _blobs_of_the_same_colours,
        _outlines_only,
        _second_scene_blended_in,
        _everything_in_one_place,
        _burnt,
        _tiny,
    ],
    ids=lambda attack: attack.__name__.strip("_"),
)
def test_gold_is_not_fooled(attack):
    rng = np.random.default_rng(1)
    prompts = sample_prompts("eval", 48, 1)
    images = np.stack([attack(random_scene(prompt, rng), rng) for prompt in prompts])
    assert gold_scores(images, prompts).gold.mean() < 0.05


def test_right_colours_on_the_wrong_objects_score_low():
    rng = np.random.default_rng(2)
    prompts = [
        p for p in sample_prompts("eval", 150, 2) if len({need.colour for need in requirements(p)} - {None}) == 2
    ]
    images = []
    for prompt in prompts:
        scene = random_scene(prompt, rng)
        first, second = (need.colour for need in requirements(prompt))
        swap = {first: second, second: first}
        images.append(render(replace(scene, objects=tuple(replace(o, colour=swap[o.colour]) for o in scene.objects))))
    assert len(prompts) > 30
    assert gold_scores(np.stack(images), prompts).gold.max() == 0.0


def test_extra_objects_and_overlaps_cost(clean):
    rng = np.random.default_rng(4)
    prompts = clean[0][:60]
    doubled = []
    for prompt in prompts:
        first, second = random_scene(prompt, rng), random_scene(prompt, rng)
        doubled.append(render(replace(first, objects=first.objects + second.objects)))
    assert gold_scores(np.stack(doubled), prompts).gold.mean() < 0.15


def test_pocket_gold_scores_pil_images_and_tells_both_parts(clean):
    prompts, images = clean[0][:8], clean[1][:8]
    scores = PocketGold().score([Image.fromarray(to_uint8(image)) for image in images], prompts)
    parts = gold_scores(images, prompts)
    assert np.array_equal(scores.values, parts.gold)
    assert np.array_equal(scores.details["gold_alignment"], parts.alignment)
    assert np.array_equal(scores.details["gold_realism"], parts.realism)


def test_the_card_keeps_its_word(clean):
    card = PocketGold.card
    assert (card.name, card.range, card.reads_prompt, card.deterministic) == ("pocket-gold", (0.0, 1.0), True, True)
    prompts, images = clean[0][:70], clean[1][:70]
    noisy = (images + np.random.default_rng(1).normal(0, 0.1, images.shape)).clip(0, 1).astype(np.float32)
    together = gold_scores(noisy, prompts).gold
    alone = [gold_scores(noisy[k : k + 1], prompts[k : k + 1]).gold[0] for k in range(70)]
    assert np.array_equal(together, alone)
    assert together.min() >= 0
    assert together.max() <= 1


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGB", (32, 64)), "drawn in 64x64 RGB and this image is 32x64 RGB"),
        (Image.new("L", (64, 64)), "this image is 64x64 L: resizing or converting"),
    ],
    ids=["size", "mode"],
)
def test_an_image_that_is_not_of_the_world_is_unscored(image, reason, clean):
    good = Image.fromarray(to_uint8(clean[1][0]))
    scores = PocketGold().score([image, good], [clean[0][0]] * 2)
    assert reason in scores.reasons[0]
    assert scores.values[1] > 0.97


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (Prompt(text="a photo of a zebra", nouns=("zebra",)), "has no 'zebra'"),
        (Prompt(text="a beige star", nouns=("star",), attr_nouns=("beige star",)), "no colour 'beige'"),
        (Prompt(text="a photo of a star"), "names no objects in its field 'nouns'"),
        (
            Prompt(
                text="a star next to a cross",
                nouns=("star", "cross"),
                spatial_info={"obj1": "star", "obj2": "cross", "locality": "next to"},
            ),
            "has no relation 'next to'",
        ),
    ],
    ids=["noun", "colour", "no nouns", "relation"],
)
def test_a_prompt_that_is_not_of_the_world_is_unscored(prompt, reason, clean):
    image = Image.fromarray(to_uint8(clean[1][0]))
    scores = PocketGold().score([image, image], [prompt, clean[0][0]])
    assert reason in scores.reasons[0]
    assert np.isnan(scores.details["gold_realism"][0])
    assert scores.values[1] > 0.97


def test_no_images_have_no_scores():
    assert len(PocketGold().score([], [])) == 0


def test_images_and_prompts_must_pair(clean):
    with pytest.raises(ValueError, match="2 images and 1 prompts: repeat the prompt"):
        gold_scores(clean[1][:2], clean[0][:1])
    with pytest.raises(ValueError, match="1 images and 2 prompts: repeat the prompt"):
        PocketGold().score([Image.new("RGB", (64, 64))], clean[0][:2])

import json

import numpy as np
import pytest

from pyrite.core.types import Prompt
from pyrite.world.gold import gold_scores
from pyrite.world.parser import parse_batch
from pyrite.world.prompts import (
    COLOUR_NAMES,
    HELD_OUT_PAIRS,
    LOCALITIES,
    SPLITS,
    TASK_TYPES,
    Requirement,
    build_prompt,
    in_split,
    locality_holds,
    near_miss,
    random_prompt,
    random_scene,
    requirements,
    sample_prompts,
    spoil,
    uses_held_out_pair,
)
from pyrite.world.scenes import MAX_OBJECTS, SHAPES, render


@pytest.fixture(scope="module")
def splits():
    return {split: sample_prompts(split, 600, 3) for split in SPLITS}


def test_evaluation_texts_occur_nowhere_else(splits):
    texts = {split: {prompt.text for prompt in prompts} for split, prompts in splits.items()}
    assert not texts["eval"] & (texts["rl"] | texts["pretrain"])
    assert all(in_split(prompt, "rl") for prompt in splits["pretrain"])


def test_pretraining_never_shows_a_held_out_pair(splits):
    allowed = frozenset((colour, shape) for colour in COLOUR_NAMES for shape in SHAPES) - HELD_OUT_PAIRS
    rng = np.random.default_rng(0)
    shown = {
        (item.colour, item.shape)
        for prompt in splits["pretrain"]
        for item in random_scene(prompt, rng, allowed=allowed).objects
    }
    assert shown == allowed


def test_reinforcement_learning_meets_held_out_pairs(splits):
    assert len(HELD_OUT_PAIRS) == 8
    assert sum(uses_held_out_pair(prompt) for prompt in splits["rl"]) > 60


@pytest.mark.parametrize("split", SPLITS)
def test_task_types_take_turns(split, splits):
    assert [prompt.task_type for prompt in splits[split][:12]] == [*TASK_TYPES] * 2


def test_the_same_seed_draws_the_same_prompts():
    assert sample_prompts("rl", 30, 5) == sample_prompts("rl", 30, 5)
    assert sample_prompts("rl", 30, 5) != sample_prompts("rl", 30, 6)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="no split 'test'; it has pretrain, rl, eval"):
        sample_prompts("test", 3, 0)


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_prompts_survive_json(task_type):
    rng = np.random.default_rng(1)
    for _ in range(20):
        prompt = random_prompt(rng, task_type)
        again = Prompt.from_json(json.loads(json.dumps(prompt.to_json())))
        assert again == prompt
        assert requirements(again) == requirements(prompt)


T2I_R1_KEYS = {"prompt", "task_type", "nouns", "attr_nouns", "spatial_info", "numeracy_info"}


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_prompts_have_the_keys_of_t2i_r1(task_type):
    row = random_prompt(np.random.default_rng(2), task_type).to_json()
    assert set(row) <= T2I_R1_KEYS | {"id"}
    assert row["task_type"] == task_type
    if task_type == "spatial":
        assert row["spatial_info"].keys() == {"obj1", "obj2", "locality"}
    if task_type == "numeracy":
        assert row["numeracy_info"][0].keys() == {"obj_name", "num"}


def test_requirements_say_what_the_words_say():
    needs = [Requirement("circle", "red", 2), Requirement("star", "orange")]
    prompt = build_prompt("complex", needs)
    assert prompt.text == "a photo of two red circles and an orange star"
    assert requirements(prompt) == tuple(needs)
    below = build_prompt("spatial", [Requirement("cross", "red"), Requirement("star", "blue")], "below")
    assert below.text == "a photo of a red cross below a blue star"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(text="a dog", nouns=("dog",)), "has no 'dog'"),
        (Prompt(text="a black star", nouns=("star",), attr_nouns=("black star",)), "no colour 'black'"),
    ],
    ids=["noun", "colour"],
)
def test_words_from_elsewhere_are_refused(prompt, message):
    with pytest.raises(ValueError, match=message):
        requirements(prompt)


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_satisfy_their_prompt_in_the_parsers_eyes(split, splits):
    rng = np.random.default_rng(4)
    prompts = splits[split][:90]
    images = np.stack([render(random_scene(prompt, rng)) for prompt in prompts])
    assert (gold_scores(images, prompts).alignment == 1).all()


def test_no_picture_of_a_prompt_satisfies_its_near_miss(splits):
    rng = np.random.default_rng(1)
    prompts = splits["rl"][:240]
    missed = [near_miss(prompt, rng) for prompt in prompts]
    pictures = np.stack([render(random_scene(prompt, rng)) for prompt in prompts])
    assert gold_scores(pictures, missed).alignment.max() < 1
    assert all(one.text != other.text for one, other in zip(prompts, missed, strict=True))


def test_near_misses_keep_the_task_type_and_fit_into_a_picture(splits):
    rng = np.random.default_rng(2)
    for prompt in splits["rl"]:
        missed = near_miss(prompt, rng)
        assert missed.task_type == prompt.task_type
        assert sum(need.count for need in requirements(missed)) <= MAX_OBJECTS


def test_spoiled_scenes_break_their_prompt_in_the_parsers_eyes(splits):
    rng = np.random.default_rng(5)
    prompts = splits["rl"][:120]
    scenes = [spoil(prompt, rng) for prompt in prompts]
    images = np.stack([render(scene) for scene in scenes])
    assert (gold_scores(images, prompts).alignment < 1).all()
    assert all(len(p.scene.objects) == len(s.objects) for p, s in zip(parse_batch(images), scenes, strict=True))


@pytest.mark.parametrize(
    ("locality", "second"),
    [("left of", (50.0, 30.0)), ("right of", (10.0, 30.0)), ("above", (30.0, 50.0)), ("below", (30.0, 10.0))],
    ids=LOCALITIES,
)
def test_exactly_one_relation_holds(locality, second):
    holding = [name for name in LOCALITIES if locality_holds(name, (30.0, 30.0), second)]
    assert holding == [locality]


def test_a_relation_needs_distance_and_direction():
    assert not locality_holds("left of", (30.0, 30.0), (37.0, 30.0))
    assert not locality_holds("left of", (20.0, 20.0), (32.0, 45.0))

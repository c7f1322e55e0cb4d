"""Every recipe that ships can be run as far as names, prompts and arithmetic go, and its header says what is so."""

from pathlib import Path

import pytest
import yaml

from pyrite.cli.assemble import load_prompts, refuse_unreadable_prompts
from pyrite.mitigation.transforms import parse_transform
from pyrite.policies.catalogue import POLICIES
from pyrite.records.config import load_recipe
from pyrite.records.recipe import Recipe
from pyrite.records.training_memory import (
    JANUS_PRO_1B,
    JANUS_PRO_1B_LORA,
    load_of,
    reward_bytes_of,
    training_memory,
)
from pyrite.rewards.catalogue import REWARDS

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
FULL_SIZE = [path for path in RECIPES if path.stem.startswith("janus_pro_1b")]
PROMPTS = ROOT.parent / "shared" / "data" / "prompts" / "t2i_r1_train.jsonl"
PAPER = ("hps", "gdino", "orm", "hps_gdino", "t2i_r1")


def named(path: Path) -> str:
    return path.stem


def loaded(path: Path) -> Recipe:
    return load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_every_name_in_a_recipe_is_that_of_something(path: Path) -> None:
    recipe = loaded(path)
    for term in [*recipe.rewards, *recipe.eval_rewards]:
        REWARDS.entry(term.reward or term.name)
    assert "/" in recipe.policy.name or POLICIES.entry(recipe.policy.name)
    assert recipe.name == path.stem
    for term in recipe.rewards:
        parse_transform(term.transform)


@pytest.mark.parametrize("path", FULL_SIZE, ids=named)
def test_the_prompts_of_t2i_r1_say_what_the_rewards_of_a_recipe_read(path: Path) -> None:
    if not PROMPTS.is_file():
        pytest.skip(f"{PROMPTS} is not on this machine")
    source = f"prompts.source={PROMPTS}"
    recipe = load_recipe(path, [source, f"evaluation.{source}"])
    prompts = load_prompts(recipe.prompts, 0)
    assert len(prompts) == 7223
    refuse_unreadable_prompts(recipe, prompts, prompts)


@pytest.mark.parametrize("path", FULL_SIZE, ids=named)
def test_the_memory_in_a_header_is_the_estimate(path: Path) -> None:
    text, recipe = path.read_text(), loaded(path).model_dump(mode="json")
    shape = JANUS_PRO_1B_LORA if "lora" in recipe["policy"]["options"] else JANUS_PRO_1B
    rewards = reward_bytes_of(recipe)
    assert f"# Memory     {training_memory(shape, load_of(recipe), reward_bytes=rewards)}\n" in text
    if shape is JANUS_PRO_1B:
        copies, pieces = (
            training_memory(shape, load_of(recipe, num_processes=4, shards=shards), reward_bytes=rewards).peak
            for shards in (False, True)
        )
        said = f"{copies / 1e9:.0f} GB on each of four GPUs, {pieces / 1e9:.0f} GB with fsdp2.yaml; an estimate"
        assert said in text
    assert f"pyrite train recipes/{path.name}\n" in text
    for label in ("Command", "Before", "Hardware", "Memory", "Hours"):
        assert f"\n# {label}  " in text


@pytest.mark.parametrize("setup", PAPER)
def test_a_setup_of_the_paper_differs_by_artifact_reward_alone(setup: str) -> None:
    plain, guarded = (loaded(ROOT / "recipes" / f"janus_pro_1b_{setup}{end}.yaml") for end in ("", "_artifact"))
    assert guarded.rewards[:-1] == plain.rewards
    assert guarded.rewards[-1].name == "artifact-served"
    assert guarded.model_copy(update={"name": plain.name, "rewards": plain.rewards}) == plain
    settings = plain.grpo
    assert (settings.num_generations, settings.beta, settings.learning_rate) == (8, 0.01, 1e-6)
    assert (settings.steps, plain.policy.options["cfg_scale"]) == (3000, 5.0)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "accelerate").glob("*.yaml")), ids=named)
def test_a_configuration_for_accelerate_is_one(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    settings = load_config_from_file(str(path))
    assert settings.distributed_type.value == {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero3": "DEEPSPEED"}[path.stem]
    assert settings.mixed_precision == "no"
    assert yaml.safe_load(path.read_text())["num_processes"] == 4

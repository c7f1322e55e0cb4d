import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.records.recipes import mapping, recipe

from pyrite.core.errors import RecipeError
from pyrite.records.config import (
    CheckpointConfig,
    EvaluationConfig,
    GrpoConfig,
    PolicySpec,
    PromptSource,
    Recipe,
    RewardTerm,
    config_differences,
    dump_recipe,
    load_recipe,
    resolve_recipe,
)

FULL = """
name: pocket_hack
policy: {name: janus-pocket, options: {temperature: 9e-1}}
prompts: {source: world, split: rl, num: 200}
rewards:
  - {name: hps-pocket, weight: 1, transform: standardise}
  - {name: artifact-pocket, weight: 0.5, transform: null}
aggregate: mean
eval_rewards: [pickscore-pocket]
gold: pocket-gold
grpo: {steps: 10, learning_rate: 5e-5, adam_betas: [0.9, 0.95]}
evaluation: {every: 5, prompts: {num: 7}}
checkpoint: {every: 5, keep: 1}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def problems_of(sections: dict[str, Any], *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        resolve_recipe(mapping(**sections), overrides)
    return str(caught.value).split("\n  - ")[1:]


def test_a_recipe_says_what_its_file_says_and_defaults_fill_the_rest(tmp_path: Path) -> None:
    loaded = load_recipe(write(tmp_path, FULL))
    assert (loaded.name, loaded.policy.name, loaded.aggregate, loaded.gold) == (
        "pocket_hack", "janus-pocket", "mean", "pocket-gold",
    )  # fmt: skip
    assert loaded.grpo.learning_rate == 5e-5
    assert loaded.grpo.adam_betas == (0.9, 0.95)
    assert loaded.grpo.num_generations == 8
    assert loaded.rewards[1].transform is None
    assert loaded.seed == 0


def test_a_dumped_recipe_reads_back_equal_and_also_with_plain_pyyaml(tmp_path: Path) -> None:
    loaded = load_recipe(write(tmp_path, FULL), ["name=no", "policy.options.word=1e5x", "policy.options.text='1e5'"])
    text = dump_recipe(loaded)
    assert load_recipe(write(tmp_path, text)) == loaded
    assert yaml.safe_load(text) == loaded.model_dump(mode="json")
    assert loaded.policy.options["text"] == "1e5"


def test_every_key_of_a_recipe_is_explained() -> None:
    for section in (Recipe, RewardTerm, PolicySpec, PromptSource, GrpoConfig, EvaluationConfig, CheckpointConfig):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        recipe().seed = 1


def test_a_bare_string_is_the_name_of_a_policy_or_a_reward() -> None:
    short = recipe()
    assert short.policy.name == "janus-pocket"
    assert (short.rewards[0].name, short.rewards[0].weight, short.rewards[0].transform) == (
        "hps-pocket", 1.0, "standardise",
    )  # fmt: skip


def test_prompts_left_out_are_those_of_training_and_of_evaluation_respectively() -> None:
    assert recipe().prompts == PromptSource(source="world", split="rl", num=2000)
    assert recipe(evaluation={"prompts": {"num": 3}}).evaluation.prompts == PromptSource(
        source="world", split="eval", num=3
    )
    assert recipe(prompts={"source": "mine.jsonl"}).prompts == PromptSource(source="mine.jsonl")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"grpo": {"num_generations": 1}},
         "num_generations = 1 gives every advantage 0: GRPO compares siblings. Set it to 2 or more (papers use 8-64)."),
        ({"grpo": {"num_generations": 0}}, "num_generations = 0 draws no images. Set it to 2 or more"),
        ({"grpo": {"steps": 0}}, "steps = 0 trains nothing. Set it to 1 or more"),
        ({"grpo": {"beta": -1}}, "grpo.beta = -1: must be 0 or more. Weight of the KL term per nat"),
        ({"grpo": {"learning_rate": 0}}, "grpo.learning_rate = 0: must be above 0. AdamW's step size"),
        ({"grpo": {"learning_rate": "fast"}}, "grpo.learning_rate = 'fast': must be a number."),
        ({"grpo": {"learning_rate": float("inf")}}, "grpo.learning_rate = inf: must be a finite number."),
        ({"grpo": {"clip_eps_low": 1.5}}, "grpo.clip_eps_low = 1.5: must be 1 or less."),
        ({"grpo": {"kl_estimator": "k4"}}, "grpo.kl_estimator = 'k4': must be 'k1', 'k2' or 'k3'."),
        ({"grpo": {"warmup_steps": 1.5}}, "grpo.warmup_steps = 1.5: must be a whole number."),
        ({"grpo": {"steps": 3, "warmup_steps": 3}}, "warmup_steps = 3 with steps = 3: the learning rate never arr"),
        ({"grpo": {"adam_betas": [0.9]}}, "adam_betas has 1 values, AdamW takes 2."),
        ({"grpo": {"adam_betas": [0.9, 1]}}, "grpo.adam_betas.1 = 1: must be below 1."),
        ({"grpo": [1]}, "grpo = [1]: must be a section of keys."),
        ({"seed": True}, "seed = True: must be a whole number."),
        ({"gold": 5}, "gold = 5: must be text."),
        ({"name": "../up"}, "name = '../up': must hold only letters"),
        ({"rewards": []}, "rewards: the list is empty, so nothing trains."),
        ({"rewards": "hps-pocket"}, "rewards = 'hps-pocket': must be a list. What trains it"),
        ({"rewards": [{"name": "a", "weight": 0}]}, "rewards: every weight is 0, so nothing trains."),
        ({"rewards": [{"name": "a", "weight": -1}]}, "rewards.0.weight = -1: must be 0 or more."),
        ({"rewards": ["a", "b", "a"]}, "rewards: 'a' is there 2 times, and scores are written down by name."),
        ({"rewards": ["gold"]}, "rewards: 'gold' is the name under which gold is written down, and gold never"),
        ({"rewards": ["g"], "gold": "g"}, "gold: 'g' is also under rewards: a run that trains on gold"),
        ({"eval_rewards": ["hps-pocket"]}, "'hps-pocket' is also under rewards: a held-out reward that trains is not"),
        ({"eval_rewards": ["a", "a"]}, "eval_rewards: 'a' is there 2 times"),
        ({"eval_rewards": ["gold"]}, "eval_rewards: 'gold' is kept for gold. Name it under gold."),
        ({"rewards": [{"name": "a", "weight": 2.5}], "aggregate": "min"},
         "aggregate: aggregate = min takes the smallest reward, so the weight 2.5 of 'a' has no meaning."),
        ({"prompts": {"source": "a.jsonl", "split": "rl"}}, "prompts.split: split = 'rl' is a part of the pocket wor"),
        ({"prompts": {"split": None}}, "prompts.split: the pocket world needs a split."),
        ({"prompts": {"num": None}}, "prompts.num: the pocket world has no end of prompts"),
        ({"policy": {"options": {}}}, "policy.name: is missing. As `pyrite list policies` prints it."),
        ({"policy": {"name": "a", "options": {"day": object()}}}, "policy.options.day = <object object at"),
        ({"evaluation": None}, "evaluation = null: must be a section of keys."),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_with_the_rule_it_breaks(sections: dict[str, Any], said: str) -> None:
    found = problems_of(sections)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"grpo": {"kl_estimatr": "k3"}}, "grpo.kl_estimatr: there is no such key. Did you mean 'kl_estimator'?"),
        ({"beta": 0.1}, "beta: there is no such key. Did you mean 'grpo.beta'?"),
        ({"rewards": [{"name": "a", "wait": 1}]}, "rewards.0.wait: there is no such key. Did you mean 'weight'?"),
        ({"checkpoint": {"zzz": 1}}, "checkpoint.zzz: there is no such key. The keys here are: every, keep"),
    ],
    ids=["near", "elsewhere", "in a list", "nothing near"],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(sections: dict[str, Any], said: str) -> None:
    assert problems_of(sections) == [said]


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = "name: a\nname: b\nrewards: [x]\nseeds: 1\ngrpo: {steps: 0, num_generations: 1}\n"
    path = write(tmp_path, text)
    with pytest.raises(RecipeError, match=r"recipe\.yaml has 7 problems:") as caught:
        load_recipe(path, ["nonsense", "rewards.4.weight=1"])
    for said in (
        "name: given twice, in lines 1 and 2. Only one can hold: remove the other.",
        "--set nonsense: is not of the form a.b=c. Write for example --set grpo.beta=0.02",
        "--set rewards.4.weight=1: rewards is a list of 1, whose items are called 0 to 0, not '4'.",
        "policy: is missing. What is trained.",
        "grpo.steps: steps = 0",
        "grpo.num_generations: num_generations = 1",
        "seeds: there is no such key. Did you mean 'seed'?",
    ):
        assert f"\n  - {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("grpo.beta=0.02", "grpo.beta", 0.02),
        ("grpo.learning_rate=1e-3", "grpo.learning_rate", 0.001),
        ("rewards.0.weight=2", "rewards.0.weight", 2.0),
        ("rewards.0.transform=standardise | clip(-2, 2)", "rewards.0.transform", "standardise | clip(-2, 2)"),
        ("policy.options.scale=true", "policy.options.scale", True),
        ("policy=other", "policy.name", "other"),
        ("rewards=[a, {name: b, weight: 3}]", "rewards.1.weight", 3.0),
        ("rewards.0=a", "rewards.0.name", "a"),
        ("gold=null", "gold", None),
        ("num_threads=", "num_threads", None),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" in value else "",
)
def test_an_override_sets_what_it_names(override: str, path: str, value: object) -> None:
    found: Any = resolve_recipe(mapping(), [override]).model_dump(mode="json")
    for key in path.split("."):
        found = found[int(key) if isinstance(found, list) else key]
    assert found == value


def test_the_later_of_two_overrides_wins_and_the_mapping_stays_as_it_was() -> None:
    given = mapping(grpo={"beta": 0.5})
    assert resolve_recipe(given, ["grpo.beta=1", "grpo.beta=2"]).grpo.beta == 2
    assert given == mapping(grpo={"beta": 0.5})


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("grop.beta=1", "grop: there is no such key. Did you mean 'grpo'?"),
        ("grpo.=1", "--set grpo.=1: is not of the form a.b=c."),
        ("seed.x=1", "--set seed.x=1: seed is 3, so it has no part 'x'. Set seed as a whole."),
        ("rewards.one.weight=1", "rewards is a list of 1, whose items are called 0 to 0, not 'one'."),
        ("rewards=[", "--set rewards=[: the value is not YAML"),
        ("grpo={beta: 1, beta: 2}", "--set grpo={beta: 1, beta: 2}: beta: given twice"),
        ("rewrds.0.weight=1", "rewrds: there is no such key. Did you mean 'rewards'?"),
    ],
    ids=lambda value: "" if ":" in value and "{" not in value else value,
)
def test_an_override_that_leads_nowhere_says_so(override: str, said: str) -> None:
    assert any(said in problem for problem in problems_of({"seed": 3}, override))


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"  - 1: a key must be text\. Write it in quotes\."):
        resolve_recipe({**mapping(), 1: 2})  # type: ignore[dict-item]


@pytest.mark.parametrize("value", [None, [1], "x"], ids=["empty", "list", "text"])
def test_a_recipe_without_keys_is_refused(value: Any) -> None:
    with pytest.raises(RecipeError, match=r"where its keys should be\. Write lines such as"):
        resolve_recipe(value)


def test_a_file_that_is_not_there_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    with pytest.raises(RecipeError, match=r"there is no recipe at .*recipes.yaml. Did you mean .*recipe.yaml\?"):
        load_recipe(tmp_path / "recipes.yaml")
    with pytest.raises(RecipeError, match=r"There are: .*recipe.yaml"):
        load_recipe(tmp_path / "q")
    with pytest.raises(RecipeError, match="Recipes to start from are in recipes/"):
        load_recipe(tmp_path / "nowhere" / "q")


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"a: [", "is not YAML: while parsing"), (b"\xff\xfe", "cannot be read"), (b"- a", "where its keys should be")],
    ids=["torn", "not text", "a list"],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(data)
    with pytest.raises(RecipeError, match=re.escape(said)):
        load_recipe(tmp_path / "bad.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)


def test_differences_name_every_key_with_both_values() -> None:
    old, new = recipe(grpo={"beta": 0.01}), recipe(grpo={"beta": 0.02}, gold="g", rewards=["hps-pocket", "b"])
    assert config_differences(old, old) == []
    assert config_differences(old, new) == [
        "gold: was null, is 'g'",
        "grpo.beta: was 0.01, is 0.02",
        "rewards.1.name: was not given, is 'b'",
        "rewards.1.reward: was not given, is null",
        "rewards.1.weight: was not given, is 1.0",
        "rewards.1.transform: was not given, is 'standardise'",
        "rewards.1.options: was not given, is {}",
    ]
    assert config_differences({"a": [1, {"b": 2}]}, {"a": [1]}) == ["a.1.b: was 2, is not given"]


def test_a_recipe_is_laid_over_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "common.yaml").write_text(FULL.replace("name: pocket_hack", ""))
    path = write(
        tmp_path,
        "extends: base/common.yaml\nname: mine\nrewards: [a]\npolicy: {options: {top_k: 3}}\ngrpo: {steps: 5}\n",
    )
    loaded = load_recipe(path)
    assert (loaded.name, [term.name for term in loaded.rewards]) == ("mine", ["a"])
    assert loaded.policy == PolicySpec(name="janus-pocket", options={"temperature": 0.9, "top_k": 3})
    assert (loaded.grpo.steps, loaded.grpo.learning_rate, loaded.aggregate) == (5, 5e-5, "mean")


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("nowhere.yaml", "extends = 'nowhere.yaml': there is no recipe at"),
        ("recipe.yaml", "extends = 'recipe.yaml': leads back to"),
        ("[1]", "extends = [1]: must be the path of another recipe"),
        ("twice.yaml", "twice.yaml: seed: given twice, in lines 1 and 2"),
    ],
    ids=["missing", "circle", "no path", "faulty"],
)
def test_a_recipe_that_extends_nothing_says_so_beside_its_other_problems(tmp_path: Path, base: str, said: str) -> None:
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, f"extends: {base}\nname: a\npolicy: b\nrewards: [c]\nbeta: 1\n"))
    assert said in str(caught.value)
    assert "beta: there is no such key. Did you mean 'grpo.beta'?" in str(caught.value)


def test_other_peoples_names_for_a_scale_are_understood() -> None:
    names = {"group_std": "group", "global_std": "batch", "none": "none", "group": "group"}
    for name, ours in names.items():
        assert recipe(grpo={"scale_rewards": name}).grpo.scale_rewards == ours


def test_a_reward_can_be_written_down_under_another_name() -> None:
    found = recipe(
        rewards=[{"name": "hps", "reward": "remote"}, {"name": "orm-there", "reward": "remote"}],
        eval_rewards=["pickscore", {"name": "ir", "reward": "remote", "options": {"url": "u"}}],
    )
    assert [(term.name, term.reward) for term in found.rewards] == [("hps", "remote"), ("orm-there", "remote")]
    assert [(term.name, term.reward) for term in found.eval_rewards] == [("pickscore", None), ("ir", "remote")]

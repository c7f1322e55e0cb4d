"""What a recipe asks for that cannot be, found before a model is loaded."""

import json
from pathlib import Path

import pytest
from tests.records.recipes import recipe

from pyrite.cli.assemble import assemble, load_policy, refuse_unreadable_prompts
from pyrite.core.errors import CheckpointError, RecipeError, UnknownNameError
from pyrite.core.types import Prompt

PLAIN = Prompt("a red cube", id="plain")
NOUNS = Prompt("a red cube", id="nouns", nouns=("cube",), attr_nouns=("red cube",), task_type="color")
PLACES = Prompt(
    "a cube above a cone", id="places", nouns=("cube", "cone"), task_type="spatial",
    spatial_info={"obj1": "cube", "obj2": "cone", "locality": "above"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("reward", "prompts", "said"),
    [
        ("gdino", [NOUNS, PLAIN], "gdino: 1 of 2 prompts, the first is plain: `nouns` of the prompt is empty"),
        ("git", [PLACES, NOUNS], "git: 1 of 2 prompts, the first is places: the prompt's task_type is 'spatial'"),
        ({"name": "there", "reward": "remote", "options": {"reward": "gdino"}}, [PLAIN], "there: 1 of 1 prompts"),
    ],
    ids=["no nouns", "a place", "behind a server"],
)
def test_a_reward_that_reads_what_the_prompts_lack_is_refused(reward: object, prompts: list[Prompt], said: str) -> None:
    with pytest.raises(RecipeError, match="would never have a score:") as caught:
        refuse_unreadable_prompts(recipe(rewards=[reward, "hps-pocket"]), prompts, [NOUNS])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("sections", "prompts"),
    [
        ({"rewards": ["gdino"]}, [NOUNS, PLACES]),
        ({"rewards": [{"name": "git", "options": {"mode": "reference"}}]}, [NOUNS, PLACES]),
        ({"rewards": ["hps-pocket", {"name": "gdino", "weight": 0}]}, [PLAIN]),
        ({"rewards": ["hps-pocket"], "eval_rewards": ["gdino"]}, [PLAIN]),
    ],
    ids=["all there", "reference", "weight 0", "held out"],
)
def test_a_reward_that_can_read_its_prompts_is_not(sections: dict[str, object], prompts: list[Prompt]) -> None:
    refuse_unreadable_prompts(recipe(**sections), prompts, [NOUNS, PLAIN])


def test_a_held_out_reward_must_read_some_prompt_of_the_looks() -> None:
    with pytest.raises(RecipeError, match="gdino: 1 of 1 prompts"):
        refuse_unreadable_prompts(recipe(rewards=["hps-pocket"], eval_rewards=["gdino"]), [NOUNS], [PLAIN])


def test_it_is_found_before_a_policy_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "a cube"}) + "\n")
    prompts = {"source": str(path)}
    with pytest.raises(RecipeError, match="gdino: 1 of 1"):
        assemble(recipe(policy="nobody", rewards=["gdino"], prompts=prompts, evaluation={"prompts": prompts}))
    with pytest.raises(UnknownNameError, match="no reward is called 'gdinno'"):
        assemble(recipe(policy="nobody", rewards=["gdinno"], prompts=prompts, evaluation={"prompts": prompts}))


def test_options_that_a_policy_does_not_have_are_named_together() -> None:
    with pytest.raises(RecipeError, match=r"no 'temperture' \(did you mean 'temperature'\?\); 'zzz'. It has: tempera"):
        load_policy("janus-pocket", temperture=1.0, zzz=2)
    with pytest.raises(RecipeError, match=r"policy.options of 'janus-pocket': .*must be positive"):
        load_policy("janus-pocket", temperature=0.0)


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"no folder at .*weights/Nowhere.*hf download"):
        load_policy("weights/Nowhere")

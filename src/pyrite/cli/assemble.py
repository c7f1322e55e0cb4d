"""From the names in a recipe to the objects that a run needs: the one place where all rooms meet."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pyrite.core.errors import RecipeError, UnknownNameError
from pyrite.core.protocols import Reward, TrainablePolicy
from pyrite.core.types import Prompt

if TYPE_CHECKING:
    from pyrite.records.recipe import PromptSource, Recipe

WORLD = "world"
GOLD_NAME = "pocket-gold"


@dataclass(frozen=True)
class Ingredients:
    """Everything that `training.grpo.train` is handed."""

    policy: TrainablePolicy
    rewards: dict[str, Reward]
    eval_rewards: dict[str, Reward]
    gold: Reward | None
    prompts: list[Prompt]
    eval_prompts: list[Prompt]


def assemble(recipe: "Recipe") -> Ingredients:
    """Load the policy, the rewards and the prompts of a recipe.

    Raises:
        UnknownNameError: a name that is not registered.
        CheckpointError: weights that are missing or are not what the manifest says.
        RecipeError: a transform or a prompt file that cannot be used.
    """
    from transformers.utils import logging

    from pyrite.mitigation.transforms import parse_transform

    logging.disable_progress_bar()
    for term in recipe.rewards:
        parse_transform(term.transform)  # before minutes go into loading models
    return Ingredients(
        policy=load_policy(recipe.policy.name, **recipe.policy.options),
        rewards={term.name: load_reward(term.name, **term.options) for term in recipe.rewards},
        eval_rewards={name: load_reward(name) for name in recipe.eval_rewards},
        gold=load_gold(recipe.gold) if recipe.gold else None,
        prompts=load_prompts(recipe.prompts, recipe.seed),
        eval_prompts=load_prompts(recipe.evaluation.prompts, seed=0),
    )


def load_policy(name: str, **options: object) -> TrainablePolicy:
    """A registered policy, or a checkpoint folder in the Janus format."""
    from pyrite.policies.catalogue import POLICIES

    if Path(name).is_dir():
        from pyrite.policies.janus import load_janus

        return load_janus(name, **options)  # type: ignore[arg-type]
    return cast(TrainablePolicy, POLICIES.load(name)(**options))


def load_reward(name: str, **options: object) -> Reward:
    """A registered reward."""
    from pyrite.rewards.catalogue import REWARDS

    return cast(Reward, REWARDS.load(name)(**options))


def load_gold(name: str) -> Reward:
    """The gold reward of the pocket world; any registered reward can stand in for it elsewhere."""
    if name != GOLD_NAME:
        try:
            return load_reward(name)
        except UnknownNameError as error:
            raise UnknownNameError(
                f"there is no gold reward '{name}'. The pocket world's is '{GOLD_NAME}'; a registered reward can take "
                "its place: `pyrite list rewards`."
            ) from error
    from pyrite.world.gold import PocketGold

    return PocketGold()


def load_prompts(source: "PromptSource", seed: int) -> list[Prompt]:
    """The prompts of a recipe section.

    Raises:
        RecipeError: the file is missing, or a line of it is no prompt; all bad lines are named.
    """
    if source.source == WORLD:
        from pyrite.world.prompts import sample_prompts

        return sample_prompts(source.split or "rl", source.num or 2000, seed)
    path = Path(source.source)
    if not path.is_file():
        raise RecipeError(
            f"there is no prompt file at {path.absolute()}. Give a JSON-lines file with a text under 'prompt' in "
            f"every line, or '{WORLD}' for the prompts of the pocket world."
        )
    prompts, problems = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            prompts.append(Prompt.from_json({"id": str(number), **json.loads(line)}))
        except (ValueError, TypeError) as error:
            problems.append(f"line {number}: {error}")
        if len(prompts) == source.num:
            break
    if problems or not prompts:
        listed = "".join(f"\n  - {problem}" for problem in problems[:20]) or " it is empty"
        raise RecipeError(f"{path} has {len(problems)} lines that are no prompts:{listed}")
    return prompts

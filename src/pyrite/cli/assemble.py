"""From the names in a recipe to the objects that a run needs: the one place where all rooms meet."""

import difflib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pyrite.core.errors import CheckpointError, PyriteError, RecipeError, UnknownNameError
from pyrite.core.protocols import Reward, TrainablePolicy
from pyrite.core.types import Prompt

if TYPE_CHECKING:
    from pyrite.records.recipe import HeldOutTerm, PromptSource, Recipe, RewardTerm

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
        RecipeError: a transform, an option or a prompt file that cannot be used, or prompts that lack what a reward
            reads.
    """
    from transformers.utils import logging

    from pyrite.mitigation.transforms import parse_transform

    logging.disable_progress_bar()
    for term in recipe.rewards:
        parse_transform(term.transform)  # before minutes go into loading models
    prompts = load_prompts(recipe.prompts, recipe.seed)
    eval_prompts = load_prompts(recipe.evaluation.prompts, seed=0)
    refuse_unreadable_prompts(recipe, prompts, eval_prompts)
    take_own_accelerator()
    return Ingredients(
        policy=load_policy(recipe.policy.name, **recipe.policy.options),
        rewards={term.name: load_term(term) for term in recipe.rewards},
        eval_rewards={term.name: load_term(term) for term in recipe.eval_rewards},
        gold=load_gold(recipe.gold) if recipe.gold else None,
        prompts=prompts,
        eval_prompts=eval_prompts,
    )


def take_own_accelerator() -> None:
    """Let "cuda" mean the accelerator of this process, where a launcher started several."""
    import os

    import torch

    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def refuse_unreadable_prompts(recipe: "Recipe", prompts: list[Prompt], eval_prompts: list[Prompt]) -> None:
    """Refuse rewards that read what the prompts do not say, before anything is loaded.

    A reward that trains must be able to read every prompt: an image it leaves unscored has no reward at all. One that
    is only looked at must be able to read some.

    Raises:
        UnknownNameError: a name that is not registered.
        RecipeError: naming every such reward.
    """
    from pyrite.rewards.catalogue import REWARDS
    from pyrite.rewards.metadata import unreadable

    problems = []
    terms: list[RewardTerm | HeldOutTerm] = [*recipe.rewards, *recipe.eval_rewards]
    for term in terms:
        name, trains = term.reward or term.name, getattr(term, "weight", 0) > 0
        REWARDS.entry(name)
        asked = prompts if trains else eval_prompts
        found = unreadable(name, term.options, asked)
        if found and (trains or len(found) == len(asked)):
            place, why = next(iter(found.items()))
            problems.append(f"{term.name}: {len(found)} of {len(asked)} prompts, the first is {asked[place].id}: {why}")
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise RecipeError(
            f"the prompts do not say what these rewards read, so their images would never have a score:{lines}\n"
            "Take prompts that have it (the JSON lines of T2I-R1 do), leave the others out, or leave the reward out. "
            "git with options {mode: reference} gives 0 where it has nothing to ask, which trains nothing."
        )


def load_policy(name: str, **options: object) -> TrainablePolicy:
    """A registered policy, or a checkpoint folder in the Janus format.

    Raises:
        CheckpointError: it is a path, and there is no folder.
        RecipeError: an option that the policy does not have, or a value that it cannot take.
    """
    from pyrite.policies.catalogue import POLICIES

    load: Callable[..., Any]
    if Path(name).is_dir():
        from pyrite.policies.janus import load_janus

        load = partial(cast(Callable[..., Any], load_janus), name)
    elif "/" in name:
        raise CheckpointError(
            f"there is no folder at {Path(name).absolute()}, which the recipe names as its policy. Fetch weights into "
            f"it (hf download OWNER/NAME --local-dir {name}), or name one of: {', '.join(POLICIES.names())}"
        )
    else:
        load = POLICIES.load(name)
    known = [key for key in inspect.signature(load).parameters if key != "name_or_path"]
    if unknown := [key for key in options if key not in known]:
        near = [(key, difflib.get_close_matches(key, known, n=1)) for key in unknown]
        named = "; ".join(f"'{key}'" + (f" (did you mean '{found[0]}'?)" if found else "") for key, found in near)
        raise RecipeError(f"policy.options: the policy '{name}' has no {named}. It has: {', '.join(known)}")
    try:
        return cast(TrainablePolicy, load(**options))
    except ValueError as error:
        if isinstance(error, PyriteError):
            raise
        raise RecipeError(f"policy.options of '{name}': {error}") from error


def load_term(term: "RewardTerm | HeldOutTerm") -> Reward:
    """The reward that a term of a recipe stands for."""
    return load_reward(term.reward or term.name, **term.options)


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

"""From a YAML file to a checked recipe, and back.

All problems of a recipe are reported at once, before anything is loaded. The keys are documented in `recipe.py`.
"""

import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pyrite.core.errors import RecipeError
from pyrite.records.recipe import (
    CheckpointConfig,
    EvaluationConfig,
    GrpoConfig,
    HeldOutTerm,
    PolicySpec,
    PromptSource,
    Recipe,
    RewardTerm,
)
from pyrite.records.recipe_file import apply_overrides, read_layers, to_yaml
from pyrite.records.recipe_problems import describe

__all__ = [
    "CheckpointConfig",
    "EvaluationConfig",
    "GrpoConfig",
    "HeldOutTerm",
    "PolicySpec",
    "PromptSource",
    "Recipe",
    "RewardTerm",
    "config_differences",
    "dump_recipe",
    "load_recipe",
    "resolve_recipe",
]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file.

    Args:
        path: of a YAML file; its key `extends`, if it has one, names a recipe that it is laid over.
        overrides: `"a.b=c"` each, as after `--set`: values are YAML, list items are counted from 0
            (`rewards.0.weight=2`), later ones win.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or says something a recipe cannot; all problems are listed.
    """
    path = Path(path)
    try:
        value, problems = read_layers(path)
    except FileNotFoundError as error:
        raise RecipeError(f"there is no recipe at {path}. {_recipes_beside(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe {path} cannot be read ({error}). Give the path of a YAML text file.") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"the recipe {path} is not YAML: {error}") from error
    return _resolve(value, overrides, problems, where=str(path))


def resolve_recipe(mapping: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Check a recipe given as a mapping; the mapping stays as it is.

    Raises:
        RecipeError: listing all problems.
    """
    return _resolve(mapping, overrides, [], where="")


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every default filled in; reading it back gives an equal recipe."""
    return to_yaml(recipe.model_dump(mode="json"))


def config_differences(old: Recipe | Mapping[str, Any], new: Recipe | Mapping[str, Any]) -> list[str]:
    """One line per key that differs, with both values; empty if the two say the same.

    Args:
        old: a recipe, or the mapping of one (written by another version of Pyrite, it need not be valid today).
        new: the same.
    """
    was, now = dict(_leaves(_mapping(old))), dict(_leaves(_mapping(new)))
    absent = object()
    return [
        f"{key}: was {_shown(was.get(key, absent), absent)}, is {_shown(now.get(key, absent), absent)}"
        for key in dict.fromkeys([*was, *now])
        if was.get(key, absent) != now.get(key, absent)
    ]


def _resolve(value: Any, overrides: Sequence[str], problems: Sequence[str], *, where: str) -> Recipe:
    title = f"the recipe {where}" if where else "the recipe"
    if not isinstance(value, Mapping):
        raise RecipeError(
            f"{title} holds {'nothing' if value is None else repr(value)[:40]} where its keys should be. "
            "Write lines such as 'name: my_run' and 'policy: janus-pocket'."
        )
    mapping = copy.deepcopy(dict(value))
    found = [*problems, *apply_overrides(mapping, overrides)]
    try:
        recipe = Recipe.model_validate(mapping)
    except ValidationError as error:
        found += describe(error, Recipe)
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise RecipeError(f"{title} has {count}:" + "".join(f"\n  - {problem}" for problem in found))
    return recipe


def _recipes_beside(path: Path) -> str:
    names = sorted(other.name for other in path.parent.glob("*.y*ml"))
    if near := difflib.get_close_matches(path.name, names, n=1):
        return f"Did you mean {path.parent / near[0]}?"
    listed = f"There are: {', '.join(names[:8])}"
    return listed if names else "Recipes to start from are in recipes/ of the repository."


def _mapping(config: Recipe | Mapping[str, Any]) -> Mapping[str, Any]:
    return config.model_dump(mode="json") if isinstance(config, Recipe) else config


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        yield path, value
    for key, child in items:
        yield from _leaves(child, f"{path}.{key}" if path else str(key))


def _shown(value: Any, absent: object) -> str:
    return "not given" if value is absent else "null" if value is None else repr(value)

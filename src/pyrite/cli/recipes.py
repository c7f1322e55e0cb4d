"""Where the recipes are that ship with Pyrite."""

from pathlib import Path

from pyrite.core.errors import RecipeError


def shipped_recipe(file: str) -> Path:
    """A file of `recipes/`: inside an installed package, or beside `src/` in a clone.

    Raises:
        RecipeError: it is in neither place.
    """
    package = Path(__file__).parents[1]
    places = [package / "recipes" / file, package.parents[1] / "recipes" / file]
    for place in places:
        if place.is_file():
            return place
    raise RecipeError(f"the recipe {file} is at neither of {', '.join(map(str, places))}. Reinstall pyrite.")

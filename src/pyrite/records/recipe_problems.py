"""What a recipe says wrong, in sentences: which key, which value, the rule it breaks, what the key is for."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Section = type[BaseModel]

_RULES = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be {le} or less",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "string_type": "must be text",
    "dict_type": "must be a section of keys",
    "model_type": "must be a section of keys",
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must hold only letters, digits, dots, dashes and underscores, a letter or digit first",
    "literal_error": "must be {expected}",
}


def describe(error: ValidationError, recipe: Section) -> list[str]:
    """One sentence or more per problem of a recipe.

    Args:
        error: what pydantic found.
        recipe: the outermost section, in which the suggestions are looked for.
    """
    return [line for item in error.errors(include_url=False) for line in _sentences(item, recipe)]


def _sentences(item: ErrorDetails, recipe: Section) -> list[str]:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":
        return [f"{path}: {line}" for line in str(item["ctx"]["error"]).split("\n")]
    if item["type"] == "invalid_key":
        return [f"{path}: a key must be text. Write it in quotes."]
    if item["type"] == "extra_forbidden":
        return [f"{path}: there is no such key.{_suggestion(item['loc'], recipe)}"]
    purpose = _purpose(item["loc"], recipe)
    if item["type"] == "missing":
        return [f"{path}: is missing. {purpose}"]
    rule = _RULES[item["type"]].format_map(_plain(item.get("ctx", {}))) if item["type"] in _RULES else item["msg"]
    value = "null" if item["input"] is None else repr(item["input"])
    return [f"{path} = {value if len(value) <= 80 else value[:77] + '...'}: {rule}.{purpose and ' ' + purpose}"]


def _plain(context: Mapping[str, Any]) -> dict[str, Any]:
    return {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}


def _suggestion(loc: Sequence[str | int], recipe: Section) -> str:
    """The nearest key of the same section, or else the section where such a key lives."""
    section, name = _section_at(loc[:-1], recipe), str(loc[-1])
    keys = list(section.model_fields) if section is not None else []
    if near := difflib.get_close_matches(name, keys, n=1):
        return f" Did you mean '{near[0]}'?"
    elsewhere = {path.rpartition(".")[2]: path for path in _paths(recipe)}
    if near := difflib.get_close_matches(name, elsewhere, n=1, cutoff=0.8):
        return f" Did you mean '{elsewhere[near[0]]}'?"
    return f" The keys here are: {', '.join(keys)}"


def _purpose(loc: Sequence[str | int], recipe: Section) -> str:
    """What the key at `loc` is for, or for the item of a list, what the list is for."""
    sections = ((_section_at(loc[:end], recipe), str(loc[end])) for end in reversed(range(len(loc))))
    fields = (section.model_fields.get(name) for section, name in sections if section is not None)
    description = next((field.description for field in fields if field is not None), None)
    return " ".join((description or "").split())


def _section_at(loc: Sequence[str | int], recipe: Section) -> Section | None:
    section: Section | None = recipe
    for part in loc:
        if isinstance(part, str):
            field = section.model_fields.get(part) if section is not None else None
            section = _section_in(field.annotation) if field is not None else None
    return section


def _section_in(annotation: Any) -> Section | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part)) is not None), None)


def _paths(section: Section, prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = _section_in(field.annotation)
        if inner is None:
            yield prefix + name
        else:
            yield from _paths(inner, f"{prefix}{name}.")

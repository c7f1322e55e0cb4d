"""The text of a recipe: YAML in and out, `extends` below, `--set a.b=c` on top. What keys mean is for `config.py`.

The YAML is that of version 1.2 where 1.1 bites: `5e-5` is a number (PyYAML's own loader makes it a string) and only
`true` and `false` are booleans (`no` is a name like any other). A key given twice is a problem, not a silent choice.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)|[0-9]+\.[0-9]*|\.[0-9]+(?:[eE][-+]?[0-9]+)?)"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
# Names that take a section but may be written as a bare string: `policy: janus-pocket`.
_NAMED_SECTIONS = ("policy", "rewards", "eval_rewards")


class _Loader(yaml.SafeLoader):
    """Notes duplicate keys instead of letting the last one win."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.problems: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in lines:
                self.problems.append(
                    f"{key}: given twice, in lines {lines[key]} and {line}. Only one can hold: remove the other."
                )
            lines[key] = line
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


class _Dumper(yaml.SafeDumper):
    """Quotes exactly what `_Loader` would misread, and also what PyYAML's own loader would."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def parse_yaml(text: str) -> tuple[Any, list[str]]:
    """The value a YAML text stands for, and what is wrong with its keys.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    loader = _Loader(text)
    try:
        value = loader.get_single_data()
    finally:
        loader.dispose()
    return value, loader.problems


def read_layers(path: Path, above: tuple[Path, ...] = ()) -> tuple[Any, list[str]]:
    """The value of a recipe file laid over the one that its key `extends` names, if it has that key.

    Sections are merged key by key; anything else, a list too, takes the place of what it covers.

    Args:
        path: of the file; `extends` is relative to its folder.
        above: the files that led here.

    Returns:
        The value, without `extends`, and what is wrong with the keys of any of the files.

    Raises:
        OSError, UnicodeDecodeError: a file cannot be read.
        yaml.YAMLError: it is not YAML.
    """
    value, problems = parse_yaml(path.read_text(encoding="utf-8"))
    if above:
        problems = [f"{path}: {problem}" for problem in problems]
    if not isinstance(value, dict) or "extends" not in value:
        return value, problems
    base = value.pop("extends")
    if not isinstance(base, str):
        return value, [*problems, f"extends = {base!r}: must be the path of another recipe, relative to this one."]
    target = path.parent / base
    if target.resolve() in (chain := (*above, path.resolve())):
        return value, [
            *problems,
            f"extends = {base!r}: leads back to {target}, so there is no end. Remove one of them.",
        ]
    if not target.is_file():
        return value, [*problems, f"extends = {base!r}: there is no recipe at {target}."]
    below, more = read_layers(target, chain)
    return _laid_over(below, value) if isinstance(below, dict) else value, [*problems, *more]


def _laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged


def to_yaml(mapping: Mapping[str, Any]) -> str:
    """The YAML text `parse_yaml` reads back as the same mapping, keys in their order."""
    text: str = yaml.dump(dict(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def apply_overrides(mapping: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Set `a.b=c` in place, later ones last; list items count from 0. Returns one sentence per override that failed.

    A path that leads nowhere known is set all the same: validation then names it, with a suggestion.
    """
    problems = []
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            problems.append(f"--set {override}: is not of the form a.b=c. Write for example --set grpo.beta=0.02")
            continue
        try:
            value, duplicates = parse_yaml(text)
            problems += [f"--set {override}: {problem}" for problem in duplicates]
            _set(mapping, keys, value)
        except yaml.YAMLError as error:
            problems.append(f"--set {override}: the value is not YAML ({' '.join(str(error).split())}). Quote it.")
        except LookupError as error:
            problems.append(f"--set {override}: {error.args[0]}")
    return problems


def _set(mapping: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    node: Any = mapping
    for depth, key in enumerate(keys):
        path, last = ".".join(keys[:depth]), depth == len(keys) - 1
        slot: Any
        if isinstance(node, list):
            slot = _index(node, key, path)
        elif isinstance(node, dict):
            slot = key
        else:
            raise LookupError(f"{path} is {node!r}, so it has no part '{key}'. Set {path} as a whole.")
        if last:
            node[slot] = value
            return
        child = node.get(slot) if isinstance(node, dict) else node[slot]
        if child is None:
            node[slot] = {}
        elif isinstance(child, str) and keys[0] in _NAMED_SECTIONS and depth < 2:
            node[slot] = {"name": child}
        node = node[slot]


def _index(items: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(items):
        raise LookupError(
            f"{path} is a list of {len(items)}, whose items are called 0 to {len(items) - 1}, not '{key}'. "
            f"To change its length, set it as a whole: {path}=[...]"
        )
    return int(key)

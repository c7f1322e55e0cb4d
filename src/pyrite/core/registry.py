"""Names to objects, without importing anything until it is asked for.

A table maps a name to `"module:object"` and a sentence; `load` imports on demand, so listing every reward costs no
torch. Other packages plug in through entry points and get the same treatment as what ships here:

    [project.entry-points."pyrite.rewards"]
    my-reward = "my_package.rewards:load_my_reward"
"""

import difflib
import importlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from pyrite.core.errors import MissingExtraError, RegistryError, UnknownNameError


@dataclass(frozen=True)
class Entry:
    """Where a member lives and what it is.

    Args:
        target: `"module:object"`, imported only by `Registry.load`. The object is a factory: called with options, it
            returns the reward, policy or mitigation.
        summary: one sentence for `pyrite list`.
        package: the distribution that brought it, for members from outside; empty for what ships with Pyrite.

    Raises:
        RegistryError: the target is not of the form `"module:object"`.
    """

    target: str
    summary: str = ""
    package: str = ""

    def __post_init__(self) -> None:
        module, colon, attribute = self.target.partition(":")
        if not (module and colon and attribute):
            raise RegistryError(f"a target is written 'module:object', got '{self.target}'{_origin(self)}")


class Registry:
    """The members of one kind by name: those that ship here, those registered at run time, and plugs from outside.

    Args:
        kind: what a member is, in the singular: "reward". Messages and `pyrite list rewards` are made from it.
        entries: name -> where it lives.
        entry_point_group: the group in which other packages announce members, such as "pyrite.rewards".
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry], entry_point_group: str) -> None:
        self.kind = kind
        self.entry_point_group = entry_point_group
        self._entries = dict(entries)
        self._plugs: dict[str, Entry] | None = None

    @property
    def list_command(self) -> str:
        """What to type to see every name."""
        plural = f"{self.kind[:-1]}ies" if self.kind.endswith("y") else f"{self.kind}s"
        return f"pyrite list {plural}"

    def entries(self) -> dict[str, Entry]:
        """Every member by name, sorted; imports none of them.

        Raises:
            RegistryError: a package announces a name that is already taken.
        """
        if self._plugs is None:
            self._plugs = self._find_plugs()
        return dict(sorted({**self._entries, **self._plugs}.items()))

    def names(self) -> tuple[str, ...]:
        """Every name, sorted; imports nothing."""
        return tuple(self.entries())

    def register(self, name: str, entry: Entry) -> None:
        """Add a member for this process; packages that others install announce an entry point instead.

        Raises:
            RegistryError: the name is taken.
        """
        if (taken := self.entries().get(name)) is not None:
            raise self._conflict(name, taken, entry)
        self._entries[name] = entry

    def entry(self, name: str) -> Entry:
        """Where `name` lives.

        Raises:
            UnknownNameError: nothing of that name; the message offers the nearest ones.
        """
        entries = self.entries()
        if name not in entries:
            nearest = difflib.get_close_matches(name, entries, n=3, cutoff=0.5)
            offer = f" Did you mean {' or '.join(repr(near) for near in nearest)}?" if nearest else ""
            raise UnknownNameError(f"no {self.kind} is called '{name}'.{offer} See them all: {self.list_command}")
        return entries[name]

    def load(self, name: str) -> Any:
        """The object registered as `name`, imported now.

        Raises:
            UnknownNameError: nothing of that name.
            MissingExtraError: a package it needs is not installed.
            RegistryError: its target does not exist.
        """
        entry = self.entry(name)
        module_name, _, attribute = entry.target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or module_name
            if f"{module_name}.".startswith(f"{missing}."):
                raise RegistryError(
                    f"{self.kind} '{name}' points to '{entry.target}', but there is no module '{missing}'. "
                    f"Correct the table or entry point that names it{_origin(entry)}."
                ) from error
            package = missing.partition(".")[0]
            if package == module_name.partition(".")[0]:
                raise  # its package lacks a part of itself: a defect there, which nothing the user types would mend
            raise MissingExtraError(
                f"{self.kind} '{name}' needs '{package}', which is not installed. Type: pip install {package}"
            ) from error
        try:
            return operator.attrgetter(attribute)(module)
        except AttributeError as error:
            raise RegistryError(
                f"{self.kind} '{name}' points to '{entry.target}', but {module_name} has no '{attribute}'. "
                f"Correct the table or entry point that names it{_origin(entry)}."
            ) from error

    def _find_plugs(self) -> dict[str, Entry]:
        plugs: dict[str, Entry] = {}
        for point in metadata.entry_points(group=self.entry_point_group):
            package = point.dist.name if point.dist is not None else "an unknown package"
            plug = Entry(f"{point.module}:{point.attr or ''}", f"from the package {package}", package)
            taken = self._entries.get(point.name) or plugs.get(point.name)
            if taken is not None:
                raise self._conflict(point.name, taken, plug)
            plugs[point.name] = plug
        return plugs

    def _conflict(self, name: str, taken: Entry, new: Entry) -> RegistryError:
        return RegistryError(
            f"two {self.kind}s are called '{name}': '{taken.target}'{_origin(taken)} and '{new.target}'{_origin(new)}. "
            f"A name in a recipe must mean one thing. Rename the new one, or uninstall the package that brings it."
        )


def _origin(entry: Entry) -> str:
    return f" (package {entry.package})" if entry.package else ""

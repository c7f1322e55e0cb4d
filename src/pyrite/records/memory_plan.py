"""Which rewards fit into one memory together, in which precision, and which have to run elsewhere."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

WORKING_FRAC = 0.1
"""Share of the memory that is kept free for what batches take."""

PRECISIONS: Mapping[str, float] = {"float32": 4.0, "bfloat16": 2.0, "8bit": 1.0, "4bit": 0.5}
"""Name -> bytes for each parameter."""

ELSEWHERE = "elsewhere"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)


@dataclass(frozen=True)
class Placement:
    """Where one reward goes.

    Args:
        reward: its name.
        precision: a key of `PRECISIONS`, or `ELSEWHERE`: behind a server, on another accelerator or machine.
        num_bytes: of its weights here; 0 elsewhere.
    """

    reward: str
    precision: str
    num_bytes: int


def plan_memory(
    parameters: Mapping[str, int], room_bytes: int, *, exact: Collection[str] = (), large: Collection[str] = ()
) -> list[Placement]:
    """Keep as many rewards here as fit at once, each in the best precision that leaves room for the others.

    The largest are moved from float32 to bfloat16, one after the other, until all fit. If bfloat16 throughout is not
    enough, the largest goes elsewhere, because that changes no score. Only one that would be alone and still not fit
    is quantised.

    Args:
        parameters: name -> how many it has; in this order in the plan.
        room_bytes: of the memory; `WORKING_FRAC` of it stays free.
        exact: rewards to keep in float32, because half precision changes their scores too much.
        large: rewards published in half precision, which gain nothing from float32 and can be loaded in 8 or 4 bits.
    """
    usable = room_bytes * (1 - WORKING_FRAC)
    here, chosen = dict(parameters), dict[str, str]()
    while here:
        fitting = _halved_until_fit(here, usable, exact, large)
        if fitting is not None:
            chosen = fitting
            break
        largest = max(here, key=lambda name: here[name])
        if len(here) == 1:
            options = ("8bit", "4bit") if largest in large else ()
            smaller = next((option for option in options if _size(here[largest], option) <= usable), None)
            chosen = {largest: smaller} if smaller else {}
            break
        del here[largest]
    return [
        Placement(name, chosen.get(name, ELSEWHERE), _size(num, chosen[name]) if name in chosen else 0)
        for name, num in parameters.items()
    ]


def parse_bytes(text: str) -> int:
    """A size such as "80GB", "22.5 GiB" or "500M" in bytes; without a unit, bytes.

    Raises:
        ValueError: it is not a size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise ValueError(f"'{text}' is not an amount of memory. Write it like 80GB, 22.5GiB or 500MB.")
    return int(float(found[1]) * _UNITS[(found[2] or "").lower()])


def _halved_until_fit(
    parameters: Mapping[str, int], usable: float, exact: Collection[str], large: Collection[str]
) -> dict[str, str] | None:
    """Name -> precision with as few rewards in bfloat16 as fit; None if all of them are not enough."""
    always = {name for name in parameters if name in large}
    optional = sorted(parameters.keys() - always - set(exact), key=lambda name: -parameters[name])
    for num in range(len(optional) + 1):
        halved = always | set(optional[:num])
        chosen = {name: "bfloat16" if name in halved else "float32" for name in parameters}
        if sum(_size(parameters[name], precision) for name, precision in chosen.items()) <= usable:
            return chosen
    return None


def _size(num_parameters: int, precision: str) -> int:
    return int(num_parameters * PRECISIONS[precision])

"""What a judge's reply says, if it says one thing: UnifiedReward's scores out of free text.

A reply is written by a model that has read a stranger's prompt, so reading it is a boundary. A number is taken only if
it stands where the question asked for it, lies in the range, and nothing else in the reply claims another. Everything
else is a reason in words, never a default:

- `sound` (the default) looks at every place that names the score. All must give the same number and nothing after it
  on the line; invisible or look-alike characters may not change what is found.
- `reference` reads with the regular expressions of ArtifactReward's evaluation (infer/unified_eval.py@8b1cd7d): the
  last number of each axis counts, the first "Final Score", and whatever follows it is ignored.

Both differ from that code where there is nothing to read, the number is out of range, or the reply was cut off before
its end: it records 0 for a missing axis (so that a failed judge looks like the worst image), any number at all, and
what stood so far. Here all three are failures.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Reading = Literal["sound", "reference"]

AXES = ("alignment", "coherence", "style")
LOWEST, HIGHEST = 1.0, 5.0

_OFFICIAL_AXES = re.compile(r"(Alignment|Coherence|Style) Score \(1-5\):\s*([0-9]*\.?[0-9]+)")
_OFFICIAL_FINAL = re.compile(r"Final Score:\s*([0-9]*\.?[0-9]+)")
# A number that ends its line; a full stop or Markdown's asterisks may follow it.
_NUMBER = re.compile(r"[\s*]*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)[ \t]*\.?[ \t*]*(?:\r?\n|$)")
_SHOWN = 60


@dataclass(frozen=True)
class Reply:
    """What a model wrote.

    Args:
        text: without special tokens.
        is_whole: whether the model ended it itself; False if it was cut off.
    """

    text: str
    is_whole: bool = True


def read_axes(reply: Reply, reading: Reading = "sound") -> dict[str, float] | str:
    """The scores of `AXES`, each from 1 to 5; or why there are none, in words.

    Args:
        reply: with lines such as "Alignment Score (1-5): 3.5".
        reading: see the module.
    """
    if why := _why_unread(reply):
        return why
    found: dict[str, float] = {}
    for axis in AXES:
        if reading == "reference":
            numbers = [number for name, number in _OFFICIAL_AXES.findall(reply.text) if name.lower() == axis]
            result = _in_range(f"{axis} score", float(numbers[-1])) if numbers else _absent(f"{axis} score", reply)
        else:
            result = _agreed(f"{axis} score", rf"{axis}\s+score\s*(?:\(\s*1\s*-\s*5\s*\))?\s*:", reply)
        if isinstance(result, str):
            return result
        found[axis] = result
    return found


def read_final_score(reply: Reply, reading: Reading = "sound") -> float | str:
    """The number after "Final Score:", from 1 to 5; or why there is none, in words."""
    if why := _why_unread(reply):
        return why
    if reading == "reference":
        first = _OFFICIAL_FINAL.search(reply.text)
        return _in_range("final score", float(first[1])) if first else _absent("final score", reply)
    return _agreed("final score", r"final\s+score\s*:", reply)


def _why_unread(reply: Reply) -> str | None:
    if not reply.is_whole:
        return (
            "the judge's reply was cut off before it had ended, so its scores may not be its last word; raise "
            "max_new_tokens"
        )
    return None if reply.text.strip() else "the judge's reply is empty"


def _agreed(what: str, label: str, reply: Reply) -> float | str:
    """The one number that every mention of the label gives."""
    plain = _mentions(label, reply.text)
    if plain != _mentions(label, _unmasked(reply.text)):
        return f"the judge's reply hides the {what} behind invisible or look-alike characters, so it may be another"
    if not plain:
        return _absent(what, reply)
    if None in plain:
        return f"the judge's reply names a {what} without a plain number that ends the line: {_shown(reply.text)}"
    values = sorted({value for value in plain if value is not None})
    if len(values) > 1:
        several = " and ".join(f"{value:g}" for value in values)
        return f"the judge's reply gives more than one {what}: {several}"
    return _in_range(what, values[0])


def _mentions(label: str, text: str) -> list[float | None]:
    """What each mention of a label gives: its number, or None where no plain number follows."""
    numbers = (_NUMBER.match(text, mention.end()) for mention in re.finditer(label, text, re.IGNORECASE))
    return [None if number is None else float(number[1]) for number in numbers]


def _unmasked(text: str) -> str:
    """The text with look-alike characters replaced by those they look like, and invisible ones left out."""
    folded = unicodedata.normalize("NFKC", text)
    return "".join(sign for sign in folded if unicodedata.category(sign) not in ("Cf", "Mn") and sign != "\x00")


def _in_range(what: str, value: float) -> float | str:
    if LOWEST <= value <= HIGHEST:
        return value
    return f"the judge's reply gives a {what} of {value:g}, and it was asked for one from {LOWEST:g} to {HIGHEST:g}"


def _absent(what: str, reply: Reply) -> str:
    return f"the judge's reply has no {what}; it begins {_shown(reply.text)}"


def _shown(text: str) -> str:
    return repr(text.strip()[:_SHOWN])

"""What a judge's reply says, if it says one thing: a score, several, a word, or which of two images is better.

A reply is written by a model that has read a stranger's prompt, so reading it is a boundary. A number is taken only if
it stands where the question asked for it, lies in the range, and nothing else in the reply claims another. Everything
else is a reason in words, never a default:

- `sound` (the default) looks at every place that names the score. All must give the same number and nothing after it
  on the line; invisible or look-alike characters may not change what is found.
- `reference` reads as the published code of the protocol does. UnifiedReward (ArtifactReward's infer/unified_eval.py
  @8b1cd7d): the last number of each axis counts, the first "Final Score", and whatever follows it is ignored. WISE
  (PKU-YuanGroup/WISE@eb51174, WISE_legacy/gpt_eval.py and vllm_eval.py): the last digit after each axis, the first
  "Score"; where nothing has a label, lines that are a bare number.

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
WISE_AXES = ("consistency", "realism", "aesthetic quality")

_OFFICIAL_AXES = re.compile(r"(Alignment|Coherence|Style) Score \(1-5\):\s*([0-9]*\.?[0-9]+)")
_OFFICIAL_FINAL = re.compile(r"Final Score:\s*([0-9]*\.?[0-9]+)")
# A number that ends its line; a full stop or Markdown's asterisks may follow it.
_NUMBER = re.compile(r"[\s*]*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)[ \t]*\.?[ \t*]*(?:\r?\n|$)")
_OFFICIAL_WISE = re.compile(r"(Consistency|Realism|Aesthetic Quality)\*{0,2}\s*:?\s*([0-9])", re.IGNORECASE)
_OFFICIAL_VERIFIED = re.compile(r"Score\*{0,2}\s*:?\s*([01])\b", re.IGNORECASE)
_VERIFIED_LABEL = r"(?<![a-z])score\s*\**\s*[:\uff1a]"
_BARE_LINE = re.compile(r"^\s*([0-2])\s*$", re.MULTILINE)
_ONE_WORD = re.compile(r"[\s*\"']*(yes|no)[\s*\"'.!]*", re.IGNORECASE)
_PREFERENCES = {
    1.0: re.compile(r"\bimage\s+1\s+is\s+better\b", re.IGNORECASE),
    0.0: re.compile(r"\bimage\s+2\s+is\s+better\b", re.IGNORECASE),
    0.5: re.compile(r"\bboth\s+images\s+are\s+equally\s+good\b", re.IGNORECASE),
}
# What may stand before a verdict and after it, so that it is a sentence and not part of one that denies it.
_BEFORE = re.compile(r"(?:^|[\n.!:])[\s*\"']*$")
_AFTER = re.compile(r"[\s*\"']*(?:[\n.!]|$)")
_SHOWN = 60
_EMPTY = "the judge's reply is empty"


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
            result = result if isinstance(result, str) else _in_range(f"{axis} score", result)
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
    result = _agreed("final score", r"final\s+score\s*:", reply)
    return result if isinstance(result, str) else _in_range("final score", result)


def read_wise(reply: Reply, reading: Reading = "sound") -> dict[str, float] | str:
    """The scores of `WISE_AXES` in WISE's legacy protocol, each 0, 1 or 2; or why there are none, in words.

    A reply without any label may be three lines of a bare number, in the order of the axes.
    """
    if why := _why_unread(reply):
        return why
    if not any(_is_labelled(axis, reply.text, reading) for axis in WISE_AXES):
        return _bare(WISE_AXES, reply, reading)
    found: dict[str, float] = {}
    for axis in WISE_AXES:
        what = f"{axis} score"
        if reading == "reference":
            digits = [digit for name, digit in _OFFICIAL_WISE.findall(reply.text) if name.lower() == axis]
            result = _on_menu(what, float(digits[-1]), 2) if digits else _absent(what, reply)
        else:
            result = _agreed(what, _wise_label(axis), reply)
            result = result if isinstance(result, str) else _on_menu(what, result, 2)
        if isinstance(result, str):
            return result
        found[axis] = result
    return found


def read_wise_verified(reply: Reply, reading: Reading = "sound") -> float | str:
    """The score in WISE's verified protocol, 0 or 1; or why there is none, in words.

    A reply without the label may hold one line that is a bare number.
    """
    if why := _why_unread(reply):
        return why
    if reading == "reference":
        if first := _OFFICIAL_VERIFIED.search(reply.text):
            return float(first[1])
    elif _mentions(_VERIFIED_LABEL, _unmasked(reply.text)):
        result = _agreed("score", _VERIFIED_LABEL, reply)
        return result if isinstance(result, str) else _on_menu("score", result, 1)
    alone = _bare(("score",), reply, reading)
    return alone if isinstance(alone, str) else _on_menu("score", alone["score"], 1)


def read_yes_no(reply: Reply) -> bool | str:
    """Whether a reply that is one word says yes; or why it says neither, in words.

    Unlike the others it may have been cut off: the judge is asked for one token.
    """
    if not reply.text.strip():
        return _EMPTY
    found = _ONE_WORD.fullmatch(reply.text)
    if found is None:
        return f"the judge's reply is neither yes nor no; it begins {_shown(reply.text)}"
    return found[1].lower() == "yes"


def read_preference(reply: Reply) -> float | str:
    """Which of two images is better: 1 for the first, 0 for the second, 0.5 for neither; or why that is open.

    The verdict is one of the sentences that UnifiedReward's question offers, and every mention must be that sentence:
    "Image 1 is better." is a verdict, "I doubt that Image 1 is better" is none.
    """
    if why := _why_unread(reply):
        return why
    plain = _preferences(reply.text)
    if plain != _preferences(_unmasked(reply.text)):
        return "the judge's reply hides its verdict behind invisible or look-alike characters, so it may be another"
    if not plain:
        return _absent("verdict", reply)
    if None in plain:
        return f"the judge's reply speaks of what is better without a sentence that says it: {_shown(reply.text)}"
    verdicts = {verdict for verdict in plain if verdict is not None}
    return verdicts.pop() if len(verdicts) == 1 else "the judge's reply gives more than one verdict"


def _preferences(text: str) -> list[float | None]:
    """Each verdict, in a fixed order; None for one that is no sentence of its own."""
    return [
        verdict if _BEFORE.search(text[: found.start()]) and _AFTER.match(text, found.end()) else None
        for verdict, pattern in _PREFERENCES.items()
        for found in pattern.finditer(text)
    ]


def _wise_label(axis: str) -> str:
    spaced = axis.replace(" ", r"\s+")
    return rf"(?<![a-z]){spaced}\s*(?:score\s*)?(?:\(\s*0\s*-\s*2\s*\))?\s*\**\s*[:\uff1a]"


def _is_labelled(axis: str, text: str, reading: Reading) -> bool:
    if reading == "reference":
        return any(name.lower() == axis for name, _ in _OFFICIAL_WISE.findall(text))
    return bool(_mentions(_wise_label(axis), _unmasked(text)))


def _bare(names: tuple[str, ...], reply: Reply, reading: Reading) -> dict[str, float] | str:
    """The numbers of a reply without labels: a line for each name, and in `sound` nothing besides.

    The published code takes the first three of more lines, and of a single score exactly one.
    """
    numbers = _BARE_LINE.findall(reply.text)
    num_lines = sum(bool(line.strip()) for line in reply.text.splitlines())
    if reading == "sound":
        is_clear = len(numbers) == num_lines == len(names)
    else:
        is_clear = len(numbers) == len(names) or len(numbers) > len(names) > 1
    if not is_clear:
        return _absent(" or ".join(names), reply)
    return {name: float(number) for name, number in zip(names, numbers, strict=False)}


def _on_menu(what: str, value: float, highest: int) -> float | str:
    if value in range(highest + 1):
        return value
    menu = ", ".join(str(one) for one in range(highest + 1))
    return f"the judge's reply gives a {what} of {value:g}, and it was asked for one of {menu}"


def _why_unread(reply: Reply) -> str | None:
    if not reply.is_whole:
        return (
            "the judge's reply was cut off before it had ended, so its scores may not be its last word; raise "
            "max_new_tokens"
        )
    return None if reply.text.strip() else _EMPTY


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
    return values[0]


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

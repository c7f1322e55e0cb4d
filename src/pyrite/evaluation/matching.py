"""Which image of one set belongs to which image of another.

| rule | two images are a pair if |
|---|---|
| `id` | their prompts have the same id, and the texts do not contradict each other |
| `prompt` | their prompts have the same text |
| `name` | their files have the same name without its suffix |

The k-th image of a prompt in one set goes with the k-th in the other, in the order of the sets. A text that was cut
after 100 characters, as file names of ArtifactReward's sampler are, is the text that it begins. What finds no partner
is listed with the reason. Nothing is matched by its place in a list.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pyrite.core.errors import ImageSetError
from pyrite.core.types import Prompt
from pyrite.evaluation.image_sets import Item, Items

AUTO = "auto"
CUT_AFTER = 100


@dataclass(frozen=True)
class Pair:
    """Two images to be compared.

    Args:
        key: what they have in common: an id, a text or a name.
        n: number among the pairs of that key, from 0.
        a: id of the one in its set.
        b: id of the other in its set.
        prompt: of both; the longer text where one was cut.
    """

    key: str
    n: int
    a: str
    b: str
    prompt: Prompt


@dataclass(frozen=True)
class Alone:
    """An image without a partner.

    Args:
        side: "A" or "B".
        id: in its set.
        reason: why.
    """

    side: str
    id: str
    reason: str


@dataclass(frozen=True)
class Matched:
    """What came of matching.

    Args:
        rule: by which.
        pairs: in the order in which what they have in common comes in A.
        alone: every image that is in no pair.
    """

    rule: str
    pairs: Sequence[Pair]
    alone: Sequence[Alone]


@dataclass(frozen=True)
class Side:
    """The images of a set that have a partner, with the prompt of the pair; goes through the set in its own order.

    Args:
        images: the whole set.
        prompts: id of an image -> prompt.
    """

    images: Items
    prompts: Mapping[str, Prompt]

    @property
    def path(self) -> Path:
        """Of the whole set."""
        return self.images.path

    @property
    def layout(self) -> str:
        """Of the whole set."""
        return self.images.layout

    def items(self, *, with_bytes: bool = True) -> Iterator[Item]:
        """Those images."""
        for item in self.images.items(with_bytes=with_bytes):
            if item.id in self.prompts:
                yield replace(item, prompt=self.prompts[item.id])


def match(a: Items, b: Items, *, rule: str = AUTO) -> Matched:
    """Match two sets.

    Args:
        a: the one.
        b: the other.
        rule: a name of the table above; "auto" takes the first that gives a pair.

    Raises:
        ImageSetError: there is no such rule, a set is not what its layout says, or there is no pair.
    """
    if rule not in (AUTO, *RULES):
        raise ImageSetError(
            f"--match {rule} is no rule to match images by. The rules are: {', '.join((AUTO, *RULES))}."
        )
    first, second = list(a.items(with_bytes=False)), list(b.items(with_bytes=False))
    found = None
    for name in RULES if rule == AUTO else (rule,):
        found = RULES[name](first, second)
        if found.pairs:
            return found
    some = [[f"'{item.id}'" for item in side[:2]] for side in (first, second)]
    raise ImageSetError(
        f"no image of {a.path} has a partner in {b.path} by {rule if rule != AUTO else ', '.join(RULES)}, so there is "
        f"nothing to compare: A begins with {' and '.join(some[0]) or 'nothing'}, B with "
        f"{' and '.join(some[1]) or 'nothing'}. Give both sets the same prompt ids ('prompt_id' in JSON lines), "
        "the same prompts, or the same file names."
    )


def _by_id(first: Sequence[Item], second: Sequence[Item]) -> Matched:
    return _grouped("id", first, second, lambda item: item.prompt.id, "prompt id")


def _by_prompt(first: Sequence[Item], second: Sequence[Item]) -> Matched:
    """Texts that begin alike for 100 characters are one prompt if all but the cut ones are the same."""
    whole: dict[str, set[str]] = defaultdict(set)
    for item in (*first, *second):
        text = _plain(item.prompt.text)
        if len(text) > CUT_AFTER:
            whole[text[:CUT_AFTER].rstrip()].add(text)

    def key(item: Item) -> str:
        text = _plain(item.prompt.text)
        longer = whole.get(text, set())
        return longer.copy().pop() if len(longer) == 1 else text

    return _grouped("prompt", first, second, key, "prompt")


def _by_name(first: Sequence[Item], second: Sequence[Item]) -> Matched:
    """By the name alone where no set has one twice, so that an extra folder does not matter, else by the path."""
    stems = [[_path(item).stem for item in side] for side in (first, second)]
    alone = all(len(set(names)) == len(names) for names in stems)
    return _grouped(
        "name", first, second, lambda item: _path(item).stem if alone else str(_path(item).with_suffix("")), "file name"
    )


RULES: Mapping[str, Callable[[Sequence[Item], Sequence[Item]], Matched]] = {
    "id": _by_id,
    "prompt": _by_prompt,
    "name": _by_name,
}


def _grouped(
    rule: str, first: Sequence[Item], second: Sequence[Item], key_of: Callable[[Item], str], what: str
) -> Matched:
    groups: dict[str, tuple[list[Item], list[Item]]] = {}
    alone = []
    for place, (side, items) in enumerate((("A", first), ("B", second))):
        for item in items:
            if key := key_of(item):
                groups.setdefault(key, ([], []))[place].append(item)
            else:
                alone.append(Alone(side, item.id, f"it has no {what}"))
    pairs = []
    for key, (ours, theirs) in groups.items():
        for n in range(max(len(ours), len(theirs))):
            a, b = (side[n] if n < len(side) else None for side in (ours, theirs))
            if a is not None and b is not None:
                prompt = _common(a.prompt, b.prompt)
                if isinstance(prompt, Prompt):
                    pairs.append(Pair(key, n, a.id, b.id, prompt))
                else:
                    alone += [Alone("A", a.id, prompt), Alone("B", b.id, prompt)]
            else:
                side, there, other = ("A", a, theirs) if a is not None else ("B", b, ours)
                assert there is not None
                num = len(other)
                why = f"the other set has {num} image{'s' * (num > 1)} of" if num else "nothing in the other set has"
                alone.append(Alone(side, there.id, f"{why} the {what} {_shown(key)}"))
    return Matched(rule, pairs, alone)


def _common(a: Prompt, b: Prompt) -> Prompt | str:
    """The prompt of both, as the one tells it that tells more; or why there is none."""
    texts = _plain(a.text), _plain(b.text)
    if texts[0] == texts[1]:
        return max(a, b, key=lambda prompt: len(prompt.to_json()))
    cut, whole = sorted((a, b), key=lambda prompt: len(prompt.text))
    if not cut.text or (
        len(_plain(cut.text)) >= CUT_AFTER - 1 and _plain(whole.text)[:CUT_AFTER].startswith(_plain(cut.text))
    ):
        return whole
    return f"the prompts differ: {_shown(a.text)} in A, {_shown(b.text)} in B"


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _path(item: Item) -> PurePosixPath:
    """The id is the path within a folder; in a list it is anything, and the file has a name."""
    is_listed = isinstance(item.source, Path) and not str(item.source).endswith(item.id)
    return PurePosixPath(item.source.name if is_listed and isinstance(item.source, Path) else item.id)


def _shown(text: str) -> str:
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"

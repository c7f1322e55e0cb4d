"""Images with and without artifacts: a labelled set that is sound or refused, split so that no pair is separated.

A set is JSON lines, one image each:

    {"image": "images/1.png", "label": 1, "prompt": "a red cube", "pair_id": "7", "kind": "smear", "severity": 0.5}

`label` is 1 (or true) where the image has artifacts and 0 (or false) where it has none; everything after it may be
left out. Image paths lead from the folder the file is in. An entry without `id` is called by its image path.

The reference system's `artifacts_curated.json` is read as well. The code that wrote it was not at hand (that of
yq-hong/ArtifactReward which optimises the question), so this is what is accepted, and no promise about its keys: a
file that does not end in .jsonl is one JSON list of such objects, or one JSON object id -> object, where the id stands
for the image path if the object names none. In every form the image may also be called image_path, img_path, path,
file_name, filename or file; the label has_artifact, has_artifacts, artifact or artifacts; the prompt caption or text.
The first of these keys that has a value counts, and other keys are ignored.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pyrite.artifact.curated_rows import Example, read_entries, read_example
from pyrite.core.errors import ImageSetError
from pyrite.records.image_files import bombs_are_errors, open_image
from pyrite.records.stored import file_key
from pyrite.stats.resampling import FEWEST_CLUSTERS

__all__ = ["CuratedSet", "Example", "Pair", "Split", "load_curated", "pairs", "split_examples"]

_MOST_LINES = 60


@dataclass(frozen=True)
class CuratedSet:
    """A set whose every example has a label and an image that was decoded once.

    Args:
        path: of the file.
        examples: in the file's order.
        skipped: where -> why, for entries that were left out; empty unless `skip_bad` was asked for.
    """

    path: Path
    examples: tuple[Example, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """Three parts without a pair in common: to optimise on, to choose by, and to measure once."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]

    @property
    def parts(self) -> Mapping[str, tuple[Example, ...]]:
        """Name -> examples."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """What must be said beside any number from a part: that it is empty, has one class, or is too small."""
        return tuple(note for name, part in self.parts.items() if (note := _shortcoming(name, part)))


@dataclass(frozen=True)
class Pair:
    """A clean image and a damaged version of the same picture."""

    clean: Example
    damaged: Example


def load_curated(path: Path, *, skip_bad: bool = False) -> CuratedSet:
    """Read a labelled set and decode every image of it once.

    Refused, all at once: labels that are missing or not 0/1, images that are missing or unreadable, ids that occur
    twice, and one image under two names, which could land in two parts of a split or have two labels.

    Args:
        path: of the file, in a form named above.
        skip_bad: leave bad entries out and list them in `skipped`, instead of refusing the set.

    Raises:
        ImageSetError: no such file, bad entries, no examples at all, or examples of one class only.
        RunFolderError: the file cannot be read.
    """
    examples: dict[str, Example] = {}
    problems: dict[str, str] = {}
    wheres = []
    for entry in read_entries(path):
        wheres.append(entry.where)
        found = read_example(entry, path.parent)
        if isinstance(found, str):
            problems[entry.where] = found
        else:
            examples[entry.where] = found
    problems |= _repeated_ids(examples)
    problems |= _image_problems({where: item for where, item in examples.items() if where not in problems})
    problems = {where: problems[where] for where in wheres if where in problems}
    if problems and not skip_bad:
        raise ImageSetError(_all_problems(path, problems, len(wheres)))
    kept = tuple(example for where, example in examples.items() if where not in problems)
    _refuse_one_class(path, kept, problems, len(wheres))
    return CuratedSet(path, kept, problems)


def split_examples(
    examples: Iterable[Example], *, shares: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0
) -> Split:
    """Train, validation and test; the same for the same examples in any order, and no pair is ever separated.

    Groups (pairs, or images on their own) with the same labels and kinds stand together, within them by a hash of
    seed and group, and each goes to the part that lacks most of its share: so each part gets its share of every
    label and kind, as nearly as whole groups allow.

    Args:
        examples: of one set.
        shares: of the examples for each part; they sum to 1.
        seed: another one gives another split.

    Raises:
        ValueError: shares that are negative or do not sum to 1.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares = {shares}: parts of a whole are not negative and sum to 1. Give e.g. 0.6, 0.2, 0.2.")
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda item: item.id):
        groups[example.group].append(example)
    parts: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    num_placed = 0
    for name in sorted(groups, key=lambda name: (_stratum(groups[name]), _digest(seed, name))):
        num_placed += len(groups[name])
        lacks = [share * num_placed - len(part) for share, part in zip(shares, parts, strict=True)]
        parts[lacks.index(max(lacks))].extend(groups[name])
    return Split(*map(tuple, parts))


def pairs(examples: Iterable[Example]) -> tuple[Pair, ...]:
    """Each damaged image with the clean one of its pair; images without a partner are in none.

    Where a pair has several clean images, such as neutral changes, the source counts: the one without a kind, or
    else the first.
    """
    damaged: defaultdict[str, list[Example]] = defaultdict(list)
    clean: dict[str, Example] = {}
    for example in examples:
        if not example.pair_id:
            continue
        if example.has_artifact:
            damaged[example.pair_id].append(example)
        elif example.pair_id not in clean or (clean[example.pair_id].kind and not example.kind):
            clean[example.pair_id] = example
    return tuple(Pair(clean[name], item) for name, items in damaged.items() if name in clean for item in items)


def _repeated_ids(examples: Mapping[str, Example]) -> dict[str, str]:
    first: dict[str, str] = {}
    problems = {}
    for where, example in examples.items():
        if example.id in first:
            problems[where] = (
                f"the id '{example.id}' was given in {first[example.id]} already; give each its own, or none"
            )
        first.setdefault(example.id, where)
    return problems


def _image_problems(examples: Mapping[str, Example]) -> dict[str, str]:
    """Of images that cannot be decoded, and of those that are the same file."""
    with bombs_are_errors(), ThreadPoolExecutor() as pool:
        keys = dict(zip(examples, pool.map(_file_key, examples.values()), strict=True))
    problems: dict[str, str] = {}
    first: dict[str, str] = {}
    for where, (key, problem) in keys.items():
        image = examples[where].image
        if problem:
            problems[where] = f"image {image}: {problem}"
        elif key not in first:
            first[key] = where
        elif examples[where].has_artifact == examples[first[key]].has_artifact:
            problems[where] = f"image {image} is the one of {first[key]} again; leave one of them out"
        else:
            for one, other in ((first[key], where), (where, first[key])):
                problems[one] = f"image {examples[one].image} is the one of {other} with the other label; decide on one"
    return problems


def _file_key(example: Example) -> tuple[str, str]:
    image = open_image(example.image)
    return ("", image) if isinstance(image, str) else (file_key(example.image.read_bytes()), "")


def _all_problems(path: Path, problems: Mapping[str, str], num: int) -> str:
    lines = [f"  {where}: {problem}" for where, problem in problems.items()]
    if len(lines) > _MOST_LINES:
        rest = list(problems)[_MOST_LINES:]
        lines = [*lines[:_MOST_LINES], f"  and {len(rest)} more, from {rest[0]} to {rest[-1]}"]
    return (
        f"{path}: {len(problems)} of {num} entries cannot be used, and a judge measured on what is left is measured on "
        "another set. Repair them, or leave them out with --skip-bad:\n" + "\n".join(lines)
    )


def _refuse_one_class(path: Path, kept: Sequence[Example], problems: Mapping[str, str], num: int) -> None:
    labels = Counter(example.has_artifact for example in kept)
    if len(labels) == 2:
        return
    left_out = f" after {len(problems)} of {num} entries were left out" if problems else ""
    if not kept:
        raise ImageSetError(
            f"{path} holds no example{left_out}. Write one line per image, such as "
            '{"image": "a.png", "label": 1}, with label 1 for artifacts and 0 for none.'
        )
    has, lacks = ("1 (artifacts)", "0 (none)") if labels[True] else ("0 (none)", "1 (artifacts)")
    raise ImageSetError(
        f"{path}: all {len(kept)} examples{left_out} have label {has}, and a judge that always says so would be right "
        f"every time. Add images with label {lacks}, or plant artifacts in clean ones: `pyrite judge ladder IMAGES`."
    )


def _shortcoming(name: str, part: Sequence[Example]) -> str:
    num_groups = len({example.group for example in part})
    if not part:
        return f"{name} is empty: nothing can be measured on it"
    if len({example.has_artifact for example in part}) == 1:
        label = "artifacts" if part[0].has_artifact else "no artifacts"
        return f"{name} holds {len(part)} images, all labelled '{label}': no ranking can be measured on it"
    if num_groups < FEWEST_CLUSTERS:
        return (
            f"{name} holds {num_groups} independent pictures, fewer than {FEWEST_CLUSTERS}: too few for an interval "
            "that can be believed"
        )
    return ""


def _stratum(group: Sequence[Example]) -> tuple[tuple[bool, str], ...]:
    return tuple(sorted({(example.has_artifact, example.kind) for example in group}))


def _digest(seed: int, name: str) -> bytes:
    # JSON may bring lone surrogates, which UTF-8 has no form for.
    return hashlib.sha256(f"{seed} {name}".encode(errors="surrogatepass")).digest()

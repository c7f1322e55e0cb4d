"""A judge's preferences in pairs of images, asked once: what it said is written down before it is asked again.

A file of JSON lines holds a row per pair that was answered, with both replies as they came. What the machine or the
network failed at is in no row, so the same call again asks it; a reply that nobody can read is in one.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pyrite.core.errors import RewardError
from pyrite.core.types import FloatArray, Image, Prompt
from pyrite.evaluation.score_images import Progress
from pyrite.records.image_files import bombs_are_errors, decode, read_image_file
from pyrite.records.jsonl import JsonLines, read_jsonl

REPLIES = "judge.jsonl"


class Heard(Protocol):
    """What a judge says of N pairs; see `rewards.pairwise.Preferences`."""

    @property
    def values(self) -> FloatArray: ...  # noqa: D102

    @property
    def reasons(self) -> Mapping[int, str]: ...  # noqa: D102

    @property
    def answers(self) -> Mapping[int, tuple[float | None, float | None]]: ...  # noqa: D102

    @property
    def replies(self) -> Mapping[int, tuple[str, str]]: ...  # noqa: D102

    @property
    def transient(self) -> frozenset[int]: ...  # noqa: D102

    @property
    def stop(self) -> str: ...  # noqa: D102


class PairJudge(Protocol):
    """Whoever says which of two images is better, asked in both orders."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that changes what it says, in JSON's types."""
        ...

    @property
    def at_once(self) -> int:
        """How many questions may be on their way at the same time."""
        ...

    def hear(self, first: Sequence[Image], second: Sequence[Image], prompts: Sequence[Prompt]) -> Heard:
        """Compare image i of both for prompt i; says in `stop` why it gave up, and raises nothing for that."""
        ...


@dataclass(frozen=True)
class Shown:
    """A pair of image files to be judged; a side is a path, bytes, or None where there is no image."""

    a: Path | bytes | None
    b: Path | bytes | None
    prompt: Prompt
    sha256: tuple[str | None, str | None]


@dataclass(frozen=True)
class Preference:
    """What was said of one pair.

    Args:
        value: 1 where A is better, 0 where B is, 0.5 where both are equally good; NaN with a reason.
        reason: why it is NaN; empty if it is a number.
        answers: with A shown first, and with B shown first: 1 if the first one shown is better, 0 for the other, 0.5
            for neither, None for no verdict.
        replies: in the same order, as they came.
    """

    value: float
    reason: str = ""
    answers: tuple[float | None, float | None] = (None, None)
    replies: tuple[str, str] = ("", "")


def judge_pairs(judge: PairJudge, pairs: Sequence[Shown], folder: Path, *, progress: Progress) -> list[Preference]:
    """Ask about every pair that has no row yet.

    Args:
        judge: who is asked.
        pairs: in any order; equal ones are asked once.
        folder: where the file of replies is, or will be.
        progress: told after each group of pairs.

    Raises:
        RewardError: the judge refuses everybody, or fails too often; what it had said is written down.
        RunFolderError: the file cannot be read or written.
    """
    path = folder / REPLIES
    known = _read(path)
    keys = [_key(judge.identity, pair) for pair in pairs]
    waiting = {key: pair for key, pair in reversed(list(zip(keys, pairs, strict=True))) if key not in known}
    todo = list(waiting.items())[::-1]
    size = max(1, judge.at_once)
    with _appending(path) as rows, bombs_are_errors():
        for start in range(0, len(todo), size):
            progress(len(pairs) - len(todo) + start, len(pairs))
            group = todo[start : start + size]
            found, stop = _ask(judge, [pair for _, pair in group])
            said = {key: one for (key, _), one in zip(group, found, strict=True)}
            rows.append([_row(key, waiting[key], one) for key, (one, is_kept) in said.items() if is_kept])
            known |= {key: one for key, (one, _) in said.items()}
            if stop:
                rows.sync()
                raise RewardError(
                    f"the comparison has stopped: {stop}, then give the same command again: {len(known)} of "
                    f"{len(set(keys))} pairs were asked, and what was said is kept."
                )
    progress(len(pairs), len(pairs))
    return [known[key] for key in keys]


@dataclass(frozen=True)
class PositionBias:
    """Whether the judge prefers a place.

    Args:
        shown_first_frac: of all answers that preferred an image, the share that preferred the one shown first: 0.5
            without a bias; NaN without such an answer.
        num_decided: so many answers.
        turned_frac: of the pairs with a verdict in both orders, the share whose verdicts contradict each other.
        num_both: so many pairs.
    """

    shown_first_frac: float
    num_decided: int
    turned_frac: float
    num_both: int


def position_bias(preferences: Sequence[Preference]) -> PositionBias:
    """What the answers in both orders say about the judge itself."""
    decided = [answer for one in preferences for answer in one.answers if answer in (0.0, 1.0)]
    both = [(x, y) for x, y in (one.answers for one in preferences) if x is not None and y is not None]
    first, turned = sum(answer == 1.0 for answer in decided), sum(x != 1 - y for x, y in both)
    return PositionBias(
        first / len(decided) if decided else math.nan,
        len(decided),
        turned / len(both) if both else math.nan,
        len(both),
    )


def _ask(judge: PairJudge, pairs: Sequence[Shown]) -> tuple[list[tuple[Preference, bool]], str]:
    """What comes of each pair, whether it is to be kept, and why all has to stop."""
    found: dict[int, tuple[Preference, bool]] = {}
    images: dict[int, tuple[Image, Image]] = {}
    for row, pair in enumerate(pairs):
        a, b = _open(pair.a), _open(pair.b)
        if isinstance(a, str) or isinstance(b, str):
            why = f"A: {a}" if isinstance(a, str) else f"B: {b}"
            found[row] = Preference(math.nan, why), False  # a file may be mended, and nothing was paid
        elif not pair.prompt.text:
            found[row] = Preference(math.nan, "the pair has no prompt, and the judge is asked about one"), False
        else:
            images[row] = (a, b)
    if not images:
        return [found[row] for row in range(len(pairs))], ""
    prompts = [pairs[row].prompt for row in images]
    heard = judge.hear([a for a, _ in images.values()], [b for _, b in images.values()], prompts)
    for place, row in enumerate(images):
        one = Preference(
            float(heard.values[place]),
            heard.reasons.get(place, ""),
            heard.answers.get(place, (None, None)),
            heard.replies.get(place, ("", "")),
        )
        found[row] = one, place not in heard.transient and place in heard.replies
    return [found[row] for row in range(len(pairs))], heard.stop


def _open(source: Path | bytes | None) -> Image | str:
    file = read_image_file(source)
    return file if isinstance(file, str) else decode(file)


def _key(identity: Mapping[str, Any], pair: Shown) -> str:
    facts = [dict(identity), list(pair.sha256), pair.prompt.text]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _row(key: str, pair: Shown, one: Preference) -> dict[str, Any]:
    return {
        "key": key,
        "prompt": pair.prompt.text,
        "image_sha256": list(pair.sha256),
        "preference": one.value,
        "reason": one.reason,
        "answers": list(one.answers),
        "replies": list(one.replies),
    }


def _read(path: Path) -> dict[str, Preference]:
    if not path.exists():
        return {}
    rows, _ = read_jsonl(path)
    return {
        row["key"]: Preference(
            math.nan if row["preference"] is None else row["preference"],
            row["reason"],
            (row["answers"][0], row["answers"][1]),
            (row["replies"][0], row["replies"][1]),
        )
        for row in rows
    }


@contextmanager
def _appending(path: Path) -> Iterator[JsonLines]:
    """The file, cut back to its last whole line: a kill may have torn one."""
    rows = JsonLines(path)
    try:
        data = path.read_bytes()
        rows.truncate_to(data.rfind(b"\n") + 1)
        yield rows
    finally:
        rows.close()

"""Two image sets against each other: the same prompts, the same rewards, pair by pair.

    OUT/
      pairs.jsonl     one object per pair: both images, their scores, A - B, and the judge's preference
      unmatched.jsonl one object per image without a partner, and why
      results.json    per reward and for the judge: differences, win rates, per task type; written last but the page
      table.md        the same as a table; table.tex with booktabs
      report.html     the page (`audit.report.compare_page`)
      a/, b/          what `pyrite score` writes, of the images that have a partner
      judge.jsonl     both replies of the judge per pair

A difference is always A - B, and a win is A's. A pair of which a side is unscored is in no number and is counted.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.core.errors import RecipeError
from pyrite.core.protocols import Reward
from pyrite.core.types import FloatArray
from pyrite.evaluation.compare_tables import latex, markdown
from pyrite.evaluation.image_sets import ImageSet, survey
from pyrite.evaluation.matching import Alone, Matched, Pair, Side
from pyrite.evaluation.pair_judge import PairJudge, Preference, Shown, judge_pairs, position_bias
from pyrite.evaluation.score_folder import SAMPLES, read_rows, settings_of
from pyrite.evaluation.score_images import BATCH_SIZE, Progress, score_images
from pyrite.records.jsonl import JsonLines, teaching_os_errors, write_atomically, write_json
from pyrite.records.store import ScoreStore
from pyrite.stats.intervals import Interval
from pyrite.stats.paired import Paired, compare_paired

PAIRS, UNMATCHED, RESULTS = "pairs.jsonl", "unmatched.jsonl", "results.json"
MARKDOWN, LATEX = "table.md", "table.tex"
_MOST_REASONS = 10

Bar = Callable[[str], AbstractContextManager[Progress]]
"""What is being done -> where its progress is told."""


@dataclass(frozen=True)
class Compared:
    """What a comparison leaves.

    Args:
        results: what results.json holds.
        folder: where it is.
    """

    results: Mapping[str, Any]
    folder: Path


def compare_sets(
    a: ImageSet,
    b: ImageSet,
    matched: Matched,
    rewards: Mapping[str, Reward],
    out: Path,
    *,
    store: ScoreStore | None,
    judge: PairJudge | None = None,
    batch_size: int = BATCH_SIZE,
    bar: Bar,
) -> Compared:
    """Score both sets, ask the judge, and write the folder described above; the same call again continues.

    Args:
        a: the one set.
        b: the other.
        matched: which image belongs to which.
        rewards: name -> reward; may be none where there is a judge.
        out: the folder.
        store: the shared store; None keeps scores in the folder alone.
        judge: to be asked about each pair; None asks nobody.
        batch_size: most images in a batch.
        bar: for the progress.

    Raises:
        RecipeError: neither rewards nor a judge.
        RewardError: a reward raises, or the judge gives up; what was done is kept.
        ImageSetError, RunFolderError, StoreError: as `score_images`.
    """
    if not rewards and judge is None:
        raise RecipeError(
            "there is nothing to compare the two sets by: no reward and no judge. Name rewards with --rewards (see "
            "`pyrite list rewards`), or ask a judge with --judge."
        )
    rows = [
        _side_rows(name, images, matched, rewards, out / name, store, batch_size, bar)
        for name, images in (("a", a), ("b", b))
    ]
    preferences = _preferences(judge, matched.pairs, (a, b), rows, out, bar) if judge is not None else None
    names = list(rewards)
    with teaching_os_errors(f"write into {out}"):
        out.mkdir(parents=True, exist_ok=True)
    _write_lines(out / PAIRS, _pair_rows(matched.pairs, rows, names, preferences))
    _write_lines(out / UNMATCHED, (vars(one) for one in matched.alone))
    results = {
        "a": {"images": str(a.path), "layout": a.layout, "num_images": survey(a)},
        "b": {"images": str(b.path), "layout": b.layout, "num_images": survey(b)},
        "match": matched.rule,
        "num_pairs": len(matched.pairs),
        "num_prompts": len({_label(pair) for pair in matched.pairs}),
        "num_unmatched": {side: sum(one.side == side for one in matched.alone) for side in ("A", "B")},
        "unmatched": _reasons_of(matched.alone),
        "rewards": {
            name: _of_reward(
                matched.pairs, *(_column(side, matched.pairs, place, name) for place, side in enumerate(rows))
            )
            | {"unscored": _unscored(matched.pairs, rows, name), **settings_of(reward.card)}
            for name, reward in rewards.items()
        },
        "judge": _of_judge(matched.pairs, preferences, judge)
        if judge is not None and preferences is not None
        else None,
    }
    write_json(out / RESULTS, results)
    loaded: dict[str, Any] = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    write_atomically(out / MARKDOWN, markdown(loaded))
    write_atomically(out / LATEX, latex(loaded))
    return Compared(loaded, out)


# ---------------------------------------------------------------- scores

_Rows = Mapping[str, Mapping[str, Any]]
"""Id of an image -> its row of samples.jsonl."""


def _side_rows(
    name: str,
    images: ImageSet,
    matched: Matched,
    rewards: Mapping[str, Reward],
    folder: Path,
    store: ScoreStore | None,
    batch_size: int,
    bar: Bar,
) -> _Rows:
    side = Side(images, {getattr(pair, name): pair.prompt for pair in matched.pairs})
    with bar(f"scoring {name.upper()}" if rewards else f"reading {name.upper()}") as progress:
        score_images(side, rewards, folder, store=store, batch_size=batch_size, progress=progress)
    return {row["id"]: row for row in read_rows(folder / SAMPLES)}


def _column(rows: _Rows, pairs: Sequence[Pair], place: int, reward: str) -> FloatArray:
    values = [rows[_ids(pair)[place]]["scores"][reward] for pair in pairs]
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _ids(pair: Pair) -> tuple[str, str]:
    return pair.a, pair.b


def _unscored(pairs: Sequence[Pair], rows: Sequence[_Rows], reward: str) -> list[dict[str, Any]]:
    reasons: Counter[str] = Counter()
    first: dict[str, str] = {}
    for pair in pairs:
        found = [
            f"{side}: {why}"
            for side, of, name in zip("AB", rows, _ids(pair), strict=True)
            if (why := of[name]["reasons"].get(reward))
        ]
        if found:
            reasons[found[0]] += 1
            first.setdefault(found[0], pair.key)
    return [{"reason": why, "num": num, "first": first[why]} for why, num in reasons.most_common(_MOST_REASONS)]


# ---------------------------------------------------------------- the judge


def _preferences(
    judge: PairJudge, pairs: Sequence[Pair], sets: Sequence[ImageSet], rows: Sequence[_Rows], out: Path, bar: Bar
) -> list[Preference]:
    wanted: tuple[dict[str, Path | bytes | None], ...] = ({}, {})
    for place, images in enumerate(sets):
        names = {_ids(pair)[place] for pair in pairs}
        wanted[place].update((item.id, item.source) for item in images.items() if item.id in names)
    shown = [
        Shown(
            wanted[0][pair.a],
            wanted[1][pair.b],
            pair.prompt,
            (rows[0][pair.a]["image_sha256"], rows[1][pair.b]["image_sha256"]),
        )
        for pair in pairs
    ]
    with bar("judging") as progress:
        return judge_pairs(judge, shown, out, progress=progress)


def _of_judge(pairs: Sequence[Pair], preferences: Sequence[Preference], judge: PairJudge) -> dict[str, Any]:
    values = np.array([one.value for one in preferences])
    reasons = Counter(one.reason for one in preferences if one.reason)
    bias = position_bias(preferences)
    return {
        # 1 - value is what B has of the preference, so wins, ties and losses come out as for a reward.
        **_of_reward(pairs, values, 1 - values),
        "unscored": [{"reason": why, "num": num} for why, num in reasons.most_common(_MOST_REASONS)],
        "position": vars(bias),
        "identity": dict(judge.identity),
    }


# ---------------------------------------------------------------- numbers


def _of_reward(pairs: Sequence[Pair], a: FloatArray, b: FloatArray) -> dict[str, Any]:
    labels = np.array([_label(pair) for pair in pairs])
    tasks = np.array([pair.prompt.task_type for pair in pairs])
    return {
        **_plain(compare_paired(a, b, prompts=labels)),
        "by_task_type": {
            str(task): _plain(compare_paired(a[tasks == task], b[tasks == task], prompts=labels[tasks == task]))
            for task in dict.fromkeys(tasks)
            if task
        },
    }


def _plain(found: Paired) -> dict[str, Any]:
    return {
        name: {"estimate": value.estimate, "low": value.low, "high": value.high}
        if isinstance(value, Interval)
        else value
        for name, value in vars(found).items()
    }


def _label(pair: Pair) -> str:
    """What is resampled: the prompt, or the pair where there is none."""
    return pair.prompt.text or f"\0{pair.key}"


# ---------------------------------------------------------------- files


def _pair_rows(
    pairs: Sequence[Pair], rows: Sequence[_Rows], names: Sequence[str], preferences: Sequence[Preference] | None
) -> Iterator[dict[str, Any]]:
    for place, pair in enumerate(pairs):
        a, b = (of[name] for of, name in zip(rows, _ids(pair), strict=True))
        scores = {name: (a["scores"][name], b["scores"][name]) for name in names}
        row: dict[str, Any] = {
            "key": pair.key,
            "n": pair.n,
            "prompt": pair.prompt.text,
            "prompt_id": pair.prompt.id,
            "task_type": pair.prompt.task_type,
            "a": {key: a[key] for key in ("id", "image", "image_sha256")},
            "b": {key: b[key] for key in ("id", "image", "image_sha256")},
            "scores": {name: list(both) for name, both in scores.items()},
            "difference": {name: x - y if x is not None and y is not None else None for name, (x, y) in scores.items()},
            "reasons": {
                name: "; ".join(
                    f"{side}: {of['reasons'][name]}" for side, of in (("A", a), ("B", b)) if name in of["reasons"]
                )
                for name in names
                if name in a["reasons"] or name in b["reasons"]
            },
        }
        if preferences is not None:
            one = preferences[place]
            row["judge"] = {
                "preference": one.value,
                "reason": one.reason,
                "answers": list(one.answers),
                "replies": list(one.replies),
            }
        yield row


def _write_lines(path: Path, rows: Iterator[Mapping[str, Any]]) -> None:
    new = path.with_name(f".{path.name}.new")
    with teaching_os_errors(f"write {path}"):
        new.unlink(missing_ok=True)
    lines = JsonLines(new)
    try:
        for row in rows:
            lines.append([row])
        lines.sync()
    finally:
        lines.close()
    with teaching_os_errors(f"write {path}"):
        new.replace(path)


def _reasons_of(alone: Sequence[Alone]) -> list[dict[str, Any]]:
    return [{"side": one.side, "id": one.id, "reason": one.reason} for one in alone[:_MOST_REASONS]]

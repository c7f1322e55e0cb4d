"""The page that shows two image sets side by side, from the folder of `pyrite evaluate A B`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pyrite.audit.report import compare_charts
from pyrite.audit.report.page import render
from pyrite.audit.report.pictures import Picture, spread, thumbnail
from pyrite.audit.report.tables import MISSING, Table, number, with_interval
from pyrite.records.jsonl import read_jsonl, write_atomically

_MOST_PER_SIDE = 3
_MOST_ANYHOW = 6
_MOST_CONTRADICTIONS = 4
_PICTURE_PX = 256
_LONGEST_REPLY = 600


@dataclass(frozen=True)
class Duel:
    """One pair on the page.

    Args:
        prompt: of both.
        task_type: of the prompt.
        a, b: the images.
        names: of the two files.
        scores: (reward, score of A, of B, "A", "B" or "" for who is ahead).
        verdict: of the judge, in words; empty if it was not asked.
        replies: of the judge.
    """

    prompt: str
    task_type: str
    a: Picture
    b: Picture
    names: tuple[str, str]
    scores: tuple[tuple[str, str, str, str], ...]
    verdict: str
    replies: tuple[str, ...]


def write_compare_page(folder: Path, out: Path) -> Path:
    """Write the page of a folder whose files were just written here: the images they name are put into it.

    Args:
        folder: with results.json, pairs.jsonl and unmatched.jsonl.
        out: the HTML file.

    Raises:
        RunFolderError: a file cannot be read or written.
    """
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    pairs, _ = read_jsonl(folder / "pairs.jsonl")
    alone, _ = read_jsonl(folder / "unmatched.jsonl")
    judge = results["judge"]
    found = {**results["rewards"], **({"judge": judge} if judge else {})}
    a, b = (Path(results[side]["images"]).name or results[side]["images"] for side in "ab")
    context: dict[str, Any] = {
        "title": f"{a} against {b}",
        "sides": (("A", results["a"]["images"]), ("B", results["b"]["images"])),
        "num_pairs": results["num_pairs"],
        "num_prompts": results["num_prompts"],
        "match": results["match"],
        "verdicts": [_verdict(name, one) for name, one in found.items()],
        "notes_list": _notes(results, found),
        "numbers": compare_charts.table(found),
        "charts_list": [
            chart
            for chart in (compare_charts.effects(results["rewards"]), compare_charts.outcomes(found))
            if chart is not None
        ],
        "tasks": compare_charts.by_task_type(found),
        "judge": _judge(judge, pairs) if judge else None,
        "galleries": [(name, *_ends(pairs, name)) for name in results["rewards"]],
        "anyhow": [_duel(pairs[place]) for place in spread(range(len(pairs)), _MOST_ANYHOW)],
        "alone": _alone(alone),
        "facts": _facts(results),
        "quiet_cells": (MISSING,),
        "version": metadata.version("pyrite"),
    }
    write_atomically(out, render(context, "compare.html.j2"))
    return out


def _verdict(name: str, one: Mapping[str, Any]) -> dict[str, str]:
    what = "difference" if name != "judge" else "win_rate"
    middle = 0.0 if name != "judge" else 0.5
    value, low, high = (one[what][key] for key in ("estimate", "low", "high"))
    rate = with_interval(compare_charts.estimate(one["win_rate"]))
    who = f"{name}:" if name != "judge" else "The judge:"
    if value is None:
        return {"kind": "unknown", "word": "no pair", "sentence": f"{who} no pair has a number on both sides."}
    counts = f"A wins {one['wins']}, B wins {one['losses']}, {one['ties']} ties of {one['num_pairs']} pairs"
    if low is None or low <= middle <= high:
        equal = one["ties"] == one["num_pairs"]
        word = "equal" if equal else "open"
        told = "every pair is a tie" if equal else f"who is ahead is open; {counts} (win rate of A {rate})"
        return {"kind": "unknown", "word": word, "sentence": f"{who} {told}."}
    side = "A" if value > middle else "B"
    if name == "judge":
        word, told = f"{side} is ahead", f"{side} is preferred more often"
    elif _wins_more_often(one["win_rate"], side):
        word, told = f"{side} is ahead", f"{side} is ahead by {_change(one)} on average"
    else:  # a few large differences make a mean
        word = f"{side} is higher on average"
        told = f"{side} is higher by {_change(one)} on average, and it is open which of them wins more often"
    return {"kind": f"side-{side.lower()}", "word": word, "sentence": f"{who} {told}; {counts} (win rate of A {rate})."}


def _wins_more_often(rate: Mapping[str, Any], side: str) -> bool:
    if rate["low"] is None:
        return False
    return bool(rate["low"] > 0.5 if side == "A" else rate["high"] < 0.5)


def _change(one: Mapping[str, Any]) -> str:
    change = compare_charts.estimate(one["difference"])
    sign = 1 if change.value > 0 else -1
    low, high = sorted((sign * change.low, sign * change.high))
    places = compare_charts.digits(change.value)
    return f"{number(abs(change.value), places)} [{number(low, places)}, {number(high, places)}]"


def _notes(results: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    alone = results["num_unmatched"]
    notes = []
    if alone["A"] or alone["B"]:
        notes.append(f"{alone['A']} images of A and {alone['B']} of B have no partner and are in no number.")
    for name, one in found.items():
        if one["num_missing"]:
            why = "; ".join(f"{entry['num']}: {entry['reason']}" for entry in one["unscored"][:3])
            notes.append(f"{name}: {one['num_missing']} pairs have no number and are left out ({why}).")
    if len(found) > 1:
        notes.append(
            f"{len(found)} comparisons stand on this page: by chance alone one interval in twenty misses the truth."
        )
    return notes


def _ends(pairs: Sequence[Mapping[str, Any]], reward: str) -> tuple[list[Duel], list[Duel]]:
    """The pairs in which A is furthest ahead, and those in which B is."""
    known = sorted(
        (pair for pair in pairs if pair["difference"][reward] is not None), key=lambda pair: pair["difference"][reward]
    )
    ours = [pair for pair in reversed(known) if pair["difference"][reward] > 0][:_MOST_PER_SIDE]
    theirs = [pair for pair in known if pair["difference"][reward] < 0][:_MOST_PER_SIDE]
    return [_duel(pair) for pair in ours], [_duel(pair) for pair in theirs]


def _duel(pair: Mapping[str, Any]) -> Duel:
    scores = []
    for name, (a, b) in pair["scores"].items():
        change = pair["difference"][name]
        places = compare_charts.digits(change)
        ahead = "" if not change else "A" if change > 0 else "B"
        scores.append((name, *(MISSING if value is None else number(value, places) for value in (a, b)), ahead))
    judged = pair.get("judge")
    return Duel(
        pair["prompt"] or pair["key"],
        pair["task_type"],
        _picture(pair["a"]),
        _picture(pair["b"]),
        (pair["a"]["id"], pair["b"]["id"]),
        tuple(scores),
        _said(judged) if judged else "",
        tuple(_cut(reply) for reply in judged["replies"] if reply) if judged else (),
    )


def _picture(side: Mapping[str, Any]) -> Picture:
    if side["image"] is None:
        return Picture("", "lies inside the set's own file")
    return thumbnail(Path(side["image"]), _PICTURE_PX)


def _said(judged: Mapping[str, Any]) -> str:
    words = {1: "A is better", 0: "B is better", 0.5: "both are equally good"}
    return words.get(judged["preference"], f"no preference: {judged['reason']}")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_REPLY else f"{text[:_LONGEST_REPLY]}…"


def _judge(judge: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    position = judge["position"]
    first, turned = position["shown_first_frac"], position["turned_frac"]
    told = [
        "It gave no preference at all."
        if first is None
        else f"Of its {position['num_decided']} preferences {first:.0%} were for the image it was shown first; a judge "
        "that minds only the images is at 50\u00a0%."
    ]
    if turned is not None:
        told.append(
            f"In {turned:.0%} of {position['num_both']} pairs its answers in the two orders contradict each other: "
            "those pairs count as no preference."
        )
    contradicting = [pair for pair in pairs if pair["judge"]["preference"] is None and all(pair["judge"]["replies"])]
    return {
        "sentence": " ".join(told),
        "facts": [(key, str(value)) for key, value in judge["identity"].items()],
        "contradictions": [_duel(pair) for pair in contradicting[:_MOST_CONTRADICTIONS]],
    }


def _alone(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    if not rows:
        return None
    shown = rows[:40]
    caption = f"{len(rows)} images without a partner" + (f", the first {len(shown)}" if len(shown) < len(rows) else "")
    return Table(f"{caption}.", ("image", "set", "why"), tuple((r["id"], r["side"], r["reason"]) for r in shown), True)


def _facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    sets = [
        (side, f"{results[key]['images']} ({results[key]['layout']}, {results[key]['num_images']} images)")
        for side, key in (("A", "a"), ("B", "b"))
    ]
    rewards = [
        (
            name,
            f"revision {one['revision'][:16] or 'none'}, {one['dtype']}, {one['preprocessing'] or 'no preprocessing'}",
        )
        for name, one in results["rewards"].items()
    ]
    return [*sets, ("matched by", results["match"]), *rewards]

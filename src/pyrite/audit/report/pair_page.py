"""The page of a pair test: which rewards are blind to what, as one HTML file that opens offline."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.audit.curves import Estimate
from pyrite.audit.pairs.blind_spots import Sight, definition, sentence
from pyrite.audit.pairs.card import Card
from pyrite.audit.pairs.ladder import severity_curve
from pyrite.audit.pairs.outcomes import Tally
from pyrite.audit.report import charts, pair_charts, pair_examples
from pyrite.audit.report.charts import Chart
from pyrite.audit.report.page import render
from pyrite.audit.report.tables import MISSING, Table, number, with_interval
from pyrite.records.jsonl import write_atomically
from pyrite.stats.intervals import Interval

_MOST_COMPLEMENTS = 15


def write_pair_page(card: Card, out: Path, *, title: str) -> Path:
    """Write one HTML file and return its path; the same card gives the same bytes.

    Raises:
        RunFolderError: it cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, render(_context(card, title), "pairs.html.j2"))
    return out


def _context(card: Card, title: str) -> dict[str, Any]:
    paired = card.test.paired
    return {
        "title": title,
        "num_pairs": len(paired.damaged),
        "num_pictures": len(np.unique(paired.damaged.sources)),
        "num_neutral": len(paired.neutral),
        "tie": _tie(card.test.tie_sd),
        "definition": definition(card.threshold),
        "rewards": [_verdict(card, name) for name in paired.rewards],
        "notes": card.notes,
        "counts": _counts(card),
        "map": _map(card),
        "severities": _by_severity(card),
        "severity": _severity(card),
        "neutral": _neutral(card),
        "complements": _complements(card),
        "agreement": _agreement(card),
        "examples": pair_examples.examples(paired.damaged),
        "neutral_examples": pair_examples.examples(paired.neutral),
        "quiet_cells": (MISSING,),
        "version": metadata.version("pyrite"),
    }


def _verdict(card: Card, reward: str) -> dict[str, str]:
    spots = card.spots_of(reward)
    sights = {spot.sight for spot in spots}
    num = sum(spot.is_blind for spot in spots)
    if num:
        kind, word = "blind", f"blind to {num} of {len(spots)}"
    elif sights == {Sight.SEES}:
        kind, word = "clear", "sees all"
    else:
        kind, word = "unknown", "unclear"
    return {"name": reward, "kind": kind, "word": word, "sentence": sentence(spots)}


def _tie(tie_sd: float) -> str:
    if tie_sd == 0:
        return "A tie is two equal scores."
    return f"A tie is two scores at most {tie_sd:g} standard deviations apart."


def _counts(card: Card) -> Table:
    rows = [(name, *_cells(tally)) for name, tally in card.test.overall.items()]
    head = ("reward", "correct", "tie", "wrong", "unscored", "accuracy", "accuracy without ties")
    return Table(
        "All pairs. Accuracy is correct over correct, ties and wrong, with its 95\u00a0% interval.", head, tuple(rows)
    )


def _cells(tally: Tally) -> tuple[str, ...]:
    counts = (tally.num_correct, tally.num_tie, tally.num_wrong, tally.num_unscored)
    return (*map(str, counts), _with_interval(tally.accuracy), number(tally.decided))


def _map(card: Card) -> Chart:
    spots = card.spots
    num_kinds, num_rewards = len({spot.kind for spot in spots}), len(card.test.overall)
    return Chart(
        "blind-spots",
        pair_charts.blind_spot_map(spots),
        "Accuracy by reward and kind of damage",
        "Read along a row to see what a reward misses, down a column to see who would notice.",
        110 + 34 * num_rewards,
        pair_charts.MARK_KEY,
        170 + 48 * num_kinds,
    )


def _by_severity(card: Card) -> Table | None:
    levels = sorted({level for tallies in card.test.by_severity.values() for level in tallies})
    if not levels:
        return None
    rows = [
        (name, *(_with_interval(tallies[level].accuracy) if level in tallies else MISSING for level in levels))
        for name, tallies in card.test.by_severity.items()
    ]
    head = ("reward", *(f"severity {level:g}" for level in levels))
    return Table("Accuracy by severity, all kinds together, with 95\u00a0% intervals.", head, tuple(rows))


def _severity(card: Card) -> dict[str, Any]:
    names = card.test.paired.rewards
    if not card.monotonicity:
        return {"charts": [], "key": (), "table": None}
    kinds = list(next(iter(card.monotonicity.values())))
    made = []
    for place, kind in enumerate(kinds):
        pairs = card.test.paired.damaged.of_kind(kind)
        drawn = {name: severity_curve(pairs, name) for name in names if np.isfinite(pairs.images.spread(name))}
        figure = pair_charts.over_severity(drawn, names)
        made.append(Chart(f"severity-{place}", figure, kind.replace("_", " "), "", 260))
    rows = [(name, *(_with_interval(found[kind]) for kind in kinds)) for name, found in card.monotonicity.items()]
    caption = (
        "How steadily the score falls with severity, from −1 to 1, with 95\u00a0% intervals over pictures: 1 where "
        "every step down in quality is a step down in score, 0 where the score does not care."
    )
    head = ("reward", *(kind.replace("_", " ") for kind in kinds))
    return {"charts": made, "key": pair_charts.reward_key(names), "table": Table(caption, head, tuple(rows))}


def _neutral(card: Card) -> dict[str, Any]:
    by_reward = {name: [item for item in card.invariances if item.reward == name] for name in card.test.paired.rewards}
    if not card.invariances:
        return {"charts": [], "table": None}
    height = 76 + 24 * len(card.test.paired.neutral.kind_names)
    made = [
        Chart(f"neutral-{place}", pair_charts.neutral_bars(found), name, "", height)
        for place, (name, found) in enumerate(by_reward.items())
    ]
    rows = [
        (name, _with_interval(card.separation[name]), *(_with_interval(item.shift, signed=True) for item in found))
        for name, found in by_reward.items()
    ]
    head = ("reward", "neutral above damaged", *card.test.paired.neutral.kind_names)
    caption = (
        "How often a neutrally changed image scores above a damaged one of the same picture (0.5: by chance), and the "
        "mean shift of the score by each neutral change, in sd, with 95\u00a0% intervals over pictures."
    )
    return {"charts": made, "table": Table(caption, head, tuple(rows))}


def _complements(card: Card) -> dict[str, Any]:
    rows = [
        (
            f"{item.first} + {item.second}",
            f"{number(item.alone[0])}, {number(item.alone[1])}",
            number(item.either),
            f"{number(item.accuracy)} by {item.best}",
            _with_interval(item.gain, signed=True),
            f"{number(item.worst_alone[0])}, {number(item.worst_alone[1])}",
            number(item.worst),
            number(item.agreement),
        )
        for item in card.complements[:_MOST_COMPLEMENTS]
    ]
    head = (
        "pair of rewards",
        "accuracy alone",
        "at best",
        "together",
        "gain over the better one",
        "worst kind alone",
        "worst kind together",
        "agreement",
    )
    if not rows:
        return {"sentence": "There are no two rewards to combine.", "table": None}
    shown, num = len(rows), len(card.complements)
    which = f"The first {shown} of {num} pairs of rewards" if shown < num else "Every two rewards"
    caption = f"{which}: gains beyond doubt first, then by accuracy together. A tie counts one half here."
    return {"sentence": _gain_sentence(card), "table": Table(caption, head, tuple(rows))}


def _gain_sentence(card: Card) -> str:
    sure = [item for item in card.complements if item.gain.low > 0]
    if not sure:
        return "No two rewards together are more accurate than the better of them alone, beyond doubt."
    best = max(sure, key=lambda item: item.accuracy)
    how = "the sum of their standardised scores" if best.best == "sum" else "the smaller of their standardised scores"
    return (
        f"{len(sure)} of {len(card.complements)} pairs of rewards are together more accurate than the better one "
        f"alone. The most accurate of them is {best.first} with {best.second}: {how} is right about "
        f"{best.accuracy:.0%} of the pairs, alone they are right about {best.alone[0]:.0%} and {best.alone[1]:.0%}."
    )


def _agreement(card: Card) -> list[Chart]:
    names: Sequence[str] = card.test.paired.rewards
    if len(names) < 2:
        return []
    figure = charts.heat_map(names, card.agreement)
    caption = "Near 1: the second reward repeats the first. Negative: what one punishes, the other pays for."
    size = 150 + 40 * len(names)
    return [Chart("agreement", figure, "Agreement between rewards", caption, size, min_width=size)]


def _with_interval(found: Interval, *, signed: bool = False) -> str:
    return with_interval(Estimate(found.estimate, found.low, found.high), signed=signed)

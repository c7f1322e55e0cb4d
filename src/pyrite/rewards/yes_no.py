"""What a model's first token says to a question of yes or no: the probability of yes, or why there is none.

Pure arithmetic on log-probabilities, the same for a model in this process (all of its logits) and for one behind a
server (the few likeliest tokens it lists). Two named modes:

- `sound` (the default) adds up every spelling: yes, Yes, YES, each with and without a leading space, and the same of
  no. Of a list, what is missing from it is bounded: no unlisted token is likelier than the last one listed, and all of
  them together have what the list leaves over. An answer that this leaves open is no answer.
- `reference` is the code of ArtifactReward (utils/reward_artifacts.py@8b1cd7d) with its defects: of several spellings
  the one listed last, so the least likely, counts alone; a leading space is another word; yes missing from the list is
  P = 0, even if no is missing as well, and no missing is P = 1.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Mode = Literal["sound", "reference"]
MODES: tuple[Mode, ...] = ("sound", "reference")

SPELLINGS = {
    word: tuple(space + form for space in ("", " ") for form in (word, word.capitalize(), word.upper()))
    for word in ("yes", "no")
}
"""Word -> the spellings that `sound` counts as it."""

LISTED = 10
"""How many of the likeliest tokens the reference asks its server for."""

WIDEST = 0.1
"""A list may leave P(yes) open by this much, so that the middle is off by half of it at most."""

# A server may round its log-probabilities: a list adds up to more than 1 by as much.
_ROUNDING = 1e-3
_SHOWN = 5


class YesNo(NamedTuple):
    """What the first token says.

    Args:
        prob_yes: P(yes) given that the answer is yes or no, in [0, 1]; NaN where it is open.
        answered: P(yes or no), in [0, 1]: how far the model answered at all, as far as was seen; NaN where unknown.
        reason: why `prob_yes` is NaN; empty otherwise.
    """

    prob_yes: float
    answered: float
    reason: str = ""


def from_list(tokens: Sequence[tuple[str, float]], mode: Mode = "sound") -> YesNo:
    """From the likeliest tokens.

    Args:
        tokens: text and log-probability of each, the likeliest first.
        mode: see the module.
    """
    if why := _why_unreadable(tokens):
        return YesNo(math.nan, math.nan, why)
    seen = {word: [(text, math.exp(logp)) for text, logp in tokens if _word(text) == word] for word in SPELLINGS}
    yes, no = (math.fsum(prob for _, prob in seen[word]) for word in ("yes", "no"))
    if mode == "reference":
        return YesNo(_reference_prob(tokens), yes + no)
    if not yes + no > 0:
        shown = ", ".join(repr(text) for text, _ in tokens[:_SHOWN])
        return YesNo(
            math.nan, yes + no, f"neither yes nor no is among the {len(tokens)} likeliest tokens, which begin {shown}"
        )
    left_over = max(0.0, 1 - math.fsum(math.exp(logp) for _, logp in tokens))
    least = math.exp(min(logp for _, logp in tokens))
    more_yes, more_no = (
        min(left_over, least * len(set(SPELLINGS[word]) - {text for text, _ in seen[word]})) for word in ("yes", "no")
    )
    low, high = yes / (yes + no + more_no), (yes + more_yes) / (yes + more_yes + no)
    if high - low > WIDEST:
        return YesNo(
            math.nan,
            yes + no,
            f"P(yes) is only known to lie between {low:.2f} and {high:.2f}: yes and no have {yes + no:.2g} of the "
            f"probability among the {len(tokens)} likeliest tokens, and those not listed may hold more",
        )
    return YesNo((low + high) / 2, min(1.0, yes + no))


def from_logits(
    logits: npt.ArrayLike,
    yes_ids: Sequence[int],
    no_ids: Sequence[int],
    text_of: Callable[[int], str],
    mode: Mode = "sound",
) -> YesNo:
    """From the logits of the whole vocabulary.

    Args:
        logits: (V,) of the first token.
        yes_ids: the tokens that are a spelling of yes; at least one.
        no_ids: the same of no.
        text_of: the text of a token, for `reference`, which reads the `LISTED` likeliest.
        mode: see the module.
    """
    found = np.asarray(logits, np.float64)
    if not np.isfinite(found).all():
        return YesNo(math.nan, math.nan, "the model's output for this image is not a finite number")
    logp = found - _log_sum(found)
    yes, no = (_log_sum(logp[list(ids)]) for ids in (yes_ids, no_ids))
    answered = min(1.0, math.exp(yes) + math.exp(no))
    if mode == "sound":
        return YesNo(_prob(yes, no), answered)
    at_least = np.partition(logp, -LISTED)[-LISTED] if len(logp) > LISTED else -math.inf
    likeliest = sorted(np.flatnonzero(logp >= at_least).tolist(), key=lambda token: -logp[token])[:LISTED]
    return YesNo(_reference_prob([(text_of(token), float(logp[token])) for token in likeliest]), answered)


def _reference_prob(tokens: Sequence[tuple[str, float]]) -> float:
    """P(yes) as ArtifactReward computes it; see the module for what is wrong with it."""
    last = {text.lower(): logp for text, logp in tokens if text.lower() in SPELLINGS}
    if "yes" not in last:
        return 0.0
    return _prob(last["yes"], last["no"]) if "no" in last else 1.0


def _log_sum(logarithms: npt.NDArray[np.float64]) -> float:
    """The logarithm of the sum of what they are logarithms of."""
    largest = logarithms.max()
    return float(largest + np.log(np.exp(logarithms - largest).sum()))


def _prob(yes: float, no: float) -> float:
    """1 / (1 + exp(no - yes)), of the logarithms, without overflow."""
    return float(np.exp(-np.logaddexp(0.0, no - yes)))


def _word(text: str) -> str:
    return text.strip(" ").lower()


def _why_unreadable(tokens: Sequence[tuple[str, float]]) -> str | None:
    """Why a list is no list of log-probabilities; a server may send anything."""
    if not tokens:
        return "the server listed no tokens, so it is unknown what the model would answer"
    if any(math.isnan(logp) or logp > _ROUNDING for _, logp in tokens):
        return "the server's list holds a number that is no log-probability"
    if (total := math.fsum(math.exp(logp) for _, logp in tokens)) > 1 + _ROUNDING:
        return f"the server's list adds up to a probability of {total:.3g}, so its numbers are no log-probabilities"
    return None

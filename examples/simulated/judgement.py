"""The model: P(yes, there is an artifact) from what the question says and what the image really holds.

    logit P(yes) = PRIOR + focus * evidence + SUSPICION * (kinds named) + noise

- evidence of an artifact of severity s: (0.4 + 0.6 s) * NAMED if the question names its kind, else * UNNAMED;
- evidence of a harmless change: ALARM, or a quarter of it if the question tells to disregard it;
- focus falls as 1 / (1 + words beyond 90 / 120): a long question dulls, so naming everything is not free;
- a smaller picture than the registered one shows its artifacts less, by the fourth root of the share of its pixels;
- noise: 0.9 standard deviations that belong to the image (it is just hard) and 0.5 that also belong to what the
  question names, both drawn from the seed by hash, so that the same question about the same image has one answer.

A question that wants YES where the image is clean turns the answer round. One that asks for neither YES nor NO gets
prose: those words then have 2 % of the probability.
"""

import hashlib
import math
import re
from statistics import NormalDist

from examples.simulated.knowledge import excused_in, named_in
from examples.simulated.sight import Truth

PRIOR, NAMED, UNNAMED, ALARM, SUSPICION = -1.3, 3.6, 1.3, 1.7, 0.05
OWN_NOISE, SHARED_NOISE = 0.9, 0.5
_TURNED = re.compile(
    r"\byes\b[^.]{0,20}\bif\b[^.,;]{0,40}\b(?:no artifact|free of|without|clean|flawless)", re.IGNORECASE
)
_NORMAL = NormalDist()


def prob_yes(question: str, truth: Truth, seed: int = 0) -> float:
    """P(the answer is yes), in (0, 1).

    Args:
        question: the text beside the image.
        truth: what is really in it.
        seed: of the noise.
    """
    named, excused = named_in(question, [truth.concept]), excused_in(question)
    focus = 1 / (1 + max(0, len(question.split()) - 90) / 120)
    if truth.has_artifact:
        seen = min(1.0, truth.shown_px / truth.size_px) ** 0.25 if truth.shown_px else 1.0
        evidence = seen * (0.4 + 0.6 * truth.severity) * (NAMED if truth.concept in named else UNNAMED)
    else:
        evidence = ALARM * (0.25 if truth.concept in excused else 1.0) if truth.concept else 0.0
    noise = OWN_NOISE * _gaussian(seed, truth.key)
    noise += SHARED_NOISE * _gaussian(seed, truth.key, *sorted(named), "|", *sorted(excused))
    logit = PRIOR + focus * evidence + SUSPICION * len(named) + noise
    return 1 / (1 + math.exp(logit if _TURNED.search(question) else -logit))


def first_tokens(question: str, probability: float) -> dict[str, float]:
    """Token -> log-probability of the likeliest first tokens, the likeliest first."""
    words = question.upper()
    answered = 0.98 if re.search(r"\bYES\b", words) and re.search(r"\bNO\b", words) else 0.02
    spread = {"{}": 0.9, " {}": 0.06, "{:t}": 0.04}
    found = {}
    for word, share in (("YES", probability), ("NO", 1 - probability)):
        for form, part in spread.items():
            token = form.replace("{:t}", word.title()).replace("{}", word)
            found[token] = answered * share * part
    for token, part in {"The": 0.6, "I": 0.25, "This": 0.14}.items():
        found[token] = (1 - answered) * part
    return {token: math.log(max(found[token], 1e-12)) for token in sorted(found, key=lambda one: -found[one])}


def lottery(*facts: object) -> float:
    """A number in (0, 1) that the facts decide."""
    digest = hashlib.sha256(repr(facts).encode()).digest()
    return (int.from_bytes(digest[:6], "big") + 0.5) / 2**48


def _gaussian(*facts: object) -> float:
    return _NORMAL.inv_cdf(lottery(*facts))

"""What the simulated model writes when it is asked for a critique, a better question, or the same one in other words.

Seeded by the request, so that the same request has one reply. A critique looks at the images that were shown: more
often than not it names a kind that the question misses, sometimes a wrong one, sometimes nothing. A rewrite takes up
what the critique names, and sometimes loses a kind or is no question at all.
"""

import random
import re
from collections.abc import Sequence

from examples.simulated.knowledge import ARTIFACTS, NEUTRAL, excused_in, named_in, phrase
from examples.simulated.sight import Truth

INSIGHT, MISTAKE = 0.55, 0.15
LOST, JUNK = 0.12, 0.06
_QUESTION = re.compile(r"<question>(.*?)</question>", re.DOTALL)
_FRAMES = (
    ("Analyze the image for unintended artifacts such as {named}.", "Respond with YES if you find any, else with NO."),
    ("Inspect this picture closely. Look for {named}.", "Answer YES if any of these is present, otherwise answer NO."),
    ("You check a generated image for flaws: {named}.", "Reply YES when there is one and NO when there is none."),
    ("Does the image show {named}, or anything else that no camera and no artist would produce?", "Say YES or NO."),
)  # fmt: skip
_VAGUE = (
    "The question is too general, so small defects are passed over.",
    "The question does not say how careful the inspection should be.",
    "The wording leaves open where in the image one should look.",
)


def write(text: str, shown: Sequence[Truth], rng: random.Random) -> str:
    """The reply to a request that asks for text.

    Args:
        text: of the request; the question it is about stands between <question> and </question>.
        shown: what is in its images.
        rng: decides.
    """
    found = _QUESTION.search(text)
    question = found[1].strip() if found else text
    rest = _QUESTION.sub(" ", text).lower()
    if "same meaning" in rest:
        return _rewrite(question, "", rng)
    if "improved question" in rest:
        return _rewrite(question, _critique_in(text) or critique(question, shown, rng), rng)
    return critique(question, shown, rng)


def critique(question: str, shown: Sequence[Truth], rng: random.Random) -> str:
    """Why a question got the shown images wrong, in a sentence or two."""
    named, excused = named_in(question), excused_in(question)
    missed = [truth.concept for truth in shown if truth.has_artifact and truth.concept not in named]
    alarms = [
        truth.concept for truth in shown if not truth.has_artifact and truth.concept and truth.concept not in excused
    ]
    luck = rng.random()
    if luck < INSIGHT and (missed or alarms):
        concept = rng.choice([*missed, *alarms])
        return _about(concept, is_alarm=concept in alarms)
    if luck < INSIGHT + MISTAKE:
        return _about(rng.choice([*ARTIFACTS, *NEUTRAL]), is_alarm=False)
    return rng.choice(_VAGUE)


def _about(concept: str, *, is_alarm: bool) -> str:
    if is_alarm or concept in NEUTRAL:
        return f"The question lets harmless changes pass for flaws. It should ignore {phrase(concept)}."
    return f"The question never mentions {phrase(concept)}, which is what these images show."


def _rewrite(question: str, why: str, rng: random.Random) -> str:
    named = sorted(named_in(question) | named_in(why))
    excused = sorted(excused_in(question) | excused_in(why))
    if rng.random() < JUNK:
        return rng.choice(["I would rather describe the image first.", "<question></question>", "YES"])
    if named and rng.random() < LOST:
        named.remove(rng.choice(named))
    rng.shuffle(named)
    listed = ", ".join(phrase(concept) for concept in named) or "anything that looks wrong"
    look, answer = rng.choice(_FRAMES)
    ignore = f" Disregard {' and '.join(phrase(concept) for concept in excused)}." if excused else ""
    return f"<question>{look.format(named=listed)}{ignore} {answer}</question>"


def _critique_in(text: str) -> str:
    found = re.search(r"<critique>(.*?)</critique>", text, re.DOTALL)
    return found[1].strip() if found else ""

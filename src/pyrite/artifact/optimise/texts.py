"""The three requests for a text, and what counts as a reply: a rewriting model's words are untrusted input.

A reply is bounded in length, may hold nothing that a server would obey, and cannot forge the marks that the next
request is built with. A question must stand alone between <question> and </question> and must ask for YES and NO.
"""

import re
from collections.abc import Sequence

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.examiner import load_image
from pyrite.rewards.images import to_rgb
from pyrite.rewards.queries import Query, Settings, Shown, markup_in

MAX_CRITIQUE_CHARS = 2000
FEWEST_QUESTION_CHARS = 12

_TASK = (
    "A vision-language model is shown one picture together with one question. It replies with a single word: YES if "
    "the picture has visual artifacts, that is, flaws nobody intended, and NO if it has none. I am looking for the "
    "question that makes its answers right most often."
)
_TAGS = re.compile(r"</?\s*(?:question|critique)\s*>", re.IGNORECASE)
_BLOCK = re.compile(r"<question>(.*?)</question>", re.IGNORECASE | re.DOTALL)
_UNPRINTABLE = re.compile(r"[^\S \n]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def critique_request(question: str, wrong: Sequence[tuple[Example, float]], max_tokens: int) -> Query:
    """Why does the question get these images wrong? The textual gradient of arXiv:2305.03495, section 2.1.

    Args:
        question: as it is now.
        wrong: images with the P(artifact) they were given.
        max_tokens: of the reply.
    """
    end = (
        "Name the most likely reason why the question leads to these wrong answers, in at most three sentences: what "
        "does it fail to mention, what does it mention that misleads, which harmless property is taken for a flaw? "
        "Write the reason only."
    )
    return _request(question, wrong, end, max_tokens)


def rewrite_request(question: str, wrong: Sequence[tuple[Example, float]], critique: str, max_tokens: int) -> Query:
    """A better question along a critique: the step of arXiv:2305.03495, section 2.1.

    Args:
        question: as it is now.
        wrong: images with the P(artifact) they were given.
        critique: of the question; empty to leave finding one to the model.
        max_tokens: of the reply.
    """
    given = f"What is wrong with the question:\n<critique>{critique}</critique>\n\n" if critique else ""
    return _request(question, wrong, f"{given}Write an improved question. {_FORM}", max_tokens)


def paraphrase_request(question: str, max_tokens: int) -> Query:
    """The same question in other words: the Monte Carlo successors of arXiv:2305.03495, section 2.2."""
    text = (
        f"{_TASK}\n\n<question>{question}</question>\n\nWrite a question with the same meaning in other words. {_FORM}"
    )
    return Query((text,), Settings(max_tokens), "paraphrase")


_FORM = (
    "It must tell the model to reply with YES if there are artifacts and with NO if there are none. Put it between "
    "<question> and </question>, once, and write nothing else."
)


def critique_in(reply: str) -> tuple[str, str]:
    """The critique a reply gives, cut to a bounded length; or an empty one, and why."""
    text = _clean(_TAGS.sub(" ", reply))[:MAX_CRITIQUE_CHARS]
    if not text:
        return "", "the reply is empty"
    return ("", "the reply spells out control tokens") if markup_in(text) else (text, "")


def question_in(reply: str, max_chars: int) -> tuple[str, str]:
    """The question a reply gives, or an empty one, and why.

    Args:
        reply: of the rewriting model.
        max_chars: a longer question is none.
    """
    blocks = _BLOCK.findall(reply)
    if len(blocks) != 1:
        return "", f"the reply holds {len(blocks) or 'no'} questions between <question> and </question>, not one"
    text = _clean(blocks[0])
    if not FEWEST_QUESTION_CHARS <= len(text) <= max_chars:
        return "", f"the question has fewer than {FEWEST_QUESTION_CHARS} or more than {max_chars} characters"
    if _TAGS.search(text) or markup_in(text):
        return "", "the question spells out control tokens"
    if not all(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in ("yes", "no")):
        return "", "the question does not ask for YES and NO"
    return text, ""


def _request(question: str, wrong: Sequence[tuple[Example, float]], end: str, max_tokens: int) -> Query:
    parts: list[str | Shown] = [f"{_TASK}\n\nThe question so far:\n<question>{question}</question>\n\n"]
    if wrong:
        parts.append("It leads to wrong answers about these pictures:\n")
    for number, (example, prob) in enumerate(wrong, start=1):
        truth, said = ("YES", "NO") if example.has_artifact else ("NO", "YES")
        parts.append(f"\nPicture {number}: the right answer is {truth}, the model said {said} (P(YES) = {prob:.2f}).")
        image = to_rgb(load_image(example))
        if not isinstance(image, str):
            parts.append(Shown.of(image))
    return Query((*parts, f"\n\n{end}"), Settings(max_tokens), "rewriting")


def _clean(text: str) -> str:
    return re.sub(r"\s+", " ", _UNPRINTABLE.sub(" ", text)).strip()

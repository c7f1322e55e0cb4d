"""Asking a judge one question about one image: the contract between who asks and who knows where the judge is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pyrite.core.types import Image


@dataclass(frozen=True)
class Heard:
    """What came of one question.

    Args:
        text: of the reply, as it came; empty if there is none.
        is_whole: the judge ended it itself; False if it was cut off.
        failed: what the machine or the network did, so that nothing was answered; empty if something was.
        stop: why no other question need be put either; only where `failed` is set.
        refusal: what a service says in place of a reply.
        model: which the server says it was.
        prompt_tokens: length of the question, NaN if unknown.
        completion_tokens: length of the reply, NaN if unknown.
        cost_usd: price of both, NaN if unknown.
    """

    text: str = ""
    is_whole: bool = True
    failed: str = ""
    stop: str = ""
    refusal: str = ""
    model: str = ""
    prompt_tokens: float = math.nan
    completion_tokens: float = math.nan
    cost_usd: float = math.nan


class Judge(Protocol):
    """Whoever can be asked about an image in words, and replies in words."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that changes what it replies, in JSON's types: a result names it."""
        ...

    @property
    def at_once(self) -> int:
        """How many questions may be on their way at the same time, each from a thread of its own."""
        ...

    def ask(self, image: Image, text: str, *, system: str = "") -> Heard:
        """Put one question and wait for what comes of it; a failure is `Heard.failed` and never raised.

        Args:
            image: stands after the text.
            text: of the user's turn.
            system: of the turn before it; empty for none.
        """
        ...

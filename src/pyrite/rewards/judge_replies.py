"""What came over the wire, checked: an OpenAI-style chat completion, from a server that may be anybody's.

Only what is used is read. The form is that of vLLM, SGLang, `transformers serve` and commercial services:
log-probabilities and token counts may be missing, a choice may not.
"""

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pyrite.rewards.replies import Reply

MAX_REPLY_BYTES = 1 << 20
"""More than this is not read: a reply of 4,096 tokens is about 20 kB."""

_WHOLE = "stop"


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Alternative(_Wire):
    token: str
    logprob: float


class _Position(_Wire):
    top_logprobs: list[_Alternative] = []


class _Logprobs(_Wire):
    content: list[_Position] | None = None


class _Message(_Wire):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Wire):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(_Wire):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(_Wire):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None
    model: str | None = None


@dataclass(frozen=True)
class Said:
    """What the judge said.

    Args:
        text: of the reply; empty if there is none.
        finish_reason: why it ended, in the server's word: "stop" if the model ended it.
        tokens: text and log-probability of the likeliest first tokens, in the server's order; None if it sent none.
        refusal: what a service says in place of a reply; empty if it did not.
        prompt_tokens: length of the question, NaN if unknown.
        completion_tokens: length of the reply, NaN if unknown.
        model: which the server says it was.
    """

    text: str
    finish_reason: str = _WHOLE
    tokens: tuple[tuple[str, float], ...] | None = None
    refusal: str = ""
    prompt_tokens: float = math.nan
    completion_tokens: float = math.nan
    model: str = ""

    @property
    def reply(self) -> Reply:
        """As `replies.py` reads it."""
        return Reply(self.text, is_whole=self.finish_reason == _WHOLE)


def read_completion(data: bytes) -> Said | str:
    """The first choice of a chat completion; or why there is none, in words.

    Args:
        data: the body of the response.
    """
    try:
        found = _Completion.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        return f"the server's reply is no chat completion ({where}: {first['msg']}); it begins {_shown(data)}"
    choice, usage = found.choices[0], found.usage or _Usage()
    positions = choice.logprobs.content if choice.logprobs is not None else None
    tokens = None if not positions else tuple((one.token, one.logprob) for one in positions[0].top_logprobs)
    return Said(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "none given",
        tokens=tokens,
        refusal=choice.message.refusal or "",
        prompt_tokens=_number(usage.prompt_tokens),
        completion_tokens=_number(usage.completion_tokens),
        model=found.model or "",
    )


def _number(count: int | None) -> float:
    # A count beyond this is a lie, and would not be exact as a float either.
    return float(count) if count is not None and 0 <= count < 2**53 else math.nan


def _shown(data: bytes) -> str:
    return repr(data[:60].decode("utf-8", "replace"))

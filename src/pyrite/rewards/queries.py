"""What is asked of a judge behind a server: text and pictures in order, as the body of a chat completion."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pyrite.core.types import Image
from pyrite.records.stored import image_key

Transport = Literal["png", "jpeg95"]
TRANSPORTS: tuple[Transport, ...] = ("png", "jpeg95")

# A server fills its template with the text and reads special tokens in the whole, so these would be obeyed.
_MARKUP = re.compile(
    r"<\|[^<>|\s]{1,60}\|>|</?s>|<image>|<video>|\[/?INST\]|<\uff5c[^<>\s]{1,60}\uff5c>", re.IGNORECASE
)


@dataclass(frozen=True)
class Shown:
    """A picture as part of a question; two of the same pixels are equal.

    Args:
        key: of the pixels.
        image: in RGB.
    """

    key: str
    image: Image = field(compare=False, repr=False)

    @classmethod
    def of(cls, image: Image) -> "Shown":
        """The picture of an RGB image."""
        return cls(image_key(image), image)


class Settings(NamedTuple):
    """How a reply is to be made.

    Args:
        max_tokens: longest reply.
        top_logprobs: how many of the likeliest first tokens to list; 0 asks for none.
        transport: how pictures travel: without loss, or as a JPEG file of quality 95 as in the reference.
    """

    max_tokens: int
    top_logprobs: int = 0
    transport: Transport = "png"


@dataclass(frozen=True)
class Query:
    """One question; two that ask the same are equal, and are asked once.

    Args:
        parts: text and pictures of the user's turn, in order.
        settings: of the reply.
        about: the caption it is about, for the audit.
        system: of the turn before the user's; empty for none.
    """

    parts: tuple[str | Shown, ...]
    settings: Settings
    about: str = field(default="", compare=False)
    system: str = ""

    def number(self, sampling: Mapping[str, Any]) -> int:
        """A number of 52 bits that stands for question, pictures and sampling; a float holds it exactly."""
        facts: list[Any] = [
            [part if isinstance(part, str) else [part.key] for part in self.parts],
            self.settings,
            dict(sampling),
        ]
        facts += [self.system] * bool(self.system)
        return int.from_bytes(hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).digest()[:8], "big") >> 12

    def body(self, model: str, sampling: Mapping[str, Any]) -> bytes:
        """The request as JSON; encodes the pictures.

        Args:
            model: name of the model on the server.
            sampling: further keys, such as temperature.
        """
        content = [_part(part, self.settings.transport) for part in self.parts]
        wants = {"logprobs": True, "top_logprobs": self.settings.top_logprobs} if self.settings.top_logprobs else {}
        turns: list[dict[str, Any]] = [{"role": "system", "content": self.system}] * bool(self.system)
        turns.append({"role": "user", "content": content})
        limit = {"max_tokens": self.settings.max_tokens, "stream": False}
        return json.dumps({"model": model, "messages": turns, **limit, **sampling, **wants}).encode()

    @property
    def image_keys(self) -> Sequence[str]:
        """Of the pictures, in order."""
        return [part.key for part in self.parts if isinstance(part, Shown)]


def markup_in(text: str) -> str | None:
    """Why a caption cannot be put to a server as text; None if it can.

    In this process nothing in a caption is ever special (docs/decisions/0008); a server decides that for itself.
    """
    found = _MARKUP.search(text)
    if found is None:
        return None
    return (
        f"the prompt spells out {found[0]!r}, which a server may obey as a control token, so the judge would not see "
        "the question as it was put"
    )


def mended(text: str) -> str:
    """The text with each lone surrogate, which UTF-8 has no form for, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _part(part: str | Shown, transport: Transport) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    file = io.BytesIO()
    if transport == "png":
        part.image.save(file, "PNG", compress_level=1)  # a third of the time of level 6, some percent larger
        kind = "png"
    else:
        part.image.save(file, "JPEG", quality=95)
        kind = "jpeg"
    return {
        "type": "image_url",
        "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"},
    }

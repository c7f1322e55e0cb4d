"""What every reward with random weights is made of: modules with drawn weights, and vocabularies without files."""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# Words and what stands between them: about as many pieces as a real vocabulary makes of English.
_PIECE = re.compile(r"\w+|[^\w\s]|\n+")


def drawn(build_it: Callable[[], Any], device: torch.device, dtype: torch.dtype) -> Any:
    """A module with weights drawn one tensor after another, so that it is never held in float32 as well.

    Args:
        build_it: makes the module; its own initialisation is skipped.
        device: where it computes.
        dtype: of its parameters.
    """
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        module = build_it()
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            values = torch.empty(parameter.shape, device=device)
            if parameter.ndim > 1:
                values.normal_(0, parameter[0].numel() ** -0.5)
            else:
                values.fill_(0.0 if name.endswith("bias") else 1.0)
            part.register_parameter(name, nn.Parameter(values.to(dtype), requires_grad=False))
    return module.to(device).eval()


def ready(module: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A module with the weights its library drew, in its place and precision, without gradients."""
    return module.to(device=device, dtype=dtype).eval().requires_grad_(False)


def hashed_ids(text: str, num_ids: int) -> list[int]:
    """An id from 0 to `num_ids` - 1 for each word and mark of a text."""
    return [zlib.crc32(piece.encode()) % num_ids for piece in _PIECE.findall(text)]


@dataclass(frozen=True)
class StandInTokenizer:
    """One id for each word, from its hash; begins and ends a text as the real tokenizer does.

    Args:
        first: id that begins every text.
        last: id that ends it.
        pad: id that fills up.
        num_words: words get ids from 1000 below this.
    """

    first: int
    last: int
    pad: int
    num_words: int

    unk_token_id = None

    @property
    def eos_token_id(self) -> int:
        """As transformers' tokenizers call the last id."""
        return self.last

    @property
    def pad_token_id(self) -> int:
        """As transformers' tokenizers call the filling id."""
        return self.pad

    def __call__(self, texts: Sequence[str], **_: object) -> dict[str, list[list[int]]]:
        """The ids of each text, as transformers' tokenizers return them."""
        span = self.num_words - 1000
        return {
            "input_ids": [
                [self.first, *(1000 + zlib.crc32(word.encode()) % span for word in text.split()), self.last]
                for text in texts
            ]
        }


@dataclass(frozen=True)
class StandInVocabulary:
    """A chat model's vocabulary: one id for each word, from its hash, and any reply reads as a verdict.

    Args:
        num_ids: the last of them are special tokens.
        specials: their names; "<|endoftext|>" is one.
        reply: ids of a reply -> what a judge would have written.
    """

    num_ids: int
    specials: tuple[str, ...]
    reply: Callable[[Sequence[int]], str]

    @property
    def pad_id(self) -> int:
        """That of "<|endoftext|>"."""
        return self.token("<|endoftext|>")

    def words(self, text: str) -> list[int]:
        """An id for each word and mark."""
        return hashed_ids(text, self.num_ids - len(self.specials))

    def token(self, name: str) -> int:
        """The id of a special token or an answer."""
        return self.num_ids - len(self.specials) + self.specials.index(name)

    def text(self, ids: Sequence[int]) -> str:
        """What the ids of a reply stand for."""
        return self.reply(ids)

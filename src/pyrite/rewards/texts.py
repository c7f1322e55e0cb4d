"""How a reward reads a prompt: what is cleaned away first, which tokens come out, and what is remembered.

Two policies are in use, and the same prompt gives other tokens in each: `clean_clip_text` before the tokenizer
(OpenAI CLIP, open_clip, HPSv2, CLIPScore), or the tokenizer alone (PickScore, ImageReward).

In both, a prompt that spells out a special token, such as "<|endoftext|>" or "[SEP]", is read as those characters. The
official codes disagree here (open_clip and so HPSv2 do the same, except for its own "<start_of_text>" and
"<end_of_text>"; OpenAI, PickScore and ImageReward obey the token), and a prompt that could end itself early would
hide its tail from the reward.
"""

import html
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import ftfy
import torch
from torch import Tensor

from pyrite.core.errors import CheckpointError
from pyrite.records.published import find_file, published

Value = TypeVar("Value")
_SPACES = re.compile(r"\s+")


def clean_clip_text(text: str) -> str:
    """What OpenAI's CLIP does to a text: mend its Unicode, resolve HTML entities, collapse spaces, lower case.

    Entities are resolved twice, so "&amp;lt;" becomes "<".
    """
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return _SPACES.sub(" ", text).strip().lower()


def as_written(text: str) -> str:
    """The text itself: what is done to it, the tokenizer does."""
    return text


@dataclass(frozen=True)
class TextReader:
    """Texts to token ids, cut to what the model can take.

    Args:
        tokenizer: of transformers.
        longest: how many ids the model takes, special ones included.
        clean: applied before the tokenizer.
        shortest: rows of fewer ids are filled up to this many. The official codes fill up to `longest`, which costs
            time and changes nothing: what stands after the end is masked.
    """

    tokenizer: Any
    longest: int
    clean: Callable[[str], str] = as_written
    shortest: int = 0

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, whole."""
        if not texts:
            return []
        cleaned = [self.clean(_well_formed(text)) for text in texts]
        # Not verbose: a text that is too long is cut, and the library would warn of indexing errors.
        found: list[list[int]] = self.tokenizer(cleaned, split_special_tokens=True, verbose=False)["input_ids"]
        return found

    def cut(self, ids: list[int]) -> list[int]:
        """The beginning that the model can take, ended as every text ends."""
        return ids if len(ids) <= self.longest else [*ids[: self.longest - 1], ids[-1]]

    def has_unknown_words(self, ids: list[int]) -> bool:
        """Whether a word stands for any unknown one. CLIP's own tokenizer knows all, and calls its end unknown."""
        unknown = self.tokenizer.unk_token_id
        return unknown is not None and unknown != self.tokenizer.eos_token_id and unknown in ids

    def tensors(self, batch: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
        """(M, L) ids filled up at the end, and which of them are real, both int64."""
        width = max(self.shortest, *map(len, batch))
        ids = [row + [self.tokenizer.pad_token_id] * (width - len(row)) for row in batch]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in batch]
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _well_formed(text: str) -> str:
    """The text with U+FFFD for every lone surrogate, which JSON may bring and no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass(frozen=True)
class Memory(Generic[Value]):
    """What was computed for the texts used last, so that a prompt seen again costs nothing.

    Args:
        capacity: how many texts are remembered; the one unused for longest is forgotten first.
    """

    capacity: int = 4096
    _values: "OrderedDict[str, Value]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def recall(self, texts: Sequence[str], compute: Callable[[list[str]], Sequence[Value]]) -> dict[str, Value]:
        """Text -> value for each distinct text; `compute` is asked, once, for those not remembered."""
        with self._lock:
            known = {text: self._values[text] for text in dict.fromkeys(texts) if text in self._values}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, compute(new), strict=True))
        with self._lock:
            for text, value in known.items():
                self._values[text] = value
                self._values.move_to_end(text)
            while len(self._values) > self.capacity:
                self._values.popitem(last=False)
        return known


def find_tokenizer(name: str, weights: str | Path | None, tokenizer: str | Path | None) -> Path:
    """The first of a published reward's tokenizer files; the others lie beside it.

    Args:
        name: of the reward.
        weights: what the user named as weights: a folder may hold the tokenizer too.
        tokenizer: the folder the user named, if any; nothing else is tried then.

    Raises:
        CheckpointError: no tokenizer there.
    """
    if tokenizer is None:
        return find_file(name, "tokenizer", weights)
    files = [file.name for file in published(name)["tokenizer"].files]
    if absent := [file for file in files if not (Path(tokenizer) / file).is_file()]:
        raise CheckpointError(
            f"tokenizer={str(tokenizer)!r}: there is no {' and no '.join(absent)} in that folder, and '{name}' reads "
            f"prompts with {' and '.join(files)}. Name the folder that holds them, or type: pyrite weights fetch {name}"
        )
    return Path(tokenizer) / files[0]

"""A question to a chat model, from its pieces to token ids: what is markup, what is words, and where pictures go.

A question is a sequence of pieces. Words between two other pieces are tokenised as one text, a user's prompt together
with the fixed sentences around it, so that token boundaries are those of the official codes, which tokenise the filled
template. They differ from these in one way on purpose: here nothing in words is ever special, so a prompt that spells
out "<|im_end|>" or "<image>" is read as those characters and cannot end its own turn, add one, or add a picture.

For vocabularies of byte-level BPE (Qwen's), where what stands before or after a special token does not change how a
text is split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from pyrite.core.errors import CheckpointError

NO_ID = -1
"""Stands for a picture's token where the model has no id for it."""


class Markup(NamedTuple):
    """One token of the template, by its name, such as "<|im_start|>"."""

    token: str


class Words(NamedTuple):
    """Text in which nothing is special: fixed sentences, or a user's prompt, or both."""

    text: str


class Picture(NamedTuple):
    """Room for an image: `num_tokens` times the id of `token`, or `NO_ID` where the model has no such token."""

    num_tokens: int
    token: str = ""


Piece = Markup | Words | Picture


class Vocabulary(Protocol):
    """What a chat model's tokenizer must do here."""

    @property
    def pad_id(self) -> int:
        """An id to fill rows up with; a mask hides it."""
        ...

    def words(self, text: str) -> list[int]:
        """The ids of a text in which nothing is special."""
        ...

    def token(self, name: str) -> int:
        """The id of one token, special or not.

        Raises:
            CheckpointError: there is none of that name.
        """
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, special ones left out."""
        ...


@dataclass(frozen=True)
class ChatVocabulary:
    """A transformers tokenizer, seen as a `Vocabulary`.

    Args:
        tokenizer: a fast one.
        source: the folder it was read from, for messages.
    """

    tokenizer: Any
    source: Path

    @property
    def pad_id(self) -> int:
        """The tokenizer's own, or 0."""
        return int(self.tokenizer.pad_token_id or 0)

    def words(self, text: str) -> list[int]:
        """The ids of a text in which nothing is special; a lone surrogate becomes U+FFFD."""
        mended = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids: list[int] = self._plain.encode(mended, add_special_tokens=False).ids
        return ids

    def token(self, name: str) -> int:
        """The id of one token.

        Raises:
            CheckpointError: there is none of that name.
        """
        found = self.tokenizer.backend_tokenizer.token_to_id(name)
        if found is None:
            raise CheckpointError(
                f"the tokenizer in {self.source} has no token '{name}', and the question this reward asks needs it: "
                "it is another model's. Name the folder with the tokenizer that was published with the weights."
            )
        return int(found)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, special ones left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    @cached_property
    def _plain(self) -> Any:
        """The same tokenizer without any added token.

        `split_special_tokens=True` is not enough: Qwen's vocabularies add tokens, such as "<tool_call>", that are not
        marked special and would still be found in a prompt.
        """
        from tokenizers import Tokenizer

        whole = self.tokenizer.backend_tokenizer
        plain = Tokenizer(whole.model)
        if whole.normalizer is not None:
            plain.normalizer = whole.normalizer
        if whole.pre_tokenizer is not None:
            plain.pre_tokenizer = whole.pre_tokenizer
        return plain


def load_qwen_vocabulary(folder: Path) -> ChatVocabulary:
    """Qwen2's tokenizer (also Qwen2.5's and LLaVA-OneVision's) from tokenizer.json, or vocab.json and merges.txt.

    Raises:
        CheckpointError: it is missing or cannot be read.
    """
    from transformers import Qwen2Tokenizer

    has_all = (folder / "tokenizer.json").is_file() or all(
        (folder / name).is_file() for name in ("vocab.json", "merges.txt")
    )
    if not has_all:
        raise CheckpointError(
            f"there is no tokenizer in {folder}: neither tokenizer.json nor vocab.json with merges.txt. Without it no "
            "question can be asked. Copy them there from where the weights come from, or name their folder as "
            "tokenizer=."
        )
    try:
        return ChatVocabulary(Qwen2Tokenizer.from_pretrained(folder, local_files_only=True), folder)
    except Exception as error:  # the library raises bare Exceptions for a damaged tokenizer.json
        raise CheckpointError(
            f"the tokenizer in {folder} could not be read: {error}. The file is damaged or incomplete; copy it again."
        ) from error


def vocabulary_files(folder: Path) -> list[Path]:
    """The files of a tokenizer that decide what ids a text becomes, for a revision."""
    names = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json")
    return [folder / name for name in names if (folder / name).is_file()]


def qwen_chat(*user: Piece, system: str = "You are a helpful assistant.") -> tuple[Piece, ...]:
    """A user's turn in Qwen2's chat form, up to where the model's answer begins.

    Args:
        user: what the user says, pictures and their markup included.
        system: what the model is told first.
    """
    begin, end = Markup("<|im_start|>"), Markup("<|im_end|>")
    opening = (begin, Words(f"system\n{system}"), end, Words("\n"), begin, Words("user\n"))
    return (*opening, *user, end, Words("\n"), begin, Words("assistant\n"))


def encode(vocabulary: Vocabulary, pieces: Sequence[Piece]) -> list[int]:
    """The ids of a question.

    Words that follow each other are tokenised as one text.

    Raises:
        CheckpointError: the vocabulary lacks a token of the template.
    """
    ids: list[int] = []
    text = ""
    for piece in pieces:
        if isinstance(piece, Words):
            text += piece.text
            continue
        ids += vocabulary.words(text) if text else []
        text = ""
        if isinstance(piece, Markup):
            ids.append(vocabulary.token(piece.token))
        else:
            ids += [vocabulary.token(piece.token) if piece.token else NO_ID] * piece.num_tokens
    return ids + (vocabulary.words(text) if text else [])


def why_too_long(num_ids: int, longest: int) -> str | None:
    """Why a question is not asked, if it has more ids than the model can take; never cut, so never another question."""
    if num_ids <= longest:
        return None
    return (
        f"the question with this prompt and image has {num_ids} tokens and the model reads {longest}: shorten the "
        "prompt, or scale the image down"
    )


class Batch(NamedTuple):
    """Questions of unequal length as one batch, filled up at the beginning: all end, and are answered, together.

    Args:
        ids: (M, L) int64.
        mask: (M, L) int64, 1 where an id is real.
        positions: (M, L) int64, 0 at each row's first real id, so that a row's positions do not depend on the others.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor


def left_padded(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> Batch:
    """One batch of M rows of ids, each at least one long."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (longest - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return Batch(ids, mask, (mask.cumsum(1) - 1).clamp(min=0))


def by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """The row numbers in batches of at most `batch_size`, like lengths together, so that little is filled up."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]

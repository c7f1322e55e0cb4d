"""How GroundingDINO is asked for nouns: "cat . teddy bear.", and which of its tokens speak for which noun.

The detector compares every box with every token; a noun's score is the mean over the tokens that stand for it. The
tokens of one noun attend to each other and to no other's, which the full stops between them decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyrite.core.errors import CheckpointError
from pyrite.rewards.boxes import Mode
from pyrite.rewards.texts import TextReader

LONGEST_CAPTION = 256
"""Tokens that the detector reads, the two at the ends included."""

FIRST, LAST, STOP, QUERY = 101, 102, 1012, 1029
"""[CLS], [SEP], "." and "?" in the vocabulary of bert-base-uncased: where GroundingDINO parts a caption."""

_SEPARATORS = (FIRST, LAST, STOP, QUERY)
# The official code adds this to the number of a noun's tokens before it divides by it.
_EPSILON = 1e-6


@dataclass(frozen=True)
class Caption:
    """What the detector is asked for one prompt.

    Args:
        ids: of the tokens.
        phrases: K names, by which detections are told apart.
        weights: (K, T) how much each of the ids counts for each phrase; a row adds up to 1, or is 0 where nothing
            stands for the phrase.
    """

    ids: tuple[int, ...]
    phrases: tuple[str, ...]
    weights: npt.NDArray[np.float32]


def read_nouns(tokenizer: Any, nouns: Sequence[str], mode: Mode = "fixed") -> Caption | str:
    """The caption for some nouns, or why there is none.

    Args:
        tokenizer: BERT's; with offsets for the mode `reference`.
        nouns: at least one.
        mode: `fixed` counts every token of a noun, and what is inside a noun never parts the caption. `reference`
            counts the first and the last word, calls the noun by these two, and cuts a caption that is too long. In
            both, a special token that is spelt out, such as "[SEP]", is read as those characters.
    """
    if blank := [noun for noun in nouns if not noun.strip()]:
        return _wordless(blank[0])
    return _in_reference(tokenizer, nouns) if mode == "reference" else _noun_by_noun(tokenizer, nouns)


def require_vocabulary(tokenizer: Any, where: str) -> None:
    """Refuse a vocabulary in which the tokens that part a caption are others.

    Raises:
        CheckpointError: they are.
    """
    names = ("[CLS]", "[SEP]", ".", "?")
    found = dict(zip(names, tokenizer.convert_tokens_to_ids(list(names)), strict=True))
    if tuple(found.values()) != _SEPARATORS:
        raise CheckpointError(
            f"{where} gives {', '.join(f'{name} the id {number}' for name, number in found.items())}, and "
            f"GroundingDINO parts its captions at {', '.join(map(str, _SEPARATORS))}: nouns would run into each other. "
            "Name the folder with the vocab.txt of bert-base-uncased as tokenizer=."
        )


def _noun_by_noun(tokenizer: Any, nouns: Sequence[str]) -> Caption | str:
    ids, spans = [FIRST], []
    for noun, row in zip(nouns, TextReader(tokenizer, LONGEST_CAPTION).ids(nouns), strict=True):
        words = [token for token in row[1:-1] if token not in _SEPARATORS]
        if not words:
            return _wordless(noun)
        spans.append((len(ids), len(ids) + len(words)))
        ids += [*words, STOP]
    ids.append(LAST)
    if len(ids) > LONGEST_CAPTION:
        return (
            f"the {len(nouns)} entries of `nouns` make a caption of {len(ids)} tokens, and the detector reads "
            f"{LONGEST_CAPTION}: it would not look for the last of them"
        )
    return Caption(tuple(ids), tuple(nouns), _weights([[span] for span in spans], len(ids)))


def _wordless(noun: str) -> str:
    return f"the noun {noun!r} in `nouns` has no word that a detector could look for"


def _in_reference(tokenizer: Any, nouns: Sequence[str]) -> Caption | str:
    # JSON may bring half a character, which no tokenizer takes.
    caption = f"{' . '.join(nouns)}.".encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    encoded = tokenizer(caption, split_special_tokens=True, verbose=False)
    spans = _reference_spans(nouns)
    tokens = []
    for parts in spans:
        ends = [(_token(encoded, start, 1), _token(encoded, end - 1, -1)) for start, end in parts]
        tokens.append([(first, last + 1) for first, last in ends if first is not None and last is not None])
    phrases = tuple(" ".join(caption[start:end] for start, end in parts) for parts in spans)
    ids = encoded["input_ids"]
    return Caption(tuple(ids), phrases, _weights(tokens, min(len(ids), LONGEST_CAPTION)))


def _reference_spans(nouns: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Where the published code believes the first and the last word of each noun to be in the caption."""
    spans, start = [], 0
    for noun in nouns:
        words = noun.strip().split(" ")
        length = len(noun) if len(words) > 1 else len(words[0])
        ends = [(start, start + len(words[0])), (start + length - len(words[-1]), start + length)]
        spans.append(ends if len(words) > 1 else ends[:1])
        start += length + 3
    return spans


def _token(encoded: Any, place: int, step: int) -> int | None:
    """The token at a character, or at one of the two beside it: the official search."""
    for character in (place, place + step, place + 2 * step):
        if character >= 0 and (token := encoded.char_to_token(character)) is not None:
            return int(token)
    return None


def _weights(spans: Sequence[Sequence[tuple[int, int]]], length: int) -> npt.NDArray[np.float32]:
    rows = np.zeros((len(spans), length), np.float32)
    for row, parts in zip(rows, spans, strict=True):
        for start, end in parts:
            row[start:end] = 1
    weights: npt.NDArray[np.float32] = rows / (rows.sum(1, keepdims=True) + np.float32(_EPSILON))
    return weights

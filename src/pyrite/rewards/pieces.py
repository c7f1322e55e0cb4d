"""SentencePiece vocabularies (T5's and Llama's), asked directly: text in, ids out, and nothing in a text is special.

The `.model` file is what the official codes' slow tokenizers read. A `tokenizer.json` beside it is a conversion, and
some give other ids. SentencePiece itself never finds a control token in a text: "</s>" in a prompt is four characters.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrite.core.errors import CheckpointError


@dataclass(frozen=True)
class Pieces:
    """One vocabulary.

    Args:
        processor: a `sentencepiece.SentencePieceProcessor`.
    """

    processor: Any

    @property
    def num_pieces(self) -> int:
        """How many ids it has."""
        return int(self.processor.get_piece_size())

    def ids(self, text: str) -> list[int]:
        """The ids of a text, none added before or after; a lone surrogate is read as U+FFFD."""
        mended = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        found: list[int] = self.processor.encode(mended)
        return found


def read_pieces(path: Path) -> Pieces:
    """The vocabulary in a `.model` file.

    Raises:
        CheckpointError: it is no such file.
    """
    from sentencepiece import SentencePieceProcessor

    try:
        return Pieces(SentencePieceProcessor(model_file=str(path)))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is no SentencePiece vocabulary: {error}. The file is damaged or incomplete, and every prompt "
            "would be read as other words; copy it again from where the model comes from."
        ) from error

"""How a prompt becomes the token sequence of a Janus policy of this project, and back to the folder it came from.

    <bos> <pad>...<pad> words  <plan> plan ids  <boi> image codes

The prompt is padded on the left to a fixed number of tokens and padding is read like any other token, so every
sequence has the same length and none needs an attention mask.
"""

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Prompt

LAYOUT_FILE = "pyrite_policy.json"


@dataclass(frozen=True)
class JanusSettings:
    """What `pyrite_policy.json` says.

    Args:
        prompt_tokens: room for the words of a prompt.
        plan_tokens: ids drawn between prompt and image; 0 = no plan, and no `plan_token` in the sequence.
        plan_token: opens the plan.
        boi_token: opens the image.
        bos_token: opens the sequence.
        pixel_range: (black, white) of the decoder's output.
    """

    prompt_tokens: int
    plan_tokens: int
    plan_token: str = "<plan>"
    boi_token: str = "<boi>"
    bos_token: str = "<bos>"
    pixel_range: tuple[float, float] = (-1.0, 1.0)


@dataclass(frozen=True)
class JanusLayout:
    """Turns prompts into prefixes of fixed length.

    Args:
        settings: the lengths and the names of the special tokens.
        tokenizer: a word-level transformers tokenizer.
    """

    settings: JanusSettings
    tokenizer: Any

    @classmethod
    def load(cls, folder: Path) -> "JanusLayout":
        """Read tokenizer and settings of a checkpoint folder.

        Raises:
            CheckpointError: a file is missing or not what it should be.
        """
        from transformers import PreTrainedTokenizerFast

        path = folder / LAYOUT_FILE
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            settings = JanusSettings(**{**row, "pixel_range": tuple(row.get("pixel_range", (-1.0, 1.0)))})
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path} does not describe a Janus policy ({error}); without it nobody knows where the prompt ends "
                "and the image begins. It needs at least prompt_tokens and plan_tokens. "
                "Rebuild the checkpoint: pyrite world build --only janus-pocket"
            ) from error
        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"no tokenizer could be read from {folder}: {error}. A Janus policy folder holds tokenizer.json and "
                "tokenizer_config.json. Rebuild it: pyrite world build --only janus-pocket"
            ) from error
        named = (tokenizer.pad_token, settings.bos_token, settings.boi_token, settings.plan_token)
        if absent := [str(token) for token in named if token not in tokenizer.get_vocab()]:
            raise CheckpointError(
                f"the tokenizer in {folder} lacks {', '.join(absent)}, which open the parts of a Janus sequence. "
                f"Add them to its vocabulary or name the right ones in {LAYOUT_FILE}."
            )
        return cls(settings, tokenizer)

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        self.tokenizer.save_pretrained(folder)
        (folder / LAYOUT_FILE).write_text(json.dumps(asdict(self.settings), indent=2) + "\n", encoding="utf-8")

    def token_id(self, token: str) -> int:
        """The id of a token that is known to exist."""
        index: int = self.tokenizer.get_vocab()[token]
        return index

    def prompt_ids(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.int64]:
        """(P, 1 + prompt_tokens): <bos>, padding, words.

        Raises:
            ValueError: a prompt has a word the policy never learned, or too many words.
        """
        ids = np.full((len(prompts), 1 + self.settings.prompt_tokens), self.tokenizer.pad_token_id, np.int64)
        ids[:, 0] = self.token_id(self.settings.bos_token)
        for row, prompt in zip(ids, prompts, strict=True):
            words = self._word_ids(prompt.text)
            row[len(row) - len(words) :] = words
        return ids

    def _word_ids(self, text: str) -> list[int]:
        vocabulary = self.tokenizer.get_vocab()
        backend = self.tokenizer.backend_tokenizer
        clean = backend.normalizer.normalize_str(text) if backend.normalizer else text
        words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(clean)]
        # A prompt must not be able to open the image by writing "<boi>".
        known = vocabulary.keys() - set(self.tokenizer.all_special_tokens)
        for word in words:
            if word not in known:
                near = difflib.get_close_matches(word, known, n=3, cutoff=0.4) or sorted(known)[:8]
                raise ValueError(
                    f"the policy does not know the word '{word}' in the prompt '{text}'; it learned {len(known)} words "
                    f"and would draw something else. Nearest words: {', '.join(near)}."
                )
        if len(words) > self.settings.prompt_tokens:
            raise ValueError(
                f"the prompt '{text}' has {len(words)} words, and the policy reads {self.settings.prompt_tokens}: "
                "the rest would be lost. Shorten it."
            )
        return [vocabulary[word] for word in words]

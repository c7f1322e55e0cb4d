"""How a prompt becomes token sequences of a Janus-Pro: the chat frame around it, with or without a plan before it.

Without a plan one sequence is drawn: `<bos><|User|>: prompt ... <|Assistant|>:<begin_of_image>`, then image codes. With
a plan in words (the semantic-level CoT of T2I-R1, arXiv:2505.00703, section 3.1) a first sequence asks for the plan and
is continued until its end; a second one asks for the image of `prompt. plan`. Prompts keep their own lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyrite.core.errors import CheckpointError
from pyrite.core.types import Prompt
from pyrite.policies.janus_model import read_object

_BOI_TOKEN = "<begin_of_image>"
Rows = list[list[int]]


@dataclass(frozen=True)
class Padded:
    """Sequences of different lengths in one block, padded on the left.

    Args:
        ids: (N, S).
        pads: (N,) padding before each.
    """

    ids: npt.NDArray[np.int64]
    pads: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: Rows, pad_id: int) -> "Padded":
        """As wide as the longest."""
        width = max(map(len, rows))
        pads = np.array([width - len(row) for row in rows])
        return cls(np.array([[pad_id] * (width - len(row)) + row for row in rows], np.int64), pads)


@dataclass(frozen=True)
class WordPlan:
    """A plan in words before the image.

    Args:
        template: what the model is asked, with `{}` for the prompt.
        system: what stands before the conversation, or nothing.
        max_tokens: a plan that has not ended by then is taken as it is.
    """

    template: str
    system: str = ""
    max_tokens: int = 512


@dataclass(frozen=True)
class JanusChat:
    """Turns prompts into prefixes of their own lengths.

    Args:
        tokenizer: of the checkpoint, with its chat template.
        bos_id: opens every sequence.
        boi_id: opens the image.
        eos_id: ends a plan.
        pad_id: fills.
        context: the most positions that the language model was made for.
        plan: None = the image follows the prompt.
    """

    tokenizer: Any
    bos_id: int
    boi_id: int
    eos_id: int
    pad_id: int
    context: int
    plan: WordPlan | None = None

    @classmethod
    def load(cls, folder: Path, *, context: int, plan: WordPlan | None = None) -> "JanusChat":
        """Read tokenizer, chat template and generation_config.json of a checkpoint folder.

        Raises:
            CheckpointError: one of them is missing or lacks what a sequence is made of.
        """
        from transformers import PreTrainedTokenizerFast

        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"no tokenizer could be read from {folder}: {error}. A Janus-Pro folder holds tokenizer.json and "
                "tokenizer_config.json. Copy them there, or convert the original again: pyrite weights convert"
            ) from error
        if not tokenizer.chat_template:
            raise CheckpointError(
                f"{folder} has neither a chat template (chat_template.jinja, the frame around a prompt of a Janus-Pro "
                "in transformers' format) nor pyrite_policy.json (the layout of a pocket policy), so nobody knows how "
                "a prompt becomes a sequence. Copy the one it had from where the weights come from."
            )
        config = read_object(folder / "generation_config.json")
        vocabulary = tokenizer.get_vocab()
        # As transformers reads it, as its converter wrote it, or the name every published Janus has for it.
        boi = (config.get("generation_kwargs") or {}).get("boi_token_id", config.get("boi_token_id"))
        ids = {
            "boi_token_id": vocabulary.get(_BOI_TOKEN) if boi is None else boi,
            **{name: config.get(name, getattr(tokenizer, name)) for name in _SPECIAL},
        }
        if absent := [name for name, index in ids.items() if not isinstance(index, int)]:
            raise CheckpointError(
                f"{folder / 'generation_config.json'} and the tokenizer beside it do not say {', '.join(absent)}, "
                "which open, end or fill a Janus sequence. Add them to generation_config.json (boi_token_id under "
                "generation_kwargs, where transformers looks for it)."
            )
        return cls(
            tokenizer=tokenizer,
            bos_id=ids["bos_token_id"],
            boi_id=ids["boi_token_id"],
            eos_id=ids["eos_token_id"],
            pad_id=ids["pad_token_id"],
            context=context,
            plan=plan,
        )

    def image_prefixes(self, prompts: Sequence[Prompt], plans: Sequence[str] | None = None, *, room: int) -> Rows:
        """The sequences that image codes continue, ending with the token that opens the image.

        Args:
            prompts: N of them.
            plans: what was planned for each, or None.
            room: how many codes follow.

        Raises:
            ValueError: a prompt holds a control token, or prompt and image are longer than the context.
        """
        texts = [self._checked(prompt.text) for prompt in prompts]
        if plans is not None:
            texts = [f"{text}. {plan}" for text, plan in zip(texts, plans, strict=True)]
        return [self._within([*self._ids(self._framed(text)), self.boi_id], text, room) for text in texts]

    def plan_prefixes(self, prompts: Sequence[Prompt]) -> Rows:
        """The sequences that the tokens of a plan continue.

        Raises:
            ValueError: as for `image_prefixes`.
        """
        assert self.plan is not None
        before = f"{self.plan.system}\n\n" if self.plan.system else ""
        rows = []
        for prompt in prompts:
            asked = self.plan.template.replace("{}", self._checked(prompt.text))
            rows.append(self._within(self._ids(before + self._framed(asked)), prompt.text, self.plan.max_tokens))
        return rows

    def plan_texts(self, tokens: npt.NDArray[np.int64]) -> list[str]:
        """What (N, n) plan tokens say, up to where each ends; control tokens among them are left out."""
        texts = []
        for row in tokens.tolist():
            ids = row[: row.index(self.eos_id)] if self.eos_id in row else row
            text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
            for token in self._control_tokens():  # else a plan could open the image
                text = text.replace(token, "")
            texts.append(text.strip())
        return texts

    def without_prompt(self, row: Sequence[int]) -> list[int]:
        """The sequence of the unconditional branch: padding in place of all but <bos> and what opens the image.

        As in transformers' `generate`; the branch still knows how long the prompt was.
        """
        return [index if index in (self.bos_id, self.boi_id) else self.pad_id for index in row]

    def save(self, folder: Path) -> None:
        """Write the tokenizer and its chat template; the ids are in generation_config.json, which the model writes."""
        self.tokenizer.save_pretrained(folder)

    def _framed(self, text: str) -> str:
        messages = [{"role": "user", "content": [{"type": "text", "text": text.strip()}]}]
        framed: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return framed

    def _ids(self, text: str) -> list[int]:
        return [self.bos_id, *self.tokenizer.encode(text, add_special_tokens=False)]

    def _control_tokens(self) -> list[str]:
        # Published Janus tokenizers also add letters such as "ö", which open nothing.
        tokens = self.tokenizer.added_tokens_decoder.values()
        return [str(token) for token in tokens if token.special or (str(token)[0], str(token)[-1]) == ("<", ">")]

    def _checked(self, text: str) -> str:
        if found := [token for token in self._control_tokens() if token in text]:
            raise ValueError(
                f"the prompt '{text}' holds the control token {found[0]}, which would open or end a part of the "
                "sequence instead of being read. Take it out."
            )
        return text

    def _within(self, row: list[int], text: str, room: int) -> list[int]:
        if len(row) + room > self.context:
            shown = text if len(text) <= 80 else f"{text[:77]}..."
            raise ValueError(
                f"the prompt '{shown}' becomes {len(row)} tokens, and {room} are drawn after it: together "
                f"{len(row) + room}, and this model was made for {self.context}. Shorten the prompt by "
                f"{len(row) + room - self.context} tokens."
            )
        return row


_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")

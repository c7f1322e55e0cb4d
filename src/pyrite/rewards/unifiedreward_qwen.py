"""UnifiedReward on Qwen2.5-VL (arXiv:2503.05236): a model writes what it sees of a caption, then a score from 1 to 5.

The image stands first, the text after it. The reply is generated greedily for a whole batch at once, and the number
after "Final Score:" is read from it as `replies.py` reads: a reply that does not hold exactly one is unscored.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.rewards.chat import Picture, Piece, Words, qwen_chat
from pyrite.rewards.images import check_pairs
from pyrite.rewards.large_models import Quantisation
from pyrite.rewards.loading import read_json
from pyrite.rewards.qwen_pixels import Transport
from pyrite.rewards.qwen_vl import Inputs, QwenAsker, image_pieces
from pyrite.rewards.qwen_weights import Loaded, load_qwen2_5_vl
from pyrite.rewards.replies import HIGHEST, LOWEST, Reading, Reply, read_final_score

NAME = "unifiedreward-qwen"
READINGS: tuple[Reading, ...] = ("sound", "reference")
END, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"

# The score depends on it to the letter: CodeGoat24/UnifiedReward@ed52f98,
# inference_qwen/image_generation/qwen_point_score_image_generation.py; the same in yq-hong/ArtifactReward@8b1cd7d.
QUESTION = (
    "You are given a text caption and a generated image based on that caption. Your task is to evaluate this image "
    "based on two key criteria:\n"
    "1. Alignment with the Caption: Assess how well this image aligns with the provided caption. Consider the accuracy "
    "of depicted objects, their relationships, and attributes as described in the caption.\n"
    "2. Overall Image Quality: Examine the visual quality of this image, including clarity, detail preservation, color "
    "accuracy, and overall aesthetic appeal.\n"
    "Extract key elements from the provided text caption, evaluate their presence in the generated image using the "
    "format: 'element (type): value' (where value=0 means not generated, and value=1 means generated), and assign a "
    "score from 1 to 5 after 'Final Score:'.\n"
    "Your task is provided as follows:\n"
    "Text Caption: [{caption}]"
)
_BEFORE, _AFTER = QUESTION.split("{caption}")
_ELEMENT = re.compile(r"\([^()\n]+\)\s*:\s*([01])\b")


@dataclass(frozen=True)
class UnifiedRewardQwen:
    """Scores image and prompt together: from 1 to 5.

    Details: `elements` is how many elements of the caption the reply judges present or absent, `elements_present` the
    share of those it calls present (NaN without any), `reply_tokens` the length of the reply.

    Args:
        card: what it claims.
        asker: the model.
        mode: how a reply is read, see `replies.py`.
        max_new_tokens: a reply longer than this is cut off, and so unscored.
        repetition_penalty: what the logits of tokens seen before are divided by, if positive.
    """

    card: RewardCard
    asker: QwenAsker
    mode: Reading
    max_new_tokens: int
    repetition_penalty: float

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i."""
        check_pairs(images, prompts)
        asked = self.asker.ask(images, lambda row, picture: self.pieces(prompts[row].text, picture))
        values, elements, present, length = np.full((4, len(images)), np.nan)
        for rows, inputs in self.asker.batches(images, asked):
            for row, ids in zip(rows, self.write(inputs), strict=True):
                reply = self._reply(ids)
                found = read_final_score(reply, self.mode)
                if isinstance(found, str):
                    asked.reasons[row] = found
                else:
                    values[row] = found
                said = elements_in(reply.text)
                elements[row], length[row] = len(said), len(ids)
                present[row] = np.mean(said) if said else np.nan
        details = {"elements": elements, "elements_present": present, "reply_tokens": length}
        return Scores(values, asked.reasons, details)

    def pieces(self, caption: str, picture: Picture) -> tuple[Piece, ...]:
        """The whole question about one image: the image first, then the text."""
        return qwen_chat(*image_pieces(picture), Words(f"{_BEFORE}{caption}{_AFTER}"))

    def write(self, inputs: Inputs) -> list[list[int]]:
        """The ids of the replies to M questions, each up to and with the one that ends it."""
        ends = [self.asker.vocabulary.token(name) for name in (END, END_OF_TEXT)]
        length = inputs.ids.shape[1]
        with torch.inference_mode():
            written = self.asker.model.generate(
                input_ids=inputs.ids,
                attention_mask=inputs.mask,
                mm_token_type_ids=inputs.is_image,
                pixel_values=inputs.patches,
                image_grid_thw=inputs.grid,
                do_sample=False,
                num_beams=1,
                repetition_penalty=self.repetition_penalty,
                max_new_tokens=min(self.max_new_tokens, self.asker.context - length + 1),
                eos_token_id=ends,
                pad_token_id=ends[0],
            )
        return [_ended(row, ends) for row in written[:, length:].tolist()]

    def _reply(self, ids: list[int]) -> Reply:
        ends = {self.asker.vocabulary.token(name) for name in (END, END_OF_TEXT)}
        return Reply(self.asker.vocabulary.text(ids), is_whole=bool(ids) and ids[-1] in ends)


def elements_in(reply: str) -> list[int]:
    """For each element of the caption that a reply judges, such as "cat (animal): 1", whether it is there: 1 or 0."""
    return [int(value) for value in _ELEMENT.findall(reply)]


def _ended(ids: list[int], ends: Sequence[int]) -> list[int]:
    """The ids up to the first that ends a reply; what a batch adds after it is nobody's."""
    last = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: last + 1]


def load_unifiedreward_qwen(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 16,
    tokenizer: str | Path | None = None,
    mode: Reading = "sound",
    transport: Transport = "png",
    max_new_tokens: int = 4096,
    repetition_penalty: float | None = None,
    quantise: Quantisation | None = None,
) -> UnifiedRewardQwen:
    """UnifiedReward-qwen-7b in this process.

    Args:
        weights: a folder in the hub's form, or a hub id; None for where it lies on this disk.
        config: laid over the folder's config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: bfloat16 (None, the official choice), float32 or float16.
        batch_size: images per forward pass.
        tokenizer: folder with the tokenizer; None for beside the weights.
        mode: "sound", which wants one score and no contradiction, or "reference", which takes the first.
        transport: "png", the image as it is, or "jpeg95", once through a JPEG file of quality 95 as in ArtifactReward's
            evaluation.
        max_new_tokens: a reply longer than this is cut off, and so unscored.
        repetition_penalty: of the generation; None for what generation_config.json beside the weights says (as vLLM
            and the official script obey it), or 1 where there is none.
        quantise: "8bit" or "4bit"; None for neither.

    Raises:
        CheckpointError: a file is missing, damaged or another model's, or an option has no such value.
    """
    if mode not in READINGS:
        raise CheckpointError(f"mode='{mode}' is no way to read a reply. Use {' or '.join(READINGS)}.")
    if max_new_tokens < 1 or (repetition_penalty is not None and repetition_penalty <= 0):
        raise CheckpointError(
            f"max_new_tokens={max_new_tokens} and repetition_penalty={repetition_penalty} must be positive, or the "
            "model cannot reply. Leave them out for the defaults."
        )
    loaded = load_qwen2_5_vl(
        NAME,
        weights,
        config=config,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        tokenizer=tokenizer,
        transport=transport,
        quantise=quantise,
    )
    if repetition_penalty is None:
        repetition_penalty = _published_penalty(loaded.folder)
    return unifiedreward_qwen(
        loaded,
        mode=mode,
        max_new_tokens=max_new_tokens,
        repetition_penalty=repetition_penalty,
    )


def unifiedreward_qwen(
    loaded: Loaded,
    *,
    mode: Reading = "sound",
    max_new_tokens: int = 4096,
    repetition_penalty: float = 1.0,
) -> UnifiedRewardQwen:
    """UnifiedReward's card around a model of the form of Qwen2.5-VL, whatever its weights.

    Args:
        loaded: the model.
        mode: see `load_unifiedreward_qwen`.
        max_new_tokens: see there.
        repetition_penalty: see there.
    """
    from transformers import GenerationConfig

    # What the checkpoint says of sampling would be laid over what is asked for.
    loaded.asker.model.generation_config = GenerationConfig()
    card = RewardCard(
        name=NAME,
        summary="What a judge writes of alignment with the prompt and image quality, as one score.",
        range=(LOWEST, HIGHEST),
        reads_prompt=True,
        revision=loaded.revision,
        upstream="CodeGoat24/UnifiedReward@ed52f98 (qwen_point_score_image_generation.py), greedy; no fixture",
        licence="MIT",
        cites=("arXiv:2503.05236", "arXiv:2502.13923"),
        options={
            "mode": mode,
            "max_new_tokens": max_new_tokens,
            "repetition_penalty": repetition_penalty,
            **loaded.options,
        },
        preprocessing="unifiedreward-qwen/1",
        dtype=loaded.precision,
    )
    return UnifiedRewardQwen(card, loaded.asker, mode, max_new_tokens, repetition_penalty)


def _published_penalty(folder: Path | None) -> float:
    """What generation_config.json says, or 1."""
    if folder is None or not (path := folder / "generation_config.json").is_file():
        return 1.0
    penalty = read_json(path).get("repetition_penalty") or 1.0
    if not isinstance(penalty, int | float) or not 0 < penalty < np.inf:
        raise CheckpointError(
            f"{path} says repetition_penalty={penalty!r}, which is no positive number. Mend the file, or give the "
            "penalty as repetition_penalty=."
        )
    return float(penalty)

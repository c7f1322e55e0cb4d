"""VQAScore (arXiv:2404.01291): how sure CLIP-FlanT5 is of the answer "Yes" to whether the image shows the prompt.

The model reads one question, "Does this figure show "..."? Please answer yes or no.", with the image in front of it.
Its score is not the probability of "Yes": the official code takes the mean over the answer's tokens, and the answer
ends with one, so a score is the square root of P("Yes") P(end after "Yes").

A prompt is words inside that question and nothing else. The official code obeys what a prompt spells out: "<image>"
would ask for a second image, "</s>" end the question, "<extra_id_0>" become a blank to be filled. Here they are
characters. A question longer than the model takes is unscored: the official code cuts its end off, and with it what
was asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import FloatArray, Image, Prompt, Scores
from pyrite.records.published import find_file, shard_paths
from pyrite.rewards.clip_t5 import ClipT5, load_clip_t5
from pyrite.rewards.images import check_pairs
from pyrite.rewards.large_models import Quantisation, choose_large_dtype
from pyrite.rewards.loading import choose_device, dtype_name, files_revision
from pyrite.rewards.measured import parity_error
from pyrite.rewards.pieces import Pieces, read_pieces
from pyrite.rewards.pixels import run_on_images
from pyrite.rewards.preprocessing import Float32Array
from pyrite.rewards.squares import square_pixels
from pyrite.rewards.texts import find_tokenizer

OPENING = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: "
)
"""What stands before the image."""

ANSWER = "Yes"
LONGEST = 2048
IMAGE = -200
"""Stands among token ids for the image, as in the official code."""

_PAD, _END = 0, 1
# T5 counts a hundred ids after its vocabulary, for blanks to fill.
_NUM_BLANKS = 100


def question(prompt: str) -> str:
    """What stands after the image."""
    return f'\nDoes this figure show "{prompt}"? Please answer yes or no. ASSISTANT: '


@dataclass(frozen=True)
class QuestionReader:
    """Prompts to the ids of their question.

    Args:
        pieces: T5's vocabulary.
    """

    pieces: Pieces

    @property
    def num_ids(self) -> int:
        """How many ids a text or an answer can have."""
        return self.pieces.num_pieces + _NUM_BLANKS

    @cached_property
    def answer(self) -> list[int]:
        """The ids of the answer, its end included."""
        return [*self.pieces.ids(ANSWER), _END]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each prompt's question, `IMAGE` where the image goes; an end stands before it, too."""
        opening = [*self.pieces.ids(OPENING), _END, IMAGE]
        return [[*opening, *self.pieces.ids(question(text)), _END] for text in texts]


@dataclass(frozen=True)
class VqaScore:
    """Scores image and prompt together: in [0, 1], 1 where the model is sure of "Yes".

    Details: `yes_prob` is P("Yes") alone, which other codes call VQAScore.

    Args:
        card: what it claims.
        model: in any precision.
        reader: of prompts.
        batch_size: images, and questions, per forward pass.
    """

    card: RewardCard
    model: ClipT5
    reader: QuestionReader
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i. An image that comes with several prompts goes through the tower once."""
        check_pairs(images, prompts)
        images = list(images)  # kept, so that no two of them can have one identity
        distinct = list(dict.fromkeys(prompt.text for prompt in prompts))
        known = dict(zip(distinct, self.reader.ids(distinct), strict=True))
        ids = [known[prompt.text] for prompt in prompts]
        reasons = {row: _too_long(len(one)) for row, one in enumerate(ids) if len(one) > LONGEST}
        rows_of: dict[int, list[int]] = {}
        for row in sorted(range(len(ids)), key=lambda row: len(ids[row])):  # like lengths together: little is filled up
            if row not in reasons:
                rows_of.setdefault(id(images[row]), []).append(row)
        asked = list(rows_of.values())
        log_probs = np.full((len(ids), len(self.reader.answer)), np.nan)

        def ask(pixels: Tensor, places: Sequence[int]) -> Tensor:
            features = self.model.features(pixels)
            pairs = [(number, row) for number, place in enumerate(places) for row in asked[place]]
            pairs.sort(key=lambda pair: len(ids[pair[1]]))
            for start in range(0, len(pairs), self.batch_size):
                numbers, rows = map(list, zip(*pairs[start : start + self.batch_size], strict=True))
                found = self.answer_log_probs(features[numbers], [ids[row] for row in rows])
                log_probs[rows] = found.double().cpu().numpy()
            return pixels.new_zeros(len(places), 1)  # an image may have several scores: they are in `log_probs`

        _, unread = run_on_images(
            ask,
            [images[rows[0]] for rows in asked],
            preparation=self.pixels,
            num_outputs=1,
            batch_size=self.batch_size,
            device=self.model.tower.device,
        )
        reasons |= {row: why for place, why in unread.items() for row in asked[place]}
        return _scores(log_probs, reasons)

    def pixels(self, image: Image) -> Float32Array:
        """(3, S, S) what the tower sees of an image."""
        return square_pixels(image, self.model.tower.config.image_size)

    def answer_log_probs(self, features: Tensor, ids: Sequence[Sequence[int]]) -> Tensor:
        """(M, A) float32 log-probability of each token of the answer, given the image, the question and those before.

        Args:
            features: (M, F, D) of the images.
            ids: M questions; the image stands at the same place in all.
        """
        language, answer, longest = self.model.language, self.reader.answer, max(map(len, ids))
        filled = torch.tensor([[*row, *[_PAD] * (longest - len(row))] for row in ids], device=features.device)
        real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=features.device)
        place = ids[0].index(IMAGE)
        words = language.shared(filled.clamp(min=_PAD))
        seen = real.new_ones(features.shape[:2])
        logits = language(
            inputs_embeds=torch.cat([words[:, :place], features, words[:, place + 1 :]], dim=1),
            attention_mask=torch.cat([real[:, :place], seen, real[:, place + 1 :]], dim=1),
            decoder_input_ids=filled.new_tensor([[_PAD, *answer[:-1]]]).expand(len(ids), -1),
            use_cache=False,
        ).logits
        every = logits.float().log_softmax(-1)  # (M, A, V)
        wanted = filled.new_tensor(answer).expand(len(ids), -1)
        found: Tensor = every.gather(-1, wanted[..., None])[..., 0]
        return found


def _too_long(num_ids: int) -> str:
    return (
        f"the question with this prompt has {num_ids} tokens and the model reads {LONGEST}: what is asked would be cut "
        "off. Shorten the prompt"
    )


def _scores(log_probs: FloatArray, reasons: dict[int, str]) -> Scores:
    values, yes = np.exp(log_probs.mean(axis=1)), np.exp(log_probs[:, 0])
    for row in np.flatnonzero(~np.isfinite(values)).tolist():
        values[row] = yes[row] = np.nan
        reasons.setdefault(row, "the model's output for this image and prompt is not a finite number")
    return Scores(values, reasons, {"yes_prob": yes})


def load_vqascore(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 16,
    tokenizer: str | Path | None = None,
    tower: str | Path | None = None,
    quantise: Quantisation | None = None,
) -> VqaScore:
    """VQAScore with clip-flant5-xxl, the model of its paper: 11.4 billion parameters, 23 GB in bfloat16.

    Args:
        weights: folder of zhiqiulin/clip-flant5-xxl, its file of tensors or the index of its shards, or a hub id; None
            for where it lies on this disk.
        config: dimensions of a tiny test model, in the names of config.json, and the tower's under `vision`.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: bfloat16 (None, the official choice), float32, or float16, in which a real T5 overflows.
        batch_size: images, and questions, per forward pass.
        tokenizer: folder with the spiece.model of google/flan-t5-xxl; None for beside the weights, or where it lies on
            this disk.
        tower: folder or file of openai/clip-vit-large-patch14-336, for weights that do not hold their image tower.
        quantise: "8bit" or "4bit" weights of the language model; None for whole ones.

    Raises:
        CheckpointError: a file is missing, damaged, needs code to be read, or is another model's.
        MissingExtraError: quantisation is asked for and not installed.
    """
    return _load("vqascore", weights, config, device, dtype, batch_size, tokenizer, tower, quantise)


def load_vqascore_xl(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 16,
    tokenizer: str | Path | None = None,
    tower: str | Path | None = None,
    quantise: Quantisation | None = None,
) -> VqaScore:
    """VQAScore with clip-flant5-xl, a quarter of the size of clip-flant5-xxl: 6.3 GB in bfloat16.

    Args:
        weights: as for `load_vqascore`, of zhiqiulin/clip-flant5-xl.
        config: as there.
        device: as there.
        dtype: as there.
        batch_size: as there.
        tokenizer: as there; the vocabulary of google/flan-t5-xl is the same.
        tower: as there.
        quantise: as there.

    Raises:
        CheckpointError: as there.
        MissingExtraError: as there.
    """
    return _load("vqascore-xl", weights, config, device, dtype, batch_size, tokenizer, tower, quantise)


def _load(
    name: str,
    weights: str | Path | None,
    config: Mapping[str, Any] | None,
    device: str,
    dtype: str | None,
    batch_size: int,
    tokenizer: str | Path | None,
    tower: str | Path | None,
    quantise: Quantisation | None,
) -> VqaScore:
    path, words = find_file(name, "weights", weights), find_tokenizer(name, weights, tokenizer)
    eyes = None if tower is None else _tower_file(tower)
    reader = QuestionReader(_t5_pieces(words))
    model = load_clip_t5(
        name,
        path,
        reader.num_ids,
        config=config or {},
        tower=eyes,
        dtype=choose_large_dtype(dtype),
        device=choose_device(device),
        quantise=quantise,
    )
    revision = files_revision((*shard_paths(path), *(() if eyes is None else (eyes,)), words))
    return vqascore_reward(name, model, reader, revision, quantise=quantise, batch_size=batch_size)


def vqascore_reward(
    name: str,
    model: ClipT5,
    reader: QuestionReader,
    revision: str,
    *,
    quantise: Quantisation | None = None,
    batch_size: int = 16,
) -> VqaScore:
    """VQAScore's card around a model of its form, whatever its weights.

    Args:
        name: vqascore or vqascore-xl.
        model: of its form.
        reader: of prompts.
        revision: of weights and tokenizer.
        quantise: how the weights were rounded, if they were.
        batch_size: images, and questions, per forward pass.
    """
    dtype = dtype_name(model.tower.dtype)
    card = RewardCard(
        name=name,
        summary='The image shows what the prompt says, as a model answers "Yes" to that question.',
        range=(0.0, 1.0),
        reads_prompt=True,
        revision=revision,
        upstream="linzhiqiu/t2v_metrics@335e4c2 (clip_t5_model.py)",
        parity_error=None if quantise else parity_error(name, dtype),
        licence="Apache-2.0",
        cites=("arXiv:2404.01291",),
        options={"quantise": quantise} if quantise else {},
        preprocessing="vqascore/1",
        dtype=dtype,
    )
    return VqaScore(card, model, reader, batch_size)


def _t5_pieces(path: Path) -> Pieces:
    """T5's vocabulary.

    Raises:
        CheckpointError: it is no vocabulary, or another model's.
    """
    pieces = read_pieces(path)
    if (pieces.processor.pad_id(), pieces.processor.eos_id()) != (_PAD, _END):
        raise CheckpointError(
            f"{path} is not T5's vocabulary: it ends texts with id {pieces.processor.eos_id()} and not {_END}. Prompts "
            "would be read as other words. Name the folder with the spiece.model of google/flan-t5-xxl as tokenizer=."
        )
    return pieces


def _tower_file(tower: str | Path) -> Path:
    """The file of tensors that was named, or lies in the folder that was.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(tower)
    names = ("model.safetensors", "pytorch_model.bin")
    found = path if path.is_file() else next((path / name for name in names if (path / name).is_file()), None)
    if found is None:
        raise CheckpointError(
            f"tower={str(tower)!r}: there is neither such a file nor a folder with {' or '.join(names)}. Name the "
            "folder of openai/clip-vit-large-patch14-336."
        )
    return found

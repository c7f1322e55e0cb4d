"""GIT as a judge of attributes: how sure a question-answering model is of "yes" to "a red cat?" and its like.

GIT-large tuned on VQAv2 (arXiv:2205.14100), asked as T2I-R1 asks it (arXiv:2505.00703): one question for each of the
prompt's `attr_nouns`, or of its `nouns` where it has none. The prompt's text itself is not read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError, RewardError
from pyrite.core.types import FloatArray, Image, Prompt, Scores
from pyrite.records.published import find_file
from pyrite.rewards.images import check_pairs, to_rgb
from pyrite.rewards.loading import (
    build_model,
    choose_device,
    choose_dtype,
    dtype_name,
    files_revision,
    merged,
    read_json,
    read_tensors,
)
from pyrite.rewards.measured import parity_error
from pyrite.rewards.pixels import PixelPreparation, run_on_images
from pyrite.rewards.texts import TextReader, find_tokenizer

Mode = Literal["fixed", "reference"]

_UNASKED_TASKS = ("spatial", "numeracy")
# (width of the vision tower, side of its images) of the siblings whose weights have the same names.
_SIBLINGS = {(768, 224): "git-base", (768, 480): "git-base-vqav2", (1024, 224): "git-large"}


@dataclass(frozen=True)
class GitReward:
    """The mean, over the prompt's attributed nouns, of P(yes) / (P(yes) + P(no)) for "{noun}?": in [0, 1].

    Details: `num_questions` asked about the image, and `lowest`, the smallest of their answers.

    Args:
        card: what it claims.
        model: a transformers `GitForCausalLM`.
        reader: of questions.
        answers: ids of yes and no.
        preparation: of the images.
        mode: `reference` gives 0 to spatial and numeracy prompts and 1 to prompts without nouns, as the published code
            does; `fixed` leaves them unscored, since GIT was asked nothing.
        batch_size: images per forward pass.
    """

    card: RewardCard
    model: Any
    reader: TextReader
    answers: tuple[int, int]
    preparation: PixelPreparation
    mode: Mode
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i, of which `attr_nouns`, `nouns` and `task_type` are read."""
        check_pairs(images, prompts)
        values: FloatArray = np.full(len(images), np.nan)
        lowest: FloatArray = np.full(len(images), np.nan)
        asked: FloatArray = np.zeros(len(images))
        questions, reasons = self._questions(prompts)
        for row, prompt in enumerate(prompts):
            if row not in questions and row not in reasons:
                readable = to_rgb(images[row])
                if isinstance(readable, str):
                    reasons[row] = readable
                else:
                    values[row] = 0.0 if prompt.task_type in _UNASKED_TASKS else 1.0
        rows = list(questions)

        def rate(pixels: Tensor, places: Sequence[int]) -> Tensor:
            return self.rate(pixels, [questions[rows[place]] for place in places])

        outputs, why = run_on_images(
            rate,
            [images[row] for row in rows],
            preparation=self.preparation,
            num_outputs=2,
            batch_size=self.batch_size,
            device=self.model.device,
        )
        values[rows], lowest[rows] = outputs[:, 0], outputs[:, 1]
        reasons.update({rows[place]: reason for place, reason in why.items()})
        for row, texts in questions.items():
            asked[row] = len(texts)
        return Scores(values, reasons, {"num_questions": asked, "lowest": lowest})

    def _questions(self, prompts: Sequence[Prompt]) -> tuple[dict[int, list[list[int]]], dict[int, str]]:
        """Row -> the ids of its questions, and row -> why it has none; neither where the published code asks none."""
        ids: dict[int, list[list[int]]] = {}
        reasons: dict[int, str] = {}
        for row, prompt in enumerate(prompts):
            nouns = prompt.attr_nouns or prompt.nouns
            is_unasked = prompt.task_type in _UNASKED_TASKS or not nouns
            if self.mode == "reference" and is_unasked:
                continue
            reason = why_unasked(prompt)
            if reason is None:
                # [CLS] and the words, without the [SEP] that would end the text: the answer is to follow
                ids[row] = [whole[:-1] for whole in self.reader.ids([f"{noun}?" for noun in nouns])]
                longest = max(map(len, ids[row]))
                if longest > self.reader.longest:
                    reason = f"a question about the prompt has {longest} tokens, and GIT reads {self.reader.longest}"
                    del ids[row]
            if reason is not None:
                reasons[row] = reason
        return ids, reasons

    def rate(self, pixels: Tensor, questions: Sequence[Sequence[list[int]]]) -> Tensor:
        """(M, 2) mean and smallest answer, in [0, 1], to the questions about each of M images.

        What the model makes of an image does not depend on the question, so it is computed once.

        Args:
            pixels: (M, 3, H, W), prepared.
            questions: of each image, as ids.
        """
        seen = self._look(pixels)
        answers: list[list[Tensor]] = [[] for _ in questions]
        for turn in range(max(map(len, questions))):
            rows = [row for row, asked in enumerate(questions) if turn < len(asked)]
            for row, answer in zip(rows, self._ask(seen, rows, [questions[row][turn] for row in rows]), strict=True):
                answers[row].append(answer)
        stacked = [torch.stack(given) for given in answers]
        return torch.stack([torch.stack((given.mean(), given.min())) for given in stacked])

    def _look(self, pixels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each layer, the keys and values of the images' tokens, which see each other and no text."""
        from transformers import DynamicCache

        git, cache = self.model.git, DynamicCache(config=self.model.config)
        states = git.image_encoder(pixels.to(self.model.dtype)).last_hidden_state
        git.encoder(git.visual_projection(states), attention_mask=None, past_key_values=cache)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _ask(self, seen: Sequence[tuple[Tensor, Tensor]], rows: list[int], ids: Sequence[list[int]]) -> Tensor:
        """(L,) answers to one question about each of L of the images."""
        from transformers import DynamicCache

        git, cache = self.model.git, DynamicCache(config=self.model.config)
        for index, (keys, values) in enumerate(seen):
            cache.update(keys[rows], values[rows], index)
        device = self.model.device
        tokens, real = self.reader.tensors(ids, device)
        length, num_seen = tokens.shape[1], seen[0][0].shape[2]
        # Positions count the text alone; a text sees the image and what came before it, so padding behind it is unseen.
        embedded = git.embeddings(input_ids=tokens, position_ids=torch.arange(length, device=device)[None])
        blocked = torch.full((length, length), torch.finfo(embedded.dtype).min, device=device, dtype=embedded.dtype)
        mask = torch.cat([blocked.new_zeros(length, num_seen), blocked.triu(1)], dim=1)[None, None]
        states = git.encoder(embedded, attention_mask=mask, past_key_values=cache).last_hidden_state
        last = states[torch.arange(len(rows), device=device), real.sum(1) - 1].float()
        yes, no = (last @ self.model.output.weight[answer].float() + self.model.output.bias[answer].float()
                   for answer in self.answers)  # fmt: skip
        return torch.sigmoid(yes - no)


def why_unasked(prompt: Prompt) -> str | None:
    """Why GIT has no question about a prompt; None if it has."""
    if prompt.task_type in _UNASKED_TASKS:
        return (
            f"the prompt's task_type is '{prompt.task_type}': GIT is asked about things and their attributes, which "
            "says nothing of places and numbers"
        )
    key = "attr_nouns" if prompt.attr_nouns else "nouns"
    nouns = prompt.attr_nouns or prompt.nouns
    if not nouns:
        return "`attr_nouns` and `nouns` of the prompt are empty: there is nothing to ask about"
    if strange := [noun for noun in nouns if not isinstance(noun, str) or not noun.strip()]:
        return f"`{key}` of the prompt holds {strange[0]!r}, and a noun is a text with a word in it"
    return None


def load_git(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 32,
    tokenizer: str | Path | None = None,
    mode: Mode = "fixed",
) -> GitReward:
    """GIT-large tuned on VQAv2.

    Args:
        weights: folder with pytorch_model.bin or model.safetensors, config.json and preprocessor_config.json, or a
            hub id; None for where they lie on this disk.
        config: laid over config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images per forward pass.
        tokenizer: folder with vocab.txt; None for beside the weights, or where it lies on this disk.
        mode: `reference` for the numbers that the published code gives where it asks nothing, see `GitReward`.

    Raises:
        RewardError: a mode that is none.
        CheckpointError: a file is missing, damaged, needs code to be read, or is another model's.
    """
    from transformers import BertTokenizer

    _require_mode(mode)
    path = find_file("git", "weights", weights)
    words = find_tokenizer("git", weights, tokenizer)
    model = load_git_model(path, config or {}, choose_dtype(dtype)).to(choose_device(device))
    bert = BertTokenizer(vocab=str(words))
    if len(bert) != model.config.vocab_size:
        raise CheckpointError(
            f"{words} holds {len(bert)} word pieces, and the model knows {model.config.vocab_size}: questions would be "
            "read as other words. Name the folder with the vocab.txt of bert-base-uncased as tokenizer=."
        )
    reader = TextReader(bert, model.config.max_position_embeddings)
    preparation = PixelPreparation.load(path.parent)
    return git_reward(model, reader, preparation, files_revision([path, words]), mode=mode, batch_size=batch_size)


def git_reward(
    model: Any,
    reader: TextReader,
    preparation: PixelPreparation,
    revision: str,
    *,
    mode: Mode = "fixed",
    batch_size: int = 32,
) -> GitReward:
    """GIT's card around a model of its form, whatever its weights.

    Args:
        model: a transformers `GitForCausalLM`.
        reader: of questions.
        preparation: of the images.
        revision: of weights and tokenizer.
        mode: see `GitReward`.
        batch_size: images per forward pass.

    Raises:
        CheckpointError: "yes" or "no" is not one token.
    """
    side = preparation.processor.crop_size["height"]
    card = RewardCard(
        name="git",
        summary="A question-answering model says yes to each of the prompt's things and their attributes.",
        range=(0, 1),
        reads_prompt=True,
        revision=revision,
        upstream="yq-hong/ArtifactReward@8b1cd7d (utils/reward_git.py) on microsoft/git-large-vqav2",
        parity_error=parity_error("git", dtype_name(model.dtype)),
        licence="MIT",
        cites=("arXiv:2205.14100", "arXiv:2505.00703"),
        options={"mode": mode, "side_px": side},
        preprocessing="git/1",
        dtype=dtype_name(model.dtype),
    )
    return GitReward(card, model, reader, _answers(reader), preparation, mode, batch_size)


def load_git_model(path: Path, config: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """A transformers `GitForCausalLM` from its file and the config.json beside it.

    Args:
        path: of the file of tensors.
        config: laid over config.json.
        dtype: of the parameters.

    Raises:
        CheckpointError: it is damaged, a sibling's, or does not hold exactly the tensors of the model.
    """
    from transformers import GitConfig, GitForCausalLM

    said = merged(read_json(path.parent / "config.json"), config)
    if said.get("model_type") != "git":
        raise CheckpointError(
            f"{path.parent} holds a model of type '{said.get('model_type')}', and this reward needs 'git'. Type: "
            "pyrite weights fetch git"
        )
    shape = GitConfig(**{key: value for key, value in said.items() if key != "model_type"})
    _refuse_sibling(path, shape)
    # Older files hold the numbers 0, 1, 2, ... of the positions too.
    tensors = {key: tensor for key, tensor in read_tensors(path).items() if not key.endswith("position_ids")}
    return build_model("git", GitForCausalLM, shape, tensors, path, dtype)


def _refuse_sibling(path: Path, shape: Any) -> None:
    vision = shape.vision_config
    sibling = _SIBLINGS.get((vision.hidden_size, vision.image_size))
    if shape.num_image_with_embedding is not None:
        sibling = "a GIT for videos"
    if sibling:
        raise CheckpointError(
            f"{path.parent} holds {sibling}, a sibling of git-large-vqav2, whose scores 'git' stands for: its answers "
            "would be others under the same name. Type: pyrite weights fetch git"
        )


def _answers(reader: TextReader) -> tuple[int, int]:
    found = reader.ids(["yes", "no"])
    if any(len(ids) != 3 for ids in found) or any(map(reader.has_unknown_words, found)):
        raise CheckpointError(
            'the vocabulary does not have "yes" and "no" as one word each, and the score is the probability of these. '
            "Name the folder with the vocab.txt of bert-base-uncased as tokenizer=."
        )
    return found[0][1], found[1][1]


def _require_mode(mode: str) -> None:
    if mode not in ("fixed", "reference"):
        raise RewardError(f"mode='{mode}' is no way to score prompts without questions. Use 'fixed' or 'reference'.")

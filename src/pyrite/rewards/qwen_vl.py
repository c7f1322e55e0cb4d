"""Questions about images to Qwen2-VL and Qwen2.5-VL, without their processor, which needs torchvision.

An image of any size becomes as many tokens as it needs (one for 28 x 28 pixels), so a batch holds rows of unequal
length: rows of like length go together and are filled up on the left, where a mask hides it. The positions of image
tokens have three axes (time, height, width); they are computed for the real tokens of each row alone, so that a row
does not depend on what it is batched with.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrite.core.types import Image
from pyrite.rewards.chat import (
    Markup,
    Picture,
    Piece,
    Vocabulary,
    by_length,
    encode,
    left_padded,
    why_too_long,
)
from pyrite.rewards.images import UNDECODABLE
from pyrite.rewards.qwen_pixels import Patches, QwenPixels, why_not_shown

IMAGE_TOKEN = "<|image_pad|>"
# About 12 images of a megapixel: what one pass through the vision tower holds in memory.
_MOST_PATCHES = 65_536
_WORKERS = 4


def image_pieces(picture: Picture) -> tuple[Piece, ...]:
    """An image in a user's turn, between its marks."""
    return (Markup("<|vision_start|>"), picture, Markup("<|vision_end|>"))


class Inputs(NamedTuple):
    """A batch of M questions of length L, filled up on the left, with their images.

    Args:
        ids: (M, L) int64.
        mask: (M, L) int64, 1 where an id is real.
        is_image: (M, L) int64, 1 at the tokens of the image.
        patches: the patches of all images, one after the other.
        grid: (M, 3) int64: 1, height and width of each image in patches.
    """

    ids: Tensor
    mask: Tensor
    is_image: Tensor
    patches: Tensor
    grid: Tensor


class Asked(NamedTuple):
    """The questions of a call: row -> ids, and row -> why there is no question, together every row."""

    ids: Mapping[int, list[int]]
    reasons: dict[int, str]


@dataclass(frozen=True)
class QwenAsker:
    """Puts questions to a model, in batches.

    Args:
        model: a transformers `Qwen2VLForConditionalGeneration` or `Qwen2_5_VLForConditionalGeneration`, or the same
            without its language head.
        vocabulary: of its tokenizer.
        pixels: its preprocessing.
        batch_size: images per forward pass.
    """

    model: Any
    vocabulary: Vocabulary
    pixels: QwenPixels
    batch_size: int

    @property
    def context(self) -> int:
        """The most tokens the model reads."""
        return int(self.model.config.text_config.max_position_embeddings)

    def ask(self, images: Sequence[Image], question: Callable[[int, Picture], Sequence[Piece]]) -> Asked:
        """The ids of a question about each image; no image is decoded for it.

        Args:
            images: of any mode and size.
            question: row and the room for its image -> pieces.
        """
        ids: dict[int, list[int]] = {}
        reasons: dict[int, str] = {}
        for row, image in enumerate(images):
            if why := why_not_shown(image):
                reasons[row] = why
                continue
            picture = Picture(self.pixels.num_tokens(image.size), IMAGE_TOKEN)
            if why := why_too_long(picture.num_tokens, self.context):
                reasons[row] = why
                continue
            asked = encode(self.vocabulary, question(row, picture))
            if why := why_too_long(len(asked), self.context):
                reasons[row] = why
            else:
                ids[row] = asked
        return Asked(ids, reasons)

    def batches(self, images: Sequence[Image], asked: Asked) -> Iterator[tuple[list[int], Inputs]]:
        """The rows of each batch and their inputs; images that cannot be decoded go to `asked.reasons`.

        The images of the next batch are prepared by threads while one is used.

        Args:
            images: those asked about.
            asked: what `ask` said of them.
        """
        planned = self._planned(asked.ids)
        with ThreadPoolExecutor(_WORKERS) as pool:
            tasks = self._begin(pool, images, planned[0] if planned else [])
            for following in (*planned[1:], []):
                prepared = {row: task.result() for row, task in tasks.items()}
                tasks = self._begin(pool, images, following)
                asked.reasons.update({row: result for row, result in prepared.items() if isinstance(result, str)})
                readable = {row: result for row, result in prepared.items() if not isinstance(result, str)}
                if readable:
                    yield list(readable), self.inputs([asked.ids[row] for row in readable], list(readable.values()))

    def inputs(self, ids: Sequence[list[int]], images: Sequence[Patches]) -> Inputs:
        """A batch of M questions.

        Args:
            ids: M questions, each with room for its image.
            images: M images.
        """
        device = self.model.device
        # Filled up with an id that every question has, so that a penalty on ids seen is the same in every batch.
        batch = left_padded(ids, ids[0][0], device)
        return Inputs(
            batch.ids,
            batch.mask,
            (batch.ids == self.vocabulary.token(IMAGE_TOKEN)).long(),
            torch.cat([torch.from_numpy(image.values) for image in images]).to(device),
            torch.tensor([[1, *image.grid] for image in images], device=device),
        )

    def shared_start(self, asked: Asked) -> "SharedStart | None":
        """The tokens with which every question begins, up to the first image, read once for all of them."""
        rows = list(asked.ids.values())
        if not rows:
            return None
        image = self.vocabulary.token(IMAGE_TOKEN)
        length = 0
        while all(row[length] == rows[0][length] != image for row in rows):
            length += 1
        device = self.model.device
        ids = torch.tensor([rows[0][:length]], device=device)
        places = torch.arange(length, device=device).expand(3, 1, length)
        with torch.inference_mode():
            read = self.model.model(input_ids=ids, position_ids=places, use_cache=True).past_key_values
        return SharedStart(ids, tuple((layer.keys, layer.values) for layer in read.layers))

    def first_logits(self, inputs: Inputs, start: "SharedStart | None" = None) -> Tensor:
        """(M, V) float32 logits of the first token of the answer.

        Args:
            inputs: M whole questions.
            start: what all of them begin with, if that has been read already.
        """
        from transformers import DynamicCache

        places, _ = self.model.model.get_rope_index(
            inputs.ids,
            mm_token_type_ids=inputs.is_image,
            image_grid_thw=inputs.grid,
            attention_mask=inputs.mask,
        )
        given: dict[str, Any] = {"attention_mask": inputs.mask, "use_cache": False}
        ids = inputs.ids
        if start is not None:
            ids, mask, places = start.cut(inputs, places)
            cache = DynamicCache([(keys.expand(len(ids), *keys.shape[1:]), values.expand(len(ids), *values.shape[1:]))
                                  for keys, values in start.states])  # fmt: skip
            given = {"attention_mask": mask, "use_cache": True, "past_key_values": cache}
        with torch.inference_mode():
            logits: Tensor = self.model(
                input_ids=ids,
                position_ids=places,
                pixel_values=inputs.patches,
                image_grid_thw=inputs.grid,
                logits_to_keep=1,
                **given,
            ).logits
        return logits[:, -1].float()

    def _planned(self, ids: Mapping[int, list[int]]) -> list[list[int]]:
        """The rows of each batch: like lengths together, and no more images than the vision tower can take at once."""
        rows = list(ids)
        most = _MOST_PATCHES // self.pixels.processor.merge_size**2
        planned: list[list[int]] = []
        for batch in by_length([len(ids[row]) for row in rows], self.batch_size):
            room = 0
            for place in batch:
                row = rows[place]
                if room < len(ids[row]):
                    planned.append([])
                    room = most
                planned[-1].append(row)
                room -= len(ids[row])
        return planned

    def _begin(
        self, pool: ThreadPoolExecutor, images: Sequence[Image], rows: Sequence[int]
    ) -> dict[int, "Future[Patches | str]"]:
        batch = {row: images[row] for row in rows}
        # Pillow does not survive two threads decoding one image, and a list may hold the same image twice.
        distinct = {id(image): image for image in batch.values()}
        tasks = {key: pool.submit(self._prepare, image) for key, image in distinct.items()}
        return {row: tasks[id(image)] for row, image in batch.items()}

    def _prepare(self, image: Image) -> Patches | str:
        try:
            return self.pixels(image)
        except UNDECODABLE as error:
            return f"the image could not be decoded: {error}"


class SharedStart(NamedTuple):
    """The beginning that all questions share, as the model has read it.

    Args:
        ids: (1, S) int64.
        states: keys and values of each layer, (1, heads, S, width).
    """

    ids: Tensor
    states: tuple[tuple[Tensor, Tensor], ...]

    def cut(self, inputs: Inputs, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is left to read: (M, T) ids, (M, S + T) mask and (3, M, T) positions.

        The shared beginning now stands first in every row, and what was filled up comes after it.

        Args:
            inputs: M whole questions of length S + T.
            places: (3, M, S + T) positions of their tokens.
        """
        rows, length = self.ids.shape[1], inputs.ids.shape[1]
        order = torch.arange(length, device=inputs.ids.device).expand_as(inputs.ids)
        empty = length - inputs.mask.sum(1, keepdim=True)
        # A row's own shared tokens end at `empty + rows`: what stands before that is filled up or in `states` already.
        is_new = order[:, rows:] >= empty + rows
        mask = torch.cat([torch.ones_like(inputs.mask[:, :rows]), is_new.long()], dim=1)
        return inputs.ids[:, rows:], mask, places[:, :, rows:]

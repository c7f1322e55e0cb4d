"""A small open-vocabulary detector as a reward: OWL-ViT (arXiv:2205.06230), scored by the arithmetic of `gdino`.

Unlike GroundingDINO as T2I-R1 asks it, it is asked for nouns with their attributes ("red circle", not "circle"), so
that a wrong colour is a missing object. For the pocket world, whose detector has this form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.weights import checkpoint_revision, resolve_checkpoint
from pyrite.rewards.boxes import Detection
from pyrite.rewards.clip import refuse_foreign_tokenizer
from pyrite.rewards.gdino import score_detections, why_unscored
from pyrite.rewards.images import check_pairs
from pyrite.rewards.loading import choose_device, choose_dtype, dtype_name, load_model, load_tokenizer
from pyrite.rewards.pixels import Picked, PixelPreparation, Preparation, run_on_images
from pyrite.rewards.texts import Memory, TextReader

NAME = "detector-pocket"
BOX_THRESHOLD = 0.5


@dataclass(frozen=True)
class DetectorReward:
    """The share of a prompt's objects, relations or numbers that the detector finds in the image, in [0, 1].

    Spatial prompts reach 0.9. Details: `num_detections` is the number of boxes above the threshold.

    Args:
        card: what it claims.
        model: a transformers `OwlViTForObjectDetection`.
        reader: of phrases.
        preparation: its image preprocessing.
        box_threshold: a box shows a phrase if its probability is above this.
        batch_size: images per forward pass.
        memory: of the phrases read last: their embeddings, on the model's device.
    """

    card: RewardCard
    model: Any
    reader: TextReader
    preparation: Preparation
    box_threshold: float
    batch_size: int
    memory: Memory[Tensor] = field(default_factory=Memory)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i, of which nouns, attributes, places and numbers are read, not the text."""
        return self._look(images, prompts)[0]

    def explain(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> list[list[Detection]]:
        """What the score of each image was made of: every box above the threshold; none where it is unscored."""
        return self._look(images, prompts)[1]

    def _look(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> tuple[Scores, list[list[Detection]]]:
        check_pairs(images, prompts)
        reasons = {row: why for row, prompt in enumerate(prompts) if (why := self._why_not_asked(prompt))}
        rows = [row for row in range(len(prompts)) if row not in reasons]
        found: list[list[Detection]] = [[] for _ in prompts]

        def rate(pixels: Tensor, places: Sequence[int]) -> Tensor:
            here = [rows[place] for place in places]
            outputs = torch.full((len(here), 2), torch.nan)
            detected = self.detect(pixels, [phrases_of(prompts[row]) for row in here])
            for output, row, detections in zip(outputs, here, detected, strict=True):
                if detections is not None:
                    found[row] = detections
                    score = score_detections(prompts[row], detections, images[row].size)
                    output[0], output[1] = score, len(detections)
            return outputs

        outputs, failed = run_on_images(
            rate,
            Picked(images, rows),
            preparation=self.preparation,
            num_outputs=2,
            batch_size=self.batch_size,
            device=self.model.device,
        )
        values, counts = np.full((2, len(prompts)), np.nan)
        values[rows], counts[rows] = outputs.T
        return Scores(values, {**reasons, **{rows[place]: why for place, why in failed.items()}}, {
            "num_detections": counts
        }), found  # fmt: skip

    def detect(self, pixels: Tensor, phrases: Sequence[Mapping[str, str]]) -> list[list[Detection] | None]:
        """The boxes above the threshold of each image; None where the model's output is no number.

        Args:
            pixels: (M, 3, H, W), prepared.
            phrases: M times noun -> the phrase that is looked for; a detection is called by its noun.
        """
        model = self.model
        known = self.memory.recall([phrase for one in phrases for phrase in one.values()], self._embed)
        names = list(known)
        grid, _ = model.image_embedder(pixel_values=pixels.to(model.dtype))
        places = grid.flatten(1, 2)
        queries = torch.stack([known[name] for name in names]).to(places)
        logits, _ = model.class_predictor(places, queries[None].expand(len(pixels), -1, -1))
        probs = logits.float().sigmoid().cpu().numpy()
        boxes = model.box_predictor(places, grid).float().cpu().numpy()
        return [
            [
                Detection(noun, float(probs[row, place, column]), tuple(boxes[row, place].tolist()))
                for noun, phrase in one.items()
                for column in [names.index(phrase)]
                for place in np.nonzero(probs[row, :, column] > self.box_threshold)[0]
            ]
            if np.isfinite(probs[row]).all() and np.isfinite(boxes[row]).all()
            else None
            for row, one in enumerate(phrases)
        ]

    def _why_not_asked(self, prompt: Prompt) -> str | None:
        if reason := why_unscored(prompt):
            return reason
        for phrase in phrases_of(prompt).values():
            ids = self.reader.ids([phrase])[0]
            if self.reader.has_unknown_words(ids) or len(ids) > self.reader.longest:
                return f"the detector never learned '{phrase}'"
        return None

    def _embed(self, phrases: list[str]) -> list[Tensor]:
        ids, mask = self.reader.tensors(self.reader.ids(phrases), self.model.device)
        with torch.inference_mode():
            pooled = self.model.owlvit.text_model(input_ids=ids, attention_mask=mask).pooler_output
            return list(F.normalize(self.model.owlvit.text_projection(pooled).float(), dim=-1))


def phrases_of(prompt: Prompt) -> dict[str, str]:
    """Noun -> what is looked for: the first attribute phrase that ends with the noun, or the noun alone."""
    return {
        noun: next((words for words in prompt.attr_nouns if words.split()[-1:] == [noun]), noun)
        for noun in prompt.nouns
    }


def load_detector(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
    box_threshold: float = BOX_THRESHOLD,
) -> DetectorReward:
    """An OWL-ViT detector from a checkpoint folder; None for the pocket one shipped.

    Args:
        weights: a folder, or the name of a pocket checkpoint.
        config: laid over the folder's config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images per forward pass.
        box_threshold: a box shows a phrase if its probability is above this.

    Raises:
        CheckpointError: the folder is missing, damaged, or holds another architecture.
    """
    from transformers import AutoTokenizer, OwlViTForObjectDetection

    folder = resolve_checkpoint(weights or NAME)
    model = load_model(OwlViTForObjectDetection, folder, model_type="owlvit", config=config, dtype=choose_dtype(dtype))
    tokenizer = load_tokenizer(AutoTokenizer, folder)
    words = model.config.text_config
    refuse_foreign_tokenizer(folder, words, tokenizer)
    card = RewardCard(
        name=NAME,
        summary="A detector finds the prompt's objects in the image, in their colours, places and number.",
        range=(0, 1),
        reads_prompt=True,
        revision=checkpoint_revision(weights or NAME),
        cites=("arXiv:2205.06230", "arXiv:2505.00703"),
        options={"box_threshold": box_threshold},
        preprocessing="folder/1",
        dtype=dtype_name(model.dtype),
    )
    reader = TextReader(tokenizer, words.max_position_embeddings)
    return DetectorReward(
        card, model.to(choose_device(device)), reader, PixelPreparation.load(folder), box_threshold, batch_size
    )

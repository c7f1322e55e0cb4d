"""GroundingDINO as a reward: are the nouns of a prompt in the image, where they should be, and as many as they should.

The open-vocabulary detector of arXiv:2303.05499 (Swin-T OGC) looks for the nouns; `boxes.py` makes a score of what it
found, `gdino_text.py` is how it is asked. The prompt's text itself is not read: its metadata is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError
from pyrite.core.types import FloatArray, Image, Prompt, Scores
from pyrite.records.published import find_file
from pyrite.rewards.boxes import RELATIONS, Detection, Mode, numeracy_score, object_score, spatial_score
from pyrite.rewards.gdino_pixels import DetectorPixels, num_places
from pyrite.rewards.gdino_text import LONGEST_CAPTION, Caption, read_nouns, require_vocabulary
from pyrite.rewards.gdino_weights import load_gdino_model
from pyrite.rewards.images import check_pairs, to_rgb
from pyrite.rewards.loading import choose_device, choose_dtype, dtype_name, files_revision, read_json
from pyrite.rewards.measured import parity_error
from pyrite.rewards.pixels import run_on_images
from pyrite.rewards.preprocessing import Float32Array
from pyrite.rewards.texts import find_tokenizer

BOX_THRESHOLD = 0.3
"""A box shows a noun if its score for it is above this: the threshold of T2I-R1."""


@dataclass(frozen=True)
class GDinoReward:
    """The share of a prompt's nouns, relations or numbers that the detector finds in the image, in [0, 1].

    Spatial prompts reach 0.9. Details: `num_detections` is the number of boxes above the threshold, over all nouns;
    `prompt_truncated` is 1 where nouns were left unread, which happens in the mode `reference` alone.

    Args:
        card: what it claims.
        model: a transformers `GroundingDinoForObjectDetection` in float32.
        tokenizer: of the nouns.
        preparation: of the images.
        mode: of the arithmetic and of the caption, see `boxes.py`.
        box_threshold: above it, a box shows a noun.
        dtype: of the matrix products.
        batch_size: images per forward pass.
    """

    card: RewardCard
    model: Any
    tokenizer: Any
    preparation: DetectorPixels
    mode: Mode
    box_threshold: float
    dtype: torch.dtype
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i, of which `nouns`, `task_type`, `spatial_info` and `numeracy_info` are read."""
        return self.look(images, prompts)[0]

    def explain(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> list[list[Detection]]:
        """What the score of each image was made of: every box above the threshold; none where it is unscored."""
        return self.look(images, prompts)[1]

    def look(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> tuple[Scores, list[list[Detection]]]:
        """What `score` and `explain` say, from looking once."""
        check_pairs(images, prompts)
        num = len(images)
        values: FloatArray = np.full(num, np.nan)
        found: list[list[Detection]] = [[] for _ in range(num)]
        details: dict[str, FloatArray] = {
            "num_detections": np.full(num, np.nan),
            "prompt_truncated": np.zeros(num),
        }
        captions, reasons = self._captions(prompts)
        for row, prompt in enumerate(prompts):
            if self.mode == "reference" and not prompt.nouns:
                readable = to_rgb(images[row])
                if isinstance(readable, str):
                    reasons[row] = readable
                else:
                    values[row] = 1.0
        for rows in self._groups(images, captions, reasons):
            scores, why = self._look_at_one_size(images, prompts, captions, rows, found)
            values[rows], details["num_detections"][rows] = scores[:, 0], scores[:, 1]
            reasons.update({rows[place]: reason for place, reason in why.items()})
        for row, caption in captions.items():
            details["prompt_truncated"][row] = len(caption.ids) > LONGEST_CAPTION
        return Scores(values, reasons, details), found

    def _captions(self, prompts: Sequence[Prompt]) -> tuple[dict[int, Caption], dict[int, str]]:
        """Row -> its caption, one for all prompts with the same nouns; and row -> why it has none."""
        known: dict[tuple[str, ...], Caption | str] = {}
        captions, reasons = {}, {}
        for row, prompt in enumerate(prompts):
            if self.mode == "reference" and not prompt.nouns:
                continue
            if (reason := why_unscored(prompt, self.mode)) is not None:
                reasons[row] = reason
                continue
            if prompt.nouns not in known:
                known[prompt.nouns] = read_nouns(self.tokenizer, prompt.nouns, self.mode)
            caption = known[prompt.nouns]
            if isinstance(caption, str):
                reasons[row] = caption
            else:
                captions[row] = caption
        return captions, reasons

    def _groups(
        self, images: Sequence[Image], captions: Mapping[int, Caption], reasons: dict[int, str]
    ) -> list[list[int]]:
        """Rows whose images get one size, so that none is padded, which would change scores; short captions first.

        Images in which the detector has fewer places than it makes guesses are added to the reasons.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for row in captions:
            width, height = images[row].size
            size = self.preparation.size(width, height) if min(width, height) > 0 else (0, 0)
            places, guesses = num_places(size), self.model.config.num_queries
            if 0 < places < guesses:
                reasons[row] = (
                    f"the image is {width} x {height} pixels: the detector sees it as {size[0]} x {size[1]}, which has "
                    f"{places} places for its {guesses} boxes"
                )
            else:
                groups.setdefault(size, []).append(row)
        return [sorted(rows, key=lambda row: len(captions[row].ids)) for rows in groups.values()]

    def _look_at_one_size(
        self,
        images: Sequence[Image],
        prompts: Sequence[Prompt],
        captions: Mapping[int, Caption],
        rows: list[int],
        found: list[list[Detection]],
    ) -> tuple[Float32Array, dict[int, str]]:
        """(M, 2) score and number of detections of some rows; fills in `found`."""

        def rate(pixels: Tensor, places: Sequence[int]) -> Tensor:
            here = [rows[place] for place in places]
            seen = self.detect(pixels, [captions[row] for row in here])
            outputs = torch.full((len(here), 2), torch.nan)
            for output, row, detections in zip(outputs, here, seen, strict=True):
                if detections is not None:
                    found[row] = detections
                    score = score_detections(prompts[row], detections, images[row].size, self.mode)
                    output[0], output[1] = score, len(detections)
            return outputs

        return run_on_images(
            rate,
            [images[row] for row in rows],
            preparation=self.preparation,
            num_outputs=2,
            batch_size=self.batch_size,
            device=self.model.device,
        )

    def detect(self, pixels: Tensor, captions: Sequence[Caption]) -> list[list[Detection] | None]:
        """The boxes above the threshold of each image; None where the model's output is no number.

        Args:
            pixels: (M, 3, H, W), prepared.
            captions: M of them.
        """
        longest = max(len(caption.ids) for caption in captions)
        ids = torch.zeros((len(captions), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, caption in enumerate(captions):
            ids[row, : len(caption.ids)] = torch.tensor(caption.ids)
            mask[row, : len(caption.ids)] = 1
        # In half precision throughout, the logarithms of box coordinates overflow: sums and boxes stay in float32.
        with torch.autocast(pixels.device.type, self.dtype, enabled=self.dtype != torch.float32):
            output = self.model(
                pixel_values=pixels,
                input_ids=ids.to(pixels.device),
                # The model cuts its tokens to what it reads, and expects the mask to be cut already.
                attention_mask=mask[:, :LONGEST_CAPTION].to(pixels.device),
            )
        probs, boxes = output.logits.float().sigmoid().cpu().numpy(), output.pred_boxes.float().cpu().numpy()
        return [self._above_threshold(*one) for one in zip(captions, probs, boxes, strict=True)]

    def _above_threshold(self, caption: Caption, probs: Float32Array, boxes: Float32Array) -> list[Detection] | None:
        # (K, Q) scores; a box may serve several phrases
        scores = caption.weights @ probs[:, : caption.weights.shape[1]].T
        if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
            return None
        return [
            Detection(caption.phrases[phrase], float(scores[phrase, query]), tuple(boxes[query].tolist()))
            for phrase, query in zip(*np.nonzero(scores > self.box_threshold), strict=True)
        ]


def score_detections(
    prompt: Prompt, detections: Sequence[Detection], size: tuple[int, int], mode: Mode = "fixed"
) -> float:
    """The score of an image in which these were found; the prompt must be one that `why_unscored` has nothing against.

    Args:
        prompt: of which `task_type` decides what is asked.
        detections: of the image.
        size: its width and height.
        mode: of the arithmetic.
    """
    if prompt.task_type == "spatial":
        info = prompt.spatial_info if isinstance(prompt.spatial_info, Mapping) else {}
        if mode == "reference" and not {"obj1", "obj2"} <= info.keys():
            return 0.0  # its code raises here, and catches what it raised
        return spatial_score(info, detections, size=size, mode=mode)
    if prompt.task_type == "numeracy":
        return numeracy_score(prompt.numeracy_info, detections, size=size, mode=mode)
    return object_score(prompt.nouns, detections)


def why_unscored(prompt: Prompt, mode: Mode = "fixed") -> str | None:
    """What a prompt's metadata lacks; None if nothing.

    In the mode `reference` only what makes the published code fail counts: it calls every image of a prompt without
    nouns perfect, and gives 0 for a relation it cannot read.
    """
    if not prompt.nouns:
        return "`nouns` of the prompt is empty: the detector has nothing to look for"
    if not all(isinstance(noun, str) for noun in prompt.nouns):
        return f"`nouns` of the prompt holds {prompt.nouns!r}, and a noun is a text"
    if prompt.task_type == "numeracy":
        return _why_no_numbers(prompt, mode)
    if prompt.task_type == "spatial" and mode == "fixed":
        return _why_no_relation(prompt)
    return None


def _why_no_relation(prompt: Prompt) -> str | None:
    info = prompt.spatial_info
    if not info:
        return "`spatial_info` of the prompt is empty, and its task_type is 'spatial'"
    if not isinstance(info, Mapping):
        return f"`spatial_info` of the prompt is {info!r}, and not an object with obj1, obj2 and locality"
    if absent := [key for key in ("obj1", "obj2", "locality") if not isinstance(info.get(key), str)]:
        return f"`spatial_info` of the prompt has no {' and no '.join(absent)}"
    if info["locality"] not in RELATIONS:
        return f"`spatial_info` has the locality {info['locality']!r}, and known are {', '.join(RELATIONS)}"
    if strange := [info[key] for key in ("obj1", "obj2") if info[key] not in prompt.nouns]:
        return f"`spatial_info` speaks of {strange[0]!r}, which is not among `nouns`: nobody looks for it"
    if info["obj1"] == info["obj2"]:
        return f"`spatial_info` has {info['obj1']!r} twice: which of two is which, a detector cannot tell"
    return None


def _why_no_numbers(prompt: Prompt, mode: Mode) -> str | None:
    if not prompt.numeracy_info:
        return "`numeracy_info` of the prompt is empty, and its task_type is 'numeracy'"
    for item in prompt.numeracy_info:
        facts = item if isinstance(item, Mapping) else {}
        if not isinstance(facts.get("obj_name"), str) or not isinstance(facts.get("num"), int):
            return f"`numeracy_info` of the prompt holds {item!r}, which lacks a text obj_name or a whole num"
        if mode == "fixed" and item["obj_name"] not in prompt.nouns:
            return f"`numeracy_info` counts {item['obj_name']!r}, which is not among `nouns`: nobody looks for it"
    return None


def load_gdino(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 16,
    tokenizer: str | Path | None = None,
    mode: Mode = "fixed",
    box_threshold: float = BOX_THRESHOLD,
) -> GDinoReward:
    """GroundingDINO Swin-T OGC.

    Args:
        weights: groundingdino_swint_ogc.pth, `model.safetensors` of IDEA-Research/grounding-dino-tiny with its
            config.json, a folder of either, or a hub id; None for where it lies on this disk.
        config: dimensions of a tiny test model, see `load_gdino_model`, and `resize` with `short` and `max`, the sides
            in pixels, laid over what a preprocessor_config.json beside the weights says.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the matrix products: float32 (None), bfloat16 or float16; weights, sums and boxes stay in float32.
        batch_size: images per forward pass.
        tokenizer: folder with vocab.txt; None for beside the weights, or where it lies on this disk.
        mode: `reference` for the scores of the code that T2I-R1 and ArtifactReward train with, defects included.
        box_threshold: above it, a box shows a noun; 0 to 1.

    Raises:
        RewardError: a mode or threshold that is none.
        CheckpointError: a file is missing, damaged, needs code to be read, or is another model's.
    """
    from transformers import BertTokenizer

    _require_options(mode, box_threshold)
    path = find_file("gdino", "weights", weights)
    words = find_tokenizer("gdino", weights, tokenizer)
    bert = BertTokenizer(vocab=str(words))
    require_vocabulary(bert, str(words))
    precision = choose_dtype(dtype)
    model = load_gdino_model(path, config or {}).to(choose_device(device))
    return gdino_reward(
        model,
        bert,
        files_revision([path, words]),
        preparation=_preparation(path, config or {}),
        mode=mode,
        box_threshold=box_threshold,
        dtype=precision,
        batch_size=batch_size,
    )


def gdino_reward(
    model: Any,
    tokenizer: Any,
    revision: str,
    *,
    preparation: DetectorPixels,
    mode: Mode = "fixed",
    box_threshold: float = BOX_THRESHOLD,
    dtype: torch.dtype = torch.float32,
    batch_size: int = 16,
) -> GDinoReward:
    """GroundingDINO's card around a model of its form, whatever its weights.

    Args:
        model: a transformers `GroundingDinoForObjectDetection` in float32.
        tokenizer: of the nouns.
        revision: of weights and tokenizer.
        preparation: of the images.
        mode: of arithmetic and caption.
        box_threshold: above it, a box shows a noun.
        dtype: of the matrix products.
        batch_size: images per forward pass.
    """
    card = RewardCard(
        name="gdino",
        summary="A detector finds the prompt's nouns in the image, in their places and in their number.",
        range=(0, 1),
        reads_prompt=True,
        revision=revision,
        upstream="yq-hong/ArtifactReward@8b1cd7d (utils/reward_gdino.py) on IDEA-Research/GroundingDINO",
        parity_error=parity_error("gdino", dtype_name(dtype)) if mode == "reference" else None,
        licence="Apache-2.0",
        cites=("arXiv:2303.05499", "arXiv:2505.00703"),
        options={
            "mode": mode,
            "box_threshold": box_threshold,
            "shortest_px": preparation.shortest,
            "longest_px": preparation.longest,
        },
        preprocessing="gdino/1",
        dtype=dtype_name(dtype),
    )
    return GDinoReward(card, model, tokenizer, preparation, mode, box_threshold, dtype, batch_size)


def _require_options(mode: str, box_threshold: float) -> None:
    if mode not in ("fixed", "reference"):
        raise RewardError(f"mode='{mode}' is no way to score detections. Use 'fixed' or 'reference'.")
    if not 0 <= box_threshold < 1:
        raise RewardError(
            f"box_threshold={box_threshold} is none: a box shows a noun if its score, a probability, is above it. Use "
            f"a number from 0 to 1; T2I-R1 uses {BOX_THRESHOLD}."
        )


def _preparation(path: Path, config: Mapping[str, Any]) -> DetectorPixels:
    beside = path.parent / "preprocessor_config.json"
    size = read_json(beside).get("size", {}) if path.name == "model.safetensors" and beside.is_file() else {}
    usual, asked = DetectorPixels(), config.get("resize", {})
    return DetectorPixels(
        int(asked.get("short", size.get("shortest_edge", usual.shortest))),
        int(asked.get("max", size.get("longest_edge", usual.longest))),
    )

"""The detectors that GenEval's rules can be read from: objects from one model, their colours from CLIP.

`mask2former` is transformers' Mask2Former in place of mmdet's and gives `geneval-hf`; `gdino` is GroundingDINO and
gives `geneval-gdino`. Neither gives GenEval's own numbers, and the labels say so. Weights are hashed at once and loaded
when the first image is looked at: what was seen before needs no model.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrite.core.detections import ObjectDetector
from pyrite.core.errors import RecipeError, RewardError, UnknownNameError
from pyrite.core.types import Image, Prompt
from pyrite.records.published import find_file
from pyrite.rewards.clip import refuse_foreign_tokenizer
from pyrite.rewards.clip_colors import ColorClassifier
from pyrite.rewards.clip_published import VIT_L_14
from pyrite.rewards.clip_weights import load_clip
from pyrite.rewards.colored_detector import BoxDetector, ColoredDetector
from pyrite.rewards.found import Found
from pyrite.rewards.gdino import GDinoReward, load_gdino
from pyrite.rewards.gdino_text import require_vocabulary
from pyrite.rewards.loading import choose_device, choose_dtype, dtype_name, files_revision, read_json
from pyrite.rewards.mask2former import geneval_name, load_mask2former
from pyrite.rewards.texts import TextReader, clean_clip_text, find_tokenizer

MIN_SCORE = 0.05
"""Less sure boxes are not kept: far below every threshold of the rules, so that lower ones can be tried afterwards."""


@dataclass(frozen=True)
class GDinoBoxes:
    """GroundingDINO asked for classes.

    Args:
        reward: whose threshold is the least score that is kept.
    """

    reward: GDinoReward

    def detect(self, images: Sequence[Image], names: Sequence[Sequence[str]]) -> list[list[Found] | str]:
        """The boxes of each class in each image, within the image."""
        scores, seen = self.reward.look(images, [Prompt(" and ".join(one), nouns=tuple(one)) for one in names])
        results: list[list[Found] | str] = []
        for row, (image, found) in enumerate(zip(images, seen, strict=True)):
            width, height = image.size
            boxes = [(one.phrase, one.score, one.corners(image.size)) for one in found]
            results.append(
                scores.reasons[row]
                if row in scores.reasons
                else [
                    Found(name, score, (max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height)))
                    for name, score, box in boxes
                ]
            )
        return results


def load_geneval_hf(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    clip: str | Path | None = None,
    clip_config: Mapping[str, Any] | None = None,
    clip_tokenizer: str | Path | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 8,
    min_score: float = MIN_SCORE,
) -> ObjectDetector:
    """Mask2Former (Swin-S, COCO instances) with CLIP ViT-L/14 for colours.

    Args:
        weights: folder of facebook/mask2former-swin-small-coco-instance or another of its form, or a hub id whose files
            have been fetched; None for where it lies on this disk.
        config: laid over its config.json; `resize` with `short` and `max` over the sizes of its images.
        clip: folder of openai/clip-vit-large-patch14, a file of its tensors, or a hub id; None as above.
        clip_config: dimensions of a tiny test model.
        clip_tokenizer: folder with vocab.json and merges.txt; None for beside the weights or on this disk.
        device: where both compute; "auto" takes an accelerator if there is one.
        dtype: of both models: float32 (None), bfloat16 or float16.
        batch_size: images, and objects, per forward pass.
        min_score: boxes below it are not kept.

    Raises:
        RewardError: `min_score` is no score.
        CheckpointError: a file is missing, damaged, or is another model's.
    """
    _require_score(min_score)
    path = find_file("mask2former", "weights", weights)
    said = read_json(path.parent / "config.json")
    labels = {**said, **(config or {})}.get("id2label", {})
    beside = path.parent / "preprocessor_config.json"
    colors, colors_identity = _colors(clip, clip_config, clip_tokenizer, device, dtype, batch_size)
    return ColoredDetector(
        name="geneval-hf",
        identity={
            "detector": "mask2former",
            "revision": files_revision([path, path.parent / "config.json", *([beside] if beside.is_file() else [])]),
            "config": dict(config or {}),
            "preprocessing": "mask2former/1",
            "dtype": dtype_name(choose_dtype(dtype)),
            "min_score": min_score,
            "colors": colors_identity,
        },
        classes=frozenset(geneval_name(str(label)) for label in labels.values()),
        load_boxes=lambda: load_mask2former(
            path,
            config=config or {},
            device=device,
            dtype=choose_dtype(dtype),
            min_score=min_score,
            batch_size=batch_size,
        ),
        load_colors=colors,
    )


def load_geneval_gdino(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    tokenizer: str | Path | None = None,
    clip: str | Path | None = None,
    clip_config: Mapping[str, Any] | None = None,
    clip_tokenizer: str | Path | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 8,
    min_score: float = MIN_SCORE,
) -> ObjectDetector:
    """GroundingDINO Swin-T OGC, asked for the classes of the prompt, with CLIP ViT-L/14 for colours.

    It has no masks: colours are told from the whole box.

    Args:
        weights: as for `load_gdino`.
        config: as for `load_gdino`.
        tokenizer: folder with BERT's vocab.txt; None for beside the weights, or where it lies on this disk.
        clip: as for `load_geneval_hf`.
        clip_config: as for `load_geneval_hf`.
        clip_tokenizer: as for `load_geneval_hf`.
        device: where both compute; "auto" takes an accelerator if there is one.
        dtype: of the matrix products of the detector, and of CLIP: float32 (None), bfloat16 or float16.
        batch_size: images, and objects, per forward pass.
        min_score: boxes below it are not kept.

    Raises:
        RewardError: `min_score` is no score.
        CheckpointError: a file is missing, damaged, or is another model's.
    """
    _require_score(min_score)
    path, words = find_file("gdino", "weights", weights), find_tokenizer("gdino", weights, tokenizer)
    _require_bert(words)
    colors, colors_identity = _colors(clip, clip_config, clip_tokenizer, device, dtype, batch_size)

    def load_boxes() -> BoxDetector:
        return GDinoBoxes(
            load_gdino(
                path,
                config=config,
                device=device,
                dtype=dtype,
                batch_size=batch_size,
                tokenizer=words.parent,
                box_threshold=min_score,
            )
        )

    return ColoredDetector(
        name="geneval-gdino",
        identity={
            "detector": "gdino",
            "revision": files_revision([path, words]),
            "config": dict(config or {}),
            "preprocessing": "gdino/1",
            "dtype": dtype_name(choose_dtype(dtype)),
            "min_score": min_score,
            "colors": colors_identity,
        },
        classes=None,
        load_boxes=load_boxes,
        load_colors=colors,
    )


DETECTORS: Mapping[str, Callable[..., ObjectDetector]] = {"mask2former": load_geneval_hf, "gdino": load_geneval_gdino}
"""What `--detector` can be."""


def load_detector(name: str, **options: Any) -> ObjectDetector:
    """A detector by its name.

    Raises:
        UnknownNameError: no detector of that name.
        RecipeError: an option that it does not have.
        CheckpointError: its weights are missing or not what they should be.
    """
    if name not in DETECTORS:
        raise UnknownNameError(
            f"no detector is called '{name}'. GenEval's rules can be read from {' or '.join(DETECTORS)}."
        )
    known = list(inspect.signature(DETECTORS[name]).parameters)
    if unknown := [option for option in options if option not in known]:
        raise RecipeError(f"the detector '{name}' has no option {', '.join(unknown)}. It has: {', '.join(known)}.")
    return DETECTORS[name](**options)


def _require_score(min_score: float) -> None:
    if not 0 < min_score < 1:
        raise RewardError(
            f"min_score = {min_score} is none: boxes that are less sure are forgotten, so it must be above 0 and below "
            f"the thresholds that shall be tried. Use {MIN_SCORE}."
        )


def _require_bert(words: Path) -> None:
    from transformers import BertTokenizer

    require_vocabulary(BertTokenizer(vocab=str(words)), str(words))


def _colors(
    weights: str | Path | None,
    config: Mapping[str, Any] | None,
    tokenizer: str | Path | None,
    device: str,
    dtype: str | None,
    batch_size: int,
) -> tuple[Callable[[], ColorClassifier], dict[str, Any]]:
    """What makes the classifier, and its identity."""
    path, words = find_file("clip-l14", "weights", weights), find_tokenizer("clip-l14", weights, tokenizer)

    def load() -> ColorClassifier:
        from transformers import CLIPTokenizer

        model = load_clip("clip-l14", path, VIT_L_14, config, choose_dtype(dtype)).to(choose_device(device))
        clip_tokenizer = CLIPTokenizer.from_pretrained(words.parent, local_files_only=True)
        refuse_foreign_tokenizer(words.parent, model.config.text_config, clip_tokenizer)
        reader = TextReader(clip_tokenizer, model.config.text_config.max_position_embeddings, clean_clip_text)
        return ColorClassifier(model, reader, batch_size)

    revision = files_revision([path, words, words.parent / "merges.txt"])
    identity = {
        "model": "clip-vit-l-14",
        "revision": revision,
        "config": dict(config or {}),
        "preprocessing": "geneval-colors/1",
        "dtype": dtype_name(choose_dtype(dtype)),
    }
    return load, identity

"""Mask2Former (arXiv:2112.01527) as a detector of the 80 classes of COCO, with a mask for each object.

transformers' model in place of mmdet's, which GenEval was published with. What is made of the model's output is what
mmdet and the authors' own code make of it: the surest 100 pairs of query and class, each score the class's probability
times the mean of the mask's, boxes around the masks at the image's own size. (transformers' post-processing goes
through 384 x 384 pixels and one map in which objects cover each other.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrite.core.types import Image
from pyrite.rewards.found import Found
from pyrite.rewards.loading import choose_device, load_model
from pyrite.rewards.mask2former_pixels import Mask2FormerPixels
from pyrite.rewards.pixels import Picked, prepared_batches

MOST_PER_IMAGE = 100
"""Pairs of query and class that are looked at, the surest: `max_per_image` of the published configuration."""

RENAMED: Mapping[str, str] = {
    "mouse": "computer mouse",
    "remote": "tv remote",
    "keyboard": "computer keyboard",
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
"""COCO's name for a class, in its spellings -> GenEval's, where they differ."""


@dataclass(frozen=True)
class Mask2FormerDetector:
    """Finds objects of its classes, and where they are to the pixel.

    Args:
        model: a transformers `Mask2FormerForUniversalSegmentation`.
        classes: name of each class, as GenEval calls it.
        preparation: of the images.
        min_score: what is less sure is not reported.
        batch_size: images per forward pass.
    """

    model: Any
    classes: tuple[str, ...]
    preparation: Mask2FormerPixels
    min_score: float
    batch_size: int

    def detect(self, images: Sequence[Image], names: Sequence[Sequence[str]]) -> list[list[Found] | str]:
        """The objects of each image whose score is at least `min_score`, or why they cannot be said.

        Args:
            images: upright.
            names: is not read: the classes are fixed.
        """
        results: list[list[Found] | str] = [""] * len(images)
        # Images of one size are looked at together: then none has bars for another's sake, which would change scores.
        by_size: dict[tuple[int, int], list[int]] = {}
        for row, image in enumerate(images):
            by_size.setdefault(self.preparation.size(*image.size) if min(image.size) else (0, 0), []).append(row)
        for rows in by_size.values():
            for prepared in prepared_batches(Picked(images, rows), self.preparation, self.batch_size):
                readable = {}
                for place, one in prepared.items():
                    if isinstance(one, str):
                        results[rows[place]] = one
                    else:
                        readable[rows[place]] = torch.from_numpy(one)
                if readable:
                    pixels, sizes = torch.stack(list(readable.values())), [images[row].size for row in readable]
                    for row, found in zip(readable, self._look(pixels, sizes), strict=True):
                        results[row] = found
        return results

    @torch.inference_mode()
    def _look(self, pixels: Tensor, sizes: Sequence[tuple[int, int]]) -> list[list[Found] | str]:
        output = self.model(pixel_values=pixels.to(self.model.device, self.model.dtype))
        shape = (pixels.shape[2], pixels.shape[3])
        found: list[list[Found] | str] = []
        for classes, masks, size in zip(output.class_queries_logits, output.masks_queries_logits, sizes, strict=True):
            inner = self.preparation.size(*size)
            found.append(self._instances(classes.float(), masks.float(), shape=shape, inner=inner, size=size))
        return found

    def _instances(
        self,
        class_logits_QC: Tensor,
        mask_logits_Qhw: Tensor,
        *,
        shape: tuple[int, int],
        inner: tuple[int, int],
        size: tuple[int, int],
    ) -> list[Found] | str:
        """The objects of one image.

        Args:
            class_logits_QC: the last class is "nothing".
            mask_logits_Qhw: at a quarter of the model's input.
            shape: height and width of the model's input, bars included.
            inner: width and height of the image in it.
            size: width and height of the image itself.
        """
        if not (torch.isfinite(class_logits_QC).all() and torch.isfinite(mask_logits_Qhw).all()):
            return "the detector's output for this image is not a finite number"
        probs_QC = class_logits_QC.softmax(-1)[:, :-1]
        scores, places = probs_QC.flatten().topk(min(MOST_PER_IMAGE, probs_QC.numel()))
        # A mask's mean is at most 1, so nothing below the limit can rise above it: most masks are never enlarged.
        sure = scores >= self.min_score
        scores, places = scores[sure], places[sure]
        found: list[Found] = []
        for score, place in zip(scores, places.tolist(), strict=True):
            query, label = divmod(place, probs_QC.shape[1])
            mask = F.interpolate(mask_logits_Qhw[None, query : query + 1], shape, mode="bilinear", align_corners=False)
            mask = mask[..., : inner[1], : inner[0]]
            mask = F.interpolate(mask, size[::-1], mode="bilinear", align_corners=False)[0, 0]
            covered = mask > 0
            total = float(score * (mask.sigmoid() * covered).sum() / (covered.sum() + 1e-6))
            if total >= self.min_score and bool(covered.any()):
                rows, columns = covered.any(1).nonzero()[:, 0], covered.any(0).nonzero()[:, 0]
                box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
                found.append(Found(self.classes[label], total, box, covered.cpu().numpy()))
        return found


def load_mask2former(
    path: Path, *, config: Mapping[str, Any], device: str, dtype: torch.dtype, min_score: float, batch_size: int
) -> Mask2FormerDetector:
    """A Mask2Former with COCO's classes from a transformers folder.

    Args:
        path: of the weights in the folder.
        config: laid over its config.json; `resize` with `short` and `max` over the sizes of its images.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model; masks are made in float32.
        min_score: what is less sure is not reported.
        batch_size: images per forward pass.

    Raises:
        CheckpointError: the folder holds another architecture, or tensors are missing or left over.
    """
    model = load_model(
        _model_class(),
        path.parent,
        model_type="mask2former",
        config={key: value for key, value in config.items() if key != "resize"} or None,
        dtype=dtype,
    )
    classes = tuple(geneval_name(model.config.id2label[index]) for index in range(model.config.num_labels))
    preparation = Mask2FormerPixels.load(path.parent, config.get("resize", {}))
    return Mask2FormerDetector(model.to(choose_device(device)), classes, preparation, min_score, batch_size)


def geneval_name(label: str) -> str:
    """GenEval's name for a class that a checkpoint calls so."""
    plain = " ".join(label.replace("_", " ").lower().split())
    return RENAMED.get(plain, plain)


def _model_class() -> Any:
    """The library's class, which knows what the files of older versions hold too much and lack.

    They hold an index that is computed today, and lack a norm that this model does not use.
    """
    from transformers import Mask2FormerForUniversalSegmentation

    class Mask2FormerOfAnyVersion(Mask2FormerForUniversalSegmentation):  # type: ignore[misc]
        _keys_to_ignore_on_load_unexpected: tuple[str, ...] | list[str] = [r"relative_position_index$"]  # noqa: RUF012
        _keys_to_ignore_on_load_missing: tuple[str, ...] | list[str] = [r"encoder\.swin\.layernorm\."]  # noqa: RUF012

    return Mask2FormerOfAnyVersion

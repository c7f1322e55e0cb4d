"""Which colour an object has: CLIP chooses, zero-shot, from the object cut out and put on grey.

GenEval's classifier (arXiv:2310.11513, section 3.2; djghosh13/geneval@af4902f): OpenAI's ViT-L/14, three templates for
each colour, whose embeddings are averaged; the object's surroundings become #999 where there is a mask of it, and the
box is cut out. An object the detector has no mask for keeps its surroundings within the box.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PILImage

from pyrite.core.types import Image
from pyrite.rewards.found import Found
from pyrite.rewards.images import as_rgb
from pyrite.rewards.preprocessing import Float32Array, openai_pixels
from pyrite.rewards.texts import Memory, TextReader

TEMPLATES = ("a photo of a {color} {name}", "a photo of a {color}-colored {name}", "a photo of a {color} object")
BACKGROUND = "#999"
LOGIT_SCALE = 100.0


@dataclass(frozen=True)
class ColorClassifier:
    """Tells the colours of objects apart.

    Args:
        model: a transformers `CLIPModel`.
        reader: of the descriptions.
        batch_size: objects, or descriptions, per forward pass.
        memory: of the descriptions read last.
    """

    model: Any
    reader: TextReader
    batch_size: int
    memory: Memory[Float32Array] = field(default_factory=Memory)

    def colors(self, image: Image, objects: Sequence[Found], colors: Sequence[str]) -> list[Mapping[str, float] | str]:
        """Colour -> its probability, for each object of an image; or why there is none.

        Args:
            image: that the objects are in.
            objects: of any class; the class is part of the descriptions.
            colors: to choose from.
        """
        rgb = as_rgb(image)
        told: list[Mapping[str, float] | str] = []
        crops = [cut_out(rgb, one) for one in objects]
        embedded = iter(self._embed_crops([crop for crop in crops if not isinstance(crop, str)]))
        for one, crop in zip(objects, crops, strict=True):
            if isinstance(crop, str):
                told.append(crop)
                continue
            unit = next(embedded)
            logits = LOGIT_SCALE * np.array([unit @ self._described(color, one.name) for color in colors], np.float64)
            if not np.isfinite(logits).all():
                told.append("CLIP's output for this object is not a finite number")
                continue
            weights = np.exp(logits - logits.max())
            told.append(dict(zip(colors, (weights / weights.sum()).tolist(), strict=True)))
        return told

    def _described(self, color: str, name: str) -> Float32Array:
        """(E,) what the templates say of a colour, of length 1."""
        texts = [template.format(color=color, name=name) for template in TEMPLATES]
        known = self.memory.recall(texts, self._embed_texts)
        mean = np.mean([known[text] for text in texts], axis=0)
        unit: Float32Array = mean / np.linalg.norm(mean)
        return unit

    def _embed_texts(self, texts: list[str]) -> list[Float32Array]:
        rows: list[Float32Array] = []
        for start in range(0, len(texts), self.batch_size):
            ids = [self.reader.cut(row) for row in self.reader.ids(texts[start : start + self.batch_size])]
            padded, mask = self.reader.tensors(ids, self.model.device)
            with torch.inference_mode():
                features = self.model.get_text_features(input_ids=padded, attention_mask=mask).pooler_output
            rows += list(F.normalize(features.float(), dim=-1).cpu().numpy())
        return rows

    def _embed_crops(self, crops: Sequence[Image]) -> list[Float32Array]:
        rows: list[Float32Array] = []
        for start in range(0, len(crops), self.batch_size):
            prepared = [torch.from_numpy(openai_pixels(crop)) for crop in crops[start : start + self.batch_size]]
            pixels = torch.stack(prepared).to(self.model.device, self.model.dtype)
            with torch.inference_mode():
                features = self.model.get_image_features(pixel_values=pixels).pooler_output
            rows += list(F.normalize(features.float(), dim=-1).cpu().numpy())
        return rows


def cut_out(image: Image, one: Found) -> Image | str:
    """The object on grey within its box, or why there is nothing to see.

    Args:
        image: in RGB.
        one: in this image; without a mask nothing is greyed.
    """
    if one.mask is not None:
        blank = PILImage.new("RGB", image.size, BACKGROUND)
        image = PILImage.composite(image, blank, PILImage.fromarray(one.mask))
    left, top, right, bottom = (round(side) for side in one.box)
    if right <= left or bottom <= top:
        return "its box is narrower than a pixel, so there is nothing to see of it"
    return image.crop((left, top, right, bottom))

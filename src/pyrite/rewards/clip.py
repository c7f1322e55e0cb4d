"""Rewards of CLIP form: how well an image goes with its prompt, from the cosine of two embeddings.

HPSv2 (arXiv:2306.09341), PickScore (arXiv:2305.01569) and CLIPScore (arXiv:2104.08718) are the same network with other
weights and conventions: `hpsv2.score` returns the bare cosine (only its tables multiply by 100), PickScore multiplies
by exp(logit_scale), CLIPScore by 2.5 and lets nothing fall below 0. Each is given here on its official scale. This
module holds what they share and the pocket models; the published ones are in `clip_published.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import FloatArray, Image, Prompt, Scores
from pyrite.records.weights import checkpoint_revision, resolve_checkpoint
from pyrite.rewards.images import check_pairs
from pyrite.rewards.loading import choose_device, choose_dtype, dtype_name, load_model, load_tokenizer
from pyrite.rewards.pixels import PixelPreparation, Preparation, run_on_images
from pyrite.rewards.preprocessing import Float32Array
from pyrite.rewards.texts import Memory, TextReader

# With this id as `eos_token_id`, transformers pools the text at the largest id instead (a convention of old files).
_LEGACY_EOS_ID = 2


class EmbeddedText(NamedTuple):
    """What is remembered of a prompt."""

    unit: Float32Array
    """(E,) its embedding, of length 1."""
    is_cut: bool
    """Whether the model could read only its beginning."""
    has_unknown_words: bool


@dataclass(frozen=True)
class ClipReward:
    """Scores an image by `scale` times the cosine of its embedding and its prompt's, if that is above `lowest`.

    Details: `prompt_truncated` is 1 where the model could read only the beginning of the prompt.

    Args:
        card: what it claims.
        model: a transformers `CLIPModel`, in any precision; lengths and products are computed in float32 or wider.
        reader: of prompts.
        preparation: its image preprocessing.
        batch_size: images, or prompts, per forward pass.
        scale: 1 for HPS, exp(logit_scale) for PickScore, 2.5 for CLIPScore.
        lowest: cosine; CLIPScore's is 0.
        prefix: written before every prompt.
        memory: of the prompts read last.
    """

    card: RewardCard
    model: Any
    reader: TextReader
    preparation: Preparation
    batch_size: int
    scale: float = 1.0
    lowest: float = -1.0
    prefix: str = ""
    memory: Memory[EmbeddedText] = field(default_factory=Memory)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i; a prompt is read once and remembered."""
        check_pairs(images, prompts)
        of_image, reasons = run_on_images(
            self._embed_pixels,
            images,
            preparation=self.preparation,
            num_outputs=self.model.config.projection_dim,
            batch_size=self.batch_size,
            device=self.model.device,
        )
        known = self.memory.recall([prompt.text for prompt in prompts], self._embed_texts)
        read = [known[prompt.text] for prompt in prompts]
        of_text = np.stack([text.unit for text in read]) if read else np.empty_like(of_image)
        cosine: FloatArray = np.einsum("nd,nd->n", of_image.astype(np.float64), of_text.astype(np.float64))
        for row, (prompt, text) in enumerate(zip(prompts, read, strict=True)):
            if text.has_unknown_words:
                reasons.setdefault(row, f"the prompt '{prompt.text}' has words that this reward never learned")
            elif np.isnan(cosine[row]):
                reasons.setdefault(row, f"the model's output for the prompt '{prompt.text}' is not a finite number")
        cosine[list(reasons)] = np.nan
        # Rounding may leave two equal unit vectors a cosine of 1.0000001.
        values = self.scale * np.clip(cosine, self.lowest, 1)
        return Scores(values, reasons, {"prompt_truncated": np.array([text.is_cut for text in read], np.float64)})

    def _embed_pixels(self, pixels: Tensor, _: Sequence[int]) -> Tensor:
        features = self.model.get_image_features(pixel_values=pixels.to(self.model.dtype)).pooler_output
        return F.normalize(features.float(), dim=-1)

    def _embed_texts(self, texts: list[str]) -> list[EmbeddedText]:
        embedded: list[EmbeddedText] = []
        for start in range(0, len(texts), self.batch_size):
            whole = self.reader.ids([self.prefix + text for text in texts[start : start + self.batch_size]])
            ids, mask = self.reader.tensors([self.reader.cut(row) for row in whole], self.model.device)
            with torch.inference_mode():
                features = self.model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
            units = F.normalize(features.float(), dim=-1).cpu().numpy()
            embedded += [
                EmbeddedText(unit, len(row) > self.reader.longest, self.reader.has_unknown_words(row))
                for unit, row in zip(units, whole, strict=True)
            ]
        return embedded


def load_hps(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
) -> ClipReward:
    """A pocket preference model on HPSv2's scale: the cosine, in [-1, 1].

    Args:
        weights: a folder, or the name of a pocket checkpoint; None for the one shipped.
        config: laid over the folder's config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images, or prompts, per forward pass.

    Raises:
        CheckpointError: the folder is missing, damaged, or holds another architecture.
    """
    return _load("hps-pocket", weights, config, device, dtype, batch_size, scaled=False, cites=("arXiv:2306.09341",))


def load_pickscore(
    weights: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int = 64,
) -> ClipReward:
    """A pocket preference model on PickScore's scale: exp(logit_scale) times the cosine.

    Args:
        weights: a folder, or the name of a pocket checkpoint; None for the one shipped.
        config: laid over the folder's config.json.
        device: where it computes; "auto" takes an accelerator if there is one.
        dtype: of the model: float32 (None), bfloat16 or float16.
        batch_size: images, or prompts, per forward pass.

    Raises:
        CheckpointError: the folder is missing, damaged, or holds another architecture.
    """
    return _load(
        "pickscore-pocket", weights, config, device, dtype, batch_size, scaled=True, cites=("arXiv:2305.01569",)
    )


def _load(
    name: str,
    weights: str | Path | None,
    config: Mapping[str, Any] | None,
    device: str,
    dtype: str | None,
    batch_size: int,
    *,
    scaled: bool,
    cites: tuple[str, ...],
) -> ClipReward:
    from transformers import AutoTokenizer, CLIPModel

    folder = resolve_checkpoint(weights or name)
    model = load_model(CLIPModel, folder, model_type="clip", config=config, dtype=choose_dtype(dtype))
    tokenizer = load_tokenizer(AutoTokenizer, folder)
    refuse_foreign_tokenizer(folder, model.config.text_config, tokenizer)
    reader = TextReader(tokenizer, model.config.text_config.max_position_embeddings)
    scale = float(model.logit_scale.float().exp()) if scaled else 1.0
    card = RewardCard(
        name=name,
        summary="The image goes with its prompt, as people would choose.",
        range=(-scale, scale),
        reads_prompt=True,
        revision=checkpoint_revision(weights or name),
        cites=cites,
        preprocessing="folder/1",
        dtype=dtype_name(model.dtype),
    )
    return ClipReward(card, model.to(choose_device(device)), reader, PixelPreparation.load(folder), batch_size, scale)


def refuse_foreign_tokenizer(folder: Path, config: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that is not the text tower's.

    Args:
        folder: for messages.
        config: of the text tower.
        tokenizer: of transformers.

    Raises:
        CheckpointError: it has another number of words, or ends a prompt where the tower does not look.
    """
    # transformers makes an empty tokenizer where a folder has none, without a word.
    if len(tokenizer) != config.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {len(tokenizer)} words and the text tower {config.vocab_size}: they are not "
            "of one build, or tokenizer.json is missing. Save the tokenizer the model was trained with."
        )
    pooled_at = config.vocab_size - 1 if config.eos_token_id == _LEGACY_EOS_ID else config.eos_token_id
    if tokenizer.eos_token_id != pooled_at:
        raise CheckpointError(
            f"{folder}: the tokenizer ends a prompt with id {tokenizer.eos_token_id}, and the text tower takes its "
            f"embedding at id {pooled_at}: it would look at the wrong word. "
            "Save model and tokenizer with the same eos_token_id (not 2, which means: the largest id)."
        )

"""Preference models of CLIP form: how well an image goes with its prompt, as people would choose.

HPSv2 (arXiv:2306.09341) and PickScore (arXiv:2305.01569) are the same network with two conventions: `hpsv2.score`
returns the bare cosine of the two embeddings (only its tables multiply by 100), PickScore multiplies by
exp(logit_scale). Each is given here on its official scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyrite.core.cards import RewardCard
from pyrite.core.errors import CheckpointError
from pyrite.core.types import FloatArray, Image, Prompt, Scores
from pyrite.records.weights import checkpoint_revision, resolve_checkpoint
from pyrite.rewards.loading import choose_device, load_model
from pyrite.rewards.pixels import Float32Array, PixelPreparation, check_pairs, run_on_images

# With this id as `eos_token_id`, transformers pools the text at the largest id instead (a convention of old files).
_LEGACY_EOS_ID = 2


@dataclass(frozen=True)
class ClipReward:
    """Scores an image by `scale` times the cosine of its embedding and its prompt's.

    Details: `prompt_truncated` is 1 where the model could read only the beginning of the prompt.

    Args:
        card: what it claims.
        model: a transformers `CLIPModel`.
        tokenizer: its tokenizer.
        preparation: its image preprocessing.
        scale: 1 for HPS, exp(logit_scale) for PickScore.
        batch_size: images, or prompts, per forward pass.
    """

    card: RewardCard
    model: Any
    tokenizer: Any
    preparation: PixelPreparation
    scale: float
    batch_size: int

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Score image i for prompt i; each distinct prompt is read once."""
        check_pairs(images, prompts)
        texts = [prompt.text for prompt in prompts]
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        of_image, reasons = run_on_images(
            self._embed_pixels,
            images,
            preparation=self.preparation,
            num_outputs=self.model.config.projection_dim,
            batch_size=self.batch_size,
            device=self.model.device,
        )
        of_text, unread, truncated = self._embed_texts(list(distinct))
        which = np.array([distinct[text] for text in texts], np.int64)
        cosine = np.einsum("nd,nd->n", of_image.astype(np.float64), of_text[which].astype(np.float64))
        for row, text in enumerate(texts):
            if text in unread:
                reasons.setdefault(row, unread[text])
        cosine[list(reasons)] = np.nan
        # Rounding may leave two equal unit vectors a cosine of 1.0000001.
        values = self.scale * np.clip(cosine, -1, 1)
        return Scores(values, reasons, {"prompt_truncated": truncated[which]})

    def _embed_pixels(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.model.get_image_features(pixel_values=pixels).pooler_output.float(), dim=-1)

    def _embed_texts(self, texts: list[str]) -> tuple[Float32Array, dict[str, str], FloatArray]:
        """(M, E) unit embeddings, text -> why it cannot be read, and (M,) whether it was cut."""
        unknown = self.tokenizer.unk_token_id
        longest = self.model.config.text_config.max_position_embeddings
        unread: dict[str, str] = {}
        embedded = [np.empty((0, self.model.config.projection_dim), np.float32)]
        truncated: list[float] = []
        for start in range(0, len(texts), self.batch_size):
            batch = texts[start : start + self.batch_size]
            whole = self.tokenizer(batch)["input_ids"]
            truncated += [float(len(ids) > longest) for ids in whole]
            for text, ids in zip(batch, whole, strict=True):
                # CLIP's own tokenizer knows every word, and calls its end token the unknown one.
                if unknown is not None and unknown != self.tokenizer.eos_token_id and unknown in ids:
                    unread[text] = f"the prompt '{text}' has words that this reward never learned"
            tokens = self.tokenizer(batch, padding=True, truncation=True, max_length=longest, return_tensors="pt")
            with torch.inference_mode():
                features = self.model.get_text_features(
                    input_ids=tokens["input_ids"].to(self.model.device),
                    attention_mask=tokens["attention_mask"].to(self.model.device),
                ).pooler_output
            embedded.append(F.normalize(features.float(), dim=-1).cpu().numpy())
        return np.concatenate(embedded), unread, np.array(truncated, np.float64)


def load_hps(name_or_path: str | Path = "hps-pocket", *, device: str = "auto", batch_size: int = 64) -> ClipReward:
    """A preference model on HPSv2's scale: the cosine, in [-1, 1].

    Raises:
        CheckpointError: the folder is missing, damaged, or holds another architecture.
    """
    return _load(name_or_path, device, batch_size, scaled=False, cites=("arXiv:2306.09341",))


def load_pickscore(
    name_or_path: str | Path = "pickscore-pocket", *, device: str = "auto", batch_size: int = 64
) -> ClipReward:
    """A preference model on PickScore's scale: exp(logit_scale) times the cosine.

    Raises:
        CheckpointError: the folder is missing, damaged, or holds another architecture.
    """
    return _load(name_or_path, device, batch_size, scaled=True, cites=("arXiv:2305.01569",))


def _load(
    name_or_path: str | Path, device: str, batch_size: int, *, scaled: bool, cites: tuple[str, ...]
) -> ClipReward:
    from transformers import AutoTokenizer, CLIPModel

    folder = resolve_checkpoint(name_or_path)
    model = load_model(CLIPModel, folder, model_type="clip").to(choose_device(device))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"no tokenizer could be read from {folder}: {error}. A preference model reads prompts with the tokenizer "
            "it was trained with. Save it into the folder."
        ) from error
    _refuse_foreign_tokenizer(folder, model.config.text_config, tokenizer)
    scale = float(model.logit_scale.exp()) if scaled else 1.0
    card = RewardCard(
        name=folder.name,
        summary="The image goes with its prompt, as people would choose.",
        range=(-scale, scale),
        reads_prompt=True,
        revision=checkpoint_revision(name_or_path),
        cites=cites,
    )
    return ClipReward(card, model, tokenizer, PixelPreparation.load(folder), scale, batch_size)


def _refuse_foreign_tokenizer(folder: Path, config: Any, tokenizer: Any) -> None:
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

"""Janus through transformers: a language model that plans in words, then draws an image in tokens.

The same adapter serves every size. What is drawn, in order: the plan's ids from `lm_head` (the tiny form of T2I-R1's
semantic plan, arXiv:2505.00703), then the image codes from `generation_head`. Both are actions.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from pyrite.core.cards import PolicyCard
from pyrite.core.errors import CheckpointError, TrainingError
from pyrite.core.types import Image, Prompt, Rollouts
from pyrite.policies.janus_decoding import FoldedDecoder, Stage
from pyrite.policies.janus_layout import JanusLayout
from pyrite.policies.janus_model import JanusTokenModel, load_transformers_janus
from pyrite.records.weights import checkpoint_revision, resolve_checkpoint

_DECODE_BATCH = 16  # of pictures whose activations stay in a CPU cache: 1.08 s against 1.50 s for 64 at once (2 cores)
_LARGEST_UNIFORM = float(np.nextafter(np.float32(1), np.float32(0)))


@dataclass
class JanusPolicy:
    """Draws images from prompts with a Janus; satisfies `pyrite.core.protocols.TrainablePolicy`.

    Args:
        card: what it claims.
        module: a `JanusTokenModel`, or that in a distributed wrapper.
        layout: how a prompt becomes a prefix.
        cfg_scale: classifier-free guidance of the image codes; 1 = none. With guidance, samples are off-policy:
            `Rollouts.behaviour_logp` is that of the guided distribution, `logp` that of the policy itself.
    """

    card: PolicyCard
    module: nn.Module
    layout: JanusLayout
    cfg_scale: float = 1.0

    @property
    def _model(self) -> JanusTokenModel:
        module = self.module
        while not isinstance(module, JanusTokenModel):
            module = module.get_submodule("module")  # DistributedDataParallel and its kin call what they wrap so
        return module

    @property
    def _device(self) -> torch.device:
        weight: Tensor = self._model.janus.lm_head.weight
        return weight.device

    @torch.inference_mode()
    def sample(self, prompts: Sequence[Prompt], *, group_size: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        """Draw `group_size` images for each of P prompts; each prompt uses its own generator only.

        Up to the rounding of matrix products, whose order depends on the number of rows, the images of a prompt do
        not depend on the other prompts of the batch.

        Raises:
            ValueError: no prompt, no image asked for, or a number of generators that differs from P.
            TrainingError: the model gives no finite probabilities.
        """
        if not prompts or group_size < 1 or len(rngs) != len(prompts):
            raise ValueError(
                f"{len(prompts)} prompts with {len(rngs)} generators and group_size {group_size}: drawing needs at "
                "least one prompt, one generator per prompt and group_size >= 1"
            )
        num_tokens = self.card.num_tokens
        uniforms = np.concatenate([rng.random((group_size, num_tokens)) for rng in rngs])
        uniforms = np.minimum(uniforms.astype(np.float32), _LARGEST_UNIFORM)
        tokens, logp = self._draw(self.layout.prompt_ids(prompts), group_size, torch.from_numpy(uniforms))
        if not torch.isfinite(logp).all():
            raise TrainingError(
                f"the policy '{self.card.name}' gives no finite probabilities: its weights have diverged. "
                "Continue from an earlier checkpoint with a lower learning rate."
            )
        rows = [prompt for prompt in prompts for _ in range(group_size)]
        return Rollouts(
            prompts=rows,
            group_size=group_size,
            images=self.decode(tokens[:, self.layout.settings.plan_tokens :]),
            tokens=tokens.cpu().numpy(),
            behaviour_logp=logp.float().cpu().numpy(),
            mask=np.ones((len(rows), num_tokens), np.bool_),
        )

    def _draw(self, prompt_ids: npt.NDArray[np.int64], group_size: int, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        model, plan_tokens = self._model, self.layout.settings.plan_tokens
        embed = model.janus.model.language_model.embed_tokens.weight
        distinct, copies = np.unique(prompt_ids, axis=0, return_inverse=True)
        start = prompt_ids.shape[1]
        image_start = start + (1 + plan_tokens if plan_tokens else 0)
        decoder = FoldedDecoder(model.janus.model.language_model, image_start + uniforms.shape[1] - plan_tokens)
        uniforms = uniforms.to(embed.device)

        read = decoder.new_cache(len(distinct))
        decoder.advance(embed[torch.from_numpy(distinct).to(embed.device)], read, 0)
        siblings = torch.from_numpy(copies).to(embed.device).repeat_interleave(group_size)
        cache = decoder.new_cache(len(siblings))
        cache[..., :start, :] = read[:, :, siblings, :, :start]
        parts = []
        if plan_tokens:
            plan = Stage(model.janus.lm_head, embed, embed[model.plan_opener], model.plan_temperature)
            parts.append(plan.draw(decoder, cache, start, uniforms[:, :plan_tokens]))
            decoder.advance(embed[parts[0][0][:, -1:]], cache, image_start - 1)
        if self.cfg_scale != 1:
            cache = torch.cat([cache, self._read_unconditional(decoder, image_start, embed).expand_as(cache)], 2)
        table = model.janus.prepare_embeddings_for_image_generation(
            torch.arange(model.janus.model.generation_embeddings.num_embeddings, device=embed.device)
        )
        image = Stage(
            model.janus.model.generation_head, table, embed[model.image_opener], model.temperature, self.cfg_scale
        )
        parts.append(image.draw(decoder, cache, image_start, uniforms[:, plan_tokens:]))
        return torch.cat([ids for ids, _ in parts], 1), torch.cat([logp for _, logp in parts], 1)

    def _read_unconditional(self, decoder: FoldedDecoder, num: int, embed: Tensor) -> Tensor:
        """The cache of one row that has seen <bos> and then padding only, as transformers' `generate` has it."""
        ids = torch.full((1, num), self.layout.tokenizer.pad_token_id, device=embed.device)
        ids[0, 0] = self.layout.token_id(self.layout.settings.bos_token)
        cache = decoder.new_cache(1)
        decoder.advance(embed[ids], cache, 0)
        return cache

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> list[Image]:
        """R images from (R, 64) image codes; channels are cut, not rounded, to 8 bits, as the official code does."""
        tokeniser = self._model.janus.model.vqmodel
        black, white = self.layout.settings.pixel_range
        images: list[Image] = []
        for batch in codes.split(_DECODE_BATCH):
            pixels = (tokeniser.decode(batch) - black) * (255 / (white - black))
            array = pixels.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
            images += [PILImage.fromarray(image) for image in array]
        return images

    def logp(self, rollouts: Rollouts) -> Tensor:
        """(R, T) log-probability of each token, differentiable, at the sampling temperatures and without guidance."""
        prompt_ids = torch.from_numpy(self.layout.prompt_ids(rollouts.prompts)).to(self._device)
        logp: Tensor = self.module(prompt_ids, torch.from_numpy(rollouts.tokens).to(self._device))
        return logp

    def frozen_copy(self) -> Self:
        """An independent copy whose parameters take no gradient: the reference policy."""
        module = copy.deepcopy(self._model).requires_grad_(False).eval()
        return type(self)(self.card, module, self.layout, self.cfg_scale)

    def save(self, folder: str) -> None:
        """Write a checkpoint folder that `load_janus` reads back."""
        self._model.janus.save_pretrained(folder)
        self.layout.save(Path(folder))


def load_janus(
    name_or_path: str | Path = "janus-pocket",
    *,
    temperature: float = 1.0,
    plan_temperature: float = 1.0,
    cfg_scale: float = 1.0,
    device: str = "auto",
) -> JanusPolicy:
    """Load a Janus checkpoint folder as a policy.

    Args:
        name_or_path: a name that ships with Pyrite, or a folder.
        temperature: of the image codes.
        plan_temperature: of the plan.
        cfg_scale: classifier-free guidance of the image codes; 1 = none.
        device: "auto" takes an accelerator if there is one.

    Raises:
        CheckpointError: the folder is missing, damaged, or holds another architecture.
        ValueError: a temperature that is not positive.
    """
    if temperature <= 0 or plan_temperature <= 0:
        raise ValueError(
            f"temperature {temperature} and plan_temperature {plan_temperature} must be positive: "
            "log-probabilities at temperature 0 are infinite. Take a small one, such as 0.1."
        )
    folder = resolve_checkpoint(name_or_path)
    layout = JanusLayout.load(folder)
    janus = load_transformers_janus(folder)
    if janus.config.text_config.vocab_size != len(layout.tokenizer):
        raise CheckpointError(
            f"{folder}: the tokenizer has {len(layout.tokenizer)} words and the model "
            f"{janus.config.text_config.vocab_size}: they are not of one build. Rebuild both."
        )
    settings = layout.settings
    module = JanusTokenModel(
        janus,
        plan_tokens=settings.plan_tokens,
        plan_opener=layout.token_id(settings.plan_token),
        image_opener=layout.token_id(settings.boi_token),
        temperature=temperature,
        plan_temperature=plan_temperature,
    )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    module.to(device)
    card = _card(folder, janus.config, settings.plan_tokens, checkpoint_revision(name_or_path))
    return JanusPolicy(card, module.eval(), layout, cfg_scale)


def _card(folder: Path, config: Any, plan_tokens: int, revision: str) -> PolicyCard:
    vision = config.vision_config
    return PolicyCard(
        name=folder.name,
        summary="Janus: plans in words, then draws an image in tokens.",
        num_tokens=plan_tokens + vision.num_image_tokens,
        image_size=(vision.image_size, vision.image_size),
        revision=revision,
        upstream="arXiv:2501.17811",
        cites=("arXiv:2501.17811", "arXiv:2505.00703"),
    )

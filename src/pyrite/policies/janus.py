"""Janus through transformers: a language model that plans in words, then draws an image in tokens.

The same adapter serves every size. What is drawn, in order: a plan, if there is one, from `lm_head` (the semantic plan
of T2I-R1, arXiv:2505.00703), then the image codes from `generation_head`. Both are actions. How a prompt becomes a
sequence differs: `janus_pocket.py` for the pocket form, `janus_pro.py` for transformers' Janus-Pro.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor, nn

from pyrite.core.cards import PolicyCard
from pyrite.core.errors import TrainingError
from pyrite.core.protocols import Policy
from pyrite.core.types import Image, Prompt, Rollouts
from pyrite.policies import janus_adapters
from pyrite.policies.janus_chat import WordPlan
from pyrite.policies.janus_choosing import Sampling
from pyrite.policies.janus_loading import Dtype, Plan, Settings, load
from pyrite.policies.janus_model import JanusTokenModel
from pyrite.policies.janus_pocket import PocketSequences
from pyrite.policies.janus_pro import ProSequences
from pyrite.policies.janus_pro_model import JanusProModel
from pyrite.policies.janus_references import AdaptersOff, Offloaded

ReferenceKind = Literal["copy", "lora_off", "offloaded"]

_LARGEST_UNIFORM = float(np.nextafter(np.float32(1), np.float32(0)))


@dataclass
class JanusPolicy:
    """Draws images from prompts with a Janus; satisfies `pyrite.core.protocols.TrainablePolicy`.

    With guidance, top-k or top-p samples are off-policy: `Rollouts.behaviour_logp` is that of the distribution really
    drawn from, `Rollouts.unguided_logp` and `logp` those of the policy itself.

    Args:
        card: what it claims.
        module: a `JanusTokenModel` or `JanusProModel`, or that in a distributed wrapper.
        sequences: how prompts become sequences, and how these are drawn.
        decode_batch: images decoded at a time.
        base: name or folder of the weights; what adapters are saved as belonging to.
        base_revision: of these.
        decode_seconds: what the last `sample` spent on pictures.
    """

    card: PolicyCard
    module: nn.Module
    sequences: PocketSequences | ProSequences
    decode_batch: int = 16
    base: str = ""
    base_revision: str = ""
    decode_seconds: float = 0.0

    @property
    def layout(self) -> Any:
        """How a prompt becomes token ids."""
        return self.sequences.layout

    @property
    def _model(self) -> Any:
        module = self.module
        while not isinstance(module, JanusTokenModel | JanusProModel):
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
            ValueError: no prompt, no image asked for, a number of generators that differs from P, or a prompt that the
                policy cannot read.
            TrainingError: the model gives no finite probabilities.
        """
        if not prompts or group_size < 1 or len(rngs) != len(prompts):
            raise ValueError(
                f"{len(prompts)} prompts with {len(rngs)} generators and group_size {group_size}: drawing needs at "
                "least one prompt, one generator per prompt and group_size >= 1"
            )
        uniforms = np.concatenate([rng.random((group_size, self.card.num_tokens)) for rng in rngs])
        uniforms = np.minimum(uniforms.astype(np.float32), _LARGEST_UNIFORM)
        drawn, mask = self.sequences.draw(self._model, prompts, group_size, torch.from_numpy(uniforms))
        if not torch.isfinite(drawn.logp).all():
            raise TrainingError(
                f"the policy '{self.card.name}' gives no finite probabilities: its weights have diverged. "
                "Continue from an earlier checkpoint with a lower learning rate."
            )
        tokens = drawn.ids.cpu().numpy()  # waits for an accelerator, which is then free for the pictures
        start = time.perf_counter()
        images = self.decode(drawn.ids[:, self.sequences.plan_tokens :])
        self.decode_seconds = time.perf_counter() - start
        return Rollouts(
            prompts=[prompt for prompt in prompts for _ in range(group_size)],
            group_size=group_size,
            images=images,
            tokens=tokens,
            behaviour_logp=drawn.logp.float().cpu().numpy(),
            mask=mask,
            unguided_logp=drawn.unguided_logp.float().cpu().numpy(),
        )

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> list[Image]:
        """R images from (R, n) image codes; channels are cut, not rounded, to 8 bits, as the official code does."""
        tokeniser = self._model.janus.model.vqmodel
        images: list[Image] = []
        for batch in codes.split(self.decode_batch):
            latents = tokeniser.quantize.get_codebook_entry(batch)
            if latents.device.type == "cpu":
                latents = latents.contiguous(memory_format=torch.channels_last)  # convolutions take it as it is
            pixels = tokeniser.decoder(tokeniser.post_quant_conv(latents))
            images += to_images(pixels, *self.sequences.pixel_range)
        return images

    def why_not(self, prompt: Prompt) -> str | None:
        """Why a prompt cannot be drawn, such as that it is longer than what the model reads; None if it can."""
        try:
            if isinstance(self.sequences, PocketSequences):
                self.layout.prompt_ids([prompt])
            else:
                self.layout.image_prefixes([prompt], room=self.card.num_tokens)
                if self.layout.plan is not None:
                    self.layout.plan_prefixes([prompt])
        except ValueError as error:
            return str(error)
        return None

    def plans(self, rollouts: Rollouts) -> list[str]:
        """What each of R rollouts planned in words; empty where this policy plans nothing that can be read."""
        if not isinstance(self.sequences, ProSequences) or self.sequences.layout.plan is None:
            return [""] * len(rollouts)
        return self.sequences.layout.plan_texts(rollouts.tokens[:, : self.sequences.plan_tokens])

    def logp(self, rollouts: Rollouts) -> Tensor:
        """(R, T) log-probability of each token, differentiable, at the sampling temperatures and without guidance.

        0 where the mask is False: after the end of a plan.
        """
        logp: Tensor = self.module(*self.sequences.inputs(rollouts, self._device))
        if rollouts.mask.all():
            return logp
        return logp.masked_fill(torch.from_numpy(~rollouts.mask).to(logp.device), 0.0)

    def frozen_copy(self) -> Self:
        """An independent copy whose parameters take no gradient: the reference policy."""
        return replace(self, module=copy.deepcopy(self._model).requires_grad_(False).eval())

    def reference(self, kind: ReferenceKind) -> Policy:
        """This policy as it is now, to be compared with while it is trained.

        Args:
            kind: "copy" keeps a second copy of the weights beside the first. "lora_off" keeps nothing and computes with
                the adapters switched off: the policy as it was before they were trained at all. "offloaded" keeps the
                copy in the CPU's memory and brings it to the device for each call.

        Raises:
            ValueError: there is no such kind, or "lora_off" without adapters.
        """
        if kind == "copy":
            return self.frozen_copy()
        if kind == "offloaded":
            return Offloaded(self.frozen_copy(), self._device)
        if kind != "lora_off":
            raise ValueError(f"reference kind '{kind}' is not known: copy, lora_off or offloaded.")
        if not janus_adapters.has_adapters(self._model.janus):
            raise ValueError(
                f"the policy '{self.card.name}' has no adapters to switch off, so nothing of it stays as it was. Take "
                "the reference 'copy' or 'offloaded', or train adapters: lora: {r: 16} in the policy's options."
            )
        return AdaptersOff(self, lambda: janus_adapters.switched_off(self._model.janus))

    def save(self, folder: str) -> None:
        """Write a checkpoint folder that `load_janus` reads back; of a policy with adapters, the adapters alone."""
        janus = self._model.janus
        if janus_adapters.has_adapters(janus):
            janus_adapters.save(janus, Path(folder), base=self.base, revision=self.base_revision)
        else:
            janus.save_pretrained(folder)
            self.sequences.save(Path(folder))

    def export(self, folder: str) -> None:
        """Write a whole folder in transformers' format, into which adapters are merged; the policy stays as it is."""
        janus = self._model.janus
        whole = janus_adapters.merged(janus) if janus_adapters.has_adapters(janus) else janus
        whole.save_pretrained(folder)
        self.sequences.save(Path(folder))


def to_images(pixels: Tensor, black: float, white: float) -> list[Image]:
    """Pictures of (R, 3, height, width), whose values run from `black` to `white`; what lies outside is cut."""
    shades = ((pixels - black) * (255 / (white - black))).clamp(0, 255).to(torch.uint8)
    return [PILImage.fromarray(image) for image in shades.permute(0, 2, 3, 1).contiguous().cpu().numpy()]


def load_janus(
    name_or_path: str | Path = "janus-pocket",
    *,
    temperature: float = 1.0,
    plan_temperature: float = 1.0,
    cfg_scale: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    device: str = "auto",
    dtype: Dtype | None = None,
    plan: Plan = "none",
    plan_template: str | Path | None = None,
    plan_system: str = "",
    max_plan_tokens: int = 128,
    lora: Mapping[str, Any] | None = None,
    trainable: bool = True,
    gradient_checkpointing: bool = False,
    logp_chunk: int | None = None,
    decode_batch: int = 16,
    base: str | Path | None = None,
) -> JanusPolicy:
    """Load a Janus checkpoint folder as a policy: a pocket one, or a Janus-Pro in transformers' format.

    Args:
        name_or_path: a name that ships with Pyrite, or a folder: of a whole model, or of adapters that `save` wrote.
        temperature: of the image codes.
        plan_temperature: of the plan.
        cfg_scale: classifier-free guidance of the image codes; 1 = none, and 5 is what Janus-Pro is published with.
        top_k: image codes are drawn from this many most probable ones; None = from all.
        top_p: image codes are drawn from the smallest set that holds this much probability; None = from all.
        device: "auto" takes an accelerator if there is one.
        dtype: in which the language model computes, "float32" (None) or "bfloat16". What trains has float32 weights
            in both cases, and so have the heads and the image decoder. A pocket policy knows float32 only.
        plan: "words" has the model plan in words before it draws. Of a full-size model; a pocket folder says itself.
        plan_template: a text file with `{}` for the prompt, which asks for the plan.
        plan_system: what stands before that question.
        max_plan_tokens: a plan that has not ended by then is taken as it is.
        lora: train adapters and nothing else: `{"r": 16, "alpha": 32}`, see `LoraSettings`. Full-size models only.
        trainable: False = nothing takes a gradient, and weights are held in `dtype` alone: for drawing only.
        gradient_checkpointing: keep less for the backward pass and compute it again there.
        logp_chunk: how many tokens have logits at a time in `logp`; None = all for a pocket policy, 1024 otherwise.
        decode_batch: images decoded at a time.
        base: where the weights of adapters lie; None = where they lay when the adapters were trained.

    Raises:
        CheckpointError: the folder is missing, damaged, or holds another architecture.
        MissingExtraError: adapters without peft.
        ValueError: an option outside its range, or one that this kind of checkpoint does not have.
    """
    sampling = Sampling(temperature, plan_temperature, cfg_scale, top_k, top_p)
    settings = Settings(
        dtype=dtype,
        plan=_word_plan(plan, plan_template, plan_system, max_plan_tokens),
        lora=lora,
        trainable=trainable,
        gradient_checkpointing=gradient_checkpointing,
        logp_chunk=logp_chunk,
        base=base,
    )
    loaded = load(name_or_path, sampling, settings, device)
    return JanusPolicy(loaded.card, loaded.module, loaded.sequences, decode_batch, loaded.base, loaded.base_revision)


def _word_plan(plan: str, template: str | Path | None, system: str, max_tokens: int) -> WordPlan | None:
    if plan == "none":
        return None
    if plan != "words":
        raise ValueError(f"plan = '{plan}' is not known: 'none', or 'words' before the image.")
    if template is None:
        raise ValueError(
            "plan = 'words' needs a question that asks the model for its plan. Name a text file with {} for the prompt "
            "as plan_template; T2I-R1's is reasoning_prompt.txt in its repository (CaraJ7/T2I-R1)."
        )
    if max_tokens < 1:
        raise ValueError(f"max_plan_tokens = {max_tokens} leaves no room for a plan. Set it to 1 or more.")
    path = Path(template)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"plan_template {path.absolute()} cannot be read: {error}. Name a text file.") from error
    if text.count("{}") != 1:
        raise ValueError(
            f"plan_template {path} has {text.count('{}')} places for the prompt, and needs one, written {{}}. "
            "Without it the plan would be of nothing."
        )
    return WordPlan(text, system, max_tokens)

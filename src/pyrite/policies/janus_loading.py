"""From a checkpoint folder to a model and the way its prompts become sequences, in the pocket form or at full size."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from pyrite.core.cards import ModelShape, PolicyCard
from pyrite.core.errors import CheckpointError
from pyrite.policies import janus_adapters
from pyrite.policies.janus_chat import JanusChat, WordPlan
from pyrite.policies.janus_choosing import Sampling
from pyrite.policies.janus_layout import LAYOUT_FILE, JanusLayout
from pyrite.policies.janus_model import JanusTokenModel, load_transformers_janus, refuse_other_architectures
from pyrite.policies.janus_pocket import PocketSequences
from pyrite.policies.janus_pro import ProSequences
from pyrite.policies.janus_pro_model import JanusProModel
from pyrite.records.weights import checkpoint_revision, resolve_checkpoint

Dtype = Literal["float32", "bfloat16"]
Plan = Literal["none", "words"]

_LOGP_CHUNK = 1024
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """What `load_janus` is asked for, beside the folder and the sampling; its arguments say what each means."""

    dtype: Dtype | None
    plan: WordPlan | None
    lora: Mapping[str, Any] | None
    trainable: bool
    gradient_checkpointing: bool
    logp_chunk: int | None
    base: str | Path | None = None


@dataclass(frozen=True)
class Loaded:
    """A model ready to draw and to train.

    Args:
        card: what it claims.
        module: on the device, in evaluation mode.
        sequences: how prompts become sequences.
        base: name or folder of its weights.
        base_revision: of these.
    """

    card: PolicyCard
    module: nn.Module
    sequences: PocketSequences | ProSequences
    base: str
    base_revision: str


def load(name_or_path: str | Path, sampling: Sampling, settings: Settings, device: str) -> Loaded:
    """Load weights, and adapters if the folder holds such.

    Args:
        name_or_path: of whole weights, or of adapters.
        sampling: how tokens are drawn.
        settings: the rest.
        device: "auto" takes an accelerator if there is one.

    Raises:
        CheckpointError: the folder is missing, damaged, or holds another architecture.
        MissingExtraError: adapters without peft.
        ValueError: an option that this kind of checkpoint does not have.
    """
    given = resolve_checkpoint(name_or_path)
    has_adapters = (given / janus_adapters.ADAPTER_CONFIG).is_file()
    if settings.base is not None and not has_adapters:
        raise ValueError(
            f"base = {settings.base} says which weights adapters belong to, and {given} holds whole weights. Leave it "
            "out."
        )
    base = (settings.base or janus_adapters.base_of(given)) if has_adapters else name_or_path
    folder, revision = resolve_checkpoint(base), checkpoint_revision(base)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    refuse_other_architectures(folder)
    module: JanusTokenModel | JanusProModel
    sequences: PocketSequences | ProSequences
    if (folder / LAYOUT_FILE).is_file():
        module, sequences = _load_pocket(folder, sampling, settings)
    else:
        module, sequences = _load_pro(folder, sampling, settings, given if has_adapters else None, revision)
    module.to(device)
    module.eval()
    if settings.gradient_checkpointing:
        _compute_twice(module.janus)
    card = _card(given.name, module, sequences, checkpoint_revision(name_or_path))
    return Loaded(card, module, sequences, str(base), revision)


def _load_pocket(folder: Path, sampling: Sampling, settings: Settings) -> tuple[JanusTokenModel, PocketSequences]:
    asked = {
        "dtype": settings.dtype not in (None, "float32"),
        "plan": settings.plan is not None,
        "lora": settings.lora is not None,
    }
    if odd := [name for name, is_asked in asked.items() if is_asked]:
        raise ValueError(
            f"{folder} is a pocket policy, which has no {' and no '.join(odd)}: it is small enough to train whole in "
            f"float32, and {LAYOUT_FILE} says what it plans. Leave {' and '.join(odd)} out."
        )
    layout = JanusLayout.load(folder)
    janus = load_transformers_janus(folder)
    if janus.config.text_config.vocab_size != len(layout.tokenizer):
        raise CheckpointError(
            f"{folder}: the tokenizer has {len(layout.tokenizer)} words and the model "
            f"{janus.config.text_config.vocab_size}: they are not of one build. Rebuild both."
        )
    module = JanusTokenModel(
        janus,
        plan_tokens=layout.settings.plan_tokens,
        plan_opener=layout.token_id(layout.settings.plan_token),
        image_opener=layout.token_id(layout.settings.boi_token),
        temperature=sampling.temperature,
        plan_temperature=sampling.plan_temperature,
        logp_chunk=settings.logp_chunk,
    )
    return module, PocketSequences(layout, sampling)


def _load_pro(
    folder: Path, sampling: Sampling, settings: Settings, adapters: Path | None, revision: str
) -> tuple[JanusProModel, ProSequences]:
    from transformers import JanusConfig

    if settings.dtype not in (None, *_DTYPES):
        raise ValueError(f"dtype = '{settings.dtype}' is not known: float32 or bfloat16.")
    compute = _DTYPES[settings.dtype or "float32"]
    context = JanusConfig.from_pretrained(folder).text_config.max_position_embeddings
    layout = JanusChat.load(folder, context=context, plan=settings.plan)
    trains_whole = settings.trainable and settings.lora is None and adapters is None
    # What trains keeps float32 weights: a step of 1e-6 on a weight of 0.02 is a sixtieth of what bfloat16 can tell.
    janus = load_transformers_janus(folder, torch.float32 if trains_whole else compute)
    model = janus.model
    for part in (model.generation_head, janus.lm_head, model.vqmodel):
        part.float()
    for part in (model.vision_model, model.aligner, model.generation_embeddings, model.generation_aligner):
        part.to(compute)
    _refuse_other_vocabulary(folder, layout, janus.config.text_config.vocab_size)
    janus.requires_grad_(False)
    if adapters is not None:
        janus_adapters.load(janus, adapters, revision)
    elif settings.lora is not None:
        janus_adapters.add(janus, janus_adapters.LoraSettings.of(settings.lora))
    elif trains_whole:
        model.language_model.requires_grad_(True)
        # Without a plan nothing comes from lm_head: a parameter that never gets a gradient stalls distributed training.
        janus.lm_head.requires_grad_(settings.plan is not None)
    if not settings.trainable:
        janus.requires_grad_(False)
    module = JanusProModel(
        janus,
        plans=settings.plan is not None,
        temperature=sampling.temperature,
        plan_temperature=sampling.plan_temperature,
        compute=compute,
        logp_chunk=settings.logp_chunk or _LOGP_CHUNK,
    )
    return module, ProSequences(layout, sampling, janus.config.vision_config.num_image_tokens)


def _refuse_other_vocabulary(folder: Path, layout: JanusChat, size: int) -> None:
    # Published vocabularies are padded, so the model may know more ids than the tokenizer.
    if (largest := max(layout.tokenizer.get_vocab().values())) >= size:
        raise CheckpointError(
            f"{folder}: the tokenizer's largest id is {largest} and the model has room for {size}: they are not of one "
            "release. Copy both from the same place."
        )


def _compute_twice(janus: Any) -> None:
    """Keep only what goes into each layer for the backward pass, and compute the rest again there."""
    body = janus.model.language_model
    # The newer name of the same; the older one warns where both are there.
    enable = getattr(body, "activation_checkpointing_enable", None) or body.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    body.disable_input_require_grads()  # for reentrant checkpoints; with it a frozen reference would build a graph
    body.train()  # the library computes twice while training only; a Llama without dropout computes the same there


def _card(name: str, module: Any, sequences: PocketSequences | ProSequences, revision: str) -> PolicyCard:
    config = module.janus.config
    text, drawn, plan_tokens = config.text_config, config.vq_config, sequences.plan_tokens
    side = drawn.num_patches * 2 ** (len(drawn.channel_multiplier) - 1)
    shape = ModelShape(
        num_parameters=sum(value.numel() for value in module.parameters()),
        num_trained=sum(value.numel() for value in module.parameters() if value.requires_grad),
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        ffn_width=text.intermediate_size,
        kv_width=text.num_key_value_heads * module.janus.model.language_model.layers[0].self_attn.head_dim,
        prompt_tokens=sequences.prompt_tokens,
        plan_tokens=plan_tokens,
        image_tokens=config.vision_config.num_image_tokens,
        text_choices=text.vocab_size,
        image_choices=drawn.num_embeddings,
    )
    return PolicyCard(
        name=name,
        summary="Janus: plans in words, then draws an image in tokens.",
        num_tokens=plan_tokens + shape.image_tokens,
        image_size=(side, side),
        revision=revision,
        upstream="arXiv:2501.17811",
        cites=("arXiv:2501.17811", "arXiv:2505.00703"),
        num_plan_tokens=plan_tokens,
        shape=shape,
    )

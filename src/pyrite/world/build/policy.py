"""Pre-training of the pocket policy: a tiny Janus that plans, then draws.

Sequence: `<bos>`, left-padded prompt words, `<plan>`, 20 plan words, `<boi>`, 64 image codes. The recipe (own
initialisation, Muon on matrices, object tokens weighing most, easy scenes first) makes the prompt matter within a few
hundred steps; `docs/log.md` has the figures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrite.core.types import Prompt
from pyrite.world.build.optimisers import MuonAdamW, trapezoid
from pyrite.world.build.vq import Device, Progress, native_settings
from pyrite.world.vocabulary import PLAN_TOKENS, PROMPT_TOKENS, policy_tokenizer

if TYPE_CHECKING:
    from transformers import JanusForConditionalGeneration

WIDTH, LAYERS, HEADS, FEED_FORWARD = 128, 5, 4, 384
IMAGE_TOKENS = 64
PAD, BOS, BOI, PLAN = 0, 1, 2, 3
PREFIX_TOKENS = 1 + PROMPT_TOKENS + 1 + PLAN_TOKENS + 1
BATCH = 64
BACKGROUND_WEIGHT, PLAN_WEIGHT = 0.3, 0.3
UNCONDITIONAL_SHARE = 0.1
EASY_SHARE, EASY_PHASE = 0.7, 0.15


def new_policy(codebook: Tensor) -> "JanusForConditionalGeneration":
    """A `JanusForConditionalGeneration` with fan-in initialisation; generation embeddings start at the codebook."""
    from transformers import JanusConfig, JanusForConditionalGeneration, JanusVisionConfig, LlamaConfig
    from transformers.models.janus import JanusVQVAEConfig

    vocabulary = len(policy_tokenizer())
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=128,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=None,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 48.0},
    )
    vision = JanusVisionConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=64,
        patch_size=8,
        projection_dim=WIDTH,
        num_image_tokens=IMAGE_TOKENS,
    )
    vq = JanusVQVAEConfig(projection_dim=WIDTH, image_token_embed_dim=WIDTH, **native_settings())
    config = JanusConfig(
        text_config=text, vision_config=vision, vq_config=vq, image_token_id=PAD, tie_word_embeddings=False
    )
    model = JanusForConditionalGeneration(config)
    _initialise(model, codebook)
    return model


@torch.no_grad()
def _initialise(model: Any, codebook: Tensor) -> None:
    """Fan-in initialisation: the library's std of 0.02 leaves so small a model deaf to its prompt."""
    residual = (0.5 / (2 * LAYERS) ** 0.5) * WIDTH**-0.5
    for name, weight in model.named_parameters():
        if "vqmodel" in name or "vision_model" in name or weight.ndim != 2:
            continue
        fan_in = weight.shape[1] ** -0.5
        if "embed_tokens" in name:
            weight.normal_(0, 0.7)
        elif "vision_head" in name or "lm_head" in name:
            weight.normal_(0, 0.3 * fan_in)
        elif "o_proj" in name or "down_proj" in name:
            weight.normal_(0, residual)
        else:
            weight.normal_(0, fan_in)
    model.model.generation_embeddings.weight.copy_(2 * codebook)


def token_rows(prompts: Sequence[Prompt], plans: Sequence[Sequence[str]]) -> Tensor:
    """(N, 35) ids of everything before the image codes."""
    ids = policy_tokenizer().get_vocab()
    rows = torch.full((len(prompts), PREFIX_TOKENS), PAD)
    rows[:, 0], rows[:, PROMPT_TOKENS + 1], rows[:, -1] = BOS, PLAN, BOI
    for row, prompt, plan in zip(rows, prompts, plans, strict=True):
        words = [ids[word] for word in prompt.text.split()]
        row[1 + PROMPT_TOKENS - len(words) : 1 + PROMPT_TOKENS] = torch.tensor(words)
        row[PROMPT_TOKENS + 2 : -1] = torch.tensor([ids[word] for word in plan])
    return rows


def unconditional(rows: Tensor) -> Tensor:
    """The same rows with everything but `<bos>` and `<boi>` replaced by `<pad>`."""
    return torch.where((rows != BOS) & (rows != BOI), PAD, rows)


def token_losses(model: Any, rows: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats of the image codes (B, 64) and of the plan words (B, 20)."""
    rows, codes = rows.to(model.device), codes.to(model.device)
    language = model.model.language_model
    embedded = torch.cat(
        [language.embed_tokens(rows), model.prepare_embeddings_for_image_generation(codes[:, :-1])], dim=1
    )
    hidden = language(inputs_embeds=embedded, use_cache=False).last_hidden_state
    image_logits = model.model.generation_head(hidden[:, PREFIX_TOKENS - 1 :])
    plan_logits = model.lm_head(hidden[:, PROMPT_TOKENS + 1 : PREFIX_TOKENS - 2])
    image = F.cross_entropy(image_logits.flatten(0, 1), codes.flatten(), reduction="none").view(codes.shape)
    plan_ids = rows[:, PROMPT_TOKENS + 2 : -1]
    plan = F.cross_entropy(plan_logits.flatten(0, 1), plan_ids.flatten(), reduction="none").view(plan_ids.shape)
    return image, plan


def train_policy(
    rows: Tensor,
    codes: Tensor,
    object_cells: Tensor,
    codebook: Tensor,
    *,
    steps: int,
    seed: int,
    progress: Progress,
    device: Device = "cpu",
) -> "JanusForConditionalGeneration":
    """Maximum likelihood on (N, 35) rows and (N, 64) codes; `object_cells` (N, 64) weigh most."""
    torch.manual_seed(seed + 2)
    model = new_policy(codebook).train().to(device)
    parts = (
        model.model.language_model,
        model.lm_head,
        model.model.generation_head,
        model.model.generation_aligner,
        model.model.generation_embeddings,
    )
    weights = [weight for part in parts for weight in part.parameters()]
    embedding_like = {id(model.model.language_model.embed_tokens.weight), id(model.lm_head.weight)}
    embedding_like |= {id(model.model.generation_embeddings.weight), id(model.model.generation_head.vision_head.weight)}
    matrices = [weight for weight in weights if weight.ndim == 2 and id(weight) not in embedding_like]
    others = [weight for weight in weights if weight.ndim != 2 or id(weight) in embedding_like]
    optimiser = MuonAdamW(matrices, others, muon_lr=1e-2, adamw_lr=3e-3)
    one_object = (rows[:, PROMPT_TOKENS + 2 + 5] == policy_tokenizer().get_vocab()["<none>"]).nonzero()[:, 0]
    for step in range(steps):
        chosen = torch.randint(0, len(rows), (BATCH,))
        if step < EASY_PHASE * steps:
            easy = int(EASY_SHARE * BATCH)
            chosen[:easy] = one_object[torch.randint(0, len(one_object), (easy,))]
        dropped = torch.rand(BATCH) < UNCONDITIONAL_SHARE
        batch = torch.where(dropped[:, None], unconditional(rows[chosen]), rows[chosen])
        image, plan = token_losses(model, batch, codes[chosen])
        weight = torch.where(object_cells[chosen], 1.0, BACKGROUND_WEIGHT).to(device)
        plan = plan[(~dropped).to(device)]
        loss = (image * weight).sum() / weight.sum() + PLAN_WEIGHT * plan.mean()
        optimiser.step(loss, trapezoid(step, steps, warm_up=60, decay_from=0.3, floor=0.02))
        if step % 25 == 0:
            progress(step, steps, {"image": image.mean().item(), "plan": plan.mean().item()})
    return model.eval()


@torch.no_grad()
def held_out_losses(model: Any, rows: Tensor, codes: Tensor, object_cells: Tensor) -> dict[str, float]:
    """Nats per object token given the right prompt, none, and that of another picture; nats per plan word."""
    parts = list(zip(rows.split(BATCH), codes.split(BATCH), strict=True))
    image, plan = (torch.cat(part).cpu() for part in zip(*(token_losses(model, *p) for p in parts), strict=True))
    blind = torch.cat([token_losses(model, unconditional(r), c)[0] for r, c in parts]).cpu()
    other = torch.cat([token_losses(model, r.roll(1, 0), c)[0] for r, c in parts]).cpu()
    return {
        "object": image[object_cells].mean().item(),
        "object_unconditional": blind[object_cells].mean().item(),
        "object_other_prompt": other[object_cells].mean().item(),
        "background": image[~object_cells].mean().item(),
        "plan": plan.mean().item(),
    }


def save_policy(model: Any, native_vq: nn.Module, folder: Path) -> None:
    """Write the checkpoint folder that `policies/janus.py` loads, weights in half precision."""
    import json

    model.model.vqmodel.load_state_dict(native_vq.state_dict())
    model.generation_config.update(pad_token_id=PAD, bos_token_id=BOS)
    model.generation_config.generation_kwargs = {"boi_token_id": BOI}
    model.generation_config._from_model_config = False  # otherwise generation_kwargs is lost on load
    model.half().save_pretrained(folder)
    policy_tokenizer().save_pretrained(folder)
    layout = {
        "prompt_tokens": PROMPT_TOKENS,
        "plan_tokens": PLAN_TOKENS,
        "plan_token": "<plan>",
        "boi_token": "<boi>",
        "bos_token": "<bos>",
        "pixel_range": [-1, 1],
    }
    (folder / "pyrite_policy.json").write_text(json.dumps(layout, indent=2) + "\n")

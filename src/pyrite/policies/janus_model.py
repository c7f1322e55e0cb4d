"""The trained part of a Janus policy, and how its weights are read from a folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from pyrite.core.errors import CheckpointError


class JanusTokenModel(nn.Module):
    """The part of a policy that training sees: token sequences in, log-probabilities out.

    Only what decides about tokens takes a gradient; the image tokeniser and the vision tower are frozen.

    Args:
        janus: a transformers `JanusForConditionalGeneration`.
        plan_tokens: how many of the tokens are plan; the rest are image codes.
        plan_opener: id of the token before the plan.
        image_opener: id of the token before the image.
        temperature: of the image codes.
        plan_temperature: of the plan.
    """

    def __init__(
        self,
        janus: nn.Module,
        *,
        plan_tokens: int,
        plan_opener: int,
        image_opener: int,
        temperature: float,
        plan_temperature: float,
    ) -> None:
        super().__init__()
        self.janus: Any = janus
        self.plan_tokens = plan_tokens
        self.plan_opener = plan_opener
        self.image_opener = image_opener
        self.temperature = temperature
        self.plan_temperature = plan_temperature
        janus.requires_grad_(False)
        for part in self._trained_parts():
            part.requires_grad_(True)

    def _trained_parts(self) -> Iterator[nn.Module]:
        model = self.janus.model
        # Without a plan nothing comes from lm_head: a parameter that never gets a gradient stalls distributed training.
        heads = (self.janus.lm_head,) if self.plan_tokens else ()
        yield from (model.language_model, model.generation_embeddings, model.generation_aligner, model.generation_head)
        yield from heads

    def forward(self, prompt_ids: Tensor, tokens: Tensor) -> Tensor:
        """(R, T) log-probability of each token given the prompt (R, S) and the tokens before it, at the temperatures.

        Args:
            prompt_ids: (R, S) from <bos> to the last word of the prompt.
            tokens: (R, T) plan ids, then image codes.
        """
        plan, codes = tokens[:, : self.plan_tokens], tokens[:, self.plan_tokens :]
        text = [prompt_ids]
        if self.plan_tokens:
            text += [torch.full_like(plan[:, :1], self.plan_opener), plan]
        text += [torch.full_like(codes[:, :1], self.image_opener)]
        body = self.janus.model.language_model
        words = body.embed_tokens(torch.cat(text, 1))
        image = self.janus.prepare_embeddings_for_image_generation(codes[:, :-1])
        hidden = body(inputs_embeds=torch.cat([words, image], 1), use_cache=False).last_hidden_state
        image_logp = _logp_of(self.janus.model.generation_head(hidden[:, -codes.shape[1] :]) / self.temperature, codes)
        if not self.plan_tokens:
            return image_logp
        start = prompt_ids.shape[1]  # the position of <plan>, which decides about the first id of the plan
        plan_logits = self.janus.lm_head(hidden[:, start : start + self.plan_tokens])
        return torch.cat([_logp_of(plan_logits / self.plan_temperature, plan), image_logp], 1)


def _logp_of(logits: Tensor, choices: Tensor) -> Tensor:
    """(R, n) log-softmax of `logits` (R, n, V) at `choices` (R, n), in float32."""
    losses = F.cross_entropy(logits.flatten(0, 1).float(), choices.flatten(), reduction="none")
    return -losses.view_as(choices)


def load_transformers_janus(folder: Path) -> Any:
    """A `JanusForConditionalGeneration` in float32, every tensor of which came from the folder.

    Raises:
        CheckpointError: another architecture, a damaged file, or tensors missing or left over.
    """
    from transformers import JanusForConditionalGeneration

    _refuse_other_architectures(folder)
    try:
        janus, report = JanusForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"the weights in {folder} could not be read: {error}. The file is damaged or incomplete; copy it again, "
            "or rebuild it: pyrite world build --only janus-pocket"
        ) from error
    if astray := sorted({*report["missing_keys"], *report["unexpected_keys"]}):
        raise CheckpointError(
            f"{folder}: {len(astray)} tensors are missing or left over (first: {astray[0]}), so part of the policy "
            "would be random. Save the whole JanusForConditionalGeneration."
        )
    return janus


def _refuse_other_architectures(folder: Path) -> None:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable model configuration: {error}. Copy it again.") from error
    if (found := config.get("model_type")) != "janus":
        raise CheckpointError(
            f"{folder} holds a model of type '{found}', and this policy is of type 'janus'. "
            "Name a folder written by JanusForConditionalGeneration.save_pretrained."
        )
    text = config.get("text_config", {})
    if text.get("model_type") != "llama" or text.get("attention_bias") or text.get("mlp_bias"):
        raise CheckpointError(
            f"{folder}: the language model is of type '{text.get('model_type')}' (attention_bias "
            f"{text.get('attention_bias')}, mlp_bias {text.get('mlp_bias')}), and the sampler knows Llama without "
            "biases, as every published Janus has it."
        )

"""The trained part of a Janus policy, and how its weights are read from a folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pyrite.core.errors import CheckpointError
from pyrite.policies.janus_logp import token_logp


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
        logp_chunk: how many tokens have logits at a time in `forward`; None = all.
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
        logp_chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.janus: Any = janus
        self.plan_tokens = plan_tokens
        self.plan_opener = plan_opener
        self.image_opener = image_opener
        self.temperature = temperature
        self.plan_temperature = plan_temperature
        self.logp_chunk = logp_chunk
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
        image_logp = token_logp(
            self.janus.model.generation_head,
            hidden[:, -codes.shape[1] :],
            codes,
            temperature=self.temperature,
            chunk=self.logp_chunk,
        )
        if not self.plan_tokens:
            return image_logp
        start = prompt_ids.shape[1]  # the position of <plan>, which decides about the first id of the plan
        plan_logp = token_logp(
            self.janus.lm_head,
            hidden[:, start : start + self.plan_tokens],
            plan,
            temperature=self.plan_temperature,
            chunk=self.logp_chunk,
        )
        return torch.cat([plan_logp, image_logp], 1)


def load_transformers_janus(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A `JanusForConditionalGeneration`, every tensor of which came from the folder.

    Args:
        folder: as `save_pretrained` writes it.
        dtype: of the parameters.

    Raises:
        CheckpointError: another architecture, a damaged file, or tensors missing or left over.
    """
    from transformers import JanusForConditionalGeneration

    refuse_other_architectures(folder)
    try:
        janus, report = JanusForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"the weights in {folder} could not be read: {error}. The file is damaged or incomplete; copy it again, "
            "or rebuild it: pyrite world build --only janus-pocket"
        ) from error
    astray = {kind: sorted(report[f"{kind}_keys"]) for kind in ("missing", "unexpected", "mismatched")}
    if any(astray.values()):
        listed = "; ".join(
            f"{len(keys)} {kind} ({', '.join(map(str, keys[:5]))}{', ...' if len(keys) > 5 else ''})"
            for kind, keys in astray.items()
            if keys
        )
        raise CheckpointError(
            f"{folder}: of the tensors in the file, {listed}, so part of the policy would be random. "
            "Save the whole JanusForConditionalGeneration."
        )
    return janus


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a policy's folder.

    Raises:
        CheckpointError: it is missing or holds no JSON object.
    """
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(row, dict):
            raise ValueError(f"it holds a {type(row).__name__} and no object")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable model configuration: {error}. Copy it again.") from error
    return row


def refuse_other_architectures(folder: Path) -> None:
    """Look at config.json before minutes go into reading weights.

    Raises:
        CheckpointError: it is not that of a Janus around a plain Llama.
    """
    config = read_object(folder / "config.json")
    if (found := config.get("model_type")) == "multi_modality":
        raise CheckpointError(
            f"{folder} holds a Janus in the format of DeepSeek's own code (model_type 'multi_modality'), which only "
            f"that code reads. Write it in transformers' format once: pyrite weights convert janus --weights {folder}"
        )
    if found != "janus":
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

"""The trained part of a full-size Janus: prompts of any lengths in, log-probabilities of what was drawn after them out.

How this differs from T2I-R1's trainer (arXiv:2505.00703): the plan is scored after the text that asked for it and the
codes after the text that they were drawn after, each where it was sampled. As there, the generation head, its
embeddings and everything about vision are frozen, and log-probabilities are those without guidance.
"""

import contextlib
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyrite.policies.janus_copying import narrowed
from pyrite.policies.janus_logp import token_logp


class JanusProModel(nn.Module):
    """The part of a policy that training sees.

    What trains is the language model: all of it, or adapters inside it. The two heads and what follows them compute in
    float32 whatever the rest computes in, because a softmax over 16384 codes in bfloat16 moves log-probabilities by
    hundredths.

    Args:
        janus: a transformers `JanusForConditionalGeneration`, perhaps with peft adapters.
        plans: whether a plan in words comes before the image.
        temperature: of the image codes.
        plan_temperature: of the plan.
        compute: in which the language model computes; its parameters may be wider.
        logp_chunk: how many tokens have logits at a time; None = all.
    """

    def __init__(
        self,
        janus: nn.Module,
        *,
        plans: bool,
        temperature: float,
        plan_temperature: float,
        compute: torch.dtype,
        logp_chunk: int | None,
    ) -> None:
        super().__init__()
        self.janus: Any = janus
        self.plans = plans
        self.temperature = temperature
        self.plan_temperature = plan_temperature
        self.compute = compute
        self.logp_chunk = logp_chunk

    def forward(
        self,
        image_ids: Tensor,
        image_pads: Tensor,
        codes: Tensor,
        plan_ids: Tensor | None = None,
        plan_pads: Tensor | None = None,
        plan: Tensor | None = None,
    ) -> Tensor:
        """(R, T) log-probability of each token of the plan, if there is one, then of each code.

        One call for both, so that a distributed wrapper sees one forward. What follows the end of a plan comes out as
        any number: the mask of the rollouts says where that is.

        Args:
            image_ids: (R, S) prefixes padded on the left, to the token that opens the image.
            image_pads: (R,) padding before each.
            codes: (R, n) image codes.
            plan_ids: (R, S') prefixes of the plan.
            plan_pads: (R,) padding before each.
            plan: (R, m) its tokens.
        """
        body = self.janus.model.language_model
        image = self.janus.prepare_embeddings_for_image_generation(codes[:, :-1])
        words = body.embed_tokens(image_ids)
        hidden = self._read(torch.cat([words, image.to(words.dtype)], 1), image_pads)[:, -codes.shape[1] :]
        chunk = self.logp_chunk
        logp = token_logp(self.image_logits, hidden, codes, temperature=self.temperature, chunk=chunk)
        if plan is None:
            return logp
        assert plan_ids is not None
        assert plan_pads is not None
        words = body.embed_tokens(torch.cat([plan_ids, plan[:, :-1]], 1))
        hidden = self._read(words, plan_pads)[:, -plan.shape[1] :]
        plan_logp = token_logp(self.word_logits, hidden, plan, temperature=self.plan_temperature, chunk=chunk)
        return torch.cat([plan_logp, logp], 1)

    def image_logits(self, hidden: Tensor) -> Tensor:
        """(..., V) logits of the next code in float32."""
        return _in_its_own_precision(self.janus.model.generation_head, hidden)

    def word_logits(self, hidden: Tensor) -> Tensor:
        """(..., V) logits of the next word in float32."""
        return _in_its_own_precision(self.janus.lm_head, hidden)

    def body_for_drawing(self) -> nn.Module:
        """The language model in the precision it computes in: itself, or a copy of wider weights made for one draw."""
        body: nn.Module = self.janus.model.language_model
        if self._is_wider:
            return cast(nn.Module, narrowed(body, self.compute))
        return body

    @property
    def _is_wider(self) -> bool:
        weight: Tensor = self.janus.model.language_model.norm.weight
        return weight.dtype != self.compute

    def _read(self, x: Tensor, pads: Tensor) -> Tensor:
        """(R, S, D) hidden states; positions are counted from the first token of each row."""
        index = torch.arange(x.shape[1], device=x.device)
        is_token = index >= pads[:, None]
        narrowing: Any = contextlib.nullcontext()
        if self._is_wider:
            narrowing = torch.autocast(x.device.type, dtype=self.compute)
        with narrowing:
            hidden: Tensor = self.janus.model.language_model(
                inputs_embeds=x,
                attention_mask=is_token.long(),
                position_ids=(index - pads[:, None]).clamp(min=0),
                use_cache=False,
            ).last_hidden_state
        return hidden


def _in_its_own_precision(head: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
    assert isinstance(head, nn.Module)
    with torch.autocast(hidden.device.type, enabled=False):  # a trainer may ask for half precision around all of it
        logits: Tensor = head(hidden.to(next(head.parameters()).dtype)).float()
    return logits

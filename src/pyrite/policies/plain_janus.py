"""What `pyrite bench train` measures against: the same Janus drawn from and scored the way a first version does it.

Every sibling reads its own copy of the prompt, keys and values are concatenated at every token, logits of a whole batch
exist at once. `as_published` adds what the trainer of T2I-R1, and ArtifactReward's after it, does besides
(grpo_trainer.py): 32 rows at a time, the unconditional branch also where nothing is guided, the plan read again before
the image and scored in a pass of its own, activations computed twice. The weights and the precision are those of the
policy it is made from. Not for use.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrite.core.types import Prompt, Rollouts
from pyrite.policies.janus import JanusPolicy, to_images
from pyrite.policies.janus_chat import Padded
from pyrite.policies.janus_pocket import PocketSequences

_PUBLISHED_ROWS = 32
"""`split_size` of the published trainer, both branches counted."""


@dataclass
class PlainJanus:
    """Draws and scores as the policy does, up to rounding, without anything that makes it fast.

    Args:
        policy: whose weights and prompts it uses; without a plan in words.
        as_published: in the form of the published trainer.
    """

    policy: JanusPolicy
    as_published: bool = False

    def __post_init__(self) -> None:
        self.card = self.policy.card

    @torch.inference_mode()
    def sample(self, prompts: Sequence[Prompt], *, group_size: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        """Draw `group_size` images for each of P prompts, from the first generator."""
        rows = [prompt for prompt in prompts for _ in range(group_size)]
        tokens, logp = self.draw_all(rows, seed=int(rngs[0].integers(2**31)))
        return Rollouts(
            prompts=rows,
            group_size=group_size,
            images=self.decode(tokens[:, self.policy.sequences.plan_tokens :]),
            tokens=tokens.cpu().numpy(),
            behaviour_logp=logp.float().cpu().numpy(),
            mask=np.ones(tuple(tokens.shape), np.bool_),
        )

    def draw_all(self, rows: Sequence[Prompt], *, seed: int) -> tuple[Tensor, Tensor]:
        """`draw`, as many rows at a time as this form takes."""
        at_once = _PUBLISHED_ROWS // 2 if self.as_published else len(rows)
        parts = [self.draw(rows[i : i + at_once], seed=seed + i) for i in range(0, len(rows), at_once)]
        return torch.cat([ids for ids, _ in parts]), torch.cat([logp for _, logp in parts])

    @torch.inference_mode()
    def draw(self, rows: Sequence[Prompt], *, seed: int) -> tuple[Tensor, Tensor]:
        """(R, T) tokens and the log-probability each was drawn with; every row reads its own prompt."""
        from transformers import DynamicCache

        model, sequences = self.policy._model, self.policy.sequences
        ids, pads = self.prefixes(rows)
        generator = torch.Generator(ids.device).manual_seed(seed)
        body = model.body_for_drawing() if hasattr(model, "body_for_drawing") else model.janus.model.language_model
        scale, branches = sequences.sampling.cfg_scale, 1
        cache, x, parts = DynamicCache(), body.embed_tokens(ids), []
        if isinstance(sequences, PocketSequences) and sequences.plan_tokens:
            loop = _Loop(body, cache, pads, 1, generator)
            plan = loop.draw(
                x, model.janus.lm_head, body.embed_tokens, sequences.plan_tokens, model.plan_temperature, 1.0
            )
            parts.append(plan)
            opener = torch.full_like(ids[:, :1], model.image_opener)
            x = body.embed_tokens(torch.cat([plan[0][:, -1:], opener], 1))
        if scale != 1 or self.as_published:
            branches, cache = 2, DynamicCache()  # and both branches read everything from the beginning
            seen = torch.cat([ids, *([parts[0][0], opener] if parts else [])], 1)
            is_text = (seen == seen[:, -1:]) & (torch.arange(seen.shape[1], device=seen.device) == seen.shape[1] - 1)
            is_text |= torch.arange(seen.shape[1], device=seen.device) == 0
            x = body.embed_tokens(torch.cat([seen, torch.where(is_text, seen, self._pad_id)]))
            pads = pads.repeat(2)
        head = model.image_logits if hasattr(model, "image_logits") else model.janus.model.generation_head
        loop = _Loop(body, cache, pads, branches, generator)
        num = (
            sequences.image_tokens
            if hasattr(sequences, "image_tokens")
            else self.card.num_tokens - sequences.plan_tokens
        )
        parts.append(loop.draw(x, head, self._embed_codes, num, model.temperature, scale))
        return torch.cat([ids for ids, _ in parts], 1), torch.cat([logp for _, logp in parts], 1)

    def prefixes(self, rows: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """(R, S) ids padded on the left, to the token that opens what is drawn first, and (R,) padding."""
        sequences, device = self.policy.sequences, self.policy._device
        if isinstance(sequences, PocketSequences):
            ids = torch.from_numpy(sequences.layout.prompt_ids(rows)).to(device)
            model = self.policy._model
            opener = model.plan_opener if sequences.plan_tokens else model.image_opener
            return torch.cat([ids, torch.full_like(ids[:, :1], opener)], 1), torch.zeros(len(ids), device=device).long()
        prefixes = sequences.layout.image_prefixes(rows, room=sequences.image_tokens)
        padded = Padded.of(prefixes, sequences.layout.pad_id)
        return torch.from_numpy(padded.ids).to(device), torch.from_numpy(padded.pads).to(device)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> list[Any]:
        """All images at once, through the library."""
        pixels = self.policy._model.janus.model.vqmodel.decode(codes)
        return to_images(pixels, *self.policy.sequences.pixel_range)

    def logp(self, rollouts: Rollouts) -> Tensor:
        """(R, T), differentiable: the logits of all tokens of the batch at once, then their softmax."""
        model, sequences = self.policy._model, self.policy.sequences
        inputs = sequences.inputs(rollouts, self.policy._device)
        with self._whole_logits(model):
            logp: Tensor = model(*inputs)
            if not (self.as_published and isinstance(sequences, PocketSequences) and sequences.plan_tokens):
                return logp
            plan = inputs[1][:, : sequences.plan_tokens]
            body = model.janus.model.language_model
            opener = torch.full_like(plan[:, :1], model.plan_opener)
            words = body.embed_tokens(torch.cat([inputs[0], opener, plan[:, :-1]], 1))
            hidden = body(inputs_embeds=words, use_cache=False).last_hidden_state[:, -plan.shape[1] :]
            logits = model.janus.lm_head(hidden).float() / model.plan_temperature
            plan_logp = logits.log_softmax(-1).gather(-1, plan[..., None])[..., 0]
            return torch.cat([plan_logp, logp[:, plan.shape[1] :]], 1)

    @contextmanager
    def _whole_logits(self, model: Any) -> Iterator[None]:
        body, chunk = model.janus.model.language_model, model.logp_chunk
        model.logp_chunk = None
        if self.as_published:
            body.activation_checkpointing_enable({"use_reentrant": False})
            body.train()
        try:
            yield
        finally:
            model.logp_chunk = chunk
            if self.as_published:
                body.activation_checkpointing_disable()
                body.eval()

    @property
    def _pad_id(self) -> int:
        layout: Any = self.policy.layout
        return int(layout.pad_id if hasattr(layout, "pad_id") else layout.tokenizer.pad_token_id)

    def _embed_codes(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.policy._model.janus.prepare_embeddings_for_image_generation(ids)
        return embedded


class _Loop:
    """One token after the other through transformers' own forward, with a cache that grows."""

    def __init__(self, body: Any, cache: Any, pads: Tensor, branches: int, generator: torch.Generator) -> None:
        self._body, self._cache, self._pads, self._branches = body, cache, pads, branches
        self._generator = generator

    def draw(
        self, x: Tensor, head: Any, embed: Any, num: int, temperature: float, scale: float
    ) -> tuple[Tensor, Tensor]:
        ids, logps = [], []
        for _ in range(num):
            seen = self._cache.get_seq_length()
            index = torch.arange(seen + x.shape[1], device=x.device)
            hidden = self._body(
                inputs_embeds=x.to(self._body.norm.weight.dtype),
                attention_mask=(index >= self._pads[:, None]).long(),
                position_ids=(index[seen:] - self._pads[:, None]).clamp(min=0),
                past_key_values=self._cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
            logits = head(hidden).float()
            if self._branches == 2:
                with_prompt, without = logits.chunk(2)
                logits = without + scale * (with_prompt - without)
            logp = (logits / temperature).log_softmax(-1)
            chosen = torch.multinomial(logp.exp(), 1, generator=self._generator)
            ids.append(chosen)
            logps.append(logp.gather(-1, chosen))
            x = embed(chosen).repeat(self._branches, 1, 1)
        return torch.cat(ids, 1), torch.cat(logps, 1)

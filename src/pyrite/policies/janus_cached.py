"""Decoding with a transformers Llama body as it is: any precision, adapters, prompts of different lengths.

Slower per token than `FoldedDecoder` on a small model, which rewrites the weights first. Here nothing is copied but
keys and values, what a layer computes is what it computes while training, and every shape is fixed, so that an
accelerator can replay one recorded step (CUDA graph) instead of being told a thousand small operations per token.

Axes: R rows, n tokens, S positions, D hidden width. Prompts are padded on the left; a row's positions are counted
from its first token, so what is drawn for a prompt does not depend on how long its neighbours are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrite.policies.janus_choosing import choose
from pyrite.policies.janus_decoding import DrawnTokens

_GRAPH_SPAN = 256
"""Positions by which the part of the cache that a recorded step reads grows; a guess, not yet measured on a GPU."""
_END_CHECKED_EVERY = 16
"""Tokens between two looks at whether all rows have ended: a look makes an accelerator wait for the CPU."""


@dataclass
class Cache:
    """Room for keys and values.

    Args:
        kept: (layers, 2, R, kv heads, S, head_dim).
        pads: (R,) how many positions at the left of each row are padding.
    """

    kept: Tensor
    pads: Tensor

    def rows(self, which: Tensor, num_positions: int) -> "Cache":
        """A copy with these rows, repeated as often as they are named, and room for more positions."""
        layers, two, _, heads, filled, width = self.kept.shape
        kept = self.kept.new_zeros(layers, two, len(which), heads, num_positions, width)
        kept[..., :filled, :] = self.kept.index_select(2, which)
        return Cache(kept, self.pads[which])


class CachedDecoder:
    """Reads tokens into a preallocated cache with the layers of a Llama body.

    Args:
        body: the `language_model` of a transformers Janus; used as it is at every call.
    """

    def __init__(self, body: nn.Module) -> None:
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        self._body: Any = body
        self._turn: Callable[..., tuple[Tensor, Tensor]] = apply_rotary_pos_emb

    def new_cache(self, pads: Tensor, num_positions: int) -> Cache:
        """Empty room for `num_positions` tokens in each of (R,) rows."""
        config, weight = self._body.config, self._body.norm.weight
        layers, attention = self._body.layers, self._body.layers[0].self_attn
        shape = (len(layers), 2, len(pads), config.num_key_value_heads, num_positions, attention.head_dim)
        # Zeros: what is not yet written is masked, and a masked NaN is still a NaN.
        return Cache(torch.zeros(shape, dtype=weight.dtype, device=weight.device), pads)

    def advance(self, x: Tensor, cache: Cache, at: Tensor, span: int) -> Tensor:
        """Read n tokens at positions `at`; fills the cache.

        Args:
            x: (R, n, D) embeddings.
            cache: filled up to the first of `at`.
            at: (n,) positions, rising by 1; a tensor, so that a recorded step can be replayed at another position.
            span: how many positions of the cache are looked at; more than the last of `at`.

        Returns:
            (R, D) hidden state at the last position, normalised, ready for a head.
        """
        body, rows, num = self._body, x.shape[0], x.shape[1]
        positions = (at[None] - cache.pads[:, None]).clamp(min=0)
        cos, sin = body.rotary_emb(x, positions)
        index = torch.arange(span, device=x.device)
        is_seen = (index <= at[:, None]) & (index >= cache.pads[:, None, None])
        # Padding sees itself: a softmax over nothing would be NaN.
        is_seen = (is_seen | (index == at[:, None]))[:, None]  # (R, 1, n, span)
        for layer, kept in zip(body.layers, cache.kept, strict=True):
            attention = layer.self_attn
            normal = layer.input_layernorm(x)
            query, key, value = (
                part(normal).view(rows, num, -1, attention.head_dim).transpose(1, 2)
                for part in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            query, key = self._turn(query, key, cos, sin)
            kept[0].index_copy_(2, at, key)
            kept[1].index_copy_(2, at, value)
            seen = F.scaled_dot_product_attention(
                query,
                kept[0, :, :, :span],
                kept[1, :, :, :span],
                attn_mask=is_seen,
                scale=attention.scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
            x = x + attention.o_proj(seen.transpose(1, 2).reshape(rows, num, -1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        hidden: Tensor = body.norm(x[:, -1])
        return hidden


@dataclass(frozen=True)
class Run:
    """A run of tokens of one kind: where they come from and how they are fed back.

    Args:
        head: (R, D) -> (R, V) logits in float32.
        table: (V, D) embedding of each choice.
        temperature: divides the logits.
        guidance: strength of classifier-free guidance; 1 = none. Otherwise the cache holds R conditional rows, then
            R unconditional ones.
        top_k: as of `Sampling`.
        top_p: as of `Sampling`.
        end: the id after which a row has ended; None = rows end with the uniforms.
    """

    head: Callable[[Tensor], Tensor]
    table: Tensor
    temperature: float
    guidance: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    end: int | None = None

    def draw(self, decoder: CachedDecoder, cache: Cache, first: Tensor, start: int, uniforms: Tensor) -> DrawnTokens:
        """Draw (R, n) tokens, one per uniform (R, n) in [0, 1), after reading `first` at position `start`.

        What comes after a row's end is not to be used; once every row has ended, fewer than n tokens come back.

        Args:
            decoder: reads.
            cache: filled up to `start`; room for n more.
            first: (rows of the cache, D) embedding of the last token of each prefix.
            start: its position.
            uniforms: random numbers.
        """
        step = _Step(self, decoder, cache, first, start, len(uniforms))
        ids, prob, unguided = (torch.empty_like(uniforms, dtype=kind) for kind in (torch.long, None, None))
        has_ended = torch.zeros(len(uniforms), dtype=torch.bool, device=uniforms.device)
        for number, uniform in enumerate(uniforms.T.contiguous().unsqueeze(-1)):
            step(start + number, uniform)
            ids[:, number], prob[:, number], unguided[:, number] = step.ids[:, 0], step.prob[:, 0], step.unguided[:, 0]
            if self.end is not None:
                has_ended |= step.ids[:, 0] == self.end
                if number % _END_CHECKED_EVERY == 0 and bool(has_ended.all()):
                    return DrawnTokens(*(part[:, : number + 1] for part in (ids, prob.log(), unguided)))
        return DrawnTokens(ids, prob.log(), unguided)


class _Step:
    """One token for every row, in tensors that stay where they are, as replaying needs it."""

    def __init__(self, run: Run, decoder: CachedDecoder, cache: Cache, first: Tensor, start: int, rows: int) -> None:
        self._run, self._decoder, self._cache = run, decoder, cache
        self._x = first[:, None].clone()
        self._at = torch.full((1,), start, device=first.device)
        self._branches = len(first) // rows
        self._uniform = torch.empty((rows, 1), device=first.device)
        self.ids = torch.empty((rows, 1), dtype=torch.long, device=first.device)
        self.prob, self.unguided = torch.empty_like(self._uniform), torch.empty_like(self._uniform)
        self._replays: dict[int, Callable[[], None]] = {}

    def __call__(self, at: int, uniform: Tensor) -> None:
        self._uniform.copy_(uniform)
        if self._x.is_cuda:
            span = min(-(-(at + 1) // _GRAPH_SPAN) * _GRAPH_SPAN, self._cache.kept.shape[4])
            if span not in self._replays:
                self._replays[span] = self._record(span)
            self._replays[span]()
        else:
            self._compute(at + 1)

    def _compute(self, span: int) -> None:
        run = self._run
        logits = run.head(self._decoder.advance(self._x, self._cache, self._at, span))
        with_prompt, *without = logits.chunk(self._branches)
        chosen = choose(
            with_prompt,
            self._uniform,
            temperature=run.temperature,
            without=without[0] if without else None,
            guidance=run.guidance,
            top_k=run.top_k,
            top_p=run.top_p,
        )
        self.ids.copy_(chosen.ids)
        self.prob.copy_(chosen.prob)
        self.unguided.copy_(chosen.unguided_logp)
        self._x.copy_(run.table[chosen.ids].repeat(self._branches, 1, 1))
        self._at.add_(1)

    def _record(self, span: int) -> Callable[[], None]:
        """The step as a CUDA graph. Not run on a GPU so far; its parts are the ones above, which run everywhere."""
        moving = (self._x, self._at)
        before = [tensor.clone() for tensor in moving]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._compute(span)  # libraries set themselves up in their first call, which cannot be recorded
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, value in zip(moving, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._compute(span)
        replay: Callable[[], None] = graph.replay
        return replay

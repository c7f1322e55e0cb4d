"""Drawing tokens from a Janus language model, one at a time for many rows at once.

Three things make it faster than the library's loop. A prompt is read once for all images drawn from it. Keys and
values live in one preallocated block. The weights of a layer are folded once per draw: query, key and value in one
matrix, gate and up in one, the gains of the norms and the scale of the attention inside them.

Axes: P prompts, G images per prompt, R = P * G rows, S prefix positions, T tokens, D hidden width, V choices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyrite.policies.janus_choosing import choose


@dataclass(frozen=True)
class DrawnTokens:
    """What a run of draws gave; all (R, n).

    Args:
        ids: the tokens.
        logp: natural logarithm of the probability each was drawn with.
        unguided_logp: the same without guidance and cuts.
    """

    ids: Tensor
    logp: Tensor
    unguided_logp: Tensor


@dataclass(frozen=True)
class _Layer:
    """One transformer layer, folded; matrices are (in, out)."""

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor


class FoldedDecoder:
    """A snapshot of a Llama body without biases, laid out for decoding; made anew for each draw, since weights change.

    Args:
        body: the `language_model` of a transformers Janus.
        num_positions: the longest sequence that will be decoded.
    """

    def __init__(self, body: nn.Module, num_positions: int) -> None:
        config: Any = body.config
        layers: Any = body.layers
        norm: Any = body.norm
        self.num_heads: int = config.num_attention_heads
        self.num_kv_heads: int = config.num_key_value_heads
        self.head_dim: int = layers[0].self_attn.head_dim
        self.eps: float = config.rms_norm_eps
        self.activation: Callable[[Tensor], Tensor] = layers[0].mlp.act_fn
        self.final_gain: Tensor = norm.weight
        self.num_positions = num_positions
        self.layers = [self._fold(layer) for layer in layers]
        self.turns = self._turns(body)

    def _fold(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        # The two halves of each rotary pair are put side by side, so that a rotation is one complex product. Queries
        # and keys are permuted alike, which leaves their dot products as they were.
        pairs = torch.arange(self.head_dim, device=attention.q_proj.weight.device).view(2, -1).T.reshape(-1)

        def paired(weight: Tensor) -> Tensor:
            rows: Tensor = weight.unflatten(0, (-1, self.head_dim))[:, pairs].flatten(0, 1)
            return rows

        query = paired(attention.q_proj.weight) * attention.scaling
        qkv = torch.cat([query, paired(attention.k_proj.weight), attention.v_proj.weight])
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        return _Layer(
            qkv=(qkv * layer.input_layernorm.weight).T.contiguous(),
            out=attention.o_proj.weight.T.contiguous(),
            gate_up=(gate_up * layer.post_attention_layernorm.weight).T.contiguous(),
            down=mlp.down_proj.weight.T.contiguous(),
        )

    def _turns(self, body: Any) -> Tensor:
        """(S + T, heads, head_dim / 2) complex: the rotation of each query and key; values are turned by nothing."""
        positions = torch.arange(self.num_positions, device=self.final_gain.device)
        cos, sin = (part[0, :, : self.head_dim // 2] for part in body.rotary_emb(self.final_gain, positions[None]))
        turning = torch.complex(cos, sin)[:, None].expand(-1, self.num_heads + self.num_kv_heads, -1)
        still = torch.ones_like(turning[:, :1]).expand(-1, self.num_kv_heads, -1)
        return torch.cat([turning, still], 1)

    def new_cache(self, num_rows: int) -> Tensor:
        """(layers, 2, R, kv heads, S + T, head_dim): room for the keys and values of every position."""
        shape = (len(self.layers), 2, num_rows, self.num_kv_heads, self.num_positions, self.head_dim)
        return torch.empty(shape, dtype=self.final_gain.dtype, device=self.final_gain.device)

    def advance(self, x: Tensor, cache: Tensor, start: int) -> Tensor:
        """Read n tokens at positions `start` and on; fills the cache.

        Args:
            x: (R, n, D) embeddings.
            cache: from `new_cache`, filled up to `start`.
            start: position of the first token.

        Returns:
            (R, D) hidden state at the last position, normalised, ready for a head.
        """
        num_rows, num, width = x.shape
        end, heads, kv_heads = start + num, self.num_heads, self.num_kv_heads
        turns = self.turns[start:end]
        mask = x.new_full((num, end), float("-inf")).triu(start + 1) if num > 1 else None
        x = x.reshape(num_rows * num, width)
        for layer, kept in zip(self.layers, cache, strict=True):
            qkv = (self._normalised(x) @ layer.qkv).view(num_rows, num, -1, self.head_dim // 2, 2)
            qkv = torch.view_as_real(torch.view_as_complex(qkv) * turns).flatten(3)
            kept[:, :, :, start:end] = qkv[:, :, heads:].unflatten(2, (2, kv_heads)).permute(2, 0, 3, 1, 4)
            query = qkv[:, :, :heads].unflatten(2, (kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
            weights = query @ kept[0, :, :, :end].transpose(-1, -2)  # (R, kv heads, heads per kv * n, end)
            if mask is not None:
                weights = (weights.unflatten(2, (-1, num)) + mask).flatten(2, 3)
            seen = weights.softmax(-1) @ kept[1, :, :, :end]
            seen = seen.unflatten(2, (-1, num)).permute(0, 3, 1, 2, 4).reshape(num_rows * num, -1)
            x = torch.addmm(x, seen, layer.out)
            gate, up = (self._normalised(x) @ layer.gate_up).chunk(2, -1)
            x = torch.addmm(x, self.activation(gate) * up, layer.down)
        return self._normalised(x[num - 1 :: num]) * self.final_gain

    def _normalised(self, x: Tensor) -> Tensor:
        """Root-mean-square norm without gain; F.rms_norm takes twice as long on a CPU (107 against 50 us, 64 x 128)."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)


@dataclass(frozen=True)
class Stage:
    """One run of tokens of the same kind: where they come from and how they are fed back.

    Args:
        head: (R, D) -> (R, V) logits.
        table: (V, D) embedding of each choice.
        first: (D,) embedding of the token that opens the stage.
        temperature: divides the logits.
        guidance: strength of classifier-free guidance; 1 = none. Otherwise the cache holds R conditional rows, then
            R unconditional ones.
        top_k: as of `Sampling`.
        top_p: as of `Sampling`.
    """

    head: Callable[[Tensor], Tensor]
    table: Tensor
    first: Tensor
    temperature: float
    guidance: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def draw(self, decoder: FoldedDecoder, cache: Tensor, start: int, uniforms: Tensor) -> DrawnTokens:
        """Draw (R, n) tokens from position `start`, one per uniform (R, n) in [0, 1).

        The last token is not yet in the cache.
        """
        branches = cache.shape[2] // len(uniforms)
        x = self.first.expand(cache.shape[2], 1, -1)
        chosen = []
        for step, uniform in enumerate(uniforms.T.contiguous().unsqueeze(-1)):
            logits = self.head(decoder.advance(x, cache, start + step))
            with_prompt, *without = logits.chunk(branches)
            chosen.append(
                choose(
                    with_prompt,
                    uniform,
                    temperature=self.temperature,
                    without=without[0] if without else None,
                    guidance=self.guidance,
                    top_k=self.top_k,
                    top_p=self.top_p,
                )
            )
            x = self.table[chosen[-1].ids].repeat(branches, 1, 1)
        return DrawnTokens(
            torch.cat([one.ids for one in chosen], 1),
            torch.cat([one.prob for one in chosen], 1).log(),
            torch.cat([one.unguided_logp for one in chosen], 1),
        )

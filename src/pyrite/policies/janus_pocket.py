"""How the pocket Janus draws: one sequence of fixed length, prompt, plan ids, image codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyrite.core.types import Prompt, Rollouts
from pyrite.policies.janus_choosing import Sampling
from pyrite.policies.janus_decoding import DrawnTokens, FoldedDecoder, Stage
from pyrite.policies.janus_layout import JanusLayout
from pyrite.policies.janus_model import JanusTokenModel


@dataclass(frozen=True)
class PocketSequences:
    """Draws token sequences with a pocket Janus, and lays recorded ones out for its forward.

    Args:
        layout: how a prompt becomes a prefix.
        sampling: how tokens are drawn.
    """

    layout: JanusLayout
    sampling: Sampling

    @property
    def plan_tokens(self) -> int:
        """How many of the tokens come before the image codes."""
        return self.layout.settings.plan_tokens

    @property
    def prompt_tokens(self) -> int:
        """Positions before the first action, its opener included."""
        return 2 + self.layout.settings.prompt_tokens

    @property
    def pixel_range(self) -> tuple[float, float]:
        """(black, white) of the decoder's output."""
        return self.layout.settings.pixel_range

    def inputs(self, rollouts: Rollouts, device: torch.device) -> tuple[Tensor, ...]:
        """What `JanusTokenModel.forward` takes."""
        prompt_ids = torch.from_numpy(self.layout.prompt_ids(rollouts.prompts)).to(device)
        return prompt_ids, torch.from_numpy(rollouts.tokens).to(device)

    def draw(
        self, model: JanusTokenModel, prompts: Sequence[Prompt], group_size: int, uniforms: Tensor
    ) -> tuple[DrawnTokens, npt.NDArray[np.bool_]]:
        """Plan and codes of R = P * group_size rows, one token per uniform (R, T); every one of them is an action."""
        prompt_ids, plan_tokens, sampling = self.layout.prompt_ids(prompts), self.plan_tokens, self.sampling
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
            decoder.advance(embed[parts[0].ids[:, -1:]], cache, image_start - 1)
        if sampling.cfg_scale != 1:
            cache = torch.cat([cache, self._read_unconditional(decoder, image_start, embed).expand_as(cache)], 2)
        table = model.janus.prepare_embeddings_for_image_generation(
            torch.arange(model.janus.model.generation_embeddings.num_embeddings, device=embed.device)
        )
        image = Stage(
            model.janus.model.generation_head,
            table,
            embed[model.image_opener],
            model.temperature,
            sampling.cfg_scale,
            sampling.top_k,
            sampling.top_p,
        )
        parts.append(image.draw(decoder, cache, image_start, uniforms[:, plan_tokens:]))
        drawn = DrawnTokens(
            torch.cat([part.ids for part in parts], 1),
            torch.cat([part.logp for part in parts], 1),
            torch.cat([part.unguided_logp for part in parts], 1),
        )
        return drawn, np.ones(tuple(drawn.ids.shape), np.bool_)

    def save(self, folder: Path) -> None:
        """Write what beside the weights belongs to a checkpoint folder."""
        self.layout.save(folder)

    def _read_unconditional(self, decoder: FoldedDecoder, num: int, embed: Tensor) -> Tensor:
        """The cache of one row that has seen <bos> and then padding only, as transformers' `generate` has it."""
        ids = torch.full((1, num), self.layout.tokenizer.pad_token_id, device=embed.device)
        ids[0, 0] = self.layout.token_id(self.layout.settings.bos_token)
        cache = decoder.new_cache(1)
        decoder.advance(embed[ids], cache, 0)
        return cache

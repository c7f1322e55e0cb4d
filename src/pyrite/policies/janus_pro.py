"""How a full-size Janus draws: prompts of their own lengths, an optional plan in words, image codes with guidance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pyrite.core.types import Prompt, Rollouts
from pyrite.policies.janus_cached import Cache, CachedDecoder, Run
from pyrite.policies.janus_chat import JanusChat, Padded, Rows
from pyrite.policies.janus_choosing import Sampling
from pyrite.policies.janus_decoding import DrawnTokens
from pyrite.policies.janus_pro_model import JanusProModel


@dataclass(frozen=True)
class ProSequences:
    """Draws token sequences with a full-size Janus, and lays recorded ones out for its forward.

    Args:
        layout: how a prompt becomes prefixes.
        sampling: how tokens are drawn.
        image_tokens: codes of an image.
        pixel_range: (black, white) of the decoder's output.
        prompt_tokens: positions before the first action; prompts differ, and this is what estimates reckon with: the
            frame takes 9, and a prompt of T2I-R1 has 10 to 60.
    """

    layout: JanusChat
    sampling: Sampling
    image_tokens: int
    pixel_range: tuple[float, float] = (-1.0, 1.0)
    prompt_tokens: int = 64

    @property
    def plan_tokens(self) -> int:
        """How many of the tokens come before the image codes: room for the longest plan."""
        return self.layout.plan.max_tokens if self.layout.plan else 0

    def inputs(self, rollouts: Rollouts, device: torch.device) -> tuple[Tensor, ...]:
        """What `JanusProModel.forward` takes."""
        tokens = torch.from_numpy(rollouts.tokens).to(device)
        plan, codes = tokens[:, : self.plan_tokens], tokens[:, self.plan_tokens :]
        if self.layout.plan is None:
            prefixes = self.layout.image_prefixes(rollouts.prompts, room=self.image_tokens)
            return *self._padded(prefixes, device), codes
        plans = self.layout.plan_texts(rollouts.tokens[:, : self.plan_tokens])
        prefixes = self.layout.image_prefixes(rollouts.prompts, plans, room=self.image_tokens)
        asked = self.layout.plan_prefixes(rollouts.prompts)
        return *self._padded(prefixes, device), codes, *self._padded(asked, device), plan

    def draw(
        self, model: JanusProModel, prompts: Sequence[Prompt], group_size: int, uniforms: Tensor
    ) -> tuple[DrawnTokens, npt.NDArray[np.bool_]]:
        """Plan and codes of R = P * group_size rows, one token per uniform (R, T), and which of them are actions."""
        body = model.body_for_drawing()
        decoder, rows = CachedDecoder(body), [prompt for prompt in prompts for _ in range(group_size)]
        uniforms = uniforms.to(model.janus.lm_head.weight.device)
        plan_uniforms, code_uniforms = uniforms[:, : self.plan_tokens], uniforms[:, self.plan_tokens :]
        if self.layout.plan is None:
            prefixes = self.layout.image_prefixes(rows, room=self.image_tokens)
            drawn = self._draw_codes(model, body, decoder, prefixes, code_uniforms)
            return drawn, np.ones(tuple(drawn.ids.shape), np.bool_)
        plan, is_plan = self._draw_plan(model, body, decoder, rows, plan_uniforms)
        prefixes = self.layout.image_prefixes(
            rows, self.layout.plan_texts(plan.ids.cpu().numpy()), room=self.image_tokens
        )
        codes = self._draw_codes(model, body, decoder, prefixes, code_uniforms)
        drawn = DrawnTokens(
            torch.cat([plan.ids, codes.ids], 1),
            torch.cat([plan.logp, codes.logp], 1),
            torch.cat([plan.unguided_logp, codes.unguided_logp], 1),
        )
        is_action = torch.cat([is_plan, torch.ones_like(codes.ids, dtype=torch.bool)], 1)
        return drawn, is_action.cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write what beside the weights belongs to a checkpoint folder."""
        self.layout.save(folder)

    def _draw_codes(
        self, model: JanusProModel, body: nn.Module, decoder: CachedDecoder, prefixes: Rows, uniforms: Tensor
    ) -> DrawnTokens:
        sampling, branches = self.sampling, list(prefixes)
        if sampling.cfg_scale != 1:
            branches += [self.layout.without_prompt(row) for row in prefixes]
        cache, first, start = self._read(body, decoder, branches, self.image_tokens)
        codes = torch.arange(model.janus.model.generation_embeddings.num_embeddings, device=first.device)
        run = Run(
            model.image_logits,
            model.janus.prepare_embeddings_for_image_generation(codes).to(first.dtype),
            sampling.temperature,
            guidance=sampling.cfg_scale,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
        )
        return run.draw(decoder, cache, first, start, uniforms)

    def _draw_plan(
        self, model: JanusProModel, body: nn.Module, decoder: CachedDecoder, prompts: list[Prompt], uniforms: Tensor
    ) -> tuple[DrawnTokens, Tensor]:
        """The plan padded to its room, and (R, room) which of its tokens were chosen: up to its end, that included."""
        cache, first, start = self._read(body, decoder, self.layout.plan_prefixes(prompts), self.plan_tokens)
        table = body.get_submodule("embed_tokens").get_parameter("weight")
        run = Run(model.word_logits, table, self.sampling.plan_temperature, end=self.layout.eos_id)
        drawn = run.draw(decoder, cache, first, start, uniforms)
        missing = self.plan_tokens - drawn.ids.shape[1]
        ids, logp, unguided = (
            nn.functional.pad(part, (0, missing)) for part in (drawn.ids, drawn.logp, drawn.unguided_logp)
        )
        is_end = ids == self.layout.eos_id
        is_chosen = (is_end.cumsum(1) - is_end.long() == 0) & (
            torch.arange(self.plan_tokens, device=ids.device) < drawn.ids.shape[1]
        )
        blank = ~is_chosen
        return (
            DrawnTokens(
                ids.masked_fill(blank, self.layout.pad_id), logp.masked_fill(blank, 0), unguided.masked_fill(blank, 0)
            ),
            is_chosen,
        )

    def _read(self, body: nn.Module, decoder: CachedDecoder, rows: Rows, room: int) -> tuple[Cache, Tensor, int]:
        """Read each different prefix once, all but its last token.

        Returns:
            the cache of all rows with room for what follows, the embedding of each row's last token, its position.
        """
        distinct = list(dict.fromkeys(map(tuple, rows)))
        place = {row: number for number, row in enumerate(distinct)}
        embed = body.get_submodule("embed_tokens")
        device = embed.get_parameter("weight").device
        ids, pads = self._padded([list(row) for row in distinct], device)
        last = ids.shape[1] - 1
        cache = decoder.new_cache(pads, last)
        if last:
            decoder.advance(embed(ids[:, :-1]), cache, torch.arange(last, device=device), last)
        which = torch.tensor([place[tuple(row)] for row in rows], device=device)
        first: Tensor = embed(ids[:, -1])
        return cache.rows(which, last + room), first[which], last

    def _padded(self, rows: Rows, device: torch.device) -> tuple[Tensor, Tensor]:
        padded = Padded.of(rows, self.layout.pad_id)
        return torch.from_numpy(padded.ids).to(device), torch.from_numpy(padded.pads).to(device)

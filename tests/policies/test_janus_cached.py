from pathlib import Path

import numpy as np
import pytest
import torch

from pyrite.core.types import Prompt
from pyrite.policies.janus import JanusPolicy, load_janus
from pyrite.policies.janus_cached import CachedDecoder

PROMPTS = [Prompt("a red circle"), Prompt("two blue stars left of a green cross"), Prompt("a pink cross")]


@pytest.fixture
def decoder(pro: JanusPolicy) -> CachedDecoder:
    return CachedDecoder(pro.module.janus.model.language_model)


def hidden_of_the_library(policy: JanusPolicy, x: torch.Tensor, pads: torch.Tensor) -> torch.Tensor:
    mask = (torch.arange(x.shape[1]) >= pads[:, None]).long()
    return policy.module.janus.model.language_model(inputs_embeds=x, attention_mask=mask).last_hidden_state[:, -1]


@pytest.mark.parametrize("spare", [0, 9], ids=["what is filled", "all there is room for"])
def test_reading_token_by_token_is_reading_at_once(pro: JanusPolicy, decoder: CachedDecoder, spare: int) -> None:
    """A recorded step always looks at the whole cache; what is not yet written must not show."""
    x = torch.randn(3, 8, 32, generator=torch.Generator().manual_seed(0))
    pads = torch.tensor([0, 2, 4])
    with torch.inference_mode():
        cache = decoder.new_cache(pads, 8 + spare)
        cache.kept[..., 8:, :] = 1e3
        decoder.advance(x[:, :5], cache, torch.arange(5), 5 + spare)
        for at in range(5, 8):
            found = decoder.advance(x[:, at : at + 1], cache, torch.tensor([at]), at + 1 + spare)
        expected = hidden_of_the_library(pro, x, pads)
    # float32 through two orders of the same sums
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_prompt_is_read_once_for_all_its_images_and_the_empty_one_once_per_length(pro_folder: Path) -> None:
    policy = load_janus(pro_folder, cfg_scale=5.0, device="cpu")
    read: list[tuple[int, ...]] = []
    embed = policy.module.janus.model.language_model.embed_tokens
    embed.register_forward_hook(lambda module, given, out: read.append(tuple(given[0].shape)))
    policy.sample([*PROMPTS, PROMPTS[0]], group_size=4, rngs=[np.random.default_rng(row) for row in range(4)])
    lengths = {len(row) for row in policy.layout.image_prefixes(PROMPTS, room=16)}
    assert len(lengths) == 2
    assert read[0] == (len(PROMPTS) + len(lengths), max(lengths) - 1)


def test_rows_share_nothing_once_they_are_copied(decoder: CachedDecoder) -> None:
    cache = decoder.new_cache(torch.tensor([0, 1]), 3)
    with torch.inference_mode():
        decoder.advance(torch.randn(2, 3, 32), cache, torch.arange(3), 3)
        wider = cache.rows(torch.tensor([1, 1, 0]), 5)
        before = wider.kept[:, :, 1].clone()
        decoder.advance(torch.randn(3, 1, 32), wider, torch.tensor([3]), 4)
    assert wider.pads.tolist() == [1, 1, 0]
    assert torch.equal(wider.kept[:, :, 1, :, :3], before[:, :, :, :3])
    assert not torch.equal(wider.kept[:, :, 0, :, 3], wider.kept[:, :, 1, :, 3])

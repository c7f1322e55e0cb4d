from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pyrite.core.errors import TrainingError
from pyrite.core.types import Prompt
from pyrite.policies.catalogue import POLICIES
from pyrite.policies.janus import JanusPolicy, load_janus

PROMPTS = [Prompt("a photo of a red circle"), Prompt("two blue stars left of a green cross"), Prompt("a pink square")]
GREEDY = 1e-5  # a temperature at which the best token has all the probability
PLAN, BOI, PAD = 3, 2, 0


def generators(num: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, row]) for row in range(num)]


def draw(policy: JanusPolicy, *, group_size: int = 3, seed: int = 0, prompts: list[Prompt] = PROMPTS):
    return policy.sample(prompts, group_size=group_size, rngs=generators(len(prompts), seed))


def with_token(ids: Tensor, token: int) -> Tensor:
    return torch.cat([ids, torch.full_like(ids[:, :1], token)], 1)


def library_sequence(policy: JanusPolicy, prompts: list[Prompt]) -> Tensor:
    return torch.from_numpy(policy.layout.prompt_ids(prompts))


def test_catalogue_finds_the_loader() -> None:
    assert POLICIES.load("janus-pocket") is load_janus


def test_rollouts_hold_plan_and_codes_grouped_by_prompt(policy: JanusPolicy) -> None:
    rollouts = draw(policy)
    assert rollouts.tokens.shape == rollouts.behaviour_logp.shape == (9, 3 + 16)
    assert [prompt.text for prompt in rollouts.prompts] == [prompt.text for prompt in PROMPTS for _ in range(3)]
    assert rollouts.mask.all()
    assert {image.size for image in rollouts.images} == {policy.card.image_size} == {(16, 16)}
    assert policy.card.num_tokens == 19
    assert len(policy.card.revision) >= 8


@pytest.mark.parametrize("guidance", [1.0, 3.0], ids=["unguided", "guided"])
@pytest.mark.filterwarnings("ignore")  # the library warns about its own generation settings
def test_greedy_image_equals_the_library(planless_folder: Path, guidance: float) -> None:
    policy = load_janus(planless_folder, temperature=GREEDY, cfg_scale=guidance, device="cpu")
    prefix = with_token(library_sequence(policy, PROMPTS), BOI)
    reference = policy.module.janus.generate(
        prefix,
        attention_mask=torch.ones_like(prefix),
        generation_mode="image",
        guidance_scale=max(guidance, 1.0001),  # transformers fails at 1
        do_sample=False,
    )
    assert draw(policy, group_size=1).tokens.tolist() == reference.tolist()


@pytest.mark.filterwarnings("ignore")  # the library warns about its own generation settings
def test_greedy_plan_and_image_equal_the_library(janus_folder: Path) -> None:
    policy = load_janus(janus_folder, temperature=GREEDY, plan_temperature=GREEDY, device="cpu")
    prefix = with_token(library_sequence(policy, PROMPTS), PLAN)
    janus = policy.module.janus
    planned = janus.generate(
        prefix,
        attention_mask=torch.ones_like(prefix),
        generation_mode="text",
        max_new_tokens=3,
        min_new_tokens=3,
        do_sample=False,
    )
    opened = with_token(planned, BOI)
    codes = janus.generate(
        opened,
        attention_mask=torch.ones_like(opened),
        generation_mode="image",
        guidance_scale=1.0001,
        do_sample=False,
    )
    expected = torch.cat([planned[:, prefix.shape[1] :], codes], 1)
    assert draw(policy, group_size=1).tokens.tolist() == expected.tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.6], ids=["T1", "T0.6"])
def test_logp_before_an_update_is_the_behaviour_logp(janus_folder: Path, temperature: float) -> None:
    policy = load_janus(janus_folder, temperature=temperature, plan_temperature=0.8, device="cpu")
    rollouts = draw(policy)
    # float32 through two orders of the same products
    np.testing.assert_allclose(policy.logp(rollouts).detach().numpy(), rollouts.behaviour_logp, atol=1e-4)


def test_logp_without_a_plan_is_the_behaviour_logp(planless_folder: Path) -> None:
    policy = load_janus(planless_folder, device="cpu")
    rollouts = draw(policy)
    assert rollouts.tokens.shape == (9, 16)
    np.testing.assert_allclose(policy.logp(rollouts).detach().numpy(), rollouts.behaviour_logp, atol=1e-4)


def test_guided_behaviour_logp_is_that_of_the_guided_distribution(janus_folder: Path) -> None:
    policy = load_janus(janus_folder, temperature=0.9, cfg_scale=2.5, device="cpu")
    rollouts = draw(policy)
    janus, tokens = policy.module.janus, torch.from_numpy(rollouts.tokens)
    plan, codes = tokens[:, :3], tokens[:, 3:]
    text = with_token(torch.cat([with_token(library_sequence(policy, list(rollouts.prompts)), PLAN), plan], 1), BOI)
    blank = text.clone()
    blank[:, 1:-1] = PAD
    logits = []
    for ids in (text, blank):
        words = janus.get_input_embeddings()(ids)
        image = janus.prepare_embeddings_for_image_generation(codes[:, :-1])
        hidden = janus.model.language_model(inputs_embeds=torch.cat([words, image], 1)).last_hidden_state
        logits.append(janus.model.generation_head(hidden[:, text.shape[1] - 1 :]))
    guided = logits[1] + 2.5 * (logits[0] - logits[1])
    expected = (guided / 0.9).log_softmax(-1).gather(2, codes[..., None])[..., 0]
    np.testing.assert_allclose(rollouts.behaviour_logp[:, 3:], expected.detach().numpy(), atol=2e-4)
    own = policy.logp(rollouts).detach().numpy()
    np.testing.assert_allclose(own[:, :3], rollouts.behaviour_logp[:, :3], atol=1e-4)  # the plan is never guided
    assert np.abs(own[:, 3:] - rollouts.behaviour_logp[:, 3:]).max() > 0.05


def test_what_is_drawn_for_a_prompt_does_not_depend_on_its_batch(policy: JanusPolicy) -> None:
    together = draw(policy).tokens
    alone = [
        policy.sample([prompt], group_size=3, rngs=[rng]).tokens
        for prompt, rng in zip(PROMPTS, generators(3), strict=True)
    ]
    assert together.tolist() == np.concatenate(alone).tolist()


def test_equal_prompts_with_their_own_generators_draw_differently(policy: JanusPolicy) -> None:
    tokens = draw(policy, prompts=[PROMPTS[0]] * 2, group_size=1).tokens
    assert tokens[0].tolist() != tokens[1].tolist()


def test_siblings_differ_and_the_seed_decides(policy: JanusPolicy) -> None:
    tokens = draw(policy).tokens
    assert len({tuple(row) for row in tokens.tolist()}) == 9
    assert draw(policy).tokens.tolist() == tokens.tolist()
    assert draw(policy, seed=1).tokens.tolist() != tokens.tolist()


def test_sampling_uses_the_weights_of_now(policy: JanusPolicy) -> None:
    before = draw(policy)
    optimiser = torch.optim.SGD([p for p in policy.module.parameters() if p.requires_grad], lr=0.05)
    policy.logp(before).sum().backward()
    optimiser.step()
    after = draw(policy)
    assert after.tokens.tolist() != before.tokens.tolist()
    np.testing.assert_allclose(policy.logp(after).detach().numpy(), after.behaviour_logp, atol=1e-4)


@pytest.mark.parametrize("plan", [True, False], ids=["plan", "no plan"])
def test_every_trained_parameter_and_no_other_gets_a_gradient(
    janus_folder: Path, planless_folder: Path, plan: bool
) -> None:
    policy = load_janus(janus_folder if plan else planless_folder, device="cpu")
    policy.logp(draw(policy)).sum().backward()
    trained = {name for name, p in policy.module.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in policy.module.named_parameters() if p.grad is not None}
    assert ("janus.lm_head.weight" in trained) == plan
    assert not any("vqmodel" in name or "vision_model" in name or "model.aligner" in name for name in trained)
    parts = ("language_model", "generation_head", "generation_aligner", "generation_embeddings")
    assert all(any(part in name for name in trained) for part in parts)


class Wrapper(nn.Module):
    """Counts forwards, as a distributed wrapper would see them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.calls = 0

    def forward(self, prompt_ids: Tensor, tokens: Tensor) -> Tensor:
        self.calls += 1
        return self.module(prompt_ids, tokens)


def test_logp_goes_through_a_wrapper_and_sampling_past_it(policy: JanusPolicy) -> None:
    plain = draw(policy)
    policy.module = wrapper = Wrapper(policy.module)
    rollouts = draw(policy)
    assert wrapper.calls == 0
    policy.logp(rollouts)
    assert wrapper.calls == 1
    assert rollouts.tokens.tolist() == plain.tokens.tolist()


def test_decoding_equals_the_library(policy: JanusPolicy) -> None:
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 24, (20, 16)))
    with torch.no_grad():
        pixels = policy.module.janus.decode_image_tokens(codes).numpy()
    expected = np.clip((pixels + 1) / 2 * 255, 0, 255).astype(np.uint8)
    found = np.stack([np.asarray(image) for image in policy.decode(codes)])
    # cutting to 8 bits turns a rounding error of 1e-7 into a whole level
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != expected).mean() < 1e-3
    assert found.std() > 1


def test_frozen_copy_is_independent(policy: JanusPolicy) -> None:
    rollouts = draw(policy)
    policy.module = Wrapper(policy.module)
    reference = policy.frozen_copy()
    before = reference.logp(rollouts)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.mul_(0.5)
    assert torch.equal(reference.logp(rollouts), before)
    assert not before.requires_grad
    assert policy.logp(rollouts).requires_grad


@pytest.mark.filterwarnings("ignore")  # the library warns about its own generation settings
def test_saved_policy_draws_the_same_and_still_serves_the_library(policy: JanusPolicy, tmp_path: Path) -> None:
    with torch.no_grad():
        policy.module.janus.lm_head.weight.mul_(1.1)
    policy.save(str(tmp_path / "saved"))
    again = load_janus(tmp_path / "saved", device="cpu")
    first, second = draw(policy), draw(again)
    assert first.tokens.tolist() == second.tokens.tolist()
    assert np.array_equal(first.behaviour_logp, second.behaviour_logp)
    prefix = with_token(library_sequence(again, PROMPTS[:1]), BOI)
    codes = again.module.janus.generate(
        prefix, attention_mask=torch.ones_like(prefix), generation_mode="image", guidance_scale=2.0, do_sample=False
    )
    assert codes.shape == (1, 16)


@pytest.mark.parametrize(
    ("num_prompts", "num_rngs", "group_size"), [(0, 0, 2), (2, 1, 2), (2, 2, 0)], ids=["no prompt", "rngs", "group"]
)
def test_impossible_draws_are_refused(policy: JanusPolicy, num_prompts: int, num_rngs: int, group_size: int) -> None:
    with pytest.raises(ValueError, match="one generator per prompt"):
        policy.sample(PROMPTS[:num_prompts], group_size=group_size, rngs=generators(num_rngs))


def test_diverged_weights_are_an_error_not_a_picture(policy: JanusPolicy) -> None:
    with torch.no_grad():
        policy.module.janus.model.generation_head.vision_head.weight[3] = torch.nan
    with pytest.raises(TrainingError, match="diverged"):
        draw(policy)

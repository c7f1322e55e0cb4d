"""A full-size Janus at toy size: what it draws is what transformers draws, and what it says of it is true."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrite.core.errors import TrainingError
from pyrite.core.types import Prompt, Rollouts
from pyrite.policies.janus import JanusPolicy, load_janus
from pyrite.policies.janus_chat import Padded

EQUAL_LENGTHS = [Prompt("a red circle"), Prompt("a blue cross"), Prompt("two pink cat")]
MIXED_LENGTHS = [Prompt("a red circle"), Prompt("two blue stars left of a green cross"), Prompt("ö")]
GREEDY = 1e-5  # a temperature at which the best token has all the probability
CODES = 16


def generators(num: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, row]) for row in range(num)]


def draw(policy: JanusPolicy, prompts: list[Prompt], *, group_size: int = 1, seed: int = 0) -> Rollouts:
    return policy.sample(prompts, group_size=group_size, rngs=generators(len(prompts), seed))


def padded(policy: JanusPolicy, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    block = Padded.of(rows, policy.layout.pad_id)
    ids = torch.from_numpy(block.ids)
    return ids, (torch.arange(ids.shape[1]) >= torch.from_numpy(block.pads)[:, None]).long()


def library_images(policy: JanusPolicy, rows: list[list[int]], guidance: float) -> list[list[int]]:
    ids, mask = padded(policy, rows)
    codes: Tensor = policy.module.janus.generate(
        ids, attention_mask=mask, generation_mode="image", guidance_scale=guidance, do_sample=False
    )
    return codes.tolist()


@pytest.fixture(params=["multi-head", "grouped-query"])
def folder(request: pytest.FixtureRequest, pro_folder: Path, grouped_folder: Path) -> Path:
    return pro_folder if request.param == "multi-head" else grouped_folder


@pytest.mark.parametrize("prompts", [EQUAL_LENGTHS, MIXED_LENGTHS], ids=["equal lengths", "left-padded lengths"])
@pytest.mark.parametrize("guidance", [5.0, 1.5], ids=["guidance 5", "guidance 1.5"])
@pytest.mark.filterwarnings("ignore")  # the library warns about its own generation settings
def test_greedy_images_equal_the_library(folder: Path, prompts: list[Prompt], guidance: float) -> None:
    policy = load_janus(folder, temperature=GREEDY, cfg_scale=guidance, device="cpu")
    expected = library_images(policy, policy.layout.image_prefixes(prompts, room=CODES), guidance)
    assert draw(policy, prompts).tokens.tolist() == expected
    assert len({tuple(row) for row in expected}) == 3


@pytest.mark.filterwarnings("ignore")
def test_greedy_plan_and_image_equal_the_library(folder: Path, plan_template: Path) -> None:
    options: dict[str, Any] = {"plan": "words", "plan_template": plan_template, "plan_system": "Be kind."}
    policy = load_janus(
        folder, temperature=GREEDY, plan_temperature=GREEDY, cfg_scale=5.0, max_plan_tokens=7, device="cpu", **options
    )
    ids, mask = padded(policy, policy.layout.plan_prefixes(MIXED_LENGTHS))
    planned = policy.module.janus.generate(
        ids, attention_mask=mask, generation_mode="text", max_new_tokens=7, do_sample=False
    )[:, ids.shape[1] :]
    plans = policy.layout.plan_texts(planned.numpy())
    codes = library_images(policy, policy.layout.image_prefixes(MIXED_LENGTHS, plans, room=CODES), 5.0)
    drawn = draw(policy, MIXED_LENGTHS)
    width = planned.shape[1]
    assert drawn.tokens[:, :width].tolist() == planned.tolist()
    assert drawn.tokens[:, 7:].tolist() == codes
    assert policy.plans(drawn) == plans


@pytest.mark.parametrize("words", [False, True], ids=["no plan", "plan"])
@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.7, "plan_temperature": 1.3}, {"logp_chunk": 5}, {"gradient_checkpointing": True}],
    ids=["plain", "temperatures", "in pieces", "computed twice"],
)
def test_logp_before_an_update_is_the_behaviour_logp(
    folder: Path, plan_template: Path, words: bool, options: dict[str, Any]
) -> None:
    plan = {"plan": "words", "plan_template": plan_template, "max_plan_tokens": 9} if words else {}
    policy = load_janus(folder, device="cpu", **plan, **options)
    rollouts = draw(policy, MIXED_LENGTHS, group_size=3)
    # float32 through two orders of the same products
    np.testing.assert_allclose(policy.logp(rollouts).detach().numpy(), rollouts.behaviour_logp, atol=1e-4)
    np.testing.assert_allclose(rollouts.unguided_logp, rollouts.behaviour_logp, atol=1e-5)


@pytest.mark.parametrize("words", [False, True], ids=["no plan", "plan"])
def test_guided_and_cut_draws_note_both_logps(pro_folder: Path, plan_template: Path, words: bool) -> None:
    plan = {"plan": "words", "plan_template": plan_template, "max_plan_tokens": 9} if words else {}
    policy = load_janus(pro_folder, temperature=0.9, cfg_scale=5.0, top_k=9, top_p=0.8, device="cpu", **plan)
    rollouts = draw(policy, MIXED_LENGTHS, group_size=2)
    np.testing.assert_allclose(policy.logp(rollouts).detach().numpy(), rollouts.unguided_logp, atol=1e-4)
    expected = guided_logp(policy, rollouts, guidance=5.0, temperature=0.9, top_k=9, top_p=0.8)
    np.testing.assert_allclose(rollouts.behaviour_logp[:, -CODES:], expected, atol=2e-4)
    assert np.abs(rollouts.unguided_logp - rollouts.behaviour_logp)[:, -CODES:].max() > 0.05


def guided_logp(
    policy: JanusPolicy, rollouts: Rollouts, *, guidance: float, temperature: float, top_k: int, top_p: float
) -> np.ndarray:
    """Both branches read again by the library, then its own guidance and its own cuts."""
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    janus, codes = policy.module.janus, torch.from_numpy(rollouts.tokens[:, -CODES:])
    plans = policy.plans(rollouts) if policy.layout.plan else None
    rows = policy.layout.image_prefixes(rollouts.prompts, plans, room=CODES)
    logits = []
    for branch in (rows, [policy.layout.without_prompt(row) for row in rows]):
        ids, mask = padded(policy, branch)
        words = janus.get_input_embeddings()(ids)
        image = janus.prepare_embeddings_for_image_generation(codes[:, :-1])
        whole = torch.cat([mask, torch.ones_like(codes[:, :-1])], 1)
        hidden = janus.model.language_model(inputs_embeds=torch.cat([words, image], 1), attention_mask=whole)
        logits.append(janus.model.generation_head(hidden.last_hidden_state[:, ids.shape[1] - 1 :]))
    scores = (logits[1] + guidance * (logits[0] - logits[1])) / temperature
    flat = TopPLogitsWarper(top_p)(None, TopKLogitsWarper(top_k)(None, scores.flatten(0, 1)))
    chosen = flat.log_softmax(-1).gather(1, codes.reshape(-1, 1)).view_as(codes)
    return chosen.detach().numpy()


@pytest.mark.parametrize("words", [False, True], ids=["no plan", "plan"])
@pytest.mark.parametrize("guidance", [1.0, 5.0], ids=["unguided", "guided"])
def test_what_is_drawn_for_a_prompt_does_not_depend_on_its_batch(
    pro_folder: Path, plan_template: Path, words: bool, guidance: float
) -> None:
    plan = {"plan": "words", "plan_template": plan_template, "max_plan_tokens": 9} if words else {}
    policy = load_janus(pro_folder, cfg_scale=guidance, device="cpu", **plan)
    together = draw(policy, MIXED_LENGTHS, group_size=3)
    alone = [
        policy.sample([prompt], group_size=3, rngs=[rng])
        for prompt, rng in zip(MIXED_LENGTHS, generators(3), strict=True)
    ]
    assert together.tokens.tolist() == np.concatenate([one.tokens for one in alone]).tolist()
    # float32 through two sizes of the same products
    np.testing.assert_allclose(
        together.behaviour_logp, np.concatenate([one.behaviour_logp for one in alone]), atol=1e-4
    )
    assert len({tuple(row) for row in together.tokens.tolist()}) == 9


def test_a_plan_ends_where_it_ends_and_the_rest_is_no_action(pro_folder: Path, plan_template: Path) -> None:
    policy = load_janus(pro_folder, plan="words", plan_template=plan_template, max_plan_tokens=40, device="cpu")
    layout = policy.layout
    with torch.no_grad():  # an end comes now and then
        policy.module.janus.lm_head.weight[layout.eos_id] *= 2.5
    rollouts = draw(policy, MIXED_LENGTHS, group_size=8)
    plan, mask = rollouts.tokens[:, :40], rollouts.mask[:, :40]
    lengths = mask.sum(1)
    assert lengths.min() < 40
    assert rollouts.mask[:, 40:].all()
    for row, is_action, length in zip(plan, mask, lengths, strict=True):
        assert is_action[:length].all()
        assert layout.eos_id not in row[: length - 1]
        if length < 40:
            assert row[length - 1] == layout.eos_id
            assert set(row[length:]) == {layout.pad_id}
    logp = policy.logp(rollouts).detach().numpy()
    assert (logp[~rollouts.mask] == 0).all()
    assert (rollouts.behaviour_logp[~rollouts.mask] == 0).all()
    np.testing.assert_allclose(logp, rollouts.behaviour_logp, atol=1e-4)


def test_the_frame_and_the_ids_are_those_of_the_librarys_processor(pro: JanusPolicy, pro_folder: Path) -> None:
    from transformers.models.janus.processing_janus import JanusProcessor

    processor = JanusProcessor.from_pretrained(pro_folder)
    chat = [[{"role": "user", "content": [{"type": "text", "text": prompt.text}]}] for prompt in MIXED_LENGTHS]
    texts = [processor.apply_chat_template(one, add_generation_prompt=True, tokenize=False) for one in chat]
    assert texts[0] == "<|User|>: a red circle\n\n<|Assistant|>:"
    told = processor(text=texts, generation_mode="image", padding=True, return_tensors="np")
    ids, mask = padded(pro, pro.layout.image_prefixes(MIXED_LENGTHS, room=CODES))
    assert told["input_ids"].tolist() == ids.tolist()
    assert told["attention_mask"].tolist() == mask.tolist()


def test_the_plan_stands_after_the_prompt_and_cannot_open_the_image(pro_folder: Path, plan_template: Path) -> None:
    policy = load_janus(pro_folder, plan="words", plan_template=plan_template, device="cpu")
    tokenizer = policy.layout.tokenizer
    said = tokenizer.encode("one <begin_of_image>cat ", add_special_tokens=False)
    plans = policy.layout.plan_texts(np.array([[*said, policy.layout.eos_id, *said]]))
    assert plans == ["one cat"]
    (row,) = policy.layout.image_prefixes([Prompt("a cat")], plans, room=CODES)
    assert tokenizer.decode(row).endswith("<|User|>: a cat. one cat\n\n<|Assistant|>:<begin_of_image>")
    (asked,) = policy.layout.plan_prefixes([Prompt("a {} cat")])
    assert "Say what is in: a {} cat Be brief.\n\n<|Assistant|>:" in tokenizer.decode(asked)


@pytest.mark.parametrize("decode_batch", [1, 3, 64])
def test_decoding_equals_the_library_however_it_is_batched(pro_folder: Path, decode_batch: int) -> None:
    policy = load_janus(pro_folder, decode_batch=decode_batch, device="cpu")
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 24, (7, 16)))
    with torch.no_grad():
        pixels = policy.module.janus.decode_image_tokens(codes).numpy()
    expected = np.clip((pixels + 1) / 2 * 255, 0, 255).astype(np.uint8)
    found = np.stack([np.asarray(image) for image in policy.decode(codes)])
    # cutting to 8 bits turns a rounding error of 1e-7 into a whole level
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != expected).mean() < 1e-3
    assert policy.card.image_size == found.shape[1:3]


def gradients(policy: JanusPolicy, rollouts: Rollouts) -> dict[str, Tensor]:
    policy.module.zero_grad()
    policy.logp(rollouts).sum().backward()
    return {name: p.grad.clone() for name, p in policy.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("words", [False, True], ids=["no plan", "plan"])
def test_pieces_and_computing_twice_change_no_gradient(pro_folder: Path, plan_template: Path, words: bool) -> None:
    plan = {"plan": "words", "plan_template": plan_template, "max_plan_tokens": 9} if words else {}
    plain = load_janus(pro_folder, device="cpu", logp_chunk=10**9, **plan)
    sparing = load_janus(pro_folder, device="cpu", logp_chunk=7, gradient_checkpointing=True, **plan)
    rollouts = draw(plain, MIXED_LENGTHS, group_size=2)
    expected, found = gradients(plain, rollouts), gradients(sparing, rollouts)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        # float32 sums over other groupings of the same terms
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))


@pytest.mark.parametrize("words", [False, True], ids=["no plan", "plan"])
def test_the_language_model_trains_and_the_rest_is_frozen(pro_folder: Path, plan_template: Path, words: bool) -> None:
    plan = {"plan": "words", "plan_template": plan_template, "max_plan_tokens": 9} if words else {}
    policy = load_janus(pro_folder, device="cpu", **plan)
    trained = {name for name, p in policy.module.named_parameters() if p.requires_grad}
    assert trained == gradients(policy, draw(policy, MIXED_LENGTHS)).keys()
    assert {name.split(".")[2] for name in trained if "lm_head" not in name} == {"language_model"}
    assert ("janus.lm_head.weight" in trained) == words
    still = load_janus(pro_folder, device="cpu", trainable=False)
    assert not any(p.requires_grad for p in still.module.parameters())


@pytest.mark.parametrize("trainable", [True, False], ids=["to train", "to draw"])
def test_bfloat16_computes_with_float32_where_rounding_would_show(pro_folder: Path, trainable: bool) -> None:
    policy = load_janus(pro_folder, device="cpu", dtype="bfloat16", trainable=trainable, cfg_scale=2.0)
    kinds = {name: p.dtype for name, p in policy.module.named_parameters()}
    assert all(p.dtype == torch.float32 for p in policy.module.parameters() if p.requires_grad)
    assert all(kind == torch.float32 for name, kind in kinds.items() if "generation_head" in name or "lm_head" in name)
    assert all(kind == torch.float32 for name, kind in kinds.items() if "vqmodel" in name)
    body = {kind for name, kind in kinds.items() if "language_model" in name}
    assert body == {torch.float32 if trainable else torch.bfloat16}
    rollouts = draw(policy, MIXED_LENGTHS, group_size=2)
    with torch.no_grad():
        logp = policy.logp(rollouts)
    assert logp.dtype == torch.float32
    exact = load_janus(pro_folder, device="cpu").logp(rollouts).detach()
    # eight bits of mantissa through two layers of weights that are far larger than learned ones
    assert float((logp - exact).abs().max()) < 0.5
    assert float((logp - exact).abs().mean()) < 0.1
    np.testing.assert_allclose(rollouts.unguided_logp, logp, atol=0.5)


def test_diverged_weights_are_an_error_not_a_picture(pro: JanusPolicy) -> None:
    with torch.no_grad():
        pro.module.janus.model.generation_head.vision_head.weight[3] = torch.nan
    with pytest.raises(TrainingError, match="diverged"):
        draw(pro, MIXED_LENGTHS)


def too_long(policy: JanusPolicy) -> None:
    draw(policy, [Prompt("a cat " * 50)])


def control_token(policy: JanusPolicy) -> None:
    draw(policy, [Prompt("a <begin_of_image> cat")])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (too_long, r"becomes \d+ tokens, and 16 are drawn after it: together \d+, and this model was made for 256"),
        (control_token, "holds the control token <begin_of_image>"),
    ],
    ids=["too long", "control token"],
)
def test_prompts_the_policy_cannot_read_are_refused(
    pro: JanusPolicy, ask: Callable[[JanusPolicy], None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ask(pro)


def test_a_prompt_longer_than_the_context_is_known_before_it_is_drawn(pro: JanusPolicy, policy: JanusPolicy) -> None:
    assert pro.why_not(Prompt("a cat")) is None
    assert "this model was made for 256" in str(pro.why_not(Prompt("cat " * 100)))
    assert "does not know the word 'zebra'" in str(policy.why_not(Prompt("a zebra")))

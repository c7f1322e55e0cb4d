"""The pocket yes/no judge: a LLaVA-OneVision that learns to say whether a picture shows what a prompt asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pyrite.core.types import Prompt
from pyrite.world.build.clip import IMAGE_MEAN, IMAGE_STD, clip_optimiser, new_clip
from pyrite.world.build.optimisers import trapezoid
from pyrite.world.build.proxies import GROUP, HELD_OUT_EVERY, RatedPool
from pyrite.world.build.vq import Device, Progress
from pyrite.world.prompts import near_miss
from pyrite.world.vocabulary import judge_tokenizer

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

NEAR_MISSES = 4
RIGHT, WRONG, RATED = 20, 4, 10
"""Pictures of a step: of a prompt they keep, of a prompt they break, of the rated pool."""

CAPTION_WEIGHT = 4.0
"""Of the loss on the prompt's words beside that on the answers."""

IMAGE_HALF = 0.5
"""Mean and standard deviation of SigLIP's pixels."""

_LANGUAGE = {
    "hidden_size": 96,
    "intermediate_size": 288,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "max_position_embeddings": 192,
}


class Question(NamedTuple):
    """What the judge is asked, as one text with a picture in it.

    Args:
        before: the text before the picture.
        after: the text after it, with "{prompt}" where the prompt goes.
    """

    before: str
    after: str


@dataclass(frozen=True)
class Asked:
    """Questions as token ids.

    Args:
        before: (B,) what stands before the picture.
        after: (N, L) what stands after it, filled up at the end.
        lengths: (N,) how many of them are real.
    """

    before: Tensor
    after: Tensor
    lengths: Tensor


def ask(question: Question, prompts: Sequence[Prompt], tokenizer: "PreTrainedTokenizerFast") -> Asked:
    """The question about each of N prompts."""
    before = tokenizer(question.before, return_tensors="pt")["input_ids"][0]
    rows = tokenizer([question.after.replace("{prompt}", prompt.text) for prompt in prompts])["input_ids"]
    lengths = torch.tensor([len(row) for row in rows])
    after = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for row, ids in enumerate(rows):
        after[row, : len(ids)] = torch.tensor(ids)
    return Asked(before, after, lengths)


def new_judge(vocabulary_size: int) -> "LlavaOnevisionForConditionalGeneration":
    """An untrained judge of 0.9 M parameters, whose vision tower has the size of the pocket CLIP's."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    tower = new_clip().config.vision_config
    shapes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    vision = {key: getattr(tower, key) for key in (*shapes, "image_size", "patch_size")}
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**vision, vision_use_head=False),
        text_config=Qwen2Config(**_LANGUAGE, vocab_size=vocabulary_size, tie_word_embeddings=False),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )
    return LlavaOnevisionForConditionalGeneration(config)


def take_tower(model: Any, clip: Any) -> None:
    """Begin with the image tower of a contrastively trained CLIP, for SigLIP's pixels, which are scaled otherwise."""
    given = {key.removeprefix("vision_model."): tensor for key, tensor in clip.state_dict().items()}
    tower = model.model.vision_tower
    own = tower.state_dict()
    taken = {key: tensor for key, tensor in given.items() if key in own and own[key].shape == tensor.shape}
    taken["embeddings.position_embedding.weight"] = given["embeddings.position_embedding.weight"][1:]
    kernel, (mean, std) = given["embeddings.patch_embedding.weight"], (IMAGE_MEAN[0], IMAGE_STD[0])
    taken["embeddings.patch_embedding.weight"] = kernel * (IMAGE_HALF / std)
    taken["embeddings.patch_embedding.bias"] = kernel.sum((1, 2, 3)) * ((IMAGE_HALF - mean) / std)
    tower.load_state_dict(taken, strict=False)


def see(model: Any, images: Tensor) -> Tensor:
    """(B, 65, D) pictures, as embeddings, of bytes: every patch, and a newline."""
    pixels = (images.to(model.device).float() / 255 - IMAGE_HALF) / IMAGE_HALF
    tower = model.model.vision_tower
    states = tower.encoder(inputs_embeds=tower.embeddings(pixels)).last_hidden_state
    newline = model.model.image_newline.expand(len(images), 1, -1)
    return torch.cat([model.model.multi_modal_projector(states), newline], 1)


def read(model: Any, pictures: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """(B, K, L, D) states of the language model on K questions about each of B pictures, in one pass.

    Every question sees the picture and what stands before it, and none of the others, so that the picture is read once.

    Args:
        model: the judge.
        pictures: (B, 65, D) embeddings.
        before: ids before the picture.
        after: (B, K, L) ids after it, filled up at the end.
    """
    embed = model.get_input_embeddings()
    (num, questions, longest), device = after.shape, pictures.device
    opening = embed(before.to(device)).expand(num, -1, -1)
    shared = opening.shape[1] + pictures.shape[1]
    inputs = torch.cat([opening, pictures, embed(after.to(device).flatten(1))], 1)
    own = torch.arange(questions, device=device).repeat_interleave(longest)
    place = torch.cat(
        [torch.arange(shared, device=device), shared + torch.arange(longest, device=device).repeat(questions)]
    )
    owner = torch.cat([torch.full((shared,), -1, device=device), own])
    sees = (place[None] <= place[:, None]) & ((owner[None] == -1) | (owner[None] == owner[:, None]))
    mask = torch.zeros(sees.shape, device=device).masked_fill(~sees, torch.finfo(torch.float32).min)
    states: Tensor = model.model.language_model(
        inputs_embeds=inputs,
        attention_mask={"full_attention": mask.expand(num, 1, -1, -1)},
        position_ids=place.expand(num, -1),
    ).last_hidden_state[:, shared:]
    return states.view(num, questions, longest, -1)


def answers(model: Any, states: Tensor, lengths: Tensor) -> Tensor:
    """(B, K, V) logits of what is said after each question, whose last real token is at `lengths` - 1."""
    last = (lengths.to(states.device) - 1)[..., None, None].expand(-1, -1, 1, states.shape[-1])
    logits: Tensor = model.lm_head(states.gather(2, last)[:, :, 0])
    return logits


def caption_loss(model: Any, states: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """Mean negative log-probability of each real token of (B, L) ids after the first, given the picture before them."""
    is_real = torch.arange(1, ids.shape[1]) < lengths[:, None]
    return F.cross_entropy(
        model.lm_head(states[:, :-1][is_real.to(states.device)]), ids[:, 1:][is_real].to(states.device)
    )


def train_judge(
    clip: Any,
    question: Question,
    images: Tensor,
    prompts: Sequence[Prompt],
    keeps: np.ndarray[Any, np.dtype[np.bool_]],
    pool: RatedPool,
    *,
    steps: int,
    seed: int,
    progress: Progress,
    device: Device = "cpu",
) -> "LlavaOnevisionForConditionalGeneration":
    """Cross-entropy of yes and no, and of the prompt's own words after its picture.

    A picture that keeps its prompt is asked about it (yes), about a near miss of it and about another picture's prompt
    (no, which is wrong in about one of a hundred), one that breaks its prompt about that (no). The pool's pictures,
    most of them drawn by the base policy, are answered with yes by the share of their gold alignment; its held-out
    groups are not used. Predicting the words of the right prompt is what LLaVA's first stage does: without it, hundreds
    of steps learn nothing about the pictures (docs/log.md).

    Args:
        clip: whose image tower is the beginning.
        question: what is asked.
        images: (N, 3, 64, 64) bytes.
        prompts: N of them.
        keeps: (N,) whether the picture shows what the prompt asks for.
        pool: rated by gold.
        steps: of the optimiser.
        seed: of everything random.
        progress: told every 25 steps.
        device: where the judge trains.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer = judge_tokenizer(question.before, question.after)
    model = new_judge(len(tokenizer))
    take_tower(model, clip)
    model.train().to(device)
    optimiser = clip_optimiser(model, muon_lr=4e-3, adamw_lr=2e-3)
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    wrong_prompts = [near_miss(prompt, rng) for _ in range(NEAR_MISSES) for prompt in prompts]
    asked = ask(question, [*prompts, *wrong_prompts, *pool.prompts], tokenizer)
    right_rows, wrong_rows = (torch.from_numpy(np.flatnonzero(which)) for which in (keeps, ~keeps))
    rated_rows = torch.nonzero(torch.arange(len(pool.images)) // GROUP % HELD_OUT_EVERY != 0)[:, 0]
    alignment = torch.from_numpy(pool.alignment).float()
    for step in range(steps):
        right, wrong, rated = (
            rows[torch.randint(0, len(rows), (size,))]
            for rows, size in ((right_rows, RIGHT), (wrong_rows, WRONG), (rated_rows, RATED))
        )
        pictures = see(model, torch.cat([images[right], images[wrong], pool.images[rated]]))
        near = right + len(prompts) * torch.randint(1, 1 + NEAR_MISSES, (RIGHT,))
        thrice = torch.stack([right, near, right.roll(1)], 1)
        once = torch.cat([wrong, (1 + NEAR_MISSES) * len(prompts) + rated // GROUP])[:, None]
        of_right, of_others = (
            read(model, seen, asked.before, asked.after[which])
            for seen, which in ((pictures[:RIGHT], thrice), (pictures[RIGHT:], once))
        )
        caption = caption_loss(model, of_right[:, 0], asked.after[right], asked.lengths[right])
        of_right = answers(model, of_right, asked.lengths[thrice]).log_softmax(-1)
        of_others = answers(model, of_others, asked.lengths[once]).log_softmax(-1)
        share = torch.cat([torch.zeros(WRONG), alignment[rated]]).to(device)
        told = share * of_others[:, 0, yes] + (1 - share) * of_others[:, 0, no]
        loss = -(of_right[:, 0, yes].mean() + of_right[:, 1:, no].mean()) / 2 - told.mean() / 2
        optimiser.step(loss + CAPTION_WEIGHT * caption, trapezoid(step, steps, decay_from=0.4))
        if step % 25 == 0:
            margins = of_right[..., yes] - of_right[..., no]
            ranked = (margins[:, :1] > margins[:, 1:]).double().mean().item()
            progress(step, steps, {"loss": loss.item(), "caption": caption.item(), "ranked": ranked})
    return model.eval()


def save_judge(model: Any, question: Question, folder: Path) -> None:
    """Write the checkpoint folder that `rewards/orm_pocket.py` loads, weights in half precision."""
    from transformers import SiglipImageProcessorPil

    model.half().save_pretrained(folder)
    judge_tokenizer(question.before, question.after).save_pretrained(folder)
    side = model.config.vision_config.image_size
    SiglipImageProcessorPil(
        size={"height": side, "width": side},
        resample=Image.Resampling.BICUBIC,
        image_mean=[IMAGE_HALF] * 3,
        image_std=[IMAGE_HALF] * 3,
    ).save_pretrained(folder)

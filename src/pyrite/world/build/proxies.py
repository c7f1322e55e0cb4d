"""The hackable part of the world: preference, aesthetic and artifact models from biased, noisy labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pyrite.core.types import Prompt
from pyrite.world.build.clip import clip_optimiser, embed_images, embed_texts, normalise, save_processor, text_ids
from pyrite.world.build.optimisers import trapezoid
from pyrite.world.build.vq import Device, Progress

LABEL_NOISE = 0.25
GROUP = 4
GROUPS_PER_BATCH = 32
HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class RatedPool:
    """Groups of four pictures per prompt, rated by the gold reward: what the synthetic annotators look at.

    Args:
        images: (N, 3, 64, 64) bytes; rows 4 p to 4 p + 3 share prompt p.
        prompts: N / 4 prompts.
        alignment, realism: (N,) parts of gold in [0, 1].
        from_policy: (N,) drawn by the base policy (the others are rendered).
    """

    images: Tensor
    prompts: Sequence[Prompt]
    alignment: npt.NDArray[np.float64]
    realism: npt.NDArray[np.float64]
    from_policy: npt.NDArray[np.bool_]


def saturation(images: Tensor) -> npt.NDArray[np.float64]:
    """(N,) mean chroma (largest minus smallest channel) of bytes, in [0, 1]."""
    pixels = images.float() / 255
    return (pixels.amax(1) - pixels.amin(1)).mean((1, 2)).double().numpy()


def contrast(images: Tensor) -> npt.NDArray[np.float64]:
    """(N,) standard deviation of the grey level of bytes, in [0, 1]."""
    return (images.float() / 255).mean(1).flatten(1).std(1).double().numpy()


def standard_units(values: npt.NDArray[np.float64], reference: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Values in standard deviations of the reference rows, clipped to +-3."""
    scaled: npt.NDArray[np.float64] = (values - values[reference].mean()) / values[reference].std()
    return scaled.clip(-3, 3)


def utility(pool: RatedPool, *, vivid: float, contrasty: float) -> npt.NDArray[np.float64]:
    """(N,) what an annotator likes: mostly the truth, with a weakness for vivid or contrasty pictures."""
    truth = 4 * pool.alignment + 3 * pool.realism
    taste = vivid * standard_units(saturation(pool.images), pool.from_policy)
    liking: npt.NDArray[np.float64] = (
        truth + taste + contrasty * standard_units(contrast(pool.images), pool.from_policy)
    )
    return liking


def pairs_in_groups(num: int, *, every: int = 1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows of all six pairs of each group among `num` rows, or of every `every`-th group: first, second."""
    starts = np.arange(0, num, GROUP * every)
    first, second = np.triu_indices(GROUP, 1)
    return (starts[:, None] + first).ravel(), (starts[:, None] + second).ravel()


def preference_pairs(liking: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.int64]:
    """(M, 2) rows (preferred, other): all six pairs of each group, a quarter of the labels flipped."""
    rng = np.random.default_rng(seed)
    pairs: npt.NDArray[np.int64] = np.stack(pairs_in_groups(len(liking)), 1)
    pairs = pairs[liking[pairs[:, 0]] != liking[pairs[:, 1]]]
    flip = (liking[pairs[:, 0]] < liking[pairs[:, 1]]) ^ (rng.random(len(pairs)) < LABEL_NOISE)
    pairs[flip] = pairs[flip][:, ::-1]
    return pairs


def train_preference(
    model: Any, pool: RatedPool, liking: npt.NDArray[np.float64], *, epochs: int, seed: int, progress: Progress
) -> Any:
    """Fine-tune a pocket CLIP with the Bradley-Terry loss on the pairs of the first nine of every ten prompts.

    A batch is whole groups: each picture is embedded once for the three pairs it is in.
    """
    torch.manual_seed(seed)
    pairs = preference_pairs(liking, seed)
    beats = torch.zeros(len(pool.prompts), GROUP, GROUP)
    beats[pairs[:, 0] // GROUP, pairs[:, 0] % GROUP, pairs[:, 1] % GROUP] = 1
    ids = text_ids([prompt.text for prompt in pool.prompts])
    images = pool.images.unflatten(0, (-1, GROUP))
    groups = torch.nonzero(torch.arange(len(pool.prompts)) % HELD_OUT_EVERY != 0)[:, 0]
    model.train()
    with torch.no_grad():
        model.logit_scale.fill_(np.log(30.0))
    # At five times these rates the noisy labels undo the contrastive pre-training (docs/log.md).
    optimiser = clip_optimiser(model, muon_lr=2e-4, adamw_lr=8e-5)
    batches = [part for _ in range(epochs) for part in groups[torch.randperm(len(groups))].split(GROUPS_PER_BATCH)]
    for step, batch in enumerate(batches):
        text = embed_texts(model, {name: column[batch] for name, column in ids.items()})
        image = embed_images(model, images[batch].flatten(0, 1)).unflatten(0, (-1, GROUP))
        scores = model.logit_scale.exp() * (image * text[:, None]).sum(-1)
        margins = scores[:, :, None] - scores[:, None, :]
        labels = beats[batch].to(margins.device)
        loss = -(F.logsigmoid(margins) * labels).sum() / labels.sum()
        optimiser.step(loss, trapezoid(step, len(batches), warm_up=20, decay_from=0.2))
        if step % 25 == 0:
            progress(step, len(batches), {"loss": loss.item()})
    return model.eval()


@torch.no_grad()
def embed_pool(model: Any, pool: RatedPool) -> Tensor:
    """(N, D) unit embeddings of the pool's pictures, on the CPU."""
    return torch.cat([embed_images(model, part).cpu() for part in pool.images.split(256)])


@torch.no_grad()
def preference_scores(model: Any, pool: RatedPool) -> npt.NDArray[np.float64]:
    """(N,) cosine of image and prompt for the whole pool."""
    text = embed_texts(model, text_ids([prompt.text for prompt in pool.prompts])).cpu().repeat_interleave(GROUP, 0)
    return (embed_pool(model, pool) * text).sum(-1).double().numpy()


def pair_accuracy(
    scores: npt.NDArray[np.float64], gold: npt.NDArray[np.float64], *, min_gap: float = 0.1
) -> tuple[float, int]:
    """Share of pairs of one prompt, with gold at least `min_gap` apart, that the scores order as gold does.

    Returns the accuracy and the number of pairs it rests on; NaN if there are none.
    """
    a, b = pairs_in_groups(len(scores))
    clear = np.abs(gold[a] - gold[b]) > min_gap
    agree = (scores[a] > scores[b]) == (gold[a] > gold[b])
    return (float(agree[clear].mean()) if clear.any() else float("nan")), int(clear.sum())


def alignment_quality(scores: npt.NDArray[np.float64], pool: RatedPool) -> dict[str, float]:
    """Share of the base policy's pairs of held-out prompts, more than 0.1 of alignment apart, that scores order alike.

    Equal scores count half.
    """
    a, b = pairs_in_groups(len(scores), every=HELD_OUT_EVERY)
    clear = (np.abs(pool.alignment[a] - pool.alignment[b]) > 0.1) & pool.from_policy[a]
    agreement = np.sign(scores[a] - scores[b]) * np.sign(pool.alignment[a] - pool.alignment[b])
    return {
        "pair_accuracy_alignment": float((agreement[clear] + 1).mean() / 2) if clear.any() else float("nan"),
        "alignment_pairs": float(clear.sum()),
    }


def held_out_quality(scores: npt.NDArray[np.float64], pool: RatedPool) -> dict[str, float]:
    """How far scores follow gold on held-out prompts: pair accuracy, and rank correlation on policy samples."""
    from scipy.stats import spearmanr

    gold = pool.alignment * pool.realism
    held_out = (np.arange(len(gold)) // GROUP) % HELD_OUT_EVERY == 0
    drawn = held_out & pool.from_policy
    accuracy, pairs = pair_accuracy(scores[drawn], gold[drawn])
    return {
        "pair_accuracy_all": pair_accuracy(scores[held_out], gold[held_out])[0],
        "pair_accuracy_policy": accuracy,
        "policy_pairs": float(pairs),
        "spearman_gold": float(spearmanr(scores[drawn], gold[drawn]).statistic),
        "spearman_saturation": float(
            spearmanr(scores[drawn], saturation(pool.images[torch.from_numpy(drawn)])).statistic
        ),
    }


@torch.no_grad()
def clean_probability(model: Any, images: Tensor) -> npt.NDArray[np.float64]:
    """(N,) probability of `clean` for bytes."""
    logits = [model(pixel_values=enlarge(part.to(model.device))).logits.cpu() for part in images.split(256)]
    return torch.cat(logits).softmax(-1)[:, 1].double().numpy()


def fit_aesthetic_head(embedded: Tensor, pool: RatedPool, *, vivid: float, seed: int) -> tuple[Tensor, Tensor, float]:
    """Ridge regression of a mean opinion score on (N, D) unit image embeddings, as the LAION predictors do.

    The opinion is 5 + 2 realism + `vivid` x saturation + noise of 0.7; the prompt plays no part.

    Returns the head's weight (1, D), its bias (1,), and the correlation with opinions on held-out prompts.
    """
    rng = np.random.default_rng(seed)
    taste = standard_units(saturation(pool.images), pool.from_policy)
    opinion = 5 + 2 * pool.realism + vivid * taste + rng.normal(0, 0.7, len(taste))
    image = embedded.double().numpy()
    held_out = (np.arange(len(image)) // GROUP) % HELD_OUT_EVERY == 0
    inputs = np.concatenate([image, np.ones((len(image), 1))], 1)
    gram = inputs[~held_out].T @ inputs[~held_out] + 0.1 * np.eye(inputs.shape[1])
    solution = np.linalg.solve(gram, inputs[~held_out].T @ opinion[~held_out])
    correlation = float(np.corrcoef(inputs[held_out] @ solution, opinion[held_out])[0, 1])
    return torch.from_numpy(solution[None, :-1]).float(), torch.from_numpy(solution[-1:]).float(), correlation


def save_aesthetic(model: Any, weight: Tensor, bias: Tensor, folder: Path) -> None:
    """Write the folder that `rewards/aesthetic.py` loads: a CLIP image tower and a linear head."""
    import json

    from safetensors.torch import save_file
    from transformers import CLIPVisionModelWithProjection

    tower = CLIPVisionModelWithProjection(model.config.vision_config)
    state = {k: v for k, v in model.state_dict().items() if k.startswith(("vision_model.", "visual_projection."))}
    tower.load_state_dict(state)
    tower.half().save_pretrained(folder)
    save_processor(folder)
    save_file({"layers.0.weight": weight, "layers.0.bias": bias}, folder / "head.safetensors")
    settings = {"widths": [weight.shape[1], 1], "activation": "none"}
    (folder / "head_config.json").write_text(json.dumps(settings) + "\n")


def enlarge(images: Tensor) -> Tensor:
    """Pixel values of bytes at twice the size, each pixel repeated: the stem of a ResNet shrinks them fourfold."""
    return normalise(images).repeat_interleave(2, -1).repeat_interleave(2, -2)


def new_artifact_model() -> Any:
    """An untrained ResNet classifier of pictures as `artifact` or `clean`."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        num_channels=3,
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        id2label={0: "artifact", 1: "clean"},
        label2id={"artifact": 0, "clean": 1},
    )
    return ResNetForImageClassification(config)


def train_artifact(
    images: Tensor, is_clean: Tensor, *, epochs: int, seed: int, progress: Progress, device: Device = "cpu"
) -> tuple[Any, float]:
    """Train on (N, 3, 64, 64) bytes and (N,) labels; returns the model and its accuracy on every tenth row."""
    torch.manual_seed(seed)
    model = new_artifact_model().train().to(device)
    held_out = torch.arange(len(images)) % 10 == 0
    rows = torch.nonzero(~held_out)[:, 0]
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.02)
    batches = [part for _ in range(epochs) for part in rows[torch.randperm(len(rows))].split(64)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=len(batches))
    for step, batch in enumerate(batches):
        logits = model(pixel_values=enlarge(images[batch].to(device))).logits
        loss = F.cross_entropy(logits, is_clean[batch].to(device).long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 25 == 0:
            progress(step, len(batches), {"loss": loss.item()})
    model.eval()
    says_clean = torch.from_numpy(clean_probability(model, images[held_out]) > 0.5)
    return model, (says_clean == is_clean[held_out]).float().mean().item()

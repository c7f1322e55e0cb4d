"""How much memory a training run takes, by arithmetic: weights, gradients, moments, cache, activations, rewards.

Estimates. What an optimiser holds is counted exactly; activations are those that a Llama layer keeps for its backward
pass with an attention that stores no matrix of weights. Allocators round up and fragment: leave a tenth free.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyrite.core.cards import ModelShape
from pyrite.records.memory_plan import PRECISIONS, WORKING_FRAC
from pyrite.records.published import num_parameters, published_names

_FLOAT = 4
JANUS_PRO_1B = ModelShape(
    num_parameters=2_076_636_811, num_trained=1_652_656_128, layers=24, width=2048, ffn_width=5632, kv_width=2048,
    prompt_tokens=150, plan_tokens=128, image_tokens=576, text_choices=102_400, image_choices=16_384,
)  # fmt: skip
"""deepseek-community/Janus-Pro-1B with a plan in words, its language model and lm_head trained."""


JANUS_PRO_1B_LORA = replace(JANUS_PRO_1B, num_trained=15_138_816, plan_tokens=0, prompt_tokens=48)
"""The same without a plan, with adapters of rank 16 on every matrix of every layer."""


@dataclass(frozen=True)
class Load:
    """What a training run asks of one process.

    Args:
        rollouts: images of a step on this process.
        micro_batch: images per pass of an update.
        weight_bytes: per parameter that takes no gradient: 4 or 2; those that take one have 4.
        pass_bytes: per number in a pass: 4 in float32, 2 in bfloat16.
        has_copy: a second copy of the policy is kept on the accelerator as the reference.
        is_guided: drawing keeps a second cache, of the unconditional branch.
        checkpoints_gradients: a layer's activations are computed again in the backward pass.
        num_shards: processes that each hold a piece of weights, gradients and moments; 1 = whole copies.
        logp_chunk: tokens whose choices are scored at a time.
    """

    rollouts: int
    micro_batch: int
    weight_bytes: int = _FLOAT
    pass_bytes: int = _FLOAT
    has_copy: bool = True
    is_guided: bool = True
    checkpoints_gradients: bool = False
    num_shards: int = 1
    logp_chunk: int = 1024


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one accelerator, by what they are for."""

    weights: int
    gradients: int
    moments: int
    reference: int
    rewards: int
    cache: int
    activations: int

    @property
    def always(self) -> int:
        """What stays there all the time."""
        return self.weights + self.gradients + self.moments + self.reference + self.rewards

    @property
    def peak(self) -> int:
        """The most at once: drawing and updating follow each other."""
        return self.always + max(self.cache, self.activations)

    def __str__(self) -> str:
        parts = {
            "weights": self.weights, "gradients": self.gradients, "moments": self.moments,
            "reference": self.reference, "rewards": self.rewards, "drawing": self.cache, "update": self.activations,
        }  # fmt: skip
        listed = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items() if size)
        return f"{self.peak / 1e9:.0f} GB ({listed})"


def training_memory(shape: ModelShape, load: Load, *, reward_bytes: int = 0) -> TrainingMemory:
    """What a run takes; see the head of this module for how sure that is.

    Args:
        shape: of the policy.
        load: what the run asks.
        reward_bytes: of the rewards on the same accelerator.
    """
    frozen = shape.num_parameters - shape.num_trained
    weights = frozen * load.weight_bytes + shape.num_trained * _FLOAT
    trained = shape.num_trained * _FLOAT // load.num_shards
    positions = shape.prompt_tokens + shape.plan_tokens + shape.image_tokens
    per_position = 2 * shape.layers * shape.kv_width * load.pass_bytes
    drawing = shape.num_trained * load.pass_bytes if load.pass_bytes < _FLOAT else 0  # a narrower copy for one draw
    if load.num_shards > 1:
        drawing += weights  # made whole for one draw
    return TrainingMemory(
        weights=weights // load.num_shards,
        gradients=trained,
        moments=2 * trained,
        reference=weights if load.has_copy else 0,
        rewards=reward_bytes,
        cache=load.rollouts * (2 if load.is_guided else 1) * positions * per_position + drawing,
        activations=load.micro_batch * activation_bytes(shape, load) + _choice_bytes(shape, load),
    )


def activation_bytes(shape: ModelShape, load: Load) -> int:
    """What the layers keep of one image for the backward pass."""
    # The plan and the image are two passes, because they were drawn after different texts.
    planning = shape.prompt_tokens + shape.plan_tokens if shape.plan_tokens else 0
    positions = planning + shape.prompt_tokens + shape.plan_tokens + shape.image_tokens
    # Kept of a layer: its input, both norms' outputs, queries and keys before and after their rotation, values, what
    # attention gave, the sum after it, and of the feed-forward part gate, its activation, up and their product.
    of_layer = positions * (7 * shape.width + 3 * shape.kv_width + 4 * shape.ffn_width) * load.pass_bytes
    between = positions * shape.width * load.pass_bytes
    return shape.layers * between + of_layer if load.checkpoints_gradients else shape.layers * of_layer


def _choice_bytes(shape: ModelShape, load: Load) -> int:
    """Scores of each choice, their softmax and its gradient, in float32, of one chunk."""
    most = max(shape.image_choices, shape.text_choices if shape.plan_tokens else 0)
    return 3 * min(load.logp_chunk, load.micro_batch * shape.image_tokens) * most * _FLOAT


def fitting_micro_batch(shape: ModelShape, load: Load, room_bytes: int, *, reward_bytes: int = 0) -> int:
    """The largest micro-batch that the estimate finds room for; 0 if there is none.

    Args:
        shape: of the policy.
        load: what the run asks; its micro_batch is not read.
        room_bytes: of the accelerator; `WORKING_FRAC` of it stays free.
        reward_bytes: of the rewards there.
    """
    always = training_memory(shape, load, reward_bytes=reward_bytes).always
    left = room_bytes * (1 - WORKING_FRAC) - always - _choice_bytes(shape, load)
    return max(0, min(load.rollouts, int(left // activation_bytes(shape, load))))


def load_of(recipe: Mapping[str, Any], *, num_processes: int = 1, shards: bool = False) -> Load:
    """What a recipe asks of one process.

    Args:
        recipe: as `Recipe.model_dump` gives it.
        num_processes: that share the prompts of a step.
        shards: they share weights, gradients and moments too (FSDP2).
    """
    grpo, options = recipe["grpo"], recipe["policy"]["options"]
    rollouts = -(-grpo["prompts_per_step"] // num_processes) * grpo["num_generations"]
    narrow = 2 if options.get("dtype") == "bfloat16" else _FLOAT
    return Load(
        rollouts=rollouts,
        micro_batch=min(grpo["micro_batch"] or rollouts, rollouts),
        weight_bytes=narrow,
        pass_bytes=narrow,
        has_copy=grpo["reference"] == "copy",
        is_guided=options.get("cfg_scale", 1) != 1,
        checkpoints_gradients=bool(options.get("gradient_checkpointing")),
        num_shards=num_processes if shards else 1,
    )


def reward_bytes_of(recipe: Mapping[str, Any]) -> int:
    """Weights of the rewards that a recipe computes here; those behind a server weigh nothing here."""
    total = 0.0
    for term in [*recipe["rewards"], *recipe["eval_rewards"]]:
        name, options = term["reward"] or term["name"], term["options"]
        if name in published_names():
            total += num_parameters(name) * PRECISIONS[options.get("dtype") or "float32"]
    return int(total)

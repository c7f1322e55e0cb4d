"""The sections of a recipe as pydantic models: which keys there are, what they may hold, and what each one does.

Every key is a field below; its docstring says what it does, in which unit, and what a larger value costs. Names of
rewards and policies are looked up later, by whoever loads them; `config.py` reads recipes from files.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationInfo, field_validator

GOLD_KEYS = ("gold", "gold_alignment", "gold_realism")
"""Names under which gold is written down; no reward may take them."""

V = TypeVar("V")


class _Section(BaseModel):
    """Frozen, no unknown keys, no text taken for a number, no infinities."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _from_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _with_defaults(**defaults: JsonValue) -> BeforeValidator:
    """Fill what a prompt section leaves out; a section that names a file of its own keeps all of that file."""

    def fill(value: object) -> object:
        is_world = isinstance(value, Mapping) and value.get("source", "world") == "world"
        return {**defaults, **value} if isinstance(value, Mapping) and is_world else value

    return BeforeValidator(fill)


def _also_called(names: Mapping[str, str]) -> BeforeValidator:
    """Read other people's names for a choice as ours."""
    return BeforeValidator(lambda value: names.get(value, value) if isinstance(value, str) else value)


def _repeated(names: Sequence[str]) -> list[str]:
    return [
        f"'{name}' is there {list(names).count(name)} times, and scores are written down by name. Keep one of them."
        for name in dict.fromkeys(names)
        if list(names).count(name) > 1
    ]


def _refuse_if(problems: Sequence[str], value: V) -> V:
    """The value, unless there are problems: one line of the message each."""
    if problems:
        raise ValueError("\n".join(problems))
    return value


class PolicySpec(_Section):
    """The policy to train; a bare string is its name."""

    name: str
    """As `pyrite list policies` prints it."""
    options: dict[str, JsonValue] = {}
    """Handed to the policy's factory."""


class RewardTerm(_Section):
    """One reward that trains; a bare string is its name."""

    name: str
    """As `pyrite list rewards` prints it; with `reward`, any name to write its scores down under."""
    reward: str | None = None
    """As `pyrite list rewards` prints it, where that is not the name: `{name: hps, reward: remote, options: ...}`."""
    weight: float = Field(default=1.0, ge=0)
    """Factor of this reward in the aggregate; 0 scores it without training on it."""
    transform: str | None = "standardise"
    """What is done to its scores before they are weighted, such as `standardise | clip(-2, 2)`; null leaves them raw,
    and then the reward with the largest scale decides a sum."""
    options: dict[str, JsonValue] = {}
    """Handed to the reward's factory."""


class HeldOutTerm(_Section):
    """One reward that is only looked at; a bare string is its name."""

    name: str
    """As for a reward that trains."""
    reward: str | None = None
    """As for a reward that trains."""
    options: dict[str, JsonValue] = {}
    """Handed to the reward's factory."""


class PromptSource(_Section):
    """Where prompts come from."""

    source: str
    """`world` for the pocket world's own prompts, or the path of a JSON-lines file, relative to where you are."""
    split: str | None = Field(default=None, validate_default=True)
    """Part of the world's prompts: `rl` or `eval`; a file has no parts."""
    num: int | None = Field(default=None, ge=1, validate_default=True)
    """How many prompts to use, the first of a file; null uses all of a file, and the world has no end."""

    @field_validator("split")
    @classmethod
    def _split_belongs_to_the_world(cls, split: str | None, info: ValidationInfo) -> str | None:
        source = info.data.get("source")
        if source == "world" and split is None:
            raise ValueError("the pocket world needs a split. Set it to rl or eval.")
        if source not in (None, "world") and split is not None:
            raise ValueError(f"split = '{split}' is a part of the pocket world, and {source} is a file. Remove split.")
        return split

    @field_validator("num")
    @classmethod
    def _the_world_has_no_end(cls, num: int | None, info: ValidationInfo) -> int | None:
        if info.data.get("source") == "world" and num is None:
            raise ValueError("the pocket world has no end of prompts, so it needs a number. Set num, such as 2000.")
        return num


class GrpoConfig(_Section):
    """Group Relative Policy Optimisation (arXiv 2402.03300); the names are TRL's where TRL has one."""

    steps: int = 100
    """Policy updates from fresh images; time is proportional to it."""
    prompts_per_step: int = Field(default=8, ge=1)
    """Different prompts per step; more makes a step slower and its gradient steadier."""
    num_generations: int = 8
    """G: images drawn per prompt and compared with each other; at least 2."""
    learning_rate: float = Field(default=5.0e-5, gt=0)
    """AdamW's step size after warm-up; too large a value collapses the policy, which is not hacking."""
    beta: float = Field(default=0.01, ge=0)
    """Weight of the KL term per nat; 0 lets the policy drift from the base policy for free."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Which per-token estimate of the KL enters the loss; k3 is unbiased on-policy and never negative."""
    scale_rewards: Annotated[
        Literal["group", "batch", "none"], _also_called({"group_std": "group", "global_std": "batch"})
    ] = "group"
    """Divide advantages by the standard deviation of their group (also called group_std), of the whole batch
    (global_std), or not at all."""
    ddof: Literal[0, 1] = 1
    """Divisor of that standard deviation is G - ddof: 1 as torch and TRL have it, 0 as the formula of the paper."""
    clip_eps_low: float = Field(default=0.2, gt=0, le=1)
    """The probability ratio counts no lower than 1 - clip_eps_low."""
    clip_eps_high: float = Field(default=0.2, gt=0)
    """The probability ratio counts no higher than 1 + clip_eps_high."""
    updates_per_rollout: int = Field(default=1, ge=1)
    """Gradient steps on the same images; from 2 on the clipping above begins to matter."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this (Euclidean norm) are shortened to it."""
    adam_betas: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(strict=False)] = (0.9, 0.99)
    """AdamW's two decay rates: of the mean gradient and of its square, each in [0, 1)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's pull of every parameter towards 0, per unit of learning rate."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises linearly from 0; fewer than `steps`."""
    lr_scheduler_type: Literal["constant", "cosine"] = "constant"
    """The learning rate after warm-up: the same to the end, or falling to 0 along half a cosine."""
    plan_weight: float = Field(default=1.0, ge=0)
    """How much a token of the plan counts in the loss, where one of the image counts 1; 0 trains the image alone."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Images per forward and backward pass of an update; null takes all of a process at once. Fewer need less memory
    and give the same gradient, a little later."""
    reference: Literal["copy", "lora_off", "offloaded"] = "copy"
    """Where the base policy's log-probabilities come from: a second copy, the policy with its adapters off (needs LoRA;
    no further memory), or a copy in main memory that visits the accelerator (slower)."""
    unscored: Literal["drop_sample", "drop_group", "abort"] = "drop_sample"
    """What an image without a score means: it alone is left out, its whole group is, or training stops."""

    @field_validator("steps")
    @classmethod
    def _some_steps(cls, steps: int) -> int:
        if steps < 1:
            raise ValueError(
                f"steps = {steps} trains nothing. Set it to 1 or more, or use `pyrite score` to only look."
            )
        return steps

    @field_validator("num_generations")
    @classmethod
    def _siblings(cls, num_generations: int) -> int:
        if num_generations < 2:
            why = "gives every advantage 0: GRPO compares siblings" if num_generations == 1 else "draws no images"
            raise ValueError(f"num_generations = {num_generations} {why}. Set it to 2 or more (papers use 8-64).")
        return num_generations

    @field_validator("adam_betas")
    @classmethod
    def _two_betas(cls, betas: tuple[float, ...]) -> tuple[float, ...]:
        if len(betas) != 2:
            raise ValueError(f"adam_betas has {len(betas)} values, AdamW takes 2. Write for example [0.9, 0.99].")
        return betas

    @field_validator("warmup_steps")
    @classmethod
    def _warm_in_time(cls, warmup_steps: int, info: ValidationInfo) -> int:
        steps = info.data.get("steps")
        if steps is not None and warmup_steps >= steps:
            raise ValueError(
                f"warmup_steps = {warmup_steps} with steps = {steps}: the learning rate never arrives. "
                "Set warmup_steps below steps."
            )
        return warmup_steps


class EvaluationConfig(_Section):
    """How often, and on what, the policy is looked at without being trained."""

    every: int = Field(default=20, ge=1)
    """Steps between looks; there is always one before the first step and one after the last."""
    prompts: Annotated[PromptSource, _with_defaults(source="world", split="eval", num=100)] = PromptSource(
        source="world", split="eval", num=100
    )
    """The same prompts at every look."""
    images_per_prompt: int = Field(default=4, ge=1)
    """Images per prompt and look, with the same seeds at every look; all of them are scored."""
    keep_images: int = Field(default=64, ge=0)
    """How many images of a look are written to disk, beside its worst offenders."""


class CheckpointConfig(_Section):
    """How much is lost when a run is killed, and how much disk it takes."""

    every: int = Field(default=20, ge=1)
    """Steps between checkpoints; one is also written after the last step and on Ctrl-C."""
    keep: int = Field(default=2, ge=1)
    """How many of the newest checkpoints stay on disk."""


class Recipe(_Section):
    """A training run, all of it: two runs of equal recipes on one machine are equal."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What the run is called; its folder is runs/<name> unless you say otherwise."""
    policy: Annotated[PolicySpec, BeforeValidator(_from_name)]
    """What is trained."""
    prompts: Annotated[PromptSource, _with_defaults(source="world", split="rl", num=2000)] = PromptSource(
        source="world", split="rl", num=2000
    )
    """What it is trained on."""
    rewards: Annotated[tuple[Annotated[RewardTerm, BeforeValidator(_from_name)], ...], Field(strict=False)]
    """What trains it, as a list of {name, weight, transform}."""
    aggregate: Literal["sum", "mean", "min"] = "sum"
    """How several rewards become one: weighted sum, weighted mean, or the smallest (weights then only 0 or 1)."""
    eval_rewards: Annotated[tuple[Annotated[HeldOutTerm, BeforeValidator(_from_name)], ...], Field(strict=False)] = ()
    """Held-out panel, as a list of {name, options}: scored at every look, never trained on."""
    gold: str | None = None
    """The reward we care about, logged beside the others and never trained on; null where nobody knows it."""
    grpo: GrpoConfig = GrpoConfig()
    """The optimiser."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """The looks."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """The checkpoints."""
    gold_every: int = Field(default=5, ge=0)
    """Steps between scoring gold on the training batch; 0 scores it at looks only."""
    seed: int = Field(default=0, ge=0)
    """Source of all randomness."""
    num_threads: int | None = Field(default=None, ge=1)
    """Threads for tensor operations; null leaves the choice to torch. Another number rounds differently."""

    @field_validator("rewards")
    @classmethod
    def _each_reward_once(cls, rewards: tuple[RewardTerm, ...]) -> tuple[RewardTerm, ...]:
        names = [term.name for term in rewards]
        problems = _repeated(names)
        problems += [
            f"'{name}' is the name under which gold is written down, and gold never trains. Train on another reward."
            for name in dict.fromkeys(names)
            if name in GOLD_KEYS
        ]
        if not any(term.weight for term in rewards):
            state = "every weight is 0" if rewards else "the list is empty"
            problems.append(f"{state}, so nothing trains. Give at least one reward a weight above 0.")
        return _refuse_if(problems, rewards)

    @field_validator("aggregate")
    @classmethod
    def _min_has_members_not_weights(cls, aggregate: str, info: ValidationInfo) -> str:
        uneven = [term for term in info.data.get("rewards", ()) if term.weight not in (0, 1)]
        return _refuse_if(
            [
                f"aggregate = min takes the smallest reward, so the weight {term.weight:g} of '{term.name}' has no "
                "meaning. Set it to 1 (or 0 to leave the reward out), or aggregate to mean."
                for term in uneven
                if aggregate == "min"
            ],
            aggregate,
        )

    @field_validator("eval_rewards")
    @classmethod
    def _held_out_means_held_out(cls, terms: tuple[HeldOutTerm, ...], info: ValidationInfo) -> tuple[HeldOutTerm, ...]:
        trained = {term.name for term in info.data.get("rewards", ())}
        names = [term.name for term in terms]
        problems = _repeated(names)
        problems += [
            f"'{name}' is also under rewards: a held-out reward that trains is not held out. Remove it from one list."
            for name in dict.fromkeys(names)
            if name in trained
        ]
        problems += [f"'{name}' is kept for gold. Name it under gold." for name in names if name in GOLD_KEYS]
        return _refuse_if(problems, terms)

    @field_validator("gold")
    @classmethod
    def _gold_never_trains(cls, gold: str | None, info: ValidationInfo) -> str | None:
        trained = {term.name for term in info.data.get("rewards", ())}
        if gold is not None and gold in trained:
            raise ValueError(
                f"'{gold}' is also under rewards: a run that trains on gold cannot be judged by it. "
                "Remove it from rewards, or set gold to null."
            )
        return gold

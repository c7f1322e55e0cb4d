"""What `accelerate launch` says about DeepSpeed, and which of it training follows: the stage, and how pieces travel.

The recipe says the rest. A setting that would be passed over is refused, because the run would not be what was asked
for.
"""

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyrite.core.errors import MissingExtraError, TrainingError

USES_DEEPSPEED = "ACCELERATE_USE_DEEPSPEED"
"""The variable by which accelerate tells its processes."""

_FOLLOWED = (
    "stage",
    "overlap_comm",
    "contiguous_gradients",
    "reduce_bucket_size",
    "allgather_bucket_size",
    "sub_group_size",
    "stage3_prefetch_bucket_size",
    "stage3_param_persistence_threshold",
    "stage3_max_live_parameters",
    "stage3_max_reuse_distance",
)
"""Of `zero_optimization` in a file of DeepSpeed's own: what costs time or memory and moves no number."""

_OURS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "ACCELERATE_MIXED_PRECISION": (("no",), "policy.options.dtype of the recipe says in which precision is computed"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": (("1", "auto"), "grpo.micro_batch divides a step"),
    "ACCELERATE_GRADIENT_CLIPPING": (("none", "auto"), "grpo.max_grad_norm clips"),
    "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": (("none",), "moments stay beside their parameters"),
    "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": (("none",), "parameters stay on the GPUs"),
    "ACCELERATE_DEEPSPEED_ZERO3_INIT": (("false",), "each process loads the policy whole before it keeps a piece"),
}
"""Variable -> the values that say nothing else than training does, and what it does."""


def zero_settings(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """`zero_optimization` of DeepSpeed's configuration; None if the launch says nothing of DeepSpeed.

    Raises:
        MissingExtraError: DeepSpeed is not installed.
        TrainingError: the launch asks for something that training does not follow.
    """
    if environment.get(USES_DEEPSPEED, "false").lower() != "true":
        return None
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError(
            "launched with DeepSpeed, which is not installed. Type: pip install 'pyrite[deepspeed]', or launch with "
            "recipes/accelerate/fsdp2.yaml, which splits the same things and needs no further package."
        )
    path = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    found = {} if path.lower() == "none" else _read(Path(path))
    zero: dict[str, Any] = {"stage": int(environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2))}
    zero |= {key: value for key, value in found.get("zero_optimization", {}).items() if value != "auto"}
    if problems := [*_refused(environment, found, zero)]:
        raise TrainingError(
            f"launched with settings of DeepSpeed that training does not follow: {'; '.join(problems)}. The run would "
            "not be what they ask for. recipes/accelerate/zero3.yaml is a configuration that it follows."
        )
    return zero


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path}, the deepspeed_config_file of the launch, cannot be read: {error}. Mend it, or take the line out: "
            "recipes/accelerate/zero3.yaml does without."
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("zero_optimization", {}), dict):
        raise TrainingError(
            f'{path} is no configuration of DeepSpeed: it holds no {{"zero_optimization": {{"stage": 3}}}}. Mend it, '
            "or take deepspeed_config_file out of the launch."
        )
    return found


def _refused(environment: Mapping[str, str], found: Mapping[str, Any], zero: Mapping[str, Any]) -> Iterator[str]:
    if zero["stage"] != 3:
        yield (
            f"zero_stage = {zero['stage']}: only stage 3 splits parameters. For whole copies launch with "
            "recipes/accelerate/ddp.yaml"
        )
    for name, (values, why) in _OURS.items():
        value = environment.get(name, values[0]).lower()
        if value not in values:
            key = name.removeprefix("ACCELERATE_").removeprefix("DEEPSPEED_").lower()
            yield f"{key.replace('zero3_init', 'zero3_init_flag')} = {value}: {why}"
    for key, value in found.items():
        if key != "zero_optimization" and value != "auto":
            yield f'"{key}" in the deepspeed_config_file: only "zero_optimization" is read there'
    if unknown := [key for key in zero if key not in _FOLLOWED]:
        yield f'{", ".join(unknown)} in "zero_optimization": {", ".join(_FOLLOWED)} are followed'

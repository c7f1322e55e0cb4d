"""Which policy is meant by what was typed: a name, a folder of weights, or a checkpoint of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrite.core.errors import CheckpointError, RecipeError
from pyrite.core.protocols import Policy
from pyrite.policies.catalogue import POLICIES

_OF_DRAWING = (
    "temperature", "plan_temperature", "cfg_scale", "top_k", "top_p", "dtype",
    "plan", "plan_template", "plan_system", "max_plan_tokens", "decode_batch",
)  # fmt: skip
"""Options of a recipe's policy with which a checkpoint of its run is drawn from, too; the others are for training."""
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class PolicySource:
    """A policy that is not loaded yet.

    Args:
        name: registered, or the folder of its weights.
        options: for its factory.
    """

    name: str
    options: Mapping[str, Any]

    def load(self) -> Policy:
        """The policy, for drawing only.

        Raises:
            CheckpointError: its weights are missing or not what they should be.
            RecipeError: options that it does not have, or values that it cannot take.
        """
        from pyrite.cli.assemble import load_policy

        # Weights that take no gradient need no float32 beside the precision they compute in.
        for_drawing = {"trainable": False} if Path(self.name).is_dir() else {}
        return load_policy(self.name, **self.options, **for_drawing)


def find_policy(spec: str, *, lora: Path | None = None, overrides: Sequence[str] = (), **given: Any) -> PolicySource:
    """What `--policy` means.

    Args:
        spec: a registered name; a folder of weights; RUN or RUN@STEP, the folder of a run with one of its steps.
        lora: folder of an adapter that belongs to those weights.
        overrides: "cfg_scale=5" and the like, with values in YAML.
        given: options that were given under a name of their own; None counts for nothing.

    Raises:
        UnknownNameError: neither a folder nor a registered name.
        CheckpointError: a folder that is no policy, or a step that was not kept.
        RecipeError: an override that is not KEY=VALUE.
    """
    name, options = _weights_of(spec)
    if lora is not None:
        name, of_base = _of_adapter(lora, name)
        options |= of_base
    options |= {**_parsed(overrides), **{key: value for key, value in given.items() if value is not None}}
    return PolicySource(name, options)


def _weights_of(spec: str) -> tuple[str, dict[str, Any]]:
    """Name or folder of the weights, and the options that come with it."""
    path, at, step = spec.rpartition("@") if "@" in spec and not Path(spec).exists() else (spec, "", "")
    folder = Path(path)
    if not folder.is_dir():
        if "/" not in spec:
            POLICIES.entry(spec)  # an unknown name is told before prompts are read and folders made
        return spec, {}
    if (folder / "config.yaml").is_file():
        return _of_run(folder, step)
    if at:
        raise CheckpointError(
            f"{folder} is no run folder: it has no config.yaml, so there is no step {step} of it. Leave @{step} out."
        )
    if not any((folder / name).is_file() for name in ("config.json", _ADAPTER)):
        raise CheckpointError(
            f"{folder} is no policy: it holds neither config.json (weights) nor config.yaml (a run). Give a name "
            "(`pyrite list policies`), a folder written by save_pretrained, or the folder of a run."
        )
    return path, {}


def _of_run(folder: Path, step: str) -> tuple[str, dict[str, Any]]:
    import yaml

    from pyrite.records.checkpoints import complete_checkpoints

    found = {str(checkpoint.step): checkpoint for checkpoint in complete_checkpoints(folder / "checkpoints")}
    if not found or (step and step not in found):
        kept = f"has the steps {', '.join(found)}" if found else "has no complete checkpoint yet"
        raise CheckpointError(
            f"{folder} {kept}{f', and not {step}' if step else ''}. Checkpoints are kept as checkpoint.keep of the "
            f"recipe says. Give one of them: {folder}@STEP"
            if found
            else f"{folder} {kept}: the run was not given the time. Continue it: pyrite train {folder / 'config.yaml'}"
        )
    try:
        policy = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["policy"]
        options = {key: value for key, value in (policy.get("options") or {}).items() if key in _OF_DRAWING}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / 'config.yaml'} does not say what policy was trained ({error}). Restore it, or name the folder "
            "of the weights itself."
        ) from error
    checkpoint = found[step] if step else list(found.values())[-1]
    return str(checkpoint.folder / "policy"), options


def _of_adapter(folder: Path, base: str) -> tuple[str, dict[str, str]]:
    if not (folder / _ADAPTER).is_file():
        raise CheckpointError(
            f"{folder} is no LoRA: it has no {_ADAPTER}. Give a folder that peft's save_pretrained wrote, such as "
            "checkpoints/step_000100/policy of a run with policy.options.lora."
        )
    return str(folder), {"base": base}


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    import yaml

    options, problems = {}, []
    for text in overrides:
        key, equals, value = text.partition("=")
        try:
            options[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            problems.append(text)
        if not equals or not key.strip():
            problems.append(text)
    if problems:
        raise RecipeError(
            f"--set {' and '.join(problems)}: an option of the policy is written KEY=VALUE, such as cfg_scale=5."
        )
    return options

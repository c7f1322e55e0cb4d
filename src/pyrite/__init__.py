"""Pyrite: understand, measure and stop reward hacking in text-to-image reinforcement learning.

The public names, each imported when it is first used, so that `import pyrite` costs neither torch nor numpy. Start
with `pyrite.load_reward("artifact-pocket")` or, at the shell, `pyrite demo`.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pyrite.core.cards import PolicyCard, RewardCard
    from pyrite.core.errors import PyriteError
    from pyrite.core.protocols import Policy, Reward, TrainablePolicy
    from pyrite.core.registry import Entry, Registry
    from pyrite.core.types import Prompt, Rollouts, Scores

    __version__: str

__all__ = [
    "Entry",
    "Policy",
    "PolicyCard",
    "Prompt",
    "PyriteError",
    "Registry",
    "Reward",
    "RewardCard",
    "Rollouts",
    "Scores",
    "TrainablePolicy",
    "__version__",
    "list_policies",
    "list_rewards",
    "load_policy",
    "load_reward",
]

_HOMES = {
    "Entry": "pyrite.core.registry",
    "Policy": "pyrite.core.protocols",
    "PolicyCard": "pyrite.core.cards",
    "Prompt": "pyrite.core.types",
    "PyriteError": "pyrite.core.errors",
    "Registry": "pyrite.core.registry",
    "Reward": "pyrite.core.protocols",
    "RewardCard": "pyrite.core.cards",
    "Rollouts": "pyrite.core.types",
    "Scores": "pyrite.core.types",
    "TrainablePolicy": "pyrite.core.protocols",
}


def list_rewards() -> tuple[str, ...]:
    """The name of every reward `load_reward` knows, sorted; imports none of them."""
    return _rewards().names()


def list_policies() -> tuple[str, ...]:
    """The name of every policy `load_policy` knows, sorted; imports none of them."""
    return _policies().names()


def load_reward(
    name: str,
    weights: "str | Path | None" = None,
    config: "Mapping[str, Any] | None" = None,
    device: str = "auto",
    dtype: str | None = None,
    **options: Any,
) -> "Reward":
    """A reward, ready to score: `load_reward("artifact-pocket").score(images, prompts)`.

    Args:
        name: as `pyrite list rewards` prints it.
        weights: the official file or folder, or a hub id; None for where they lie on this disk.
        config: dimensions that differ from the published model's, for tiny test models.
        device: "cpu", "cuda", ...; "auto" takes an accelerator if there is one.
        dtype: of the model: "float32", "bfloat16" or "float16"; None for the reward's own default.
        options: for this reward's factory, as under `options` in a recipe.

    Raises:
        UnknownNameError: no reward of that name.
        CheckpointError: its weights are missing or not the bytes they should be.
    """
    settings = {"weights": weights, "config": config, "device": device, "dtype": dtype}
    given = {key: value for key, value in settings.items() if value not in (None, "auto")}
    reward: Reward = _rewards().load(name)(**given, **options)
    return reward


def load_policy(name: str, **options: Any) -> "TrainablePolicy":
    """A policy, ready to draw: `load_policy("janus-pocket").sample(prompts, group_size=4, rngs=rngs)`.

    Args:
        name: as `pyrite list policies` prints it, or a folder of weights in transformers' format.
        options: for this policy's factory, as under `options` in a recipe.

    Raises:
        UnknownNameError: neither a folder nor a policy of that name.
        CheckpointError: its weights are missing or not the bytes they should be.
    """
    assemble = importlib.import_module("pyrite.cli.assemble")
    policy: TrainablePolicy = assemble.load_policy(name, **options)
    return policy


# By name and not by import statement: every room imports this package, and none may thereby depend on all others.
def _rewards() -> "Registry":
    table: Registry = importlib.import_module("pyrite.rewards.catalogue").REWARDS
    return table


def _policies() -> "Registry":
    table: Registry = importlib.import_module("pyrite.policies.catalogue").POLICIES
    return table


def _to_stderr(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.ERROR and logging.lastResort is not None:
        logging.lastResort.handle(record)
    return False


# accelerate imports DeepSpeed, where it is installed, to save any model; and that logs to stdout, where results go.
logging.getLogger("DeepSpeed").addFilter(_to_stderr)


def __getattr__(name: str) -> Any:
    """Import a public name the first time it is asked for."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("pyrite")
    else:
        raise AttributeError(f"module 'pyrite' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)

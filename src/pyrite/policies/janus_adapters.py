"""LoRA adapters (Hu et al., arXiv:2106.09685) on the language model of a Janus, through peft.

A folder with adapters holds what peft writes, adapter_config.json and adapter_model.safetensors, so other tools read
it, and beside them the revision of the weights they were trained on: on others they would be noise.
"""

import copy
import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from pyrite.core.errors import CheckpointError, MissingExtraError
from pyrite.policies.janus_model import read_object
from pyrite.records.jsonl import write_json

ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_BASE_FILE = "pyrite_base.json"
_PREFIX = "base_model.model."
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoraSettings:
    """What the option `lora` may say.

    Args:
        r: rank of each adapter; parameters and optimiser state grow with it.
        alpha: the adapters' output is multiplied by alpha / r.
        targets: which matrices of every layer get one.
        seed: of their random half; the other half begins at 0, so that the policy begins unchanged.
    """

    r: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = _ATTENTION + _MLP
    seed: int = 0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "LoraSettings":
        """From a mapping such as `{"r": 16, "alpha": 32}`.

        Raises:
            ValueError: a key that is not known, or a value that cannot be; all of them at once.
        """
        known = {field.name for field in fields(cls)}
        problems = [
            f"'{key}' is not known (there are {', '.join(sorted(known))})" for key in options if key not in known
        ]
        rank, alpha = options.get("r", 16), options.get("alpha", 32.0)
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            problems.append(f"r = {rank!r} is no rank: a whole number from 1 on (8 to 64 are usual)")
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or alpha <= 0:
            problems.append(f"alpha = {alpha!r} is no positive number")
        targets = options.get("targets", _ATTENTION + _MLP)
        odd = [target for target in targets if target not in _ATTENTION + _MLP]
        if odd or not targets or isinstance(targets, str):
            problems.append(f"targets = {targets!r}: a list of some of {', '.join(_ATTENTION + _MLP)}")
        if problems:
            raise ValueError(f"the option lora says what is not possible: {'; '.join(problems)}.")
        return cls(int(rank), float(alpha), tuple(targets), int(options.get("seed", 0)))


def has_adapters(janus: Any) -> bool:
    """Whether a transformers model has peft adapters in it."""
    return bool(getattr(janus, "_hf_peft_config_loaded", False))


def add(janus: Any, settings: LoraSettings) -> None:
    """Put fresh adapters, in float32, into the language model; from then on they are all that takes a gradient.

    Raises:
        MissingExtraError: peft is not installed.
    """
    _require_peft()
    from peft import LoraConfig

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft divides it by r
        target_modules=rf".*language_model\.layers\.\d+\.\w+\.({'|'.join(settings.targets)})",
        lora_dropout=0.0,  # else the log-probability of a token would differ from one computation to the next
    )
    janus.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        janus.add_adapter(config)
    _widen(janus)


def load(janus: Any, folder: Path, revision: str) -> None:
    """Put the adapters of a folder into the language model.

    Args:
        janus: the model they were trained on.
        folder: as `save` wrote it.
        revision: of that model's weights.

    Raises:
        MissingExtraError: peft is not installed.
        CheckpointError: the folder cannot be read, or belongs to other weights.
    """
    _require_peft()
    from peft import LoraConfig, PeftConfig
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if (folder / _BASE_FILE).is_file():
        trained_on = read_object(folder / _BASE_FILE).get("revision")
        if trained_on != revision:
            raise CheckpointError(
                f"the adapters in {folder} were trained on weights of revision {trained_on}, and these have "
                f"{revision}: on other weights they mean nothing. Name the folder they were trained on."
            )
    try:
        config = PeftConfig.from_pretrained(str(folder))
        tensors = load_file(folder / _ADAPTER_WEIGHTS)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"the adapters in {folder} could not be read: {error}. Copy {ADAPTER_CONFIG} and {_ADAPTER_WEIGHTS} again."
        ) from error
    if not isinstance(config, LoraConfig):
        raise CheckpointError(f"{folder} holds adapters of type {config.peft_type}, and LoRA is what is known here.")
    config.lora_dropout = 0.0  # as in `add`
    janus.requires_grad_(False)
    janus.add_adapter(config)
    places = {name.replace(".default.", "."): value for name, value in janus.named_parameters() if "lora_" in name}
    found = {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
    wanted_shapes, found_shapes = ({name: value.shape for name, value in of.items()} for of in (places, found))
    if wanted_shapes != found_shapes:
        odd = sorted(name for name in {*places, *found} if wanted_shapes.get(name) != found_shapes.get(name))
        raise CheckpointError(
            f"{folder}: {len(odd)} tensors of the adapters are missing, left over or of another size (first: {odd[0]}),"
            " so part of them would be random. They belong to another model, or were not written completely."
        )
    _widen(janus)
    with torch.no_grad():
        for name, value in janus.named_parameters():
            if "lora_" in name:
                value.copy_(found[name.replace(".default.", ".")])


def base_of(folder: Path) -> str:
    """The folder or name of the weights that the adapters in `folder` belong to.

    Raises:
        CheckpointError: nothing there says so.
    """
    written = folder / _BASE_FILE
    said = read_object(written).get("base") if written.is_file() else None
    base = said or read_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            f"{folder} holds adapters and does not say whose: write the folder of the weights they were trained on "
            f'into {_BASE_FILE}: {{"base": "..."}}.'
        )
    return base


def save(janus: Any, folder: Path, *, base: str, revision: str) -> None:
    """Write the adapters as peft does, and whose they are."""
    with _without_warnings():
        janus.save_pretrained(folder)
    write_json(folder / _BASE_FILE, {"base": base, "revision": revision})


@contextmanager
def switched_off(janus: Any) -> Iterator[None]:
    """Within, the adapters do nothing."""
    janus.disable_adapters()
    try:
        yield
    finally:
        janus.enable_adapters()


def merged(janus: Any) -> Any:
    """A copy on the CPU whose matrices contain what the adapters add, without adapters.

    Sums are rounded to the precision of the matrices: in bfloat16, what changes an entry by less than 0.4 % is lost.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    whole = copy.deepcopy(janus).to("cpu")
    for name, layer in list(whole.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(whole.get_submodule(parent), child, layer.get_base_layer())
    whole._hf_peft_config_loaded = False
    del whole.peft_config
    return whole


def _widen(janus: Any) -> None:
    """Adapters are kept in float32: steps of 1e-6 would be rounded away in bfloat16."""
    for name, parameter in janus.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


def _require_peft() -> None:
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError(
            "adapters (LoRA) need the package peft, which is not installed; without them the whole language model is "
            "trained. Type: pip install 'pyrite[lora]'"
        )


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Could not find a config file in")  # peft asks after a vocabulary's size
        yield

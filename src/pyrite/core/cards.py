"""Claims about rewards and policies, as data: `pyrite list` prints them and the property tests check them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RewardCard:
    """What a reward claims about itself.

    Args:
        name: the name it is registered under.
        summary: one sentence: what a high score means.
        range: (lowest, highest) value it can give; infinities where it is unbounded.
        reads_prompt: False if the score depends on the image alone.
        deterministic: the same image and prompt always give the same score.
        revision: hash of the weights, or a version for rewards without weights.
        upstream: where the model or formula comes from (repository@commit, paper).
        parity_error: largest difference from the official code on the fixtures; None if there is no official code.
        licence: of the weights.
        cites: BibTeX keys or arXiv ids.
        options: those of the factory's options that change scores, with the values in force.
        preprocessing: name and version of what makes model input of image and prompt, such as "hpsv2/1"; the version
            rises whenever the same image or prompt would become other input.
        dtype: in which the model computes; normalisation and dot products are always in float32 or wider.
    """

    name: str
    summary: str
    range: tuple[float, float]
    reads_prompt: bool
    deterministic: bool = True
    revision: str = ""
    upstream: str = ""
    parity_error: float | None = None
    licence: str = ""
    cites: tuple[str, ...] = ()
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    preprocessing: str = ""
    dtype: str = "float32"

    @property
    def store_key(self) -> str:
        """What a stored score is filed under: 64 hexadecimal digits, other ones whenever scores may differ.

        The sha256 of name, options, revision, preprocessing and dtype as canonical JSON.
        """
        facts = {
            "name": self.name,
            "options": dict(self.options),
            "revision": self.revision,
            "preprocessing": self.preprocessing,
            "dtype": self.dtype,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class ModelShape:
    """The sizes of an autoregressive policy that decide about memory.

    Args:
        num_parameters: of the whole policy.
        num_trained: of the parameters that take a gradient.
        layers: of the language model.
        width: of its hidden states.
        ffn_width: of the inner layer of its feed-forward part.
        kv_width: of the keys of one position in one layer, over all key heads; as wide are the values.
        prompt_tokens: positions before the first action; an estimate where prompts differ.
        plan_tokens: actions that are words of a plan.
        image_tokens: actions that are image codes.
        text_choices: words that the plan chooses from.
        image_choices: codes that an image chooses from.
    """

    num_parameters: int
    num_trained: int
    layers: int
    width: int
    ffn_width: int
    kv_width: int
    prompt_tokens: int
    plan_tokens: int
    image_tokens: int
    text_choices: int
    image_choices: int


@dataclass(frozen=True)
class PolicyCard:
    """What a policy claims about itself.

    Args:
        name: the name it is registered under.
        summary: one sentence.
        num_tokens: T, the actions per image, plan included.
        image_size: (width, height) in pixels.
        revision: hash of the weights.
        upstream: where the model comes from.
        licence: of the weights.
        num_plan_tokens: how many of the actions, the first, are words of a plan and not of the image.
        shape: for estimates of memory; None if nobody said.
    """

    name: str
    summary: str
    num_tokens: int
    image_size: tuple[int, int]
    revision: str = ""
    upstream: str = ""
    licence: str = ""
    cites: tuple[str, ...] = ()
    num_plan_tokens: int = 0
    shape: ModelShape | None = None

"""Claims about rewards and policies, as data: `pyrite list` prints them and the property tests check them."""

from dataclasses import dataclass


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
    """

    name: str
    summary: str
    num_tokens: int
    image_size: tuple[int, int]
    revision: str = ""
    upstream: str = ""
    licence: str = ""
    cites: tuple[str, ...] = ()

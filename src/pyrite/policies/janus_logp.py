"""Log-probabilities of chosen tokens, a piece at a time, so that the logits of all of them never exist at once.

Axes: R rollouts, n tokens, D hidden width, V choices. At Janus-Pro's size the logits of one image are 576 x 16384
float32, 38 MB, and a plain log-softmax keeps three such blocks per image until the backward pass.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def token_logp(
    head: Callable[[Tensor], Tensor], hidden: Tensor, choices: Tensor, *, temperature: float, chunk: int | None
) -> Tensor:
    """(R, n) log-probability of `choices`, in float32.

    Args:
        head: (..., D) -> (..., V) logits.
        hidden: (R, n, D) that decides about each choice.
        choices: (R, n) ids.
        temperature: divides the logits.
        chunk: how many positions have logits at a time; those of the others are computed again in the backward pass.
            None computes all at once.
    """
    if chunk is None or choices.numel() <= chunk:
        return _logp_of(head(hidden) / temperature, choices)

    def of(part: Tensor, chosen: Tensor) -> Tensor:
        return _logp_of(head(part) / temperature, chosen)

    parts = zip(hidden.flatten(0, 1).split(chunk), choices.flatten().split(chunk), strict=True)
    if torch.is_grad_enabled():
        logp = [checkpoint(of, part, chosen, use_reentrant=False) for part, chosen in parts]
    else:
        logp = [of(part, chosen) for part, chosen in parts]
    return torch.cat(logp).view_as(choices)


def _logp_of(logits: Tensor, choices: Tensor) -> Tensor:
    """Log-softmax of `logits` (..., V) at `choices` (...), in float32."""
    losses = F.cross_entropy(logits.flatten(0, -2).float(), choices.flatten(), reduction="none")
    return -losses.view_as(choices)

"""From logits to a token: guidance, temperature, the cuts of top-k and top-p, and one uniform number per row.

Pure functions on tensors. Axes: R rows, V choices.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn from a policy's distribution.

    Args:
        temperature: of the image codes.
        plan_temperature: of the plan.
        cfg_scale: classifier-free guidance of the image codes; 1 = none.
        top_k: image codes are drawn from this many most probable ones; None = from all.
        top_p: image codes are drawn from the smallest set that holds this much probability; None = from all.

    Raises:
        ValueError: a value outside its range.
    """

    temperature: float = 1.0
    plan_temperature: float = 1.0
    cfg_scale: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.plan_temperature <= 0:
            raise ValueError(
                f"temperature {self.temperature} and plan_temperature {self.plan_temperature} must be positive: "
                "log-probabilities at temperature 0 are infinite. Take a small one, such as 0.1."
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k = {self.top_k} leaves nothing to draw. Set it to 1 or more, or leave it out.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p = {self.top_p} is a share of the probability, so it lies above 0 and is at most 1. "
                "Set it to 0.95, say, or leave it out."
            )


@dataclass(frozen=True)
class Chosen:
    """One token per row; all (R, 1).

    Args:
        ids: the choice.
        prob: probability it was drawn with.
        unguided_logp: its log-probability at the temperature alone, without guidance and cuts.
    """

    ids: Tensor
    prob: Tensor
    unguided_logp: Tensor


def choose(
    logits: Tensor,
    uniform: Tensor,
    *,
    temperature: float,
    without: Tensor | None = None,
    guidance: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Chosen:
    """Draw a token per row by inverting the distribution function.

    Guidance is `without + guidance (logits - without)` as in transformers' `generate`, then the temperature, then the
    cuts; in this order there too.

    Args:
        logits: (R, V) given the prompt.
        uniform: (R, 1) in [0, 1).
        temperature: divides the logits.
        without: (R, V) logits without the prompt; None = no guidance.
        guidance: strength of the guidance.
        top_k: as of `Sampling`.
        top_p: as of `Sampling`.
    """
    guided = logits if without is None else without + guidance * (logits - without)
    prob = (guided / temperature).softmax(-1)
    kept = restrict(prob, top_k=top_k, top_p=top_p) if top_k is not None or top_p is not None else prob
    ids, chosen_prob = invert_distribution(kept, uniform)
    if without is None:
        own = chosen_prob if kept is prob else prob.gather(-1, ids)
        return Chosen(ids, chosen_prob, own.log())
    return Chosen(ids, chosen_prob, (logits / temperature).log_softmax(-1).gather(-1, ids))


def restrict(prob: Tensor, *, top_k: int | None, top_p: float | None) -> Tensor:
    """The same distribution with its unlikely choices at 0, the rest scaled to sum to 1.

    The cuts of Fan et al. (arXiv:1805.04833, section 5.4) and Holtzman et al. (arXiv:1904.09751, section 3.1): first
    the `top_k` most probable choices and all that equal the last of them, then, of what is left, the most probable ones
    until they hold `top_p` of it.

    Args:
        prob: (R, V), each row sums to 1.
        top_k: how many choices; None = all.
        top_p: how much probability, in (0, 1]; None = all.
    """
    if top_k is not None and top_k < prob.shape[-1]:
        least = prob.topk(top_k, -1).values[:, -1:]
        prob = prob.masked_fill(prob < least, 0.0)
        prob = prob / prob.sum(-1, keepdim=True)
    if top_p is not None and top_p < 1:
        falling, order = prob.sort(dim=-1, descending=True, stable=True)
        is_late = falling.cumsum(-1) - falling >= top_p  # the more probable ones hold enough without it
        prob = prob.masked_fill(torch.zeros_like(is_late).scatter(-1, order, is_late), 0.0)
        prob = prob / prob.sum(-1, keepdim=True)
    return prob


def invert_distribution(prob: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The choice at which the cumulated probability passes `uniform`, and its probability.

    A choice of probability 0 is never taken: its step of the distribution function has no height.

    Args:
        prob: (R, V), need not sum to exactly 1.
        uniform: (R, 1) in [0, 1).

    Returns:
        (R, 1) indices and (R, 1) probabilities.
    """
    cumulated = prob.cumsum(-1)
    chosen = torch.searchsorted(cumulated, uniform * cumulated[:, -1:], right=True)
    chosen.clamp_(max=prob.shape[-1] - 1)  # NaN passes every step; the caller finds it in the probability
    return chosen, prob.gather(-1, chosen)

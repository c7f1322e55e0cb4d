"""The mathematics of GRPO on log-probabilities and rewards: advantages, divergence estimates, the clipped loss.

Pure functions. Axes: R rollouts, grouped so that the G siblings of a prompt are neighbours; T tokens.

How this differs from GRPO as published (DeepSeekMath, arXiv:2402.03300, eq. 3): the loss is summed over all tokens of
the batch and divided by their number, as T2I-R1 (arXiv:2505.00703) has it in code, where DeepSeekMath first takes
the mean over each sequence. The two agree when all sequences are equally long, as images are. DAPO
(arXiv:2503.14476, eq. 12) uses the token-level form and, as here, allows two different clip limits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

KlEstimator = Literal["k1", "k2", "k3"]
Scale = Literal["group", "batch", "none"]


def group_advantages(
    rewards_R: Float[Tensor, " R"],
    group_size: int,
    *,
    scale: Scale,
    ddof: Literal[0, 1],
    eps: float = 1e-4,
    mask_R: Bool[Tensor, " R"] | None = None,
) -> Float[Tensor, " R"]:
    """How much better each image is than its siblings: reward minus group mean, over a standard deviation.

    Within a group the advantages sum to 0. An unscored image (NaN, or False in `mask_R`) gets 0 and does not move the
    mean or the deviation of its group; a group with fewer than two scored images gets 0 throughout, because there
    is nothing to compare with.

    With `scale="group"` a positive affine map of a prompt's rewards changes nothing (up to `eps`), so weights and
    offsets inside one prompt are invisible to training; "batch" and "none" see them. Rewards that are 0 or 1 give
    at most sqrt(G) - 1/sqrt(G) for ddof 1 and sqrt(G - 1) for ddof 0.

    Args:
        rewards_R: (R,) on any scale, higher is better.
        group_size: G >= 2.
        scale: "group" divides by the group's own deviation (arXiv:2402.03300, section 4.1.2), "batch" by that of all
            scored rewards (as TRL's `scale_rewards="batch"`), "none" by nothing (Dr. GRPO, arXiv:2503.20783, eq. 2).
        ddof: the deviation divides by n - ddof; torch's default, and so T2I-R1, is 1.
        eps: added to the deviation.
        mask_R: which images count; all of them by default.

    Raises:
        ValueError: the rewards do not divide into groups of at least two.
    """
    if group_size < 2 or len(rewards_R) % group_size:
        raise ValueError(
            f"{len(rewards_R)} rewards in groups of {group_size}: an advantage compares siblings, so groups need at "
            "least 2 members and must be complete. Set num_generations >= 2 (papers use 8 to 64)."
        )
    scored_R = ~rewards_R.isnan() if mask_R is None else mask_R & ~rewards_R.isnan()
    scored_PG = scored_R.view(-1, group_size)
    rewards_PG = rewards_R.view(-1, group_size).masked_fill(~scored_PG, 0.0)
    num_P1 = scored_PG.sum(1, keepdim=True)
    mean_P1 = rewards_PG.sum(1, keepdim=True) / num_P1.clamp(min=1)
    centred_PG = (rewards_PG - mean_P1).masked_fill(~scored_PG | (num_P1 < 2), 0.0)
    if scale == "group":
        variance_P1 = centred_PG.square().sum(1, keepdim=True) / (num_P1 - ddof).clamp(min=1)
        centred_PG = centred_PG / (variance_P1.sqrt() + eps)
    elif scale == "batch" and scored_R.sum() >= 2:
        centred_PG = centred_PG / (rewards_R[scored_R].std(correction=ddof) + eps)
    return centred_PG.flatten()


def kl_k1(logp_RT: Float[Tensor, "R T"], ref_logp_RT: Float[Tensor, "R T"]) -> Float[Tensor, "R T"]:
    """Per-token estimate log(policy / reference) of KL(policy ‖ reference): unbiased on-policy, of either sign.

    Schulman (2020), "Approximating KL Divergence". In a loss it does nothing: on-policy the expectation of its
    gradient is the gradient of sum(policy) = 1, which is 0. Use it to measure, or subtract it from the reward.
    """
    return logp_RT - ref_logp_RT


def kl_k2(logp_RT: Float[Tensor, "R T"], ref_logp_RT: Float[Tensor, "R T"]) -> Float[Tensor, "R T"]:
    """Half the squared log-ratio: not an estimate of the KL, but in a loss it follows grad KL(policy ‖ reference).

    Schulman (2020), "Approximating KL Divergence". The gradient of 0.5 log(w)^2 is log(w) grad logp, the
    score-function form of grad KL(policy ‖ reference). Token by token, the states before each token count as given:
    what a token does to the divergence of later tokens is left out.
    """
    return 0.5 * (logp_RT - ref_logp_RT).square()


def kl_k3(logp_RT: Float[Tensor, "R T"], ref_logp_RT: Float[Tensor, "R T"]) -> Float[Tensor, "R T"]:
    """Per-token estimate of KL(policy ‖ reference): unbiased on-policy and never negative; GRPO's KL term.

    Schulman (2020), "Approximating KL Divergence"; arXiv:2402.03300, eq. 4. In a loss it follows the *other*
    divergence: the expectation of its gradient is grad KL(reference ‖ policy), with the states before each token
    taken as given and drawn from the policy.
    """
    log_ratio_RT = ref_logp_RT - logp_RT
    return log_ratio_RT.exp() - log_ratio_RT - 1


KL_ESTIMATORS: dict[KlEstimator, Callable[[Tensor, Tensor], Tensor]] = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}


@dataclass(frozen=True)
class GrpoLoss:
    """The loss to descend, and what it is made of.

    Given the token count of all processes, the parts that the processes compute add up to the value of the batch.

    Args:
        loss: differentiable; policy_loss + beta * kl.
        policy_loss: the negative clipped surrogate, detached.
        kl: per-token mean of the chosen estimator, detached.
        clip_frac: share of tokens in [0, 1] whose ratio is clipped, so that they have no policy gradient; detached.
    """

    loss: Float[Tensor, ""]
    policy_loss: Float[Tensor, ""]
    kl: Float[Tensor, ""]
    clip_frac: Float[Tensor, ""]


def grpo_loss(
    logp_RT: Float[Tensor, "R T"],
    old_logp_RT: Float[Tensor, "R T"],
    advantages_R: Float[Tensor, " R"],
    mask_RT: Bool[Tensor, "R T"],
    *,
    ref_logp_RT: Float[Tensor, "R T"],
    beta: float,
    kl_estimator: KlEstimator,
    clip_eps_low: float,
    clip_eps_high: float,
    num_tokens: float | None = None,
    weight_T: Float[Tensor, " T"] | None = None,
) -> GrpoLoss:
    """The clipped surrogate with a KL penalty, lower is better: PPO's objective with group advantages.

    Per token -min(ratio A, clip(ratio, 1 - low, 1 + high) A) + beta KL, as in arXiv:2402.03300, eq. 3; summed over the
    tokens of `mask_RT` and divided by their number (see the head of this module for where that differs).
    At ratio 1 its gradient is the policy gradient, and neither limit plays a part.

    Args:
        logp_RT: (R, T) under the policy being trained; carries the gradient.
        old_logp_RT: (R, T) under the policy that drew the batch, before its first update.
        advantages_R: (R,) the same for every token of a rollout.
        mask_RT: (R, T) which tokens count.
        ref_logp_RT: (R, T) under the reference policy.
        beta: weight of the KL term, in reward units per nat.
        kl_estimator: which estimator is differentiated; see `kl_k1`, `kl_k2`, `kl_k3` for what each one does.
        clip_eps_low: the ratio's lower limit is 1 - clip_eps_low.
        clip_eps_high: its upper limit is 1 + clip_eps_high.
        num_tokens: divide by this instead: the number of tokens in the batch of all processes, each as often as it
            weighs.
        weight_T: (T,) how much the tokens of a place count, in sums and in their number; 1 each if left out.
    """
    if num_tokens is None:
        total = mask_RT.sum() if weight_T is None else (mask_RT * weight_T).sum()
    else:
        total = torch.as_tensor(num_tokens, device=logp_RT.device)

    def token_mean(values_RT: Tensor) -> Tensor:
        kept_RT = values_RT.masked_fill(~mask_RT, 0.0)
        return (kept_RT if weight_T is None else kept_RT * weight_T).sum() / total

    advantages_R1 = advantages_R[:, None]
    ratio_RT = (logp_RT - old_logp_RT).exp()
    limited_RT = ratio_RT.clamp(1 - clip_eps_low, 1 + clip_eps_high) * advantages_R1
    policy_loss = token_mean(-torch.minimum(ratio_RT * advantages_R1, limited_RT))
    kl = token_mean(KL_ESTIMATORS[kl_estimator](logp_RT, ref_logp_RT))
    too_high_RT = (ratio_RT > 1 + clip_eps_high) & (advantages_R1 > 0)
    too_low_RT = (ratio_RT < 1 - clip_eps_low) & (advantages_R1 < 0)
    clip_frac = token_mean((too_high_RT | too_low_RT).to(logp_RT.dtype))
    return GrpoLoss(policy_loss + beta * kl, policy_loss.detach(), kl.detach(), clip_frac.detach())

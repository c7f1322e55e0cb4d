"""What can be known before the first image is drawn: whether there are prompts that the policy can draw."""

from collections.abc import Sequence

from pyrite.core.errors import TrainingError
from pyrite.core.protocols import Policy
from pyrite.core.types import Prompt

_LISTED = 10


def refuse_too_few_prompts(num_prompts: int, num_eval_prompts: int, per_step: int, num_processes: int) -> None:
    """Refuse to begin without prompts, or with a process that would have none.

    Raises:
        TrainingError: there are too few.
    """
    if not num_prompts or not num_eval_prompts:
        raise TrainingError(
            f"{num_prompts} prompts to train on and {num_eval_prompts} to look at: both need at least one. "
            "Check prompts and evaluation.prompts of the recipe."
        )
    if per_step < num_processes:
        raise TrainingError(
            f"{num_processes} processes share {per_step} prompts per step by whole groups, so some would have none. "
            "Raise grpo.prompts_per_step, or launch fewer."
        )


def refuse_prompts(policy: Policy, prompts: Sequence[Prompt]) -> None:
    """Refuse prompts that the policy cannot draw, all at once: one of them would end the run in the middle.

    A policy that can tell has `why_not(prompt)`: a sentence, or None.

    Raises:
        TrainingError: there are such prompts.
    """
    why_not = getattr(policy, "why_not", None)
    if why_not is None:
        return
    found = [(prompt, why) for prompt in prompts if (why := why_not(prompt))]
    if found:
        listed = "".join(f"\n  - prompt {prompt.id or prompt.text!r}: {why}" for prompt, why in found[:_LISTED])
        more = f"\n  and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise TrainingError(
            f"the policy '{policy.card.name}' cannot draw {len(found)} of the {len(prompts)} prompts to train on and "
            f"to look at:{listed}{more}\nThe run would end at the first of them. Mend them or leave them out."
        )

"""When an accelerator's memory is not enough: which phase it was, what to lower, and what would fit."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pyrite.core.cards import PolicyCard
from pyrite.core.errors import RewardError, TrainingError
from pyrite.records.recipe import Recipe
from pyrite.records.training_memory import fitting_micro_batch, load_of, training_memory

_ADVICE = {
    "draw": "drawing images",
    "score": "scoring images",
    "update": "updating the policy",
    "look": "drawing and scoring the evaluation images",
}


class MemoryGuard:
    """Says what to do when memory runs out; used as `with memory("update"):`.

    Args:
        recipe: whose settings decide.
        card: of the policy.
        room_bytes: of the accelerator; asked of it if left out.
    """

    def __init__(self, recipe: Recipe, card: PolicyCard, room_bytes: int | None = None) -> None:
        self._recipe = recipe
        self._card = card
        self._room = room_bytes

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Within, running out of memory is an error that teaches.

        Raises:
            TrainingError: memory ran out.
        """
        try:
            yield
        except (torch.OutOfMemoryError, RewardError) as error:
            cause = error.__cause__ if isinstance(error, RewardError) else error
            if not isinstance(cause, torch.OutOfMemoryError):
                raise
            why = str(error).partition("\n")[0]
            raise TrainingError(
                f"memory ran out while {_ADVICE[phase]} ({why}). {self._lower(phase)}{self._estimate()} Checkpoints of "
                "this run are still good."
            ) from error

    def _lower(self, phase: str) -> str:
        settings = self._recipe.grpo
        rows = settings.prompts_per_step * settings.num_generations
        if phase == "score":
            names = ", ".join(term.name for term in self._recipe.rewards)
            return (
                f"Give the largest of {names} a smaller batch_size or bfloat16 under its options, another device, or a "
                "server of its own (`pyrite serve`, and the reward `remote` here)."
            )
        if phase == "draw":
            return (
                f"{rows} images are drawn per step: lower grpo.prompts_per_step, launch more processes, or load the "
                "policy in bfloat16 (policy.options.dtype)."
            )
        if phase == "look":
            return (
                "Lower evaluation.images_per_prompt, or batch_size under the options of the largest reward; see also "
                "grpo.micro_batch."
            )
        now = settings.micro_batch or rows
        others = [] if settings.reference != "copy" else ["set grpo.reference to offloaded"]
        options = self._recipe.policy.options
        others += [] if options.get("dtype") == "bfloat16" else ["set policy.options.dtype to bfloat16"]
        others += [] if options.get("gradient_checkpointing") else ["set policy.options.gradient_checkpointing to true"]
        others += [] if options.get("lora") else ["train adapters (policy.options.lora)"]
        return (
            f"Lower grpo.micro_batch, which is {now} images per pass and changes no result: a run may go on with "
            f"another one. Beyond that, in another folder: {', '.join(others)}."
        )

    def _estimate(self) -> str:
        shape = self._card.shape
        room = self._room
        if room is None and torch.cuda.is_available():
            room = int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
        if shape is None or not room:
            return ""
        load = load_of(self._recipe.model_dump(mode="json"))
        needed, fits = training_memory(shape, load), fitting_micro_batch(shape, load, room)
        found = f"grpo.micro_batch = {fits} fits" if fits else "no micro-batch fits beside what stays there"
        return (
            f" By the estimate, without rewards, {needed.always / 1e9:.1f} GB stay there and "
            f"{max(needed.cache, needed.activations) / 1e9:.1f} GB come and go, of {room / 1e9:.1f} GB: {found}."
        )

"""Every error a user can meet, as one tree.

PyriteError
├── RecipeError(ValueError)          all problems of a recipe at once, with did-you-mean
├── MissingExtraError(ImportError)   feature, package, command to type
├── UnknownNameError(KeyError)       name, nearest names, where to list them
├── RegistryError(ValueError)        a table or an entry point announces a member that cannot be
├── CheckpointError(RuntimeError)    weights missing, of the wrong kind, or not the bytes they should be
├── RewardError(RuntimeError)        the reward is broken for everyone (not: this image)
│   └── InterruptedScoringError      the same, in the middle of a batch: brings the scores it had by then
├── RunFolderError(RuntimeError)     a run folder that cannot be read, written or continued
├── StoreError(RuntimeError)         a score store that cannot be read or written
├── ImageSetError(ValueError)        an image set that cannot be read as one
├── PromptFileError(ValueError)      a prompt file that cannot be read as one, every bad line named
└── TrainingError(RuntimeError)
    └── NonFiniteLossError           step, prompt ids, path of the saved batch

A message has three parts: what happened (with the values), why it matters, what to type next.
Trouble with a single image is never an exception: it is NaN with a reason (`pyrite.core.types.Scores`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrite.core.types import Scores


class PyriteError(Exception):
    """Root of the tree; catch it to catch everything Pyrite raises on purpose."""


class RecipeError(PyriteError, ValueError):
    """A recipe has problems; the message lists every one of them."""


class MissingExtraError(PyriteError, ImportError):
    """A feature needs an optional package that is not installed."""


class UnknownNameError(PyriteError, KeyError):
    """No member of that name is registered."""

    def __str__(self) -> str:
        """The message itself: `KeyError` would show it in quotes."""
        return str(self.args[0]) if self.args else ""


class RegistryError(PyriteError, ValueError):
    """A table or an entry point announces a member that cannot be: its name is taken or its target does not exist."""


class CheckpointError(PyriteError, RuntimeError):
    """Weights are missing, of the wrong kind, or not the bytes the manifest names."""


class RewardError(PyriteError, RuntimeError):
    """A reward cannot score anything at all."""


class InterruptedScoringError(RewardError):
    """A reward had to stop in the middle of a batch; whoever keeps scores keeps those it had.

    Args:
        message: as of every error.
        scores: of the whole batch; what was not reached is transient.
        reward_key: `RewardCard.store_key` of the reward that gave them. A reward that wraps another one may let the
            other's error pass, and those are not its own scores.
    """

    def __init__(self, message: str, scores: "Scores", reward_key: str) -> None:
        super().__init__(message, scores, reward_key)
        self.scores = scores
        self.reward_key = reward_key

    def __str__(self) -> str:
        """The message alone."""
        return str(self.args[0])


class RunFolderError(PyriteError, RuntimeError):
    """A run folder cannot be read, written or continued."""


class StoreError(PyriteError, RuntimeError):
    """A score store cannot be read or written."""


class ImageSetError(PyriteError, ValueError):
    """An image set cannot be read as one."""


class PromptFileError(PyriteError, ValueError):
    """A prompt file cannot be read as one, or holds prompts that cannot be drawn."""


class TrainingError(PyriteError, RuntimeError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; the batch that did it has been saved."""

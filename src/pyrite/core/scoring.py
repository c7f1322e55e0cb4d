"""Calling a reward so that its defects are errors with a name, and never numbers."""

from collections.abc import Sequence

from pyrite.core.errors import PyriteError, RewardError
from pyrite.core.protocols import Reward
from pyrite.core.types import Image, Prompt, Scores


def score_checked(name: str, reward: Reward, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
    """The scores of N images, from a reward that may be anybody's.

    Raises:
        RewardError: it raised something, or returned another number of scores than there are images.
    """
    try:
        scores = reward.score(images, prompts)
    except PyriteError:
        raise
    except Exception as error:
        raise RewardError(
            f"the reward '{name}' raised {type(error).__name__}: {error}, on {len(images)} images, the first of "
            f"'{prompts[0].text}'. A reward that cannot score an image returns NaN with a reason; one that raises is "
            "broken. Mend it, then give the same command again: what was done before is kept."
        ) from error
    if len(scores) != len(images):
        raise RewardError(
            f"the reward '{name}' returned {len(scores)} scores for {len(images)} images, so no score can be told to "
            "belong to an image. Mend it, then give the same command again."
        )
    return scores

"""Which rewards read a prompt's metadata, and what a prompt lacks for them; known before any model is loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyrite.core.types import Prompt

READERS = ("detector-pocket", "gdino", "git")
"""Rewards that leave an image unscored if its prompt does not say what they look for."""


def unreadable(name: str, options: Mapping[str, Any], prompts: Sequence[Prompt]) -> dict[int, str]:
    """Position of a prompt -> what it lacks for a reward, whatever the image; empty if the reward reads no metadata.

    Args:
        name: of the reward, as it is registered; for `remote`, the reward that the server is asked for is meant.
        options: of its factory, of which `mode` matters.
        prompts: that it will be asked about.
    """
    if name == "remote":
        name = str(options.get("reward", ""))
    if name not in READERS:
        return {}
    from pyrite.rewards.gdino import why_unscored
    from pyrite.rewards.git_vqa import why_unasked

    is_reference = options.get("mode") == "reference"
    if name == "git":
        reasons = [None if is_reference else why_unasked(prompt) for prompt in prompts]
    else:
        reasons = [why_unscored(prompt, "reference" if is_reference else "fixed") for prompt in prompts]
    return {place: why for place, why in enumerate(reasons) if why}

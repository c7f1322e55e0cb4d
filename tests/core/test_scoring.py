"""A reward's own defects become errors that name it."""

import numpy as np
import pytest
from PIL import Image as PILImage

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError
from pyrite.core.scoring import score_checked
from pyrite.core.types import Prompt, Scores

IMAGES = [PILImage.new("RGB", (4, 4))] * 3
PROMPTS = [Prompt("a red circle")] * 3


class _Answers:
    """Returns what it was given, or raises it."""

    card = RewardCard("fake", "for tests", (0, 1), reads_prompt=False)

    def __init__(self, answer: Scores | Exception) -> None:
        self.answer = answer

    def score(self, images: object, prompts: object) -> Scores:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_scores_pass_through_unscored_ones_too() -> None:
    scores = Scores(np.array([0.5, np.nan, 1.0]), {1: "too dark"})
    assert score_checked("fake", _Answers(scores), IMAGES, PROMPTS) is scores


def test_an_exception_names_the_reward_and_the_prompt() -> None:
    with pytest.raises(RewardError, match=r"'fake' raised ZeroDivisionError: oops.*'a red circle'.*NaN with a reason"):
        score_checked("fake", _Answers(ZeroDivisionError("oops")), IMAGES, PROMPTS)


def test_our_own_errors_keep_their_message() -> None:
    with pytest.raises(RewardError, match=r"^the server is gone$"):
        score_checked("fake", _Answers(RewardError("the server is gone")), IMAGES, PROMPTS)


def test_another_number_of_scores_is_refused() -> None:
    with pytest.raises(RewardError, match="2 scores for 3 images"):
        score_checked("fake", _Answers(Scores(np.zeros(2))), IMAGES, PROMPTS)

"""What the network did to a score is not kept; what was scored before a reward had to stop is."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from pyrite.core.cards import RewardCard
from pyrite.core.errors import InterruptedScoringError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.store import ScoreStore
from pyrite.records.stored import Stored

CARD = RewardCard("flaky", "Fails on request.", (0, 1), reads_prompt=False, revision="1")


@dataclass
class Flaky:
    """Gives the image's red; rows of a call that are named have no score, for a reason that passes or stays."""

    passing: Sequence[int] = ()
    staying: Sequence[int] = ()
    stops_as: str = ""
    card: RewardCard = CARD
    asked: list[int] = field(default_factory=list)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        self.asked.append(len(images))
        values = np.array([image.getpixel((0, 0))[0] / 255 for image in images])  # type: ignore[index]
        reasons = dict.fromkeys(self.passing, "it passes") | dict.fromkeys(self.staying, "it stays")
        values[list(reasons)] = np.nan
        scores = Scores(values, reasons, transient=frozenset(self.passing))
        if self.stops_as:
            raise InterruptedScoringError("stopped. Try again.", scores, self.stops_as)
        return scores


def images(num: int) -> list[Image]:
    return [PILImage.new("RGB", (2, 2), (row, 0, 0)) for row in range(num)]


def prompts(num: int) -> list[Prompt]:
    return [Prompt("")] * num


def test_what_passes_is_handed_on_and_asked_again(tmp_path: Path) -> None:
    reward = Flaky(passing=[1], staying=[2])
    with ScoreStore(tmp_path / "s.sqlite") as store:
        stored = Stored(reward, store)
        assert stored.score(images(4), prompts(4)).reasons == {1: "it passes", 2: "it stays"}
        reward.passing, reward.staying = [], []
        assert stored.score(images(4), prompts(4)).reasons == {2: "it stays"}
        assert stored.score(images(4), prompts(4)).values[1] == 1 / 255
    assert reward.asked == [4, 1]


def test_a_stop_keeps_what_was_scored(tmp_path: Path) -> None:
    reward = Flaky(passing=[2, 3], stops_as=CARD.store_key)
    with ScoreStore(tmp_path / "s.sqlite") as store:
        stored = Stored(reward, store)
        with pytest.raises(InterruptedScoringError, match="stopped"):
            stored.score(images(4), prompts(4))
        reward.passing, reward.stops_as = [], ""
        assert not stored.score(images(4), prompts(4)).reasons
    assert reward.asked == [4, 2]


def test_a_stop_of_another_reward_keeps_nothing(tmp_path: Path) -> None:
    with ScoreStore(tmp_path / "s.sqlite") as store:
        with pytest.raises(InterruptedScoringError):
            Stored(Flaky(stops_as="another"), store).score(images(2), prompts(2))
        assert store.rewards() == []


def test_a_scored_row_cannot_be_transient() -> None:
    with pytest.raises(ValueError, match=r"rows \[0\] are marked transient"):
        Scores(np.array([1.0]), transient=frozenset({0}))


def test_joined_batches_keep_which_rows_pass() -> None:
    parts = [Scores(np.array([1.0])), Scores(np.array([np.nan, np.nan]), {0: "a", 1: "b"}, transient=frozenset({1}))]
    assert Scores.concatenate(parts).transient == {2}


def test_the_error_survives_a_change_of_process() -> None:
    error = InterruptedScoringError("stopped. Try again.", Scores(np.array([1.0])), "key")
    again = copy.copy(error)  # by the same door as multiprocessing's pickle
    assert (str(again), again.reward_key, again.scores.values.tolist()) == (str(error), "key", [1.0])

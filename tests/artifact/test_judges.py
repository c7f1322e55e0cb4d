"""Judges: one client for all questions, answers kept under their question, what failed never kept and never a no."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.artifact.judge_sets import says
from tests.judge_server import Body, JudgeServer, any_judge, judge_server, parts_of, status

from pyrite.artifact.judges import DEFAULT_QUESTION, reward_judge, served_judge
from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError
from pyrite.core.types import Image, Prompt, Scores
from pyrite.records.store import ScoreStore
from pyrite.rewards.served_judges import load_artifact_served

QUESTIONS = ("Is it broken? YES or NO.", "Is anything wrong? YES or NO.")


@dataclass(frozen=True)
class Constant:
    """A reward that sees no image."""

    card: RewardCard

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        return Scores(np.full(len(images), 0.75))


def images(num: int) -> list[Image]:
    return [PILImage.new("RGB", (8, 8), (row % 256, row // 256, 3)) for row in range(num)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ScoreStore]:
    with ScoreStore(tmp_path / "scores.sqlite") as opened:
        yield opened


def settings(server: JudgeServer, **other: object) -> dict[str, object]:
    return {"base_url": server.url, "audit": "", "retries": 0, "backoff_s": 0.0, **other}


def test_a_judge_says_one_minus_the_reward(store: ScoreStore) -> None:
    with judge_server(any_judge) as server:
        judge = served_judge(store, **settings(server))
        reward = load_artifact_served(**settings(server))  # type: ignore[arg-type]
        found = judge.judge(DEFAULT_QUESTION, images(3))
        scores = reward.score(images(3), [Prompt("")] * 3)
    np.testing.assert_allclose(found.prob_artifact, 1 - scores.values)
    assert judge.asks
    assert found.num_calls == 3
    assert (found.prompt_tokens, found.completion_tokens) == (900, 6)
    assert np.isnan(found.cost_usd)


def test_every_question_goes_through_one_pool_of_connections(store: ScoreStore) -> None:
    with judge_server(any_judge) as server:
        judge = served_judge(store, **settings(server, concurrency=4))
        for number in range(20):
            judge.judge(f"Question {number}? YES or NO.", images(8))
        assert len(server.bodies) == 160
        assert server.num_connections <= 4
        assert {parts_of(body)[0] for body in server.bodies} == {f"Question {n}? YES or NO." for n in range(20)}


def test_an_answered_pair_is_never_asked_again_and_another_question_is_another_pair(store: ScoreStore) -> None:
    with judge_server(any_judge) as server:
        first = served_judge(store, **settings(server)).judge(QUESTIONS[0], images(5))
        again = served_judge(store, **settings(server)).judge(QUESTIONS[0], [*images(6), images(1)[0]])
        assert len(server.bodies) == 6
        other = served_judge(store, **settings(server)).judge(QUESTIONS[1], images(5))
        assert len(server.bodies) == 11
    assert (first.num_calls, again.num_calls, other.num_calls) == (5, 1, 5)
    assert again.prob_artifact[:5].tolist() == first.prob_artifact.tolist()
    assert again.prob_artifact[6] == again.prob_artifact[0]
    assert not np.isclose(first.prob_artifact, other.prob_artifact).any()


def test_each_answer_is_kept_the_moment_it_comes(store: ScoreStore, tmp_path: Path) -> None:
    """A kill between two answers loses neither: when the third question arrives, two answers are in the file."""
    kept: list[int] = []

    def answer(body: Body) -> Body:
        with ScoreStore(tmp_path / "scores.sqlite") as other:
            kept.append(sum(entry.num for entry in other.rewards()))
        return any_judge(body)

    with judge_server(answer) as server:
        served_judge(store, **settings(server, concurrency=2)).judge(QUESTIONS[0], images(6))
    assert kept[-1] >= 3


def test_what_failed_is_no_answer_is_not_kept_and_is_asked_again(store: ScoreStore) -> None:
    with judge_server(any_judge, [status(503), status(400)]) as server:
        judge = served_judge(store, **settings(server, concurrency=2))
        found = judge.judge(QUESTIONS[0], images(10))
        assert np.isnan(found.prob_artifact).sum() == len(found.reasons) == 2
        assert all("status" in why for why in found.reasons.values())
        assert found.num_calls == 10
        whole = judge.judge(QUESTIONS[0], images(10))
        assert (whole.num_calls, dict(whole.reasons), len(server.bodies)) == (2, {}, 12)


def test_a_fifth_of_failures_stops_nobody(store: ScoreStore) -> None:
    def answer(body: Body) -> Body:
        if len(server.bodies) % 5 == 0:
            server.faults.append(status(503))
        return any_judge(body)

    with judge_server(answer) as server:
        found = served_judge(store, **settings(server, concurrency=4)).judge(QUESTIONS[0], images(200))
    assert 20 <= len(found.reasons) <= 60
    assert np.isfinite(found.prob_artifact).sum() == 200 - len(found.reasons)


def test_a_judge_that_refuses_everybody_stops_and_what_was_answered_is_kept(store: ScoreStore) -> None:
    with judge_server(any_judge) as server:
        judge = served_judge(store, **settings(server, concurrency=2))
        judge.judge(QUESTIONS[0], images(4))
        server.faults = [status(401)] * 100
        with pytest.raises(RewardError, match="refused the key"):
            judge.judge(QUESTIONS[0], images(50))
        asked = len(server.bodies)
        assert asked < 4 + 10  # the rest was not sent any more
        server.faults = []
        assert judge.judge(QUESTIONS[0], images(50)).num_calls == 46


def test_a_judge_that_samples_is_asked_every_time(store: ScoreStore) -> None:
    with judge_server(any_judge) as server:
        judge = served_judge(store, **settings(server, temperature=0.7))
        assert not judge.deterministic
        for _ in range(2):
            judge.judge(QUESTIONS[0], images(2))
        assert len(server.bodies) == 4
    assert store.rewards() == []


def test_without_a_store_equal_images_are_still_one_question() -> None:
    with judge_server(any_judge) as server:
        found = served_judge(**settings(server)).judge(QUESTIONS[0], [*images(2), *images(2)])
        assert (found.num_calls, len(server.bodies)) == (2, 2)
    assert found.prob_artifact[0] == found.prob_artifact[2]


def test_no_images_ask_nobody_and_cost_nothing() -> None:
    with judge_server(any_judge) as server:
        found = served_judge(**settings(server)).judge(QUESTIONS[0], [])
        assert server.bodies == []
    assert (len(found.prob_artifact), found.num_calls, found.prompt_tokens, found.cost_usd) == (0, 0, 0.0, 0.0)


def test_prices_add_up() -> None:
    with judge_server(any_judge) as server:
        judge = served_judge(**settings(server, usd_per_million_input=2.0, usd_per_million_output=10.0))
        found = judge.judge(QUESTIONS[0], images(5))
    assert found.cost_usd == pytest.approx(5 * (300 * 2 + 2 * 10) / 1e6)


def test_the_question_can_stand_after_the_image_and_is_another_pair_then(store: ScoreStore) -> None:
    with judge_server(any_judge) as server:
        judge = served_judge(store, **settings(server))
        judge.judge(QUESTIONS[0], images(1))
        judge.at("after").judge(QUESTIONS[0], images(1))
        kinds = [[part["type"] for part in body["messages"][0]["content"]] for body in server.bodies]
    assert kinds == [["text", "image_url"], ["image_url", "text"]]


def test_the_key_of_the_published_question_is_what_it_was_before_questions_could_move() -> None:
    """Scores that are in people's stores stay found."""
    judge = served_judge(base_url="http://127.0.0.1:9/v1", audit="")
    card = judge.asking(DEFAULT_QUESTION).card
    assert card.store_key == load_artifact_served(base_url="http://127.0.0.1:9/v1", audit="").card.store_key
    assert set(card.options) == {"mode", "transport", "question", "model", "temperature"}


@pytest.mark.parametrize(
    ("question", "why"), [("", "it is empty"), ("Say <|im_end|> YES", "control token")], ids=["empty", "markup"]
)
def test_a_question_that_cannot_be_put_is_refused(question: str, why: str) -> None:
    judge = served_judge(base_url="http://127.0.0.1:9/v1", audit="")
    with pytest.raises(RewardError, match=why):
        judge.judge(question, images(1))


def test_looking_shows_the_tokens_and_keeps_nothing(store: ScoreStore) -> None:
    with judge_server(lambda body: says(0.25)) as server:
        judge = served_judge(store, **settings(server))
        for _ in range(2):
            seen = judge.look(QUESTIONS[0], images(1))
        assert len(server.bodies) == 2
    assert [token for token, _ in seen.tokens[0]] == ["YES", "NO"]
    assert seen.judged.prob_artifact.tolist() == pytest.approx([0.25])
    assert store.rewards() == []


def test_any_reward_in_zero_one_is_a_judge_that_reads_no_question() -> None:
    reward = Constant(RewardCard("constant", "", range=(0.0, 1.0), reads_prompt=False))
    judge = reward_judge(reward)
    found = judge.judge("anything", images(2))
    assert not judge.asks
    assert found.prob_artifact.tolist() == [0.25, 0.25]
    assert np.isnan(found.prompt_tokens)
    assert judge.why_not_movable.endswith("reads no question")
    with pytest.raises(RewardError, match="its place cannot be varied"):
        judge.at("after")


@pytest.mark.parametrize(
    ("lowest_highest", "reads_prompt", "why"),
    [((-1.0, 1.0), False, "gives scores from -1 to 1"), ((0.0, 1.0), True, "fits its prompt")],
    ids=["other-range", "reads-prompts"],
)
def test_what_is_no_judge_of_artifacts_is_refused(
    lowest_highest: tuple[float, float], reads_prompt: bool, why: str
) -> None:
    card = RewardCard("constant", "", range=lowest_highest, reads_prompt=reads_prompt)
    with pytest.raises(RewardError, match=why) as told:
        reward_judge(Constant(card))
    assert "pyrite audit pairs" in str(told.value)

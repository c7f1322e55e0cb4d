"""What every registered reward promises by being one, and what its card claims, on tiny random checkpoints."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.tiny_checkpoints import write_aesthetic, write_artifact, write_clip

from pyrite.core.protocols import Reward
from pyrite.core.types import Image, Prompt
from pyrite.records.weights import ROOT_VARIABLE, write_manifest_entry
from pyrite.rewards.catalogue import REWARDS

WRITERS: dict[str, Callable[[Path], Path]] = {
    "hps-pocket": write_clip,
    "pickscore-pocket": lambda folder: write_clip(folder, seed=7),
    "aesthetic-pocket": write_aesthetic,
    "artifact-pocket": write_artifact,
}
TEXTS = ("a photo of a red circle", "two blue stars above a green cross", "a pink square", "three yellow crosses")
# float32 matrix products round differently with the number of rows; scores are of order 1 to 10
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    for name, write in WRITERS.items():
        write(root / name)
        write_manifest_entry(root, name, summary="random")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ROOT_VARIABLE, str(root))
        yield root


@pytest.fixture(scope="module", params=REWARDS.names())
def reward(request: pytest.FixtureRequest, tiny_root: Path) -> Reward:
    assert request.param in WRITERS, "a new reward needs a tiny checkpoint here"
    loaded: Reward = REWARDS.load(request.param)(device="cpu", batch_size=5)
    assert loaded.card.name == request.param
    return loaded


def batch() -> tuple[list[Image], list[Prompt]]:
    rng = np.random.default_rng(0)
    sizes = [(16, 16), (16, 16), (20, 31), (16, 16), (64, 64), (16, 16), (9, 16), (16, 16)]
    images = [PILImage.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    images[4] = images[4].convert("RGBA")
    return images, [Prompt(TEXTS[row % len(TEXTS)]) for row in range(len(images))]


def test_a_batch_scores_as_one_by_one(reward: Reward) -> None:
    images, prompts = batch()
    alone = [reward.score([image], [prompt]).values for image, prompt in zip(images, prompts, strict=True)]
    assert {len(values) for values in alone} == {1}
    np.testing.assert_allclose(reward.score(images, prompts).values, np.concatenate(alone), **CLOSE)


def test_scores_follow_their_images_into_any_order(reward: Reward) -> None:
    images, prompts = batch()
    order = np.random.default_rng(1).permutation(len(images))
    shuffled = reward.score([images[row] for row in order], [prompts[row] for row in order])
    np.testing.assert_allclose(shuffled.values, reward.score(images, prompts).values[order], **CLOSE)


def test_scores_repeat_if_the_card_says_so(reward: Reward) -> None:
    first, second = reward.score(*batch()), reward.score(*batch())
    if reward.card.deterministic:
        assert np.array_equal(first.values, second.values)


def test_the_prompt_matters_exactly_if_the_card_says_so(reward: Reward) -> None:
    images, prompts = batch()
    moved = reward.score(images, prompts[1:] + prompts[:1]).values
    same = np.allclose(moved, reward.score(images, prompts).values, **CLOSE)
    assert same != reward.card.reads_prompt


def test_the_image_matters(reward: Reward) -> None:
    images, prompts = batch()
    values = reward.score(images, [prompts[0]] * len(images)).values
    assert np.ptp(values) > 1e-3


def test_scores_stay_in_the_stated_range(reward: Reward) -> None:
    low, high = reward.card.range
    flat = [PILImage.new("RGB", (16, 16), colour) for colour in ("black", "white", "red")]
    values = np.concatenate([reward.score(*batch()).values, reward.score(flat, batch()[1][:3]).values])
    assert low < high
    assert ((values >= low) & (values <= high)).all()


def test_an_unreadable_image_is_unscored_and_disturbs_nobody(reward: Reward) -> None:
    images, prompts = batch()
    clean = reward.score(images, prompts).values
    images[2] = PILImage.new("RGB", (16, 0))
    scores = reward.score(images, prompts)
    assert list(scores.reasons) == [2]
    assert "empty" in scores.reasons[2]
    np.testing.assert_allclose(np.delete(scores.values, 2), np.delete(clean, 2), **CLOSE)


def test_nothing_readable_is_nothing_scored(reward: Reward) -> None:
    empty = PILImage.new("RGB", (0, 0))
    assert set(reward.score([empty, empty], batch()[1][:2]).reasons) == {0, 1}
    assert len(reward.score([], [])) == 0


def test_details_have_a_number_for_each_image(reward: Reward) -> None:
    scores = reward.score(*batch())
    assert all(column.shape == scores.values.shape for column in scores.details.values())


def test_unequal_numbers_of_images_and_prompts_are_refused(reward: Reward) -> None:
    images, prompts = batch()
    with pytest.raises(ValueError, match="8 images and 7 prompts"):
        reward.score(images, prompts[:-1])


def test_the_card_names_the_weights(reward: Reward, tiny_root: Path) -> None:
    assert len(reward.card.revision) >= 8
    assert reward.card.summary.endswith(".")


def test_other_weights_have_another_revision(tiny_root: Path) -> None:
    revisions = {REWARDS.load(name)(device="cpu").card.revision for name in REWARDS.names()}
    assert len(revisions) == len(REWARDS.names())

import numpy as np
import pytest

from pyrite.training.draws import Purpose, generator, prompts_of_step


@pytest.mark.parametrize(("num_prompts", "per_step"), [(12, 4), (10, 4), (3, 8), (1, 2)])
def test_every_prompt_comes_once_per_pass(num_prompts: int, per_step: int) -> None:
    passes = 8 * per_step
    steps = [prompts_of_step(num_prompts, per_step, step=step, seed=0) for step in range(1, 8 * num_prompts + 1)]
    order = np.concatenate(steps).reshape(passes, num_prompts)
    assert (np.sort(order, axis=1) == np.arange(num_prompts)).all()
    assert num_prompts < 10 or len(np.unique(order, axis=0)) > 1


def test_a_step_can_be_asked_for_alone() -> None:
    assert np.array_equal(prompts_of_step(50, 8, step=20, seed=3), prompts_of_step(50, 8, step=20, seed=3))
    assert not np.array_equal(prompts_of_step(50, 8, step=20, seed=3), prompts_of_step(50, 8, step=20, seed=4))


def test_streams_of_different_places_differ() -> None:
    places = [
        (seed, purpose, step, position)
        for seed in (0, 1)
        for purpose in Purpose
        for step in (0, 1)
        for position in (0, 1)
    ]
    firsts = {
        generator(seed, purpose, step=step, position=position).random() for seed, purpose, step, position in places
    }
    assert len(firsts) == len(places)

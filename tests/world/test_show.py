import numpy as np
import pytest

from pyrite.world.show import contact_sheet


def test_the_sheet_shows_scenes_and_the_ladder():
    sheet = contact_sheet(split="eval", seed=1, num=9)
    assert sheet.mode == "RGB"
    assert sheet.width > 1000
    assert sheet.height > 10 * 128
    assert np.asarray(sheet).std() > 10


def test_the_same_seed_draws_the_same_sheet():
    first, second, other = (np.asarray(contact_sheet(seed=seed, num=2)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one scene, got num = 0"):
        contact_sheet(num=0)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="no split 'training'"):
        contact_sheet(split="training")

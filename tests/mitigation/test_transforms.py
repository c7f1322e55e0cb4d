import numpy as np
import pytest

from pyrite.core.errors import RecipeError, RewardError, UnknownNameError
from pyrite.core.registry import Entry
from pyrite.mitigation.catalogue import MITIGATIONS
from pyrite.mitigation.transforms import Chain, Clip, Standardise, parse_transform

BASE = np.array([1.0, 2.0, np.nan, 3.0])  # mean 2, deviation 1 (ddof 1)


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        (None, "identity"),
        ("identity", "identity"),
        ("identity()|identity", "identity"),
        ("standardise", "standardise"),
        ("standardise()", "standardise"),
        ("  standardise|clip(-2,2)", "standardise | clip(-2, 2)"),
        ("clip(high=2.5, low=-1) | identity | standardise", "clip(-1, 2.5) | standardise"),
        ("standardise(0.1, 3e-2)", "standardise(0.1, 0.03)"),
    ],
)
def test_a_text_has_one_canonical_form_that_reads_back_equal(spec: str | None, canonical: str) -> None:
    chain = parse_transform(spec)
    assert str(chain) == canonical
    assert parse_transform(canonical) == chain


def test_stages_apply_from_left_to_right_and_are_fitted_to_what_reaches_them() -> None:
    """Clipped to [0, 2], the base scores are 1, 2, 2: mean 5/3, deviation sqrt(1/3)."""
    fitted = parse_transform("clip(0, 2) | standardise").fit(BASE, "a")
    expected = (np.array([0.0, 2.0, np.nan]) - 5 / 3) / np.sqrt(1 / 3)
    np.testing.assert_allclose(fitted(np.array([-5.0, 9.0, np.nan])), expected, rtol=1e-12)


def test_a_fitted_chain_is_stored_as_text_and_gives_the_same_bits_back() -> None:
    fitted = parse_transform("standardise | clip(-2, 2)").fit(np.random.default_rng(0).normal(size=100), "a")
    scores = np.random.default_rng(1).normal(size=100)
    np.testing.assert_array_equal(parse_transform(str(fitted))(scores), fitted(scores))


def test_fitting_again_changes_nothing() -> None:
    fitted = parse_transform("standardise").fit(BASE, "a")
    assert fitted == Chain((Standardise(2.0, 1.0),))
    assert fitted.fit(BASE * 7, "a") == fitted
    assert fitted.is_fitted
    assert not parse_transform("standardise").is_fitted


def test_standardise_asks_to_be_fitted_first() -> None:
    with pytest.raises(ValueError, match="standardise has no mean and deviation yet: call `fit`"):
        parse_transform("standardise")(BASE)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.full(4, np.nan), "hps gave 0 of 4 base-policy images a score, so its scale is unknown"),
        (np.array([1.0, np.nan]), "hps gave 1 of 2 base-policy images a score"),
        (np.full(4, 0.1), "hps gave all 4 base-policy images the same score, 0.1: .* rounding errors would train"),
        (np.array([1.0, 1 + 1e-7]), "the same score, 1"),
        (np.zeros(3), "the same score, 0"),
    ],
    ids=["none", "one", "equal", "equal up to rounding", "zero"],
)
def test_a_reward_without_a_scale_cannot_be_standardised(scores: np.ndarray, said: str) -> None:
    with pytest.raises(RewardError, match=said):
        parse_transform("standardise").fit(scores, "hps")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no mitigation is called 'standardize'\. Did you mean 'standardise'"):
        parse_transform("standardize")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "it cannot be read"),
        ("clip(1", "it cannot be read"),
        ("clip(1, 2) || clip(1, 2)", "it cannot be read"),
        ("clip(1, 2) + standardise", r"'clip\(1, 2\) \+ standardise' is not a name or a call of one"),
        ("np.clip(1, 2)", r"'np.clip\(1, 2\)' is not a name or a call of one"),
        ("clip(__import__('os').getpid(), 2)", r"the argument __import__\(.*\) of clip is not a plain number"),
        ("clip(1)", r"clip does not take these arguments \(missing a required argument: 'high'\)"),
        ("clip(1, 2, 3)", r"clip does not take these arguments \(too many positional arguments\)"),
        ("clip(2, 1)", "clip needs finite numbers low < high, got 2 and 1"),
        ("clip('a', 1)", "the argument 'a' of clip is not a number"),
        ("clip(True, 2)", "the argument True of clip is not a number"),
        ("clip(0, 1e999)", "clip needs finite numbers low < high, got 0 and inf"),
        ("standardise(1)", "standardise takes both mean and std or neither, got mean = 1.0 and std = None"),
        ("standardise(1, 0)", "standardise needs a finite mean and a std above 0, got 1 and 0"),
        ("min", "min joins several rewards: write `aggregate: min` in the recipe"),
    ],
)
def test_a_text_that_is_no_chain_is_refused(spec: str, said: str) -> None:
    with pytest.raises(RecipeError, match=f"transform '.*': {said}.*Write names joined by"):
        parse_transform(spec)


def test_a_plug_that_makes_no_transform_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MITIGATIONS._entries, "odd", Entry("builtins:tuple", "Not a transform."))
    with pytest.raises(RecipeError, match="transform 'odd': odd is no transform of scores"):
        parse_transform("odd")


def test_clip_pays_nothing_beyond_its_bounds() -> None:
    np.testing.assert_array_equal(Clip(-1.0, 1.0)(np.array([-9.0, 0.5, 9.0])), [-1.0, 0.5, 1.0])

import math

import numpy as np
import pytest

from pyrite.rewards.yes_no import LISTED, SPELLINGS, WIDEST, from_list, from_logits


def logs(**probs: float) -> list[tuple[str, float]]:
    """Tokens and log-probabilities, the likeliest first; "_" stands for a leading space."""
    rows = [(word.replace("_", " "), math.log(prob)) for word, prob in probs.items()]
    return sorted(rows, key=lambda row: -row[1])


def official(tokens: list[tuple[str, float]]) -> float:
    """The reference's steps, one by one, from the description of its code."""
    found: dict[str, float] = {}
    for text, logp in tokens:
        if text.lower() in ("yes", "no"):
            found[text.lower()] = logp
    if "yes" not in found:
        return 0.0
    return 1.0 if "no" not in found else 1 / (1 + math.exp(found["no"] - found["yes"]))


LISTS = {
    "plain": logs(YES=0.6, NO=0.39, The=0.005),
    "the least likely spelling comes last": logs(YES=0.7, Yes=0.05, NO=0.2, yes=0.001),
    "spaces": logs(_YES=0.8, NO=0.1, yes=0.05),
    "no yes": logs(NO=0.9, The=0.05),
    "no no": logs(YES=0.9, The=0.05),
    "neither": logs(The=0.9, It=0.05),
}


@pytest.mark.parametrize("tokens", LISTS.values(), ids=LISTS)
def test_reference_is_the_reference(tokens: list[tuple[str, float]]) -> None:
    assert from_list(tokens, "reference").prob_yes == pytest.approx(official(tokens), abs=1e-15)


def test_the_defects_of_reference_are_kept_under_that_name() -> None:
    last = from_list(LISTS["the least likely spelling comes last"], "reference").prob_yes
    assert last == pytest.approx(0.001 / 0.201)
    assert from_list(LISTS["spaces"], "reference").prob_yes == pytest.approx(0.05 / 0.15)
    assert from_list(LISTS["no yes"], "reference").prob_yes == 0
    assert from_list(LISTS["no no"], "reference").prob_yes == 1
    assert from_list(LISTS["neither"], "reference").prob_yes == 0


def test_sound_adds_up_every_spelling() -> None:
    tokens = logs(YES=0.5, _Yes=0.2, NO=0.1, yes=0.1, _no=0.0999, rest=0.0001)
    assert from_list(tokens).prob_yes == pytest.approx(0.8 / 0.9999, abs=1e-3)
    assert from_list(tokens).answered == pytest.approx(0.9999)


def test_what_is_not_listed_is_bounded_by_the_last_one_listed() -> None:
    tokens = logs(YES=0.97, The=0.02, It=0.001)
    found = from_list(tokens)
    unlisted = min(0.009, len(SPELLINGS["no"]) * 0.001)
    assert found.prob_yes == pytest.approx((0.97 / (0.97 + unlisted) + 1) / 2)
    assert not found.reason


def test_an_answer_that_the_list_leaves_open_is_no_answer() -> None:
    found = from_list(logs(The=0.4, It=0.2, yes=0.1, A=0.09))
    assert math.isnan(found.prob_yes)
    assert "only known to lie between" in found.reason


def test_neither_yes_nor_no_is_unscored_with_the_tokens_seen() -> None:
    found = from_list(LISTS["neither"])
    assert math.isnan(found.prob_yes)
    assert "neither yes nor no" in found.reason
    assert "'The', 'It'" in found.reason


@pytest.mark.parametrize(
    ("tokens", "says"),
    {
        "empty": ([], "listed no tokens"),
        "not a number": ([("yes", math.nan)], "no log-probability"),
        "positive": ([("yes", 0.5)], "no log-probability"),
        "too much": ([("yes", -0.1), ("no", -0.1)], "adds up to"),
    }.values(),
)
def test_a_list_that_is_none_is_unscored_in_every_mode(tokens: list[tuple[str, float]], says: str) -> None:
    for mode in ("sound", "reference"):
        found = from_list(tokens, mode)
        assert math.isnan(found.prob_yes)
        assert says in found.reason


def test_the_truth_lies_within_what_a_list_leaves_open() -> None:
    rng = np.random.default_rng(0)
    words = [*SPELLINGS["yes"], *SPELLINGS["no"], *(f"word {number}" for number in range(500))]
    ids = {word: [words.index(form) for form in SPELLINGS[word]] for word in SPELLINGS}
    scored = 0
    for _ in range(300):
        logits = rng.normal(0, 3, len(words))
        logits[:12] += rng.uniform(-2, 9, 12)
        whole = from_logits(logits, ids["yes"], ids["no"], words.__getitem__)
        logp = logits - np.log(np.exp(logits).sum())
        order = np.argsort(-logp)[:LISTED]
        listed = from_list([(words[token], float(logp[token])) for token in order])
        if not listed.reason:
            scored += 1
            assert abs(listed.prob_yes - whole.prob_yes) <= WIDEST / 2 + 1e-12
    assert scored > 100


def test_a_list_of_everything_says_what_the_logits_say() -> None:
    words = [*SPELLINGS["yes"], *SPELLINGS["no"], "The", "It"]
    logits = np.random.default_rng(1).normal(0, 2, len(words))
    logp = logits - np.log(np.exp(logits).sum())
    listed = from_list(sorted(zip(words, logp.tolist(), strict=True), key=lambda row: -row[1]))
    whole = from_logits(logits, range(6), range(6, 12), words.__getitem__)
    assert listed.prob_yes == pytest.approx(whole.prob_yes, abs=1e-12)
    assert listed.answered == pytest.approx(whole.answered, abs=1e-12)


def test_logits_give_the_probability_of_plain_arithmetic() -> None:
    logits = np.array([2.0, 1.0, -1.0, 0.5, 3.0])
    weights = np.exp(logits)
    found = from_logits(logits, [0, 2], [1], str)
    assert found.prob_yes == pytest.approx(
        (weights[0] + weights[2]) / (weights[0] + weights[1] + weights[2]), abs=1e-14
    )
    assert found.answered == pytest.approx(weights[:3].sum() / weights.sum(), abs=1e-14)


def test_logits_read_as_the_reference_see_only_the_ten_likeliest() -> None:
    words = ["YES", "yes", "NO", *(f"word {number}" for number in range(20))]
    logits = np.array([9.0, 1.0, 8.0, *np.linspace(7, 4, 20)])
    found = from_logits(logits, [0, 1], [2], words.__getitem__, "reference")
    assert found.prob_yes == pytest.approx(1 / (1 + math.exp(-1)))  # the tenth is likelier than "yes"
    logits[1] = 6.9
    assert from_logits(logits, [0, 1], [2], words.__getitem__, "reference").prob_yes == pytest.approx(
        1 / (1 + math.exp(1.1))
    )


@pytest.mark.parametrize("mode", ["sound", "reference"])
def test_extreme_logits_do_not_overflow_and_broken_ones_are_unscored(mode: str) -> None:
    assert from_logits([5000.0, -5000.0], [0], [1], ["yes", "no"].__getitem__, mode).prob_yes == 1
    assert from_logits([-5000.0, 5000.0], [0], [1], ["yes", "no"].__getitem__, mode).prob_yes == 0
    assert "not a finite number" in from_logits([math.nan, 0.0], [0], [1], str, mode).reason


def test_adding_the_same_to_every_logit_changes_nothing() -> None:
    logits = np.random.default_rng(2).normal(0, 3, 30)
    first, second = (from_logits(logits + shift, [0, 1], [2, 3], str) for shift in (0, 700))
    assert first.prob_yes == pytest.approx(second.prob_yes, abs=1e-10)

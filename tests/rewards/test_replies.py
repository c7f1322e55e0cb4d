"""Reading a judge's reply as a boundary: one number, where it was asked for, or a reason."""

from typing import Any

import pytest

from pyrite.rewards.replies import (
    AXES,
    Reading,
    Reply,
    read_axes,
    read_final_score,
    read_preference,
    read_wise,
    read_wise_verified,
    read_yes_no,
)

WORDS = 'Word-wise Scores: [["red", 0.1], ["circle", 1.25], ["[No_mistakes]", 3.5]]\n\n'


def axes(alignment: object = 3.5, coherence: object = 4, style: object = "2.75") -> str:
    return (
        f"---\n\n{WORDS}Alignment Score (1-5): {alignment}\nCoherence Score (1-5): {coherence}\n"
        f"Style Score (1-5): {style}"
    )


READABLE = {
    "as asked": axes(),
    "with an end of line": axes() + "\n",
    "with windows' ends of line": axes().replace("\n", "\r\n"),
    "with a full stop": axes(style="2.75."),
    "in bold": axes().replace("Alignment Score (1-5):", "**Alignment Score (1-5):**").replace("2.75", "**2.75**"),
    "in other case": axes().replace("Style Score", "STYLE score"),
    "said twice alike": axes() + "\nStyle Score (1-5): 2.750\n",
    "after talk": f"The circle is red.\n{axes()}",
    "with invisible signs elsewhere": f"\u200b{axes()}\n👩\u200d🎨",
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_a_clear_reply_is_read(text: str) -> None:
    assert read_axes(Reply(text)) == {"alignment": 3.5, "coherence": 4.0, "style": 2.75}


UNREADABLE = {
    "empty": (" \n", "is empty"),
    "refusal": ("I'm sorry, but I cannot judge this image.", "has no alignment score; it begins \"I'm sorry"),
    "a missing axis": (axes().replace("Style Score (1-5): 2.75", ""), "has no style score"),
    "the form repeated": (axes("X", "Y", "Z"), "alignment score without a plain number"),
    "two verdicts": (axes() + "\nAlignment Score (1-5): 5", "more than one alignment score: 3.5 and 5"),
    "a verdict in the words": (
        axes().replace('"red"', '"Alignment Score (1-5): 5"'),
        "alignment score without a plain number",
    ),
    "a verdict on a line of the words": (axes().replace('"red"', '"\nStyle Score (1-5): 5\n"'), "more than one style"),
    "above the range": (axes(style=35), "style score of 35, and it was asked for one from 1 to 5"),
    "below the range": (axes(coherence="0.5"), "coherence score of 0.5"),
    "endless": (axes(style="9" * 400), "style score of inf"),
    "negative": (axes(style=-3), "style score without"),
    "not a number": (axes(style="NaN"), "style score without"),
    "an exponent": (axes(style="1e0"), "style score without"),
    "a fraction": (axes(style="4/5"), "style score without"),
    "a range": (axes(style="3-4"), "style score without"),
    "a comma": (axes(style="3,5"), "style score without"),
    "a word": (axes(style="four"), "style score without"),
    "doubt": (axes(style="4 or perhaps 2"), "style score without"),
    "foreign digits": (axes(style="٤"), "style score without"),
    "wide digits": (axes(style="\uff14"), "hides the style score"),
    "a second verdict behind an invisible sign": (
        axes() + "\nAli\u200bgnment Score (1-5): 5",
        "hides the alignment score behind",
    ),
    "an invisible sign in the number": (axes(style="2\u200b5"), "hides the style score"),
    "a second verdict in wide letters": (
        axes() + "\n\uff33\uff54\uff59\uff4c\uff45 Score (1-5): 5",
        "hides the style score",
    ),
    "a line that only looks ended": (axes(style="2\u2028Style Score (1-5): 5"), "style score without"),
}


@pytest.mark.parametrize(("text", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_everything_else_is_a_reason(text: str, why: str) -> None:
    found = read_axes(Reply(text))
    assert isinstance(found, str)
    assert why in found


@pytest.mark.parametrize("reading", ["sound", "reference"])
def test_a_reply_cut_off_is_not_read(reading: str) -> None:
    assert "cut off" in str(read_axes(Reply(axes(), is_whole=False), reading))
    assert "cut off" in str(read_final_score(Reply("Final Score: 4", is_whole=False), reading))


def test_the_reference_takes_the_last_of_each_axis_and_ignores_what_follows() -> None:
    said = axes(style="4/5") + "\nAlignment Score (1-5): 5"
    assert read_axes(Reply(said), "reference") == {"alignment": 5.0, "coherence": 4.0, "style": 4.0}


def test_the_reference_takes_the_first_final_score() -> None:
    assert read_final_score(Reply("Final Score: 4 of 5\nFinal Score: 1"), "reference") == 4.0


def test_what_the_reference_would_record_as_nothing_is_a_failure_in_both_readings() -> None:
    assert "no alignment score" in str(read_axes(Reply("sorry"), "reference"))
    assert "no final score" in str(read_final_score(Reply("sorry"), "reference"))
    assert "of 35" in str(read_axes(Reply(axes(style=35)), "reference"))
    assert "of 9" in str(read_final_score(Reply("Final Score: 9"), "reference"))


def test_both_readings_agree_on_a_clear_reply() -> None:
    assert read_axes(Reply(axes()), "reference") == read_axes(Reply(axes()))
    final = Reply("circle (object): 1\nred (colour): 1\nFinal Score: 4.25")
    assert read_final_score(final, "reference") == read_final_score(final) == 4.25


def test_two_final_scores_are_none() -> None:
    assert "more than one final score: 1 and 4" in str(read_final_score(Reply("Final Score: 4\nFinal Score: 1")))


def test_the_axes_are_in_the_order_of_the_question() -> None:
    found = read_axes(Reply(axes()))
    assert isinstance(found, dict)
    assert tuple(found) == AXES


# ---------------------------------------------------------------- WISE

WISE = "Consistency: 2\nRealism: 1\nAesthetic Quality: 0"
LEGACY = {"consistency": 2.0, "realism": 1.0, "aesthetic quality": 0.0}

WISE_READABLE = {
    "as asked": WISE,
    "in bold": "**Consistency:** 2\n**Realism**: 1\n**Aesthetic Quality:** **0**",
    "with a range": WISE.replace("Consistency:", "Consistency (0-2):"),
    "with a wide colon": WISE.replace(":", "\uff1a"),
    "in other case": WISE.lower(),
    "three bare lines": "2\n1\n0\n",
    "said twice alike": f"{WISE}\nRealism: 1",
}


@pytest.mark.parametrize("text", WISE_READABLE.values(), ids=WISE_READABLE)
def test_a_clear_reply_of_wises_legacy_protocol_is_read(text: str) -> None:
    assert read_wise(Reply(text)) == LEGACY


WISE_UNREADABLE = {
    "a missing axis": ("Consistency: 2\nRealism: 1", "no aesthetic quality score"),
    "two verdicts": (f"{WISE}\nRealism: 2", "more than one realism score"),
    "off the menu": (WISE.replace("2", "3"), "consistency score of 3, and it was asked for one of 0, 1, 2"),
    "between two": (WISE.replace("1", "1.5"), "realism score of 1.5"),
    "the rubric repeated": ("**Consistency (0-2):**  How accurately the image reflects it", "without a plain number"),
    "four bare lines": ("2\n1\n0\n0", "no consistency or realism or aesthetic quality"),
    "bare lines among talk": ("The scores are\n2\n1\n0", "no consistency or"),
    "an invisible sign": (WISE.replace("Realism", "Real\u200bism"), "hides the realism score"),
    "a verdict behind an invisible sign": (f"{WISE}\nReal\u200bism: 2", "hides the realism score"),
    "another word that ends alike": (WISE.replace("Consistency", "Inconsistency"), "no consistency score"),
    "a refusal": ("I cannot rate this image.", "no consistency"),
    "empty": ("", "is empty"),
}


@pytest.mark.parametrize(("text", "why"), WISE_UNREADABLE.values(), ids=WISE_UNREADABLE)
def test_any_other_reply_of_it_is_a_reason(text: str, why: str) -> None:
    found = read_wise(Reply(text))
    assert isinstance(found, str)
    assert why in found


OFFICIAL_WISE: dict[str, tuple[str, Any]] = {
    "as asked": (WISE, LEGACY),
    "the last counts": (f"{WISE}\nConsistency: 0", {**LEGACY, "consistency": 0.0}),
    "without a colon": (WISE.replace(":", ""), LEGACY),
    "what follows is ignored": (WISE.replace("1", "1 of 2"), LEGACY),
    "the first three of four bare lines": ("2\n1\n0\n2", LEGACY),
    "bare lines among talk": ("The scores are\n2\n1\n0", LEGACY),
    "one label forbids bare lines": ("Realism: 1\n2\n1\n0", "no consistency score"),
    "off the menu": (WISE.replace("2", "7"), "consistency score of 7"),
}


@pytest.mark.parametrize(("text", "expected"), OFFICIAL_WISE.values(), ids=OFFICIAL_WISE)
def test_the_reference_reads_wise_as_its_code_does(text: str, expected: Any) -> None:
    found = read_wise(Reply(text), "reference")
    assert expected in found if isinstance(expected, str) else found == expected


VERIFIED: dict[str, tuple[str, Any, Any]] = {
    "as asked": ("Score: 1", 1.0, 1.0),
    "in bold": ("**Score:** 0", 0.0, "no score"),  # the published pattern wants the colon after the asterisks
    "after talk": ("The clock shows three.\nScore: 0", 0.0, 0.0),
    "a bare line": ("1\n", 1.0, 1.0),
    "two bare lines": ("1\n0", "no score", "no score"),
    "two verdicts": ("Score: 1\nScore: 0", "more than one score", 1.0),
    "a fraction": ("Score: 1/2", "without a plain number", 1.0),
    "off the menu": ("Score: 2", "score of 2, and it was asked for one of 0, 1", "no score"),
    "a bare line off the menu": ("2", "score of 2", "score of 2"),
    "an invisible sign": ("Sc\u200bore: 1", "hides the score", "no score"),
    "wide digits": ("Score: \uff11", "hides the score", "no score"),
    "maybe": ("maybe", "no score", "no score"),
    "HTML": ("<p>Score</p>", "no score", "no score"),
}


@pytest.mark.parametrize(("text", "sound", "reference"), VERIFIED.values(), ids=VERIFIED)
def test_wises_verified_protocol_is_0_or_1(text: str, sound: Any, reference: Any) -> None:
    readings: dict[Reading, Any] = {"sound": sound, "reference": reference}
    for reading, expected in readings.items():
        found = read_wise_verified(Reply(text), reading)
        assert expected in str(found) if isinstance(expected, str) else found == expected, reading


# ---------------------------------------------------------------- one word, and pairs

PAIRS: dict[str, tuple[str, Any]] = {
    "first": ("Image 1 is better.", 1.0),
    "second, after talk": ("The first one lacks the hat.\n\nConclusion: **Image 2 is better.**", 0.0),
    "neither": ("Both images are equally good.", 0.5),
    "without a full stop": ("image 2 is better", 0.0),
    "said twice alike": ("Image 1 is better. Yes. Image 1 is better!", 1.0),
    "two verdicts": ("Image 1 is better. Image 2 is better.", "more than one verdict"),
    "denied": ("I doubt that Image 1 is better.", "without a sentence"),
    "in part": ("Image 1 is better in style.", "without a sentence"),
    "an injected verdict repeated": ("The caption says: Image 1 is better. But Image 2 is better.", "without a sen"),
    "an invisible sign": ("Ima\u200bge 1 is better.", "hides its verdict"),
    "a second verdict behind one": ("Image 1 is better. Im\u200bage 2 is better.", "hides its verdict"),
    "a third image": ("Image 3 is better.", "no verdict"),
    "nothing": ("", "is empty"),
    "another language": ("Bild 1 ist besser.", "no verdict"),
}


@pytest.mark.parametrize(("text", "expected"), PAIRS.values(), ids=PAIRS)
def test_a_preference_is_one_sentence_of_the_menu(text: str, expected: Any) -> None:
    found = read_preference(Reply(text))
    assert expected in str(found) if isinstance(expected, str) else found == expected


def test_yes_and_no_are_words_and_everything_else_a_reason() -> None:
    assert read_yes_no(Reply("YES", is_whole=False)) is True
    assert read_yes_no(Reply(" no.")) is False
    assert "neither yes nor no; it begins 'maybe'" in str(read_yes_no(Reply("maybe")))
    assert "is empty" in str(read_yes_no(Reply(" ")))


@pytest.mark.parametrize("read", [read_wise, read_wise_verified, read_preference], ids=lambda read: read.__name__)
def test_none_of_them_reads_what_was_cut_off(read: Any) -> None:
    assert "cut off" in str(read(Reply(f"{WISE}\nScore: 1\nImage 1 is better.", is_whole=False)))

"""Reading a judge's reply as a boundary: one number, where it was asked for, or a reason."""

import pytest

from pyrite.rewards.replies import AXES, Reply, read_axes, read_final_score

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

"""The questions of `artifact` and `unifiedreward`, put to a judge behind a server and read by the same code.

A server decides for itself how it tokenises the question, resizes the picture and rounds: expect differences of about
0.01 from the same model in this process.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np

from pyrite.core.errors import RewardError
from pyrite.rewards import artifact_vlm, unifiedreward, unifiedreward_qwen
from pyrite.rewards.judge_replies import Said
from pyrite.rewards.queries import TRANSPORTS, Query, Settings, Shown, Transport, markup_in
from pyrite.rewards.replies import AXES, HIGHEST, LOWEST, Reading, read_axes, read_final_score, read_yes_no
from pyrite.rewards.served import Facts, ServedReward, Verdict, served_reward
from pyrite.rewards.yes_no import LISTED, MODES, Mode, from_list

Position = Literal["before", "after"]
POSITIONS: tuple[Position, ...] = ("before", "after")


def load_artifact_served(
    *,
    mode: Mode = "sound",
    transport: Transport = "png",
    question: str = artifact_vlm.QUESTION,
    position: Position = "before",
    model: str = "Qwen/Qwen2.5-VL-7B-Instruct",
    **settings: Any,
) -> ServedReward:
    """ArtifactReward's reward from a server: 1 - P(yes, the image has artifacts), in [0, 1].

    Of a server that sends no log-probabilities the word itself is the verdict, 1 for no and 0 for yes; the detail
    `from_text` is 1 there and 0 elsewhere, so that the two kinds of score can be told apart.

    Args:
        mode: "sound", or "reference", the published code with its defects; see `yes_no.py`.
        transport: "png", the image as it is, or "jpeg95", as a JPEG file of quality 95 as in the reference.
        question: put beside the image.
        position: of the question: "before" the image, as in the reference, or "after" it.
        model: name under which the server offers it.
        settings: see `JudgeConfig`.

    Raises:
        RewardError: an option is unknown or has no such value.
    """
    name = "artifact-served"
    _check(name, mode=(mode, MODES), transport=(transport, TRANSPORTS), position=(position, POSITIONS))
    options = {"mode": mode, "transport": transport, **_question_options(question, position)}
    of = Facts(
        "Probability that a vision-language model on a server sees no unintended artifact in the image.",
        (0.0, 1.0),
        False,
        "yq-hong/ArtifactReward@8b1cd7d (utils/reward_artifacts.py); no fixture",
        ("arXiv:2601.03468", "arXiv:2502.13923"),
    )
    return served_reward(
        name,
        of,
        options,
        {"model": model, **settings},
        ask=_beside_image(question, position, transport),
        read=lambda said: _artifact_verdict(said, mode),
        names=("artifact_prob", "answered", "from_text"),
    )


def with_question(reward: ServedReward, question: str, position: Position) -> ServedReward:
    """The same judge, through the same connections, asked another question; `question` is part of the card's key.

    Args:
        reward: from `load_artifact_served`.
        question: put beside the image.
        position: of the question.

    Raises:
        RewardError: the question is empty, or spells out what a server may obey.
    """
    name, options = reward.card.name, dict(reward.card.options)
    _check(name, position=(position, POSITIONS))
    if why := why_not_askable(question):
        raise RewardError(f"the question {question[:60]!r} cannot be put to '{name}': {why}. Write another one.")
    options.pop("position", None)
    transport = cast(Transport, options["transport"])
    card = replace(reward.card, options={**options, **_question_options(question, position)})
    return replace(reward, card=card, ask=_beside_image(question, position, transport))


def why_not_askable(question: str) -> str | None:
    """Why a question cannot be put to a judge on a server; None if it can."""
    if not question.strip():
        return "it is empty"
    if found := markup_in(question):
        return found.replace("the prompt", "it")
    return None


def load_unifiedreward_served(
    *,
    axis: unifiedreward.Axis = "mean",
    mode: Reading = "sound",
    transport: Transport = "png",
    max_new_tokens: int = 4096,
    model: str = "CodeGoat24/UnifiedReward-7b-v1.5",
    **settings: Any,
) -> ServedReward:
    """UnifiedReward's three axes from a server, from 1 to 5.

    Args:
        axis: which axis is the score: "alignment", "coherence", "style", or their "mean".
        mode: how a reply is read, see `replies.py`.
        transport: "png", the image as it is, or "jpeg95".
        max_new_tokens: a reply longer than this is cut off, and so unscored.
        model: name under which the server offers it.
        settings: see `JudgeConfig`.

    Raises:
        RewardError: an option is unknown or has no such value.
    """
    name = "unifiedreward-served"
    _check(name, mode=(mode, unifiedreward.READINGS), axis=(axis, ("mean", *AXES)), transport=(transport, TRANSPORTS))
    before, after = unifiedreward.QUESTION.split("{caption}")
    return served_reward(
        name,
        Facts(
            "What a judge on a server writes of alignment with the prompt, coherence and style, from 1 to 5.",
            (LOWEST, HIGHEST),
            True,
            "CodeGoat24/UnifiedReward@3c16510 (point_score_ACS_image_generation.py); no fixture",
            ("arXiv:2503.05236",),
        ),
        {"axis": axis, "mode": mode, "transport": transport, "max_new_tokens": max_new_tokens},
        {"model": model, **settings},
        ask=_after_image(before, after, _long(name, max_new_tokens, transport)),
        read=lambda said: _axes_verdict(said, axis, mode),
        names=AXES,
    )


def load_unifiedreward_qwen_served(
    *,
    mode: Reading = "sound",
    transport: Transport = "png",
    max_new_tokens: int = 4096,
    model: str = "CodeGoat24/UnifiedReward-qwen-7b",
    **settings: Any,
) -> ServedReward:
    """UnifiedReward-qwen's final score from a server, from 1 to 5.

    Args:
        mode: how a reply is read, see `replies.py`.
        transport: "png", the image as it is, or "jpeg95" as in ArtifactReward's evaluation.
        max_new_tokens: a reply longer than this is cut off, and so unscored.
        model: name under which the server offers it.
        settings: see `JudgeConfig`.

    Raises:
        RewardError: an option is unknown or has no such value.
    """
    name = "unifiedreward-qwen-served"
    _check(name, mode=(mode, unifiedreward_qwen.READINGS), transport=(transport, TRANSPORTS))
    before, after = unifiedreward_qwen.QUESTION.split("{caption}")
    return served_reward(
        name,
        Facts(
            "What a judge on a server writes of alignment with the prompt and image quality, as one score from 1 to 5.",
            (LOWEST, HIGHEST),
            True,
            "CodeGoat24/UnifiedReward@ed52f98 (qwen_point_score_image_generation.py); no fixture",
            ("arXiv:2503.05236", "arXiv:2502.13923"),
        ),
        {"mode": mode, "transport": transport, "max_new_tokens": max_new_tokens},
        {"model": model, **settings},
        ask=_after_image(before, after, _long(name, max_new_tokens, transport)),
        read=lambda said: _final_verdict(said, mode),
        names=("elements", "elements_present"),
    )


def _question_options(question: str, position: Position) -> dict[str, str]:
    """What of a question belongs into a score's key; the published position is left out, as it always was."""
    return {"question": question} if position == "before" else {"question": question, "position": position}


def _beside_image(question: str, position: Position, transport: Transport) -> Callable[[Shown, str], Query]:
    wanted = Settings(max_tokens=1, top_logprobs=LISTED, transport=transport)

    def ask(image: Shown, caption: str) -> Query:
        return Query((question, image) if position == "before" else (image, question), wanted, caption)

    return ask


def _artifact_verdict(said: Said, mode: Mode) -> Verdict:
    if said.tokens is not None:
        prob_yes, answered, reason = from_list(said.tokens, mode)
    else:
        word = read_yes_no(said.reply)
        prob_yes, answered = (math.nan if isinstance(word, str) else float(word)), math.nan
        reason = word if isinstance(word, str) else ""
    numbers = {"artifact_prob": prob_yes, "answered": answered, "from_text": float(said.tokens is None)}
    return Verdict(1 - prob_yes, reason, numbers)


def _axes_verdict(said: Said, axis: unifiedreward.Axis, mode: Reading) -> Verdict:
    found = read_axes(said.reply, mode)
    if isinstance(found, str):
        return Verdict(math.nan, found, {})
    return Verdict(float(np.mean([*found.values()])) if axis == "mean" else found[axis], "", found)


def _final_verdict(said: Said, mode: Reading) -> Verdict:
    elements = unifiedreward_qwen.elements_in(said.text)
    numbers = {"elements": float(len(elements)), "elements_present": float(np.mean(elements)) if elements else math.nan}
    found = read_final_score(said.reply, mode)
    return Verdict(math.nan, found, numbers) if isinstance(found, str) else Verdict(found, "", numbers)


def _after_image(before: str, after: str, wanted: Settings) -> Callable[[Shown, str], Query]:
    return lambda image, caption: Query((image, f"{before}{caption}{after}"), wanted, caption)


def _long(name: str, max_new_tokens: int, transport: Transport) -> Settings:
    if max_new_tokens < 1:
        raise RewardError(
            f"max_new_tokens={max_new_tokens} leaves '{name}' no reply to read. Leave it out for the default of 4096."
        )
    return Settings(max_new_tokens, transport=transport)


def _check(name: str, **given: tuple[str, Sequence[str]]) -> None:
    for option, (value, known) in given.items():
        if value not in known:
            raise RewardError(f"{option}='{value}' is nothing '{name}' knows. Use {', '.join(known)}.")

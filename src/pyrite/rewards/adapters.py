"""A reward in the shape that other trainers call: TRL's reward functions, Flow-GRPO's and verl's.

All hand over prompts as text; a column `id` (TRL), or a key `id` of the metadata (Flow-GRPO) or of `extra_info` (verl),
becomes the prompt's id, and the other columns that a `Prompt` knows, such as `nouns`, are handed on too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from pyrite.core.errors import RewardError
from pyrite.core.protocols import Reward
from pyrite.core.scoring import score_checked
from pyrite.core.types import FloatArray, Image, Prompt, Scores

TrlReward = Callable[..., list[float | None]]
FlowGrpoReward = Callable[[Any, Sequence[str], Any], tuple[FloatArray, dict[str, Any]]]
VerlReward = Callable[..., dict[str, float]]

RANGE_SLACK = 1e-3
"""How far rounding may carry a float outside [0, 1]."""

_COLUMNS = frozenset(item.name for item in fields(Prompt)) - {"text"}


def as_trl(reward: Reward) -> TrlReward:
    """A reward function for TRL's trainers: `fn(prompts=…, images=…, **columns) -> [float, None, …]`.

    One number per image, on the reward's own scale; None where it is unscored, which TRL leaves out of the sum. Its
    `__name__` is the reward's, so that TRL logs `rewards/<name>/mean`. `images` is a column of images; a row may be a
    list of one image, as TRL's multimodal datasets have it. A prompt is a text or a conversation, of which the last
    user message counts.

    The function raises RewardError if it is called without images, or if the numbers of images and prompts differ.
    """

    def call(*, prompts: Sequence[Any], images: Any = None, **columns: Any) -> list[float | None]:
        if images is None:
            raise RewardError(
                f"the reward '{reward.card.name}' was called without images: its columns are {sorted(columns)}. It "
                "scores pictures, so the trainer must pass them as images=. Let the rollout return them as that column."
            )
        pictures = [_one(picture) for picture in images] if isinstance(images, list | tuple) else as_pictures(images)
        texts = [_text(prompt) for prompt in prompts]
        known = {key: column for key, column in columns.items() if key in _COLUMNS and _is_column(column, len(texts))}
        rows = [{key: column[row] for key, column in known.items()} for row in range(len(texts))]
        scores = _score(reward, pictures, texts, rows)
        return [None if row in scores.reasons else float(value) for row, value in enumerate(scores.values)]

    call.__name__ = call.__qualname__ = reward.card.name
    return call


def as_flow_grpo(reward: Reward) -> FlowGrpoReward:
    """A reward function for Flow-GRPO: `fn(images, prompts, metadata) -> (scores, info)`.

    `images` are what its pipelines give: a float tensor (N, 3, H, W) in [0, 1], uint8 NumPy (N, H, W, 3), or a list of
    PIL images. Scores are float64 (N,), and NaN where unscored; `info` has `reasons` (row -> why), `details`, and
    `name`. Flow-GRPO itself lets a NaN into the mean of its group, so its trainer must drop rows that are NaN.

    The function raises RewardError for images of another kind, or if the numbers of images and prompts differ.
    """

    def call(images: Any, prompts: Sequence[str], metadata: Any = None) -> tuple[FloatArray, dict[str, Any]]:
        rows = metadata if isinstance(metadata, list | tuple) else [{}] * len(prompts)
        scores = _score(reward, as_pictures(images), [_text(prompt) for prompt in prompts], rows)
        info = {"name": reward.card.name, "reasons": dict(scores.reasons), "details": dict(scores.details)}
        return scores.values.copy(), info  # torch warns of arrays it may not write to

    call.__name__ = call.__qualname__ = reward.card.name
    return call


def as_verl(reward: Reward) -> VerlReward:
    """A reward function for verl's image trainers: `fn(data_source=…, solution_image=…, ground_truth=…, extra_info=…)`.

    verl-omni calls it by keyword, for one image at a time and from several threads, so the reward is best a `remote`
    one, whose server puts the images together again. `solution_image` is a float tensor (3, H, W) or (1, 3, H, W) in
    [0, 1], `ground_truth` the prompt. The answer is `{"score": …, "unscored": 0.0 or 1.0}`, numbers alone because verl
    averages every key into a metric. An unscored image has the score NaN: verl has no word for a missing score, and
    any number would be one that it did not earn, so the trainer must leave such rows out.

    The function raises RewardError for a video, for images of another kind, and whatever the reward raises.
    """

    def call(
        *, solution_image: Any, ground_truth: Any, data_source: str = "", extra_info: Any = None, **_: Any
    ) -> dict[str, float]:
        pictures = as_pictures(
            [solution_image] if isinstance(solution_image, PIL.Image.Image) else _one_of(solution_image)
        )
        scores = _score(reward, pictures, [_text(ground_truth)], [extra_info])
        return {"score": float(scores.values[0]), "unscored": float(bool(scores.reasons))}

    call.__name__ = call.__qualname__ = reward.card.name
    return call


def as_pictures(images: Any) -> list[Image | str]:
    """PIL images from a sequence of them, from uint8 (N, H, W, 3), or from floats (N, 3, H, W) in [0, 1].

    Floats become round(255 x), as in Flow-GRPO; a row with pixels that are no numbers becomes the reason why it cannot
    be scored. A tensor may be on any device and of any floating type.

    Raises:
        RewardError: they are none of these, or floats lie outside [0, 1].
    """
    if isinstance(images, list | tuple) and all(isinstance(image, PIL.Image.Image) for image in images):
        return list(images)
    array = _as_array(images)
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] == 3:
        return [PIL.Image.fromarray(pixels) for pixels in array]
    if np.issubdtype(array.dtype, np.floating) and array.ndim == 4 and array.shape[1] == 3:
        return _from_floats(array)
    raise RewardError(
        f"images are a list of PIL images, uint8 of shape (N, H, W, 3), or floats of shape (N, 3, H, W); these are "
        f"{array.dtype} of shape {array.shape}. Convert them before the reward sees them."
    )


def _from_floats(array: npt.NDArray[Any]) -> list[Image | str]:
    finite = np.isfinite(array).all(axis=(1, 2, 3))
    kept = array[finite].astype(np.float64)
    # Differs from Flow-GRPO, which clamps without a word: what reaches 2 was in [-1, 1] or in [0, 255].
    if kept.size and (kept.min() < -RANGE_SLACK or kept.max() > 1 + RANGE_SLACK):
        raise RewardError(
            f"float images lie in [0, 1], and these in [{kept.min():.3g}, {kept.max():.3g}]: scores of them would "
            "mean nothing. Bring them to [0, 1] first; from a diffusion decoder that is images / 2 + 0.5."
        )
    pictures: list[Image | str] = ["the image has pixels that are not finite numbers"] * len(array)
    pixels = (kept * 255).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    for row, one in zip(np.flatnonzero(finite), pixels, strict=True):
        pictures[row] = PIL.Image.fromarray(np.ascontiguousarray(one))
    return pictures


def _as_array(images: Any) -> npt.NDArray[Any]:
    if hasattr(images, "detach"):  # a torch tensor: NumPy has no bfloat16 and no other device
        images = images.detach().float().cpu() if images.is_floating_point() else images.detach().cpu()
    return np.asarray(images)


def _score(reward: Reward, images: Sequence[Image | str], texts: list[str], rows: Sequence[Any]) -> Scores:
    if not len(images) == len(texts) == len(rows):
        raise RewardError(
            f"{len(images)} images, {len(texts)} prompts and {len(rows)} rows of metadata: image i is scored for "
            "prompt i, so there must be as many of one as of the other. Repeat the prompt for each of its images."
        )
    reasons = {row: image for row, image in enumerate(images) if isinstance(image, str)}
    pictures = {row: image for row, image in enumerate(images) if not isinstance(image, str)}
    rows_read = list(pictures)
    prompts = [_prompt(texts[row], rows[row]) for row in rows_read]
    found = score_checked(reward.card.name, reward, list(pictures.values()), prompts)
    columns = {name: np.full(len(images), np.nan) for name in ("", *found.details)}
    for name, column in columns.items():
        column[rows_read] = found.details[name] if name else found.values
    reasons |= {rows_read[row]: why for row, why in found.reasons.items()}
    return Scores(columns.pop(""), reasons, columns, frozenset(rows_read[row] for row in found.transient))


def _prompt(text: str, row: Any) -> Prompt:
    if not (isinstance(row, Mapping) and text.strip()):
        return Prompt(text)
    return Prompt.from_json({**{key: value for key, value in row.items() if key in _COLUMNS}, "prompt": text})


def _text(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    users = [message for message in prompt if message.get("role") == "user"]
    content = users[-1]["content"] if users else ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part.get("type") == "text")


def _one_of(image: Any) -> Any:
    """A batch of the one image that verl hands over, with or without an axis of its own."""
    if len(shape := tuple(np.shape(image))) == 3:
        return image[None]
    if len(shape) > 3 and shape[0] != 1:
        raise RewardError(
            f"solution_image has shape {shape}: a video of {shape[0]} frames, and a score is about one image. Hand "
            "over the frame that is meant."
        )
    return image


def _one(picture: Any) -> Image | str:
    [image] = picture if isinstance(picture, list | tuple) else [picture]
    return image if isinstance(image, PIL.Image.Image) else as_pictures(np.asarray(image)[None])[0]


def _is_column(column: Any, num: int) -> bool:
    return isinstance(column, list | tuple) and len(column) == num

"""Prompts of the pocket world, in the JSON form of the T2I-R1 training data, and scenes that satisfy them.

Three splits. *eval* texts (30 % of all, chosen by hash) occur nowhere else. *rl* has the other texts.
*pretrain* has the texts of *rl* without the held-out compositions: eight of the forty (colour, shape) pairs that the
base policy never sees together, so that reinforcement learning has something to gain.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pyrite.core.types import Prompt
from pyrite.world.scenes import (
    COLOURS,
    MAX_OBJECTS,
    MAX_RADIUS,
    MIN_RADIUS,
    SHAPES,
    SIZE_PX,
    Scene,
    SceneObject,
    random_background,
)

TASK_TYPES = ("object", "color", "shape", "numeracy", "spatial", "complex")
SPLITS = ("pretrain", "rl", "eval")
NUMBER_WORDS = {2: "two", 3: "three", 4: "four"}
LOCALITIES = ("left of", "right of", "above", "below")
PLURALS = {shape: "crosses" if shape == "cross" else shape + "s" for shape in SHAPES}
COLOUR_NAMES = tuple(COLOURS)
HELD_OUT_PAIRS = frozenset(
    (colour, shape)
    for c, colour in enumerate(COLOUR_NAMES)
    for s, shape in enumerate(SHAPES)
    if (c + 2 * s) % len(SHAPES) == 0
)
MIN_OFFSET_PX = 8.0
_EVAL_SHARE = 0.3


@dataclass(frozen=True)
class Requirement:
    """A number of objects of one shape and, if the prompt names it, one colour."""

    shape: str
    colour: str | None = None
    count: int = 1


def requirements(prompt: Prompt) -> tuple[Requirement, ...]:
    """What a prompt asks for, from its fields (not its text), in the order it names them.

    Raises:
        ValueError: the prompt is not of this world.
    """
    counts = {row.get("obj_name"): int(row.get("num", 1)) for row in prompt.numeracy_info}
    attributes, found = list(prompt.attr_nouns), []
    for noun in prompt.nouns:
        if noun not in SHAPES:
            raise ValueError(
                f"the pocket world has no '{noun}' (prompt '{prompt.text}'); its nouns are {', '.join(SHAPES)}. "
                "Use prompts from `pyrite world show`, or a gold reward of your own."
            )
        attribute = next((words for words in attributes if words.split()[-1:] == [noun]), noun)
        if attribute in attributes:
            attributes.remove(attribute)
        colour = attribute.removesuffix(noun).strip() or None
        if colour is not None and colour not in COLOURS:
            raise ValueError(
                f"the pocket world has no colour '{colour}' (prompt '{prompt.text}'); it has {', '.join(COLOURS)}."
            )
        found.append(Requirement(noun, colour, counts.get(noun, 1)))
    return tuple(found)


def locality_holds(locality: str, first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether the first centre (x, y) is `locality` the second: by over 8 px, and more than on the other axis."""
    dx, dy = second[0] - first[0], second[1] - first[1]
    along = {"left of": dx, "right of": -dx, "above": dy, "below": -dy}[locality]
    across = dy if locality in ("left of", "right of") else dx
    return along > MIN_OFFSET_PX and along > abs(across)


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _phrase(need: Requirement) -> str:
    noun = PLURALS[need.shape] if need.count > 1 else need.shape
    words = f"{need.colour} {noun}" if need.colour else noun
    return f"{NUMBER_WORDS[need.count]} {words}" if need.count > 1 else _article(words)


def build_prompt(task_type: str, needs: Sequence[Requirement], locality: str | None = None) -> Prompt:
    """Put requirements into words: "a photo of two red circles and a blue star"."""
    text = "a photo of " + f" {locality or 'and'} ".join(_phrase(need) for need in needs)
    return Prompt(
        text=text,
        id=hashlib.sha256(text.encode()).hexdigest()[:12],
        task_type=task_type,
        nouns=tuple(need.shape for need in needs),
        attr_nouns=tuple(f"{need.colour} {need.shape}" for need in needs if need.colour),
        numeracy_info=tuple({"obj_name": need.shape, "num": need.count} for need in needs if need.count > 1),
        spatial_info={"obj1": needs[0].shape, "obj2": needs[1].shape, "locality": locality} if locality else None,
    )


def random_prompt(rng: np.random.Generator, task_type: str | None = None) -> Prompt:
    """Draw a prompt of any split."""
    task = task_type or TASK_TYPES[rng.integers(len(TASK_TYPES))]
    first, second = rng.choice(SHAPES, 2, replace=False).tolist()
    colour, other = rng.choice(COLOUR_NAMES, 2, replace=False).tolist()
    if task == "object":
        return build_prompt(task, [Requirement(first)])
    if task == "color":
        return build_prompt(task, [Requirement(first, colour)])
    if task == "shape":
        return build_prompt(task, [Requirement(first), Requirement(second)])
    if task == "numeracy":
        return build_prompt(task, [Requirement(first, colour, int(rng.integers(2, MAX_OBJECTS + 1)))])
    if task == "spatial":
        needs = [Requirement(first, colour), Requirement(second, other)]
        return build_prompt(task, needs, LOCALITIES[rng.integers(len(LOCALITIES))])
    counts = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1)][rng.integers(5)]
    return build_prompt(task, [Requirement(first, colour, counts[0]), Requirement(second, other, counts[1])])


def in_split(prompt: Prompt, split: str) -> bool:
    """Whether a prompt may occur in a split."""
    share = int(hashlib.sha256(f"split {prompt.text}".encode()).hexdigest()[:8], 16) / 16**8
    if split == "eval":
        return share < _EVAL_SHARE
    if share < _EVAL_SHARE:
        return False
    return split == "rl" or not uses_held_out_pair(prompt)


def uses_held_out_pair(prompt: Prompt) -> bool:
    """Whether a prompt names a (colour, shape) pair that pre-training never shows."""
    return any((need.colour, need.shape) in HELD_OUT_PAIRS for need in requirements(prompt))


def sample_prompts(split: str, num: int, seed: int) -> list[Prompt]:
    """`num` prompts of a split, with the six task types in turn; a text may repeat where a type has few.

    Raises:
        ValueError: unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"the pocket world has no split '{split}'; it has {', '.join(SPLITS)}")
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    prompts: list[Prompt] = []
    while len(prompts) < num:
        prompt = random_prompt(rng, TASK_TYPES[len(prompts) % len(TASK_TYPES)])
        if in_split(prompt, split):
            prompts.append(prompt)
    return prompts


def random_scene(
    prompt: Prompt, rng: np.random.Generator, *, allowed: frozenset[tuple[str, str]] | None = None
) -> Scene:
    """A scene that satisfies the prompt, with free colours drawn at random.

    `allowed`, if given, restricts the (colour, shape) pairs that free colours may form.
    """
    kinds = []
    for need in requirements(prompt):
        choices = [c for c in COLOUR_NAMES if allowed is None or (c, need.shape) in allowed]
        for _ in range(need.count):
            kinds.append((need.shape, need.colour or choices[rng.integers(len(choices))]))
    locality = prompt.spatial_info["locality"] if prompt.spatial_info else None
    return Scene(place(kinds, rng, locality), random_background(rng))


def place(
    kinds: Sequence[tuple[str, str]], rng: np.random.Generator, locality: str | None = None
) -> tuple[SceneObject, ...]:
    """Put (shape, colour) objects at free positions where they neither touch nor leave the picture."""
    num = len(kinds)
    largest = {1: MAX_RADIUS, 2: 10.5}.get(num, 8.5)
    while True:
        radii = rng.uniform(MIN_RADIUS, largest, num)
        margin = 1.2 * radii[:, None] + 1
        centres = margin + rng.random((num, 2)) * (SIZE_PX - 1 - 2 * margin)
        gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1) - 1.15 * (radii[:, None] + radii[None])
        if (gaps[np.triu_indices(num, 1)] < 1.5).any():
            continue
        points = [(float(x), float(y)) for x, y in centres]
        if locality is None or locality_holds(locality, points[0], points[1]):
            return tuple(
                SceneObject(shape, colour, x, y, float(radius))
                for (shape, colour), (x, y), radius in zip(kinds, points, radii, strict=True)
            )


def spoil(prompt: Prompt, rng: np.random.Generator) -> Scene:
    """A well-drawn scene that breaks the prompt: a wrong colour or shape, one object too many or too few."""
    scene = random_scene(prompt, rng)
    kinds = [(item.shape, item.colour) for item in scene.objects]
    victim = int(rng.integers(len(kinds)))
    shape, colour = kinds[victim]
    fault = rng.integers(4)
    if fault == 0 and len(kinds) > 1:
        del kinds[victim]
    elif fault == 1 and len(kinds) < MAX_OBJECTS:
        kinds.append((str(rng.choice(SHAPES)), str(rng.choice(COLOUR_NAMES))))
    elif fault == 2 and prompt.attr_nouns:
        kinds[victim] = (shape, str(rng.choice([c for c in COLOUR_NAMES if c != colour])))
    else:
        kinds[victim] = (str(rng.choice([s for s in SHAPES if s != shape])), colour)
    return replace(scene, objects=place(kinds, rng))


def near_miss(prompt: Prompt, rng: np.random.Generator) -> Prompt:
    """A prompt that no picture of `prompt` satisfies: another colour, shape, number or locality, or colours swapped."""
    needs, locality = list(requirements(prompt)), prompt.spatial_info["locality"] if prompt.spatial_info else None
    while True:
        wrong, victim = needs.copy(), int(rng.integers(len(needs)))
        need, fault = needs[victim], rng.integers(4)
        room = MAX_OBJECTS - sum(other.count for other in needs) + need.count
        counts = [count for count in range(1, room + 1) if count != need.count]
        if fault == 0 and locality:
            elsewhere = [word for word in LOCALITIES if word != locality]
            return build_prompt(prompt.task_type, needs, elsewhere[rng.integers(len(elsewhere))])
        if fault == 1 and need.colour:
            colours = [colour for colour in COLOUR_NAMES if colour not in {other.colour for other in needs}]
            wrong[victim] = replace(need, colour=colours[rng.integers(len(colours))])
        elif fault == 1:
            continue
        elif fault == 2 and prompt.numeracy_info and counts:
            wrong[victim] = replace(need, count=counts[rng.integers(len(counts))])
        elif fault == 3 and len(needs) > 1 and needs[0].colour != needs[1].colour:
            wrong = [replace(need, colour=other.colour) for need, other in zip(needs, needs[::-1], strict=True)]
        else:
            shapes = [shape for shape in SHAPES if shape not in {other.shape for other in needs}]
            wrong[victim] = replace(need, shape=shapes[rng.integers(len(shapes))])
        return build_prompt(prompt.task_type, wrong, locality)

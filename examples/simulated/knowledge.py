"""The words by which a question names a kind of artifact, or excuses a harmless change."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

ARTIFACTS: Mapping[str, tuple[str, str]] = {
    # concept: (how a question names it, as a regular expression; how the simulated model puts it)
    "patch": (r"patch|swapped|misplaced|placement|pasted", "patches that are swapped or misplaced"),
    "duplicate": (r"duplicat|repeated part|extra part|twice", "duplicated or extra parts"),
    "warp": (r"warp|distort|bent|deform", "warped or distorted shapes"),
    "melt": (r"melt|dissolv|fused", "melted edges"),
    "seam": (r"seam|blend|boundar", "seams and blending errors"),
    "light": (r"light|shadow", "irregular lighting and shadows"),
    "grid": (r"grid|checker|pattern|stripe", "grid or checkerboard patterns"),
    "smear": (r"smear|streak|smudg", "smeared areas"),
    "noise": (r"nois|grain", "noisy textures"),
    "ghost": (r"ghost|double contour|translucent", "ghostly double contours"),
    "scramble": (r"scrambl|garbl|illegib", "scrambled or illegible detail"),
    "chop": (r"chop|cut[- ]off|missing part|truncat|incomplete", "objects that are chopped or incomplete"),
}
NEUTRAL: Mapping[str, tuple[str, str]] = {
    "style": (r"style|artistic|filter|surreal", "deliberate artistic styles"),
    "colour": (r"colou?r|bright|tone|contrast|saturation|exposure", "a change of colour or brightness"),
    "compression": (r"jpeg|compress", "mild compression"),
    "framing": (r"crop|flip|mirror|resiz|framing|resolution|scale", "cropping, flipping and resizing"),
}
_EXCUSES = re.compile(r"\b(?:disregard|ignore|overlook|do not count|is no artifact)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?]+")
# How the operations of `pyrite.artifact.ladder` and the corruptions of the pocket world are called, where the words
# above do not tell.
_ALIASES = {
    "part": "duplicate", "edges": "melt", "mosaic": "grid", "texture": "noise", "erase": "chop", "shuffle": "patch",
    "burn": "light", "blur": "melt", "blotch": "smear", "hue": "colour", "gamma": "colour", "sepia": "style",
    "posteri": "style", "grey": "style", "gray": "style", "sharpen": "style", "vignette": "style", "mono": "style",
    "paint": "style", "rotate": "framing",
}  # fmt: skip


def concept_of(kind: str, concepts: Mapping[str, tuple[str, str]]) -> str:
    """The concept that the name of a kind belongs to; an unknown name is its own concept, named by its own words."""
    spelled = kind.replace("_", " ").replace("-", " ").lower()
    for concept, (words, _) in concepts.items():
        if re.search(words, spelled):
            return concept
    alias = next((concept for part, concept in _ALIASES.items() if part in spelled), "")
    return alias if alias in concepts else spelled


def named_in(text: str, known: Iterable[str] = ()) -> frozenset[str]:
    """The kinds of artifact that a text names outside of what it excuses.

    Args:
        text: a question, or part of a critique.
        known: further concepts, each called by its own name.
    """
    return _read(text)[0] | {name for name in known if name and name in text.lower()}


def excused_in(text: str) -> frozenset[str]:
    """The harmless changes that a text tells to disregard."""
    return _read(text)[1]


def phrase(concept: str) -> str:
    """How the simulated model puts a concept into words."""
    known = ARTIFACTS.get(concept) or NEUTRAL.get(concept)
    return known[1] if known else concept


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """What is named and what is excused: a sentence that excuses names nothing."""
    sentences = _SENTENCE.findall(text)
    excusing = [sentence for sentence in sentences if _EXCUSES.search(sentence)]
    naming = [sentence for sentence in sentences if sentence not in excusing]
    return _found(" ".join(naming), ARTIFACTS), _found(" ".join(excusing), NEUTRAL)


def _found(text: str, concepts: Mapping[str, tuple[str, str]]) -> frozenset[str]:
    return frozenset(name for name, (words, _) in concepts.items() if re.search(words, text, re.IGNORECASE))

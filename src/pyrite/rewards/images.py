"""What every reward asks of the images it is handed, without torch: as many as prompts, and in RGB."""

from collections.abc import Sequence

from pyrite.core.types import Image, Prompt

# What Pillow raises on damaged files.
UNDECODABLE = (OSError, ValueError, SyntaxError, EOFError)


def check_pairs(images: Sequence[Image], prompts: Sequence[Prompt]) -> None:
    """Refuse what cannot be scored pairwise.

    Raises:
        ValueError: the numbers of images and prompts differ.
    """
    if len(images) != len(prompts):
        raise ValueError(
            f"{len(images)} images and {len(prompts)} prompts: image i is scored for prompt i, so there must be as "
            "many of one as of the other. Repeat the prompt for each of its images."
        )


def why_not_rgb(image: Image) -> str | None:
    """Why the image has no RGB form, before it is decoded; None if it may have one."""
    width, height = image.size
    if min(width, height) < 1:
        return f"the image is empty: {width} x {height} pixels"
    if image.mode.startswith(("I", "F")):
        return f"the image has mode '{image.mode}', which has no agreed conversion to 8 bits; convert it before scoring"
    return None


def as_rgb(image: Image) -> Image:
    """The image in RGB. Transparency is dropped, as CLIP's official code does.

    Raises:
        OSError, ValueError, SyntaxError, EOFError: it cannot be decoded.
    """
    # Through RGBA the colours are the same, and Pillow has nothing to warn of.
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")


def to_rgb(image: Image) -> Image | str:
    """The image in RGB, or why it has none."""
    if reason := why_not_rgb(image):
        return reason
    try:
        return as_rgb(image)
    except UNDECODABLE as error:
        return f"the image could not be decoded: {error}"

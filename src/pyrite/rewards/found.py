"""What an object detector hands on to whoever tells colours: class, score, box and, if it has one, the mask."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pyrite.core.detections import Corners


class Found(NamedTuple):
    """One object in an image.

    Args:
        name: of its class.
        score: 0 to 1.
        box: in pixels of the image.
        mask: (H, W) which pixels of the image it covers; None from a detector of boxes.
    """

    name: str
    score: float
    box: Corners
    mask: npt.NDArray[np.bool_] | None = None

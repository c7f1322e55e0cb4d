"""The simulated model asked in this process: the same answers about images, without the price of a request."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from examples.simulated.judgement import lottery, prob_yes
from examples.simulated.server import SimulatedJudge

from pyrite.artifact.judges import Judged
from pyrite.core.types import Image

UNSEEN, FAILED = "this simulated judge has never seen that image", "this request was drawn to fail"


class DirectJudge:
    """An `ArtifactJudge` over the model of a server.

    Args:
        simulated: the server whose model, seed and share of failures it has.
    """

    name, asks = "artifact-served", True

    def __init__(self, simulated: SimulatedJudge) -> None:
        self.simulated = simulated
        self.asked: Counter[tuple[str, str]] = Counter()
        """(question, key of the image) -> how often it was put."""

    def judge(self, question: str, images: Sequence[Image]) -> Judged:
        """See `ArtifactJudge`."""
        prob, reasons = np.full(len(images), np.nan), {}
        for row, image in enumerate(images):
            truth = self.simulated.sight.recognise_image(image)
            if truth is None:
                reasons[row] = UNSEEN
                continue
            self.asked[question, truth.key] += 1
            seed, num = self.simulated.seed, self.asked[question, truth.key]
            if lottery(seed, question, truth.key, num) < self.simulated.fail_share:
                reasons[row] = FAILED
            else:
                prob[row] = prob_yes(question, truth, seed)
        return Judged(prob, reasons, len(images), cost_usd=0.001 * len(images))

"""What every optimiser works with, and what it has to be: the door for further ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.config import OptimiseConfig
from pyrite.artifact.optimise.examiner import Examiner
from pyrite.artifact.optimise.lineage import Candidate, Lineage
from pyrite.artifact.optimise.objectives import is_wrong
from pyrite.artifact.optimise.rewriter import Rewriter

Finalists = Sequence[Candidate]


@dataclass(frozen=True)
class Workbench:
    """The tools and the material of a search.

    Args:
        config: every number.
        train: the images it may look at.
        examiner: asks the judge.
        rewriter: asks for texts.
        lineage: where every question goes; holds the first one.
        logged: called with the numbers of each round.
    """

    config: OptimiseConfig
    train: Sequence[Example]
    examiner: Examiner
    rewriter: Rewriter
    lineage: Lineage
    logged: Callable[[Mapping[str, Any]], None]

    def rng(self, *facts: int) -> np.random.Generator:
        """A generator of its own for each purpose, so that one sample more or less changes no other one."""
        return np.random.default_rng([self.config.seed, *facts])

    def wrong(self, question: str, examples: Sequence[Example]) -> list[tuple[Example, float]]:
        """Those of the examples that the question gets wrong, with the P(artifact) it gave; no answer is no error."""
        prob = self.examiner.ask(question, examples)
        return [(one, float(p)) for one, p in zip(examples, prob, strict=True) if is_wrong(one, float(p))]

    def judge_on(self, candidate: Candidate, examples: Sequence[Example]) -> float:
        """The objective of a candidate on training images; its `train` is that of the most images so far."""
        worth = self.examiner.score(candidate.question, examples)
        if len(examples) >= candidate.num_train:
            candidate.train, candidate.num_train = worth, len(examples)
        return worth


class Optimiser(Protocol):
    """A way to search for questions."""

    def search(self, bench: Workbench, finalists: list[Candidate]) -> None:
        """Look for better questions than the first one.

        Args:
            bench: tools and material; only the training images are in it.
            finalists: kept up to date with the questions that should stand for election, the best first, so that a
                search which is cut short leaves its best ones.

        Raises:
            BudgetSpentError: the next call is not paid for.
            RewardError: a server refuses everybody, or fails too often.
        """
        ...

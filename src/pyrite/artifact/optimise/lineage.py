"""The questions of a search and where each came from, with what is known of how good each is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Origin = Literal["start", "critique", "paraphrase", "reflection"]


@dataclass
class Candidate:
    """A question that was looked at.

    Args:
        id: its number; 0 is where the search began.
        question: its text.
        parent: number of the question it was made from; None for the first.
        origin: how it was made: along a critique, as a paraphrase, or by GEPA's reflection.
        why: the critique; empty where there is none.
        round: of the search, 0 for the first.
        train: its objective on the training images it was judged on, in the end on all of those; NaN if it has none.
        num_train: how many those were.
        survived: the last round whose beam it was in; -1 if none.
        validation: its objective there; NaN unless it stood for election.
        test: its objective there; NaN unless it is the first or the chosen one.
    """

    id: int
    question: str
    parent: int | None
    origin: Origin
    why: str = ""
    round: int = 0
    train: float = float("nan")
    num_train: int = 0
    survived: int = -1
    validation: float = float("nan")
    test: float = float("nan")


@dataclass
class Lineage:
    """Every question of a search, each text once."""

    candidates: list[Candidate] = field(default_factory=list)
    _known: dict[str, Candidate] = field(default_factory=dict)

    def add(self, question: str, parent: int | None, origin: Origin, why: str = "", round_number: int = 0) -> Candidate:
        """The candidate of a question: a new one, or the one that had this text first."""
        if question not in self._known:
            found = Candidate(len(self.candidates), question, parent, origin, why, round_number)
            self.candidates.append(found)
            self._known[question] = found
        return self._known[question]

    def knows(self, question: str) -> bool:
        """A candidate has this text already."""
        return question in self._known

    def __getitem__(self, number: int) -> Candidate:
        return self.candidates[number]

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.candidates)

    def __len__(self) -> int:
        return len(self.candidates)

"""ProTeGi (Pryzant et al. 2023, arXiv:2305.03495) for a judge of images: beam search along critiques of its errors.

How this differs from the paper and from ArtifactReward's code for it (src/apo in yq-hong/ArtifactReward@8b1cd7d):

1. The beam is chosen by bandits, as in the paper; the code asks every question about every training image (`full`).
2. Critiques are written from images, as in the code; the paper's tasks are texts.
3. A question without errors in the minibatch is only paraphrased; the code asks for a critique of nothing.
4. Every draw has its own generator; the code draws from sets, whose order changes from process to process.
5. `run.py` chooses from the last beam by validation images; the code reports every question on the test set.
"""

from collections.abc import Sequence

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.allocation import allocate, interleaved
from pyrite.artifact.optimise.config import ProtegiConfig
from pyrite.artifact.optimise.lineage import Candidate
from pyrite.artifact.optimise.texts import (
    critique_in,
    critique_request,
    paraphrase_request,
    question_in,
    rewrite_request,
)
from pyrite.artifact.optimise.workbench import Workbench

_MINIBATCH, _ERRORS, _CAP, _ORDER = range(4)

Errors = Sequence[tuple[Example, float]]
Rewrite = tuple[str, str]
"""A question, and the critique it was made along; none for a paraphrase."""


class Protegi:
    """Expand every question of the beam, judge, keep the best; `rounds` times."""

    def search(self, bench: Workbench, finalists: list[Candidate]) -> None:
        """See `Optimiser`."""
        beam = [bench.lineage[0]]
        finalists[:] = beam
        for round_number in range(1, bench.config.protegi.rounds + 1):
            minibatch = _minibatch(bench, round_number)
            children = _expand(bench, beam, minibatch, round_number)
            beam = _select(bench, [*beam, *children], round_number)
            finalists[:] = beam


def _minibatch(bench: Workbench, round_number: int) -> list[Example]:
    num = min(bench.config.protegi.minibatch, len(bench.train))
    return interleaved(bench.train, bench.rng(round_number, _MINIBATCH))[:num]


def _expand(
    bench: Workbench, beam: Sequence[Candidate], minibatch: Sequence[Example], round_number: int
) -> list[Candidate]:
    """New candidates from every question of the beam (algorithm 2)."""
    settings, max_tokens = bench.config.protegi, bench.config.rewriter.max_tokens
    samples = [_error_samples(bench, parent, minibatch, round_number) for parent in beam]
    shown = [(place, errors) for place, parts in enumerate(samples) for errors in parts]
    critiques = bench.rewriter.write(
        [critique_request(beam[place].question, errors, max_tokens) for place, errors in shown], 1, critique_in
    )
    steps = [(place, errors, why) for (place, errors), found in zip(shown, critiques, strict=True) for why in found]
    rewrites = bench.rewriter.write(
        [rewrite_request(beam[place].question, errors, why, max_tokens) for place, errors, why in steps],
        settings.steps_per_gradient,
        lambda reply: question_in(reply, bench.config.max_question_chars),
    )
    written: list[list[Rewrite]] = [[] for _ in beam]
    for (place, _, why), found in zip(steps, rewrites, strict=True):
        written[place] += [(question, why) for question in found]
    reworded = _paraphrases(bench, beam, written)
    return [
        child
        for place, parent in enumerate(beam)
        for child in _adopt(bench, settings, parent, [*written[place], *reworded[place]], round_number)
    ]


def _error_samples(
    bench: Workbench, parent: Candidate, minibatch: Sequence[Example], round_number: int
) -> list[Errors]:
    """What each critique of a question is shown; nothing where it makes no error."""
    settings = bench.config.protegi
    wrong = bench.wrong(parent.question, minibatch)
    if not wrong:
        return []
    rng = bench.rng(round_number, _ERRORS, parent.id)
    num = min(settings.errors_per_gradient, len(wrong))
    return [[wrong[row] for row in rng.choice(len(wrong), num, replace=False)] for _ in range(settings.gradients)]


def _paraphrases(
    bench: Workbench, beam: Sequence[Candidate], written: Sequence[Sequence[Rewrite]]
) -> list[list[Rewrite]]:
    """Rewordings of each rewrite and of each question of the beam itself."""
    settings, max_tokens = bench.config.protegi, bench.config.rewriter.max_tokens
    if not settings.paraphrases:
        return [[] for _ in beam]
    sources = [
        (place, question, why)
        for place, parent in enumerate(beam)
        for question, why in [*written[place], (parent.question, "")]
    ]
    found = bench.rewriter.write(
        [paraphrase_request(question, max_tokens) for _, question, _ in sources],
        settings.paraphrases,
        lambda reply: question_in(reply, bench.config.max_question_chars),
    )
    reworded: list[list[Rewrite]] = [[] for _ in beam]
    for (place, _, why), texts in zip(sources, found, strict=True):
        reworded[place] += [(question, why) for question in texts]
    return reworded


def _adopt(
    bench: Workbench, settings: ProtegiConfig, parent: Candidate, texts: Sequence[Rewrite], round_number: int
) -> list[Candidate]:
    """At most `expansion_cap` of the questions that nobody had before, drawn at random."""
    fresh = {question: why for question, why in reversed(texts) if not bench.lineage.knows(question)}
    rows = list(reversed(fresh.items()))
    if len(rows) > settings.expansion_cap:
        chosen = bench.rng(round_number, _CAP, parent.id).choice(len(rows), settings.expansion_cap, replace=False)
        rows = [rows[row] for row in sorted(chosen)]
    return [
        bench.lineage.add(question, parent.id, "critique" if why else "paraphrase", why, round_number)
        for question, why in rows
    ]


def _select(bench: Workbench, candidates: Sequence[Candidate], round_number: int) -> list[Candidate]:
    """The next beam (algorithm 1, line 6)."""
    order = interleaved(bench.train, bench.rng(round_number, _ORDER))
    beam_size = bench.config.protegi.beam
    standings = allocate(
        bench.config.allocation,
        len(candidates),
        beam_size,
        order,
        lambda place, examples: bench.judge_on(candidates[place], examples),
    )
    beam = [candidates[standing.place] for standing in standings[:beam_size]]
    for candidate in beam:
        candidate.survived = round_number
    bench.logged(
        {
            "round": round_number,
            "candidates": len(candidates),
            "best": beam[0].id,
            "train": beam[0].train,
            "num_train": beam[0].num_train,
            "beam": [candidate.id for candidate in beam],
        }
    )
    return beam

"""GEPA (Agrawal et al. 2025, arXiv:2507.19457) through its authors' library: reflective rewrites and a Pareto front.

The library decides which question is rewritten next and which rewrite stays; asking, writing, counting and resuming
are ours, so that budgets, failures and the test hold here as for ProTeGi. Its own folder is not used: it pickles. It
wants a number for every image: P(the label), and for an image without an answer the mean of its batch, so that the
batch's mean is that of the answered ones.
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.lineage import Candidate
from pyrite.artifact.optimise.texts import question_in, rewrite_request
from pyrite.artifact.optimise.workbench import Workbench
from pyrite.core.errors import MissingExtraError, RewardError

_COMPONENT = "question"
_SHOWN = 4


class GepaSearch:
    """The second optimiser; needs the extra `optimise`."""

    def search(self, bench: Workbench, finalists: list[Candidate]) -> None:
        """See `Optimiser`.

        Raises:
            MissingExtraError: the library is not installed.
        """
        try:
            from gepa.api import optimize
        except ImportError as error:
            raise MissingExtraError(
                "the optimiser gepa needs the package gepa, which is not installed. Type: pip install "
                "'pyrite[optimise]', or use --optimiser protegi."
            ) from error
        finalists[:] = [bench.lineage[0]]
        adapter: Any = _Adapter(bench, finalists)
        with redirect_stdout(io.StringIO()):  # stdout is for results
            optimize(
                seed_candidate={_COMPONENT: bench.lineage[0].question},
                trainset=list(bench.train),
                valset=list(bench.train),  # validation images only choose, in `run.py`
                adapter=adapter,
                reflection_minibatch_size=min(bench.config.gepa.minibatch, len(bench.train)),
                perfect_score=1.0,
                stop_callbacks=lambda state: state.i + 1 >= bench.config.gepa.proposals,
                logger=_Silent(),
                seed=bench.config.seed,
            )


class _Silent:
    def log(self, message: str) -> None:
        """What the library says of its progress; ours is said elsewhere."""


class _Adapter:
    """What the library needs: scores of a question on a batch, and a new question."""

    def __init__(self, bench: Workbench, finalists: list[Candidate]) -> None:
        self.bench = bench
        self.finalists = finalists
        self.num_proposals = 0

    def evaluate(self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """P(the label) of each image, and the wrong ones as trajectories."""
        from gepa.core.adapter import EvaluationBatch

        question = candidate[_COMPONENT]
        prob = self._answers(question, batch)
        labels = np.array([example.has_artifact for example in batch])
        right = np.where(labels, prob, 1 - prob)
        scores = np.where(np.isnan(right), np.nanmean(right), right)
        if len(batch) == len(self.bench.train):
            self._stands(question)
        trajectories = list(zip(batch, prob.tolist(), strict=True)) if capture_traces else None
        return EvaluationBatch(outputs=prob.tolist(), scores=scores.tolist(), trajectories=trajectories)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The images judged worst, of which a rewrite is shown a few."""
        known = [(example, prob) for example, prob in eval_batch.trajectories if not np.isnan(prob)]
        known.sort(key=lambda one: one[1] if one[0].has_artifact else 1 - one[1])
        rows = [{"example": example, "prob_artifact": prob} for example, prob in known[:_SHOWN]]
        return dict.fromkeys(components_to_update, rows)

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """One rewrite; a reply without a question leaves it as it is, and the library then keeps the parent."""
        bench, question = self.bench, candidate[_COMPONENT]
        self.num_proposals += 1
        shown = [(row["example"], row["prob_artifact"]) for row in reflective_dataset[_COMPONENT]]
        request = rewrite_request(question, shown, "", bench.config.rewriter.max_tokens)
        found = bench.rewriter.write([request], 1, lambda reply: question_in(reply, bench.config.max_question_chars))[0]
        if not found:
            return {_COMPONENT: question}
        parent = bench.lineage.add(question, None, "start")
        bench.lineage.add(found[0], parent.id, "reflection", round_number=self.num_proposals)
        return {_COMPONENT: found[0]}

    def _answers(self, question: str, batch: Sequence[Example]) -> np.ndarray:
        prob = self.bench.examiner.ask(question, batch)
        if np.isnan(prob).all():
            prob = self.bench.examiner.ask(question, batch, again=True)
        if np.isnan(prob).all():
            reason, num = self.bench.examiner.reasons.most_common(1)[0]
            raise RewardError(
                f"the judge answered none of {len(batch)} images, however often it was asked; the commonest reason "
                f"({num} times): {reason}. GEPA needs a number for every batch. See that the judge is well, then give "
                "the same command again."
            )
        return prob

    def _stands(self, question: str) -> None:
        """A question that the library keeps has been judged on all training images: it may be elected."""
        bench = self.bench
        candidate = bench.lineage.add(question, None, "start")
        bench.judge_on(candidate, bench.train)
        candidate.survived = self.num_proposals
        if candidate not in self.finalists:
            self.finalists.append(candidate)
        self.finalists.sort(key=lambda one: (np.isnan(one.train), -np.nan_to_num(one.train), one.id))
        del self.finalists[bench.config.gepa.finalists :]
        bench.logged(
            {
                "round": self.num_proposals,
                "candidates": len(bench.lineage),
                "best": self.finalists[0].id,
                "train": self.finalists[0].train,
                "num_train": len(bench.train),
                "beam": [one.id for one in self.finalists],
            }
        )

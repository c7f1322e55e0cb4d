"""WISE (arXiv 2503.07265) in both its protocols: a judge sees each image with the prompt and what the prompt means.

Where this differs from the published code (PKU-YuanGroup/WISE@eb51174): a picture is sent by its pixels as PNG and not
as the bytes of its file; replies are kept and read afterwards, by default so that a reply which says two things says
nothing (`reading="reference"` reads as published, see `rewards/replies.py`); and as long as anything is missing, there
is no overall score, in whatever way it is missing.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.core.errors import RecipeError
from pyrite.core.judging import Heard, Judge
from pyrite.evaluation.benchmarks.asking import ask_all, num_attempts, why_silent
from pyrite.evaluation.benchmarks.catalogue import Tools
from pyrite.evaluation.benchmarks.protocol import Case, Done, Evidence, Judged, Keep, Result, Verdict, Work
from pyrite.evaluation.benchmarks.wise_files import (
    full_file,
    prompts_digest,
    question_file,
    read_cases,
    read_official,
    scores_file,
)
from pyrite.evaluation.benchmarks.wise_protocols import LEGACY, VERIFIED, WiseProtocol
from pyrite.evaluation.benchmarks.wise_question import JudgeQuestion, read_question
from pyrite.evaluation.benchmarks.wise_table import table

READINGS = ("sound", "reference")
ATTEMPTS = 3
"""Replies per image until one can be read, as published."""

_THOUGHTS = re.compile(r"<think>.*?</think>\s*|</think>\s*", re.DOTALL)
_MOST_ATTEMPTS = 20


@dataclass(frozen=True)
class Wise:
    """One protocol of WISE with whoever judges; get one from `load_wise` or `load_wise_verified`.

    Args:
        protocol: which.
        source: official prompt files, or folders of them.
        question: file of the question; found in the source if left out.
        make_judge: the judge, made when it is needed.
        read: from text, whether it is whole, and how to read, to marks or to a reason.
        mode: how to read.
        attempts: replies per image until one can be read.
    """

    protocol: WiseProtocol
    source: tuple[Path, ...]
    question: Path | None
    make_judge: Callable[[], Judge]
    read: Callable[[str, bool, str], Any]
    mode: str
    attempts: int
    images_per_prompt: int = 1
    num_official: int = 1000
    layout: str = "wise"
    cites: tuple[str, ...] = ("arXiv:2503.07265",)

    @property
    def name(self) -> str:
        """Of the protocol."""
        return self.protocol.name

    @property
    def summary(self) -> str:
        """Of the protocol."""
        return self.protocol.summary

    @cached_property
    def judge(self) -> Judge:
        """Who is asked."""
        return self.make_judge()

    @cached_property
    def asked(self) -> JudgeQuestion:
        """What is asked.

        Raises:
            PromptFileError: the file is not there, or holds no question.
        """
        return read_question(self.question or question_file(self.protocol, self.source))

    @property
    def identity(self) -> Mapping[str, Any]:
        """The judge and its question."""
        published = self.asked.digest == self.protocol.question_digest
        return {**self.judge.identity, "question": self.asked.digest, "question_is_published": published}

    @property
    def reading(self) -> Mapping[str, Any]:
        """How replies become marks."""
        return {"mode": self.mode, "attempts": self.attempts}

    def cases(self) -> list[Case]:
        """The prompts, by id; see `Benchmark.cases`."""
        return read_cases(self.protocol, self.source)

    def wants(self, evidence: Sequence[Evidence]) -> bool:
        """Whether to ask (again): no reply can be read, and there are attempts left."""
        if any("unreadable" in one for one in evidence) or num_attempts(evidence) >= self.attempts:
            return False
        return all(isinstance(self._marks(one), str) for one in evidence)

    def examine(self, work: Sequence[Work], known: Sequence[Sequence[Evidence]], keep: Keep, done: Done) -> str:
        """Ask about every image; see `Benchmark.examine`."""
        return ask_all(self.judge, work, known, ask=self._ask, wants=self.wants, keep=keep, done=done)

    def verdict(self, evidence: Sequence[Evidence]) -> Verdict:
        """The first reply that can be read."""
        reason = ""
        for one in evidence:
            marks = self._marks(one)
            if not isinstance(marks, str):
                return self.of_marks(marks, str(one.get("text", "")))
            reason = marks
        tried = num_attempts(evidence)
        words = next((str(one["text"]) for one in reversed(evidence) if "text" in one), "")
        return Verdict(
            np.nan, f"{reason} (in each of {tried} replies)" if tried > 1 else reason or why_silent([]), words=words
        )

    def of_marks(self, marks: Mapping[str, float], words: str) -> Verdict:
        """The score of an image: for the paper's protocol (0.7 C + 0.2 R + 0.1 A) / 2, Calculate.py:6-8."""
        axes = self.protocol.axes.values()
        score = sum(weight * marks[name] for name, weight in axes) / self.protocol.highest
        return Verdict(float(score), values=marks, words=words)

    def result(self, cases: Sequence[Case], judged: Sequence[Judged]) -> Result:
        """Means of the categories, and their weighted sum."""
        return table(self.protocol, cases, judged, notes=self._notes(cases, judged))

    def official_files(self, cases: Sequence[Case], judged: Sequence[Judged]) -> Mapping[str, str]:
        """`<part>_scores_results.jsonl` and `<part>_full_results.json`, with the images that have a score."""
        scores: dict[str, list[Any]] = {}
        full: dict[str, list[Any]] = {}
        category_of = {one.name: one for one in self.protocol.categories}
        for one in judged:
            category, case, verdict = category_of[one.work.case.category], one.work.case, one.verdict
            if verdict.reason:
                continue
            row = {"prompt_id": int(case.prompt.id), "Subcategory": case.row.get("Subcategory", "")}
            scores.setdefault(scores_file(category), []).append({**row, **verdict.values})
            full.setdefault(full_file(category), []).append({
                "prompt_id": row["prompt_id"],
                "prompt": case.prompt.text,
                "key": case.prompt.explanation,
                "image_path": str(one.work.path),
                "evaluation": verdict.words,
            })  # fmt: skip
        lines = {
            name: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) for name, rows in scores.items()
        }
        return lines | {name: json.dumps(rows, ensure_ascii=False, indent=2) + "\n" for name, rows in full.items()}

    def from_official(self, path: Path, cases: Sequence[Case]) -> Sequence[Judged] | None:
        """What `gpt_eval.py` or `vllm_eval.py` left behind; see `Benchmark.from_official`."""
        rows = read_official(self.protocol, path)
        if rows is None:
            return None
        found = []
        for case in cases:
            if (row := rows.get(int(case.prompt.id))) is not None:
                marks = {name: float(row[name]) for name, _ in self.protocol.axes.values()}
                image = Path(str(row.get("image_path", "")))
                found.append(Judged(Work(case, image), self.of_marks(marks, str(row.get("evaluation", "")))))
        return found

    def _ask(self, judge: Judge, work: Work, image: Any) -> Heard:
        prompt = work.case.prompt
        return judge.ask(image, self.asked.about(prompt.text, prompt.explanation), system=self.asked.system)

    def _marks(self, evidence: Evidence) -> dict[str, float] | str:
        """Marks by their names in the official files, or why there are none."""
        if "text" not in evidence:
            if refusal := evidence.get("refusal"):
                return f"the judge refused to answer: {str(refusal)[:200]!r}"
            if "failed" in evidence or "unreadable" in evidence:
                return why_silent([evidence])
        text = self._without_thoughts(str(evidence.get("text", "")))
        found = self.read(text, bool(evidence.get("is_whole", True)), self.mode)
        if isinstance(found, str):
            return found
        marks = found if isinstance(found, Mapping) else {"score": found}
        return {name: float(marks[axis]) for axis, (name, _) in self.protocol.axes.items()}

    def _without_thoughts(self, text: str) -> str:
        """The reply after what a judge thought aloud; a second end of thoughts would be a reply that plays one."""
        if self.mode == "reference":
            return _THOUGHTS.sub("", text).strip()
        return text.partition("</think>")[2].strip() if text.count("</think>") == 1 else text

    def _notes(self, cases: Sequence[Case], judged: Sequence[Judged]) -> list[str]:
        own = {one.name: [case for case in cases if case.category == one.name] for one in self.protocol.categories}
        others = [
            one.name
            for one in self.protocol.categories
            if len(own[one.name]) == one.num and prompts_digest(own[one.name]) != one.digest
        ]
        notes = [
            f"the prompts of {', '.join(others)} are not those of WISE@eb51174, so scores compare only with others "
            "from the same files"
        ] * bool(others)
        models = sorted({str(one["model"]) for item in judged for one in item.evidence if "model" in one})
        if len(models) > 1:
            notes.append(f"the server answered as {', '.join(models)}: these replies are not all of one judge")
        return notes


def load_wise(
    tools: Tools,
    source: Sequence[Path],
    *,
    question: str = "",
    reading: str = "sound",
    attempts: int = ATTEMPTS,
) -> Wise:
    """The paper's protocol: a judge of the class of GPT-4o, at temperature 0, marks three axes from 0 to 2.

    Args:
        tools: hand it the judge.
        source: the prompt files, or a copy of the WISE repository.
        question: file with the judge's question; found in the source if left out.
        reading: "sound", or "reference" for the published way to read a reply.
        attempts: replies per image until one can be read.

    Raises:
        RecipeError: an option has no such value.
    """
    return _load(LEGACY, tools, source, question, reading, attempts)


def load_wise_verified(
    tools: Tools,
    source: Sequence[Path],
    *,
    question: str = "",
    reading: str = "sound",
    attempts: int = ATTEMPTS,
) -> Wise:
    """The repository's protocol since April 2026: a judge says of each image whether it is right.

    Args:
        tools: hand it the judge.
        source: the prompt files, or a copy of the WISE repository.
        question: file with the judge's question; found in the source if left out.
        reading: "sound", or "reference" for the published way to read a reply.
        attempts: replies per image until one can be read.

    Raises:
        RecipeError: an option has no such value.
    """
    return _load(VERIFIED, tools, source, question, reading, attempts)


def _load(
    protocol: WiseProtocol, tools: Tools, source: Sequence[Path], question: str, reading: str, attempts: int
) -> Wise:
    if reading not in READINGS:
        raise RecipeError(f"reading={reading} is no way to read a reply. Give {' or '.join(READINGS)}.")
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= _MOST_ATTEMPTS:
        raise RecipeError(f"attempts={attempts} is no number of replies per image. Give 1 to {_MOST_ATTEMPTS}.")
    return Wise(
        protocol,
        tuple(source),
        Path(question) if question else None,
        lambda: tools.judge(**protocol.judge),
        tools.reader(protocol.reader),
        reading,
        attempts,
    )

"""What rewards and gold say of many images of the same prompt: the raw material of best-of-n curves.

Best-of-n is the cheapest optimiser there is (draw n images, keep the one the reward likes best), so what gold says of
its choice shows how a reward fails under pressure before anything is trained (Gao et al. 2022, arXiv:2210.10760).
The curves themselves are computed by `pyrite.stats.best_of_n`, without bias from all n-subsets.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from pyrite.core.errors import RunFolderError
from pyrite.core.protocols import Policy, Reward
from pyrite.core.scoring import score_checked
from pyrite.core.types import FloatArray, Prompt, Scores
from pyrite.stats.best_of_n import BestOfN, best_of_n_curves

GOLD = "gold"
_IMAGES_AT_A_TIME = 64

Progress = Callable[[int, int], None]
"""Called with the number of prompts measured and of all prompts."""


@dataclass(frozen=True)
class BestOfNScores:
    """Scores of M images for each of P prompts, drawn from one policy.

    Args:
        policy: what drew them: name and revision.
        seed: of the draws.
        samples_per_prompt: M.
        prompts: the P texts.
        scores: name -> (P, M), NaN where unscored; gold is called "gold".
        reasons: name -> (prompt, image, why) for each NaN.
    """

    policy: str
    seed: int
    samples_per_prompt: int
    prompts: tuple[str, ...] = ()
    scores: Mapping[str, FloatArray] = field(default_factory=dict)
    reasons: Mapping[str, tuple[tuple[int, int, str], ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RunFolderError: it is missing or not such a file.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                policy=value["policy"],
                seed=value["seed"],
                samples_per_prompt=value["samples_per_prompt"],
                prompts=tuple(value["prompts"]),
                scores={name: np.array(rows, dtype=np.float64) for name, rows in value["scores"].items()},
                reasons={
                    name: tuple((p, m, why) for p, m, why in entries) for name, entries in value["reasons"].items()
                },
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunFolderError(
                f"{path} is no best-of-n measurement ({type(error).__name__}: {error}). Remove it to measure again."
            ) from error

    def save(self, path: Path) -> None:
        """Write one JSON object: readers see the file of before or the new one, never half of it."""
        value: dict[str, Any] = {
            "policy": self.policy,
            "seed": self.seed,
            "num_prompts": len(self.prompts),
            "samples_per_prompt": self.samples_per_prompt,
            "prompts": self.prompts,
            "scores": {
                name: [[None if np.isnan(score) else score for score in row] for row in table.tolist()]
                for name, table in self.scores.items()
            },
            "reasons": self.reasons,
        }
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(value, allow_nan=False) + "\n", encoding="utf-8")
            os.replace(temporary, path)
        except OSError as error:
            raise RunFolderError(f"cannot write {path}: {error.strerror}. Choose another place.") from error

    def curve(self, name: str, ns: Sequence[int]) -> BestOfN:
        """What the reward `name`, picking among n, and gold get per prompt; without bias for every n up to M.

        Raises:
            KeyError: no such reward, or gold was not measured.
        """
        labels = np.arange(len(self.prompts)).repeat(self.samples_per_prompt)
        return best_of_n_curves(self.scores[name].reshape(-1), self.scores[GOLD].reshape(-1), labels, ns)


def measure_best_of_n(
    policy: Policy,
    rewards: Mapping[str, Reward],
    gold: Reward | None,
    prompts: Sequence[Prompt],
    *,
    samples_per_prompt: int,
    seed: int = 0,
    path: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> BestOfNScores:
    """Draw `samples_per_prompt` images for every prompt and score them with every reward and gold.

    Args:
        policy: usually the base policy; nothing is trained.
        rewards: name -> reward.
        gold: or None.
        prompts: P of them.
        samples_per_prompt: M: the largest n the curves can have.
        seed: image m of prompt p depends on this and p alone.
        path: a JSON file, saved as the measurement goes on; one of the same measurement is continued.
        progress: told after each batch.

    Raises:
        ValueError: no prompt, or fewer than one sample of each.
        RewardError: a reward raises or returns another number of scores.
        RunFolderError: `path` cannot be written or holds another measurement.
    """
    if not prompts or samples_per_prompt < 1:
        raise ValueError(f"{len(prompts)} prompts with {samples_per_prompt} samples each: both must be at least 1")
    panel = dict(rewards) | ({GOLD: gold} if gold is not None else {})
    found = BestOfNScores(f"{policy.card.name} {policy.card.revision}".strip(), seed, samples_per_prompt)
    if path is not None and path.exists():
        found = _refuse_another(BestOfNScores.load(path), found, panel, prompts, path)
    per_batch = max(1, _IMAGES_AT_A_TIME // samples_per_prompt)
    for start in range(len(found.prompts), len(prompts), per_batch):
        batch = prompts[start : start + per_batch]
        rngs = [
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(position,)))
            for position in range(start, start + len(batch))
        ]
        rollouts = policy.sample(batch, group_size=samples_per_prompt, rngs=rngs)
        tables = {
            name: score_checked(name, reward, rollouts.images, rollouts.prompts) for name, reward in panel.items()
        }
        found = _extended(found, batch, tables)
        if path is not None:
            found.save(path)
        progress(len(found.prompts), len(prompts))
    return found


def _extended(found: BestOfNScores, batch: Sequence[Prompt], tables: Mapping[str, Scores]) -> BestOfNScores:
    num, size = len(found.prompts), found.samples_per_prompt
    scores, reasons = {}, {}
    for name, column in tables.items():
        before = found.scores.get(name, np.empty((0, size)))
        scores[name] = np.concatenate([before, column.values.reshape(-1, size)])
        new = tuple((num + int(row) // size, int(row) % size, why) for row, why in column.reasons.items())
        reasons[name] = (*found.reasons.get(name, ()), *new)
    texts = (*found.prompts, *(prompt.text for prompt in batch))
    return BestOfNScores(found.policy, found.seed, size, texts, scores, reasons)


def _refuse_another(
    saved: BestOfNScores, wanted: BestOfNScores, panel: Mapping[str, Reward], prompts: Sequence[Prompt], path: Path
) -> BestOfNScores:
    """What was saved, if it is a beginning of what is wanted."""
    texts = tuple(prompt.text for prompt in prompts)
    differences = [
        f"{what} was {was}, is {now}"
        for what, was, now in (
            ("the policy", saved.policy, wanted.policy),
            ("the seed", saved.seed, wanted.seed),
            ("samples_per_prompt", saved.samples_per_prompt, wanted.samples_per_prompt),
            ("the list of rewards", sorted(saved.scores), sorted(panel)),
        )
        if was != now
    ]
    if saved.prompts != texts[: len(saved.prompts)]:
        differences.append("the prompts differ")
    if differences:
        raise RunFolderError(
            f"{path} holds another measurement ({'; '.join(differences)}), and scores of both would mix in one curve. "
            "Remove it, or choose another file."
        )
    return saved

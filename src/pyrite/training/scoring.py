"""What rewards say of a batch, the one number made of it, and which of its images can be trained on."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from pyrite.core.errors import TrainingError
from pyrite.core.protocols import Reward
from pyrite.core.scoring import score_checked
from pyrite.core.types import REQUEST, FloatArray, Image, Prompt, Scores
from pyrite.mitigation.ensembles import aggregate
from pyrite.mitigation.transforms import Chain, parse_transform
from pyrite.records.recipe import Recipe
from pyrite.training.processes import Processes

ScoreTable = dict[str, Scores]
"""Name of a reward -> what it says of the same N images."""


def score_panel(rewards: Mapping[str, Reward], images: Sequence[Image], prompts: Sequence[Prompt]) -> ScoreTable:
    """Score every image with every reward.

    Those that another machine computes (`is_elsewhere`) are asked all at once, and the rest is computed here while
    they answer. An image that a reward cannot score is its business: NaN with a reason. A reward that raises is
    broken, and is not asked again image by image: that would hide a defect behind missing scores.

    Raises:
        RewardError: a reward raises or returns another number of scores; the message names it.
    """
    elsewhere = [name for name, reward in rewards.items() if getattr(reward, "is_elsewhere", False)]
    if not elsewhere:
        return {name: score_checked(name, reward, images, prompts) for name, reward in rewards.items()}
    with ThreadPoolExecutor(len(elsewhere), "reward") as pool:
        asked = {name: pool.submit(score_checked, name, rewards[name], images, prompts) for name in elsewhere}
        own = {
            name: score_checked(name, reward, images, prompts) for name, reward in rewards.items() if name not in asked
        }
        return {name: own[name] if name in own else asked[name].result() for name in rewards}


def score_gold(gold: Reward, images: Sequence[Image], prompts: Sequence[Prompt]) -> ScoreTable:
    """Gold and the parts it is made of: "gold", and every detail whose name begins with "gold_".

    Raises:
        RewardError: gold raises or returns another number of scores.
    """
    scores = score_checked("gold", gold, images, prompts)
    parts = {name: values for name, values in scores.details.items() if name.startswith("gold_")}
    return {"gold": scores} | {
        name: Scores(
            values,
            {row: scores.reasons.get(row, f"gold gave no {name}") for row in np.flatnonzero(np.isnan(values)).tolist()},
        )
        for name, values in parts.items()
    }


def join_tables(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Several batches as one, in order; every table has the same rewards."""
    return {name: Scores.concatenate([table[name] for table in tables]) for name in (tables[0] if tables else ())}


def gather_table(own: ScoreTable, processes: Processes) -> ScoreTable:
    """The tables of all processes as one, in order; a process without images gives an empty one.

    Of the details only `REQUEST` is kept, which samples.jsonl needs.
    """
    wire = {
        name: [
            column.values.tolist(),
            [[int(row), why] for row, why in column.reasons.items()],
            {key: numbers.tolist() for key, numbers in column.details.items() if key == REQUEST},
        ]
        for name, column in own.items()
    }
    return join_tables(
        [
            {
                name: Scores(
                    np.array(values, dtype=np.float64),
                    dict(why),
                    {key: np.array(numbers, dtype=np.float64) for key, numbers in details.items()},
                )
                for name, (values, why, details) in table.items()
            }
            for table in processes.gather(wire)
            if table
        ]
    )


@dataclass(frozen=True)
class Shaping:
    """From the scores of the training rewards to the reward that is trained on.

    Args:
        chains: name of a reward -> its transform, fitted; in the order of the recipe.
        weights: name of a reward -> its weight.
        how: the aggregate.
    """

    chains: Mapping[str, Chain]
    weights: Mapping[str, float]
    how: str

    @classmethod
    def fit(cls, recipe: Recipe, base_scores: ScoreTable) -> Self:
        """With the scale that each reward has on the base policy's images.

        Raises:
            RewardError: a reward that is to be standardised does not tell those images apart.
        """
        chains = {
            term.name: parse_transform(term.transform).fit(base_scores[term.name].values, term.name)
            for term in recipe.rewards
        }
        return cls(chains, {term.name: term.weight for term in recipe.rewards}, recipe.aggregate)

    @classmethod
    def from_specs(cls, recipe: Recipe, specs: Mapping[str, str]) -> Self:
        """With the transforms that `specs` gave."""
        chains = {term.name: parse_transform(specs[term.name]) for term in recipe.rewards}
        return cls(chains, {term.name: term.weight for term in recipe.rewards}, recipe.aggregate)

    @property
    def specs(self) -> dict[str, str]:
        """Name of a reward -> its fitted transform, as text that reads back as the same."""
        return {name: str(chain) for name, chain in self.chains.items()}

    def __call__(self, scores: ScoreTable) -> FloatArray:
        """(R,) training rewards; NaN where a reward that has a weight left the image unscored."""
        shaped_RK = np.stack([chain(scores[name].values) for name, chain in self.chains.items()], axis=1)
        return aggregate(shaped_RK, np.array(list(self.weights.values())), self.how)


def trainable(
    rewards_R: FloatArray,
    group_size: int,
    *,
    unscored: Literal["drop_sample", "drop_group", "abort"],
    scores: ScoreTable,
) -> npt.NDArray[np.bool_]:
    """(R,) which images may be trained on, given that some have no reward.

    Args:
        rewards_R: (R,) aggregated training rewards; NaN is unscored.
        group_size: G.
        unscored: leave the image out, leave its group out, or stop.
        scores: of the training rewards, for the message.

    Raises:
        TrainingError: `unscored` is "abort" and an image is unscored, or there is nothing left to compare.
    """
    scored_R = ~np.isnan(rewards_R)
    if unscored == "abort" and not scored_R.all():
        raise TrainingError(
            f"{(~scored_R).sum()} of {len(scored_R)} images have no reward ({_first_reason(scores)}), and the recipe "
            "says grpo.unscored = abort. Mend the reward, or set it to drop_sample."
        )
    num_P1 = scored_R.reshape(-1, group_size).sum(1, keepdims=True)
    enough_P1 = num_P1 == group_size if unscored == "drop_group" else num_P1 >= 2
    kept_PG = scored_R.reshape(-1, group_size) & enough_P1
    if not kept_PG.any():
        raise TrainingError(
            f"none of {len(scored_R)} images can be trained on: {(~scored_R).sum()} have no reward "
            f"({_first_reason(scores)}), and no group has the siblings left that grpo.unscored = {unscored} asks for. "
            "Mend the reward; the step has changed nothing, so the same command continues."
        )
    kept_R: npt.NDArray[np.bool_] = kept_PG.reshape(-1)
    return kept_R


def _first_reason(scores: ScoreTable) -> str:
    return next((f"{name}: {why}" for name, column in scores.items() for why in column.reasons.values()), "no reason")

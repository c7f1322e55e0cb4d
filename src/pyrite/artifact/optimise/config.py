"""What a search for a question may be told: every number it uses, in sections, checked before anything is asked.

The defaults of `protegi` are those of ArtifactReward's own search (src/apo/main.py in yq-hong/ArtifactReward@8b1cd7d),
which is ProTeGi (Pryzant et al. 2023, arXiv:2305.03495) with fewer paraphrases and a smaller cap.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from pyrite.artifact.optimise.objectives import ObjectiveName
from pyrite.core.errors import RecipeError
from pyrite.records.recipe_file import apply_overrides, parse_yaml
from pyrite.records.recipe_problems import describe
from pyrite.rewards.artifact_vlm import QUESTION

_Share = Annotated[float, Field(gt=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ProtegiConfig(_Section):
    """Beam search along textual gradients (arXiv:2305.03495, algorithms 1 and 2)."""

    rounds: int = Field(default=6, ge=1)
    """Expansions of the beam; calls are proportional to it. 8 of them with `halving` take about half of the calls of 6
    with `full`, and reach at least as much (benchmarks/question_optimisation.md)."""
    beam: int = Field(default=4, ge=1)
    """Questions that survive a round, and that stand for election in the end."""
    minibatch: int = Field(default=60, ge=1)
    """Training images of a round among which a question's errors are looked for; all of them if there are fewer."""
    gradients: int = Field(default=4, ge=0)
    """Critiques written for each question of the beam, each from its own sample of errors; one text call each."""
    errors_per_gradient: int = Field(default=4, ge=1)
    """Images judged wrong that one critique is shown; each makes the text call longer by an image."""
    steps_per_gradient: int = Field(default=1, ge=1)
    """Rewrites of a question for each critique; one text call each."""
    paraphrases: int = Field(default=1, ge=0)
    """Rewordings of each rewrite, and of the question itself; one text call each."""
    expansion_cap: int = Field(default=5, ge=1)
    """New questions kept for each question of the beam, drawn at random from those written."""


class GepaConfig(_Section):
    """The `gepa` library (Agrawal et al. 2025, arXiv:2507.19457), as a second optimiser."""

    proposals: int = Field(default=60, ge=1)
    """Iterations: in each a question is picked from the Pareto front and rewritten once."""
    minibatch: int = Field(default=12, ge=1)
    """Training images on which a rewrite must beat its parent before it is judged on all of them. The library's own
    default is 3, too few to see a difference between two judges that are both right most of the time."""
    finalists: int = Field(default=4, ge=1)
    """Questions that stand for election in the end, the best on the training images."""


class AllocationConfig(_Section):
    """How the judge's calls of a round are shared among its questions; ProTeGi only."""

    method: Literal["halving", "ucb", "full"] = "halving"
    """`halving`: all are judged on few images, the better half on twice as many, and so on. `ucb`: the most promising
    one is judged on a few more images, again and again. `full`: every question on every training image, as the
    reference. Measured in benchmarks/question_optimisation.md."""
    first_share: _Share = 0.125
    """halving: share of the training images on the first rung; the share doubles from rung to rung."""
    last_share: _Share = 1.0
    """halving: share of the training images on the last rung, on which the beam is chosen."""
    ucb_pull: int = Field(default=12, ge=2)
    """ucb: images a question is judged on each time it is picked."""
    ucb_share: _Share = 0.4
    """ucb: calls of a round, as a share of what `full` would need."""
    ucb_c: float = Field(default=1.0, ge=0)
    """ucb: weight of the bonus for having been judged on few images; 0 only exploits."""


class BudgetConfig(_Section):
    """Where the search stops, with the best question so far; the last measurements are paid from it as well."""

    calls: int | None = Field(default=None, ge=1)
    """Questions about an image and requests for a text, together; null for no limit."""
    usd: float | None = Field(default=None, gt=0)
    """Money, which needs prices in the options of the judge and of the rewriter; null for no limit."""


class JudgeSection(_Section):
    """Who is asked about images."""

    name: str = "artifact-served"
    """A reward that reads a question: artifact-served, or artifact for a model in this process."""
    options: dict[str, JsonValue] = {}
    """Handed to it, such as base_url, model, concurrency, usd_per_million_input."""


class RewriterSection(_Section):
    """Who writes critiques and questions; sees images too."""

    options: dict[str, JsonValue] = {}
    """Of its server, as for the judge; address, model, key and prices are the judge's where they are left out."""
    temperature: float = Field(default=0.7, ge=0)
    """Of its sampling; at 0 several critiques of the same errors would be one."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longest reply; a longer one is cut off, and so dropped."""


class OptimiseConfig(_Section):
    """A whole search: two runs of equal configs on equal data, with the same replies, are equal."""

    optimiser: Literal["protegi", "gepa"] = "protegi"
    """How questions are searched for."""
    objective: ObjectiveName = "log_likelihood"
    """What a better question has more of."""
    question: str = Field(default=QUESTION, min_length=1)
    """Where the search begins; ArtifactReward's published question unless another is given."""
    seed: int = Field(default=0, ge=0)
    """Of the split, of every sample and of every choice."""
    shares: Annotated[tuple[float, ...], Field(strict=False)] = (0.6, 0.2, 0.2)
    """Of the images for training, validation and test; no pair is ever separated."""
    min_answered: _Share = 0.5
    """A question that gets an answer for a smaller share of the images than this has no score: a judge that only
    answers what is easy would look good on the rest."""
    attempts: int = Field(default=3, ge=1)
    """How often the same question about the same image is put, in all, if the judge fails."""
    max_question_chars: int = Field(default=1500, ge=40)
    """A longer reply is no question."""
    judge: JudgeSection = JudgeSection()
    rewriter: RewriterSection = RewriterSection()
    protegi: ProtegiConfig = ProtegiConfig()
    gepa: GepaConfig = GepaConfig()
    allocation: AllocationConfig = AllocationConfig()
    budget: BudgetConfig = BudgetConfig()

    @field_validator("shares")
    @classmethod
    def _three_parts(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"shares = {list(shares)} are not three parts of a whole (train, validation, test; above 0, sum 1): "
                "without a test part nothing is proven. Write for example [0.6, 0.2, 0.2]."
            )
        return shares


def load_optimise_config(path: Path | None, overrides: Sequence[str] = (), **given: Any) -> OptimiseConfig:
    """Read and check a config; all problems are reported at once.

    Args:
        path: of a YAML file; None for the defaults.
        overrides: "a.b=c" each, later ones win.
        given: keys of the outermost section that stand over the file; None where nothing was given.

    Raises:
        RecipeError: the file cannot be read, or says something a config cannot.
    """
    value, problems = _read(path)
    mapping = {**value, **{key: item for key, item in given.items() if item is not None}}
    problems = [*problems, *apply_overrides(mapping, overrides)]
    try:
        config = OptimiseConfig.model_validate(mapping)
    except ValidationError as error:
        problems += describe(error, OptimiseConfig)
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise RecipeError(f"the search cannot run like this:{listed}\nSee docs/how-to/optimise-the-question.md.")
    return config


def _read(path: Path | None) -> tuple[Mapping[str, Any], list[str]]:
    if path is None:
        return {}, []
    try:
        value, problems = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the config {path} cannot be read ({error}). Give the path of a YAML text file.") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"the config {path} is not YAML: {error}") from error
    if value is not None and not isinstance(value, dict):
        raise RecipeError(
            f"the config {path} holds {repr(value)[:40]} where its keys should be. Write lines such as "
            "'objective: auc'."
        )
    return value or {}, problems

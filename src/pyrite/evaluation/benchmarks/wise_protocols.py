"""What the two protocols of WISE differ in, as data: categories, weights, judge, files.

PKU-YuanGroup/WISE@eb51174: `WISE_legacy/gpt_eval.py` and `Calculate.py` (the paper's, arXiv 2503.07265), `vllm_eval.py`
and `calculate_verified.py` (the repository's since April 2026). Their numbers do not compare with each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PARTS = ("cultural_common_sense", "spatio-temporal_reasoning", "natural_science")
"""Names of the official prompt files, which name the official result files too."""


@dataclass(frozen=True)
class Category:
    """One column of the official table.

    Args:
        name: of the column.
        called: in the prompt files, in small letters.
        ids: first and last id.
        weight: of its mean in the overall score.
        part: which of `PARTS` holds it.
        digest: of its published prompts, see `wise_files.prompts_digest`.
    """

    name: str
    called: str
    ids: tuple[int, int]
    weight: float
    part: str
    digest: str

    @property
    def num(self) -> int:
        """How many prompts it has."""
        return self.ids[1] - self.ids[0] + 1


@dataclass(frozen=True)
class WiseProtocol:
    """One way to judge and to add up.

    Args:
        name: of the benchmark.
        summary: one sentence about the score.
        categories: in the official order.
        axes: name in a reply -> name in the official result files and weight in the score of an image.
        highest: mark of an axis.
        reader: of `rewards/replies.py`.
        judge: the published settings.
        question_file: where the published question stands, by name.
        question_digest: of that question.
        suffix: of the names of the prompt files.
        other: the other protocol, for messages.
    """

    name: str
    summary: str
    categories: tuple[Category, ...]
    axes: Mapping[str, tuple[str, float]]
    highest: int
    reader: str
    judge: Mapping[str, Any]
    question_file: str
    question_digest: str
    suffix: str
    other: str

    def category_of(self, prompt_id: int) -> Category | None:
        """The column that an id belongs to."""
        return next((one for one in self.categories if one.ids[0] <= prompt_id <= one.ids[1]), None)


_CULTURE, _SPACE_TIME, _SCIENCE = PARTS

LEGACY = WiseProtocol(
    name="wise",
    summary="WiScore in [0, 1]: 0.7 consistency + 0.2 realism + 0.1 aesthetic quality, each from 0 to 2, over 2.",
    categories=(
        Category("Cultural", "cultural knowledge", (1, 400), 0.4, _CULTURE, "6e3f8e4e1242"),
        Category("Time", "time", (401, 567), 0.167, _SPACE_TIME, "0d6af3fddec5"),
        Category("Space", "space", (568, 700), 0.133, _SPACE_TIME, "712d52f5ab35"),
        Category("Biology", "biology", (701, 800), 0.1, _SCIENCE, "9f205cbecfdf"),
        Category("Physics", "physical knowledge", (801, 900), 0.1, _SCIENCE, "1b5b3f0e0f77"),
        Category("Chemistry", "chemistry", (901, 1000), 0.1, _SCIENCE, "8ef27cdbcbfe"),
    ),
    axes={
        "consistency": ("consistency", 0.7),
        "realism": ("realism", 0.2),
        "aesthetic quality": ("aesthetic_quality", 0.1),
    },
    highest=2,
    reader="read_wise",
    judge={"model": "gpt-4o-2024-05-13", "temperature": 0.0, "max_tokens": 2000},
    question_file="gpt_eval.py",
    question_digest="cf811456a3ed9dba",
    suffix="",
    other="wise-verified",
)

VERIFIED = WiseProtocol(
    name="wise-verified",
    summary="Share of the images that are right about what their prompt means and usable, in [0, 1].",
    categories=(
        Category("Cultural", "cultural knowledge", (1, 400), 0.4, _CULTURE, "a22072acf843"),
        Category("Time", "time", (401, 520), 0.12, _SPACE_TIME, "a19ecd3b2e23"),
        Category("Space", "space", (521, 640), 0.12, _SPACE_TIME, "b6681b3e7ffe"),
        Category("Biology", "biology", (641, 760), 0.12, _SCIENCE, "89d8b09877a8"),
        Category("Physics", "physical knowledge", (761, 880), 0.12, _SCIENCE, "488094e03460"),
        Category("Chemistry", "chemistry", (881, 1000), 0.12, _SCIENCE, "cb7b759a8a99"),
    ),
    axes={"score": ("score", 1.0)},
    highest=1,
    reader="read_wise_verified",
    judge={"model": "Qwen3.5-35B-A3B", "temperature": 0.0, "max_tokens": 500, "thinking": False},
    question_file="vllm_eval.py",
    question_digest="552d922758d90285",
    suffix="_verified",
    other="wise",
)

"""What is asked and answered, as the OpenAPI description of the server shows it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

_Number = float | str | None
_NUMBER = "null where there is none; an infinity is the text Infinity or -Infinity"


class PromptObject(BaseModel):
    """A prompt as in T2I-R1's training data; keys that nobody knows are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    prompt: str = Field(description="The text; blank only for rewards that do not read it.")
    id: str | int | None = ""
    task_type: str | None = ""
    nouns: list[str] | None = None
    attr_nouns: list[str] | None = None
    spatial_info: dict[str, Any] | None = None
    numeracy_info: list[dict[str, Any]] | None = None
    explanation: str | None = ""


class ImageItem(BaseModel):
    """One image with its prompt."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: str = Field(
        description="A PNG, JPEG or WebP file as base64.", json_schema_extra={"contentEncoding": "base64"}
    )
    prompt: PromptObject


class PromptItem(BaseModel):
    """The prompt of one image whose file is another part of the form."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: PromptObject


Names = Annotated[
    list[str] | None, Field(description="Which rewards to ask, each once; all of the server's if left out.")
]


class ScoreRequest(BaseModel):
    """Images with prompts, and the rewards to ask about them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rewards: Names = None
    items: list[ImageItem]


class FormRequest(BaseModel):
    """The part `request` of a form; the files `images` follow in the order of the items."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rewards: Names = None
    items: list[PromptItem]


class RewardScores(BaseModel):
    """What one reward says, in the order of the items."""

    key: str = Field(description="The store key of the reward's card: another one whenever scores may differ.")
    values: list[float | None] = Field(description="Higher is better; null where the image is unscored.")
    reasons: dict[str, str] = Field(description="Place of an unscored item -> why; exactly those that are null.")
    transient: list[int] = Field(description="Unscored items that may have a score if they are asked about again.")
    details: dict[str, list[_Number]] = Field(description=f"Further numbers per item; {_NUMBER}.")


class ScoreReply(BaseModel):
    """The scores of all rewards that were asked."""

    scores: dict[str, RewardScores]


class CardObject(BaseModel):
    """What a reward claims about itself; see `pyrite.core.cards.RewardCard`."""

    name: str
    summary: str
    range: Annotated[list[_Number], Field(min_length=2, max_length=2)]
    reads_prompt: bool
    deterministic: bool
    revision: str
    upstream: str
    parity_error: float | None
    licence: str
    cites: list[str]
    options: dict[str, str | int | float | bool]
    preprocessing: str
    dtype: str


class RewardsReply(BaseModel):
    """The rewards of this server, by the names to ask them under, and how much it takes at once."""

    rewards: dict[str, CardObject]
    max_items: int
    max_body_bytes: int


class HealthReply(BaseModel):
    """How the server is."""

    status: str = Field(description="ok, or draining once it has been told to stop.")
    rewards: list[str]
    waiting_images: int


class Problem(BaseModel):
    """What is wrong at one place of a request."""

    where: str
    what: str


class RefusalReply(BaseModel):
    """Why there are no scores."""

    error: str = Field(description="For programs.")
    message: str = Field(description="For people: what happened, and what to do next.")
    problems: list[Problem]

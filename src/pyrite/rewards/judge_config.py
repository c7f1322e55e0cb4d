"""How a judge behind a server is reached, and how patient and how costly asking it may be."""

import os
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pyrite.core.errors import RewardError
from pyrite.records.recipe_problems import describe

URL_VARIABLE, KEY_VARIABLE = "PYRITE_JUDGE_URL", "PYRITE_JUDGE_KEY"
VLLM_URL = "http://127.0.0.1:8000/v1"
"""Where `vllm serve` answers if it is not told otherwise."""

NO_KEY = "none"
"""Sent where no key is set: the protocol wants one, and a server that checks none ignores it."""

_Seconds = Annotated[float, Field(gt=0, le=86_400)]


class JudgeConfig(BaseModel):
    """One judge: the options that every served reward has besides its own."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    model: str = Field(min_length=1)
    """Name under which the server offers the model; `vllm serve NAME` offers NAME."""
    base_url: str = VLLM_URL
    """Address of the server up to and with /v1; $PYRITE_JUDGE_URL if it is left out."""
    revision: str = ""
    """What tells these weights from others that may be served under the same name, such as a commit of the hub. Where
    it is left out, the address stands for it: the same model at another address is then asked again."""
    api_key_env: str = KEY_VARIABLE
    """Name of the environment variable that holds the key; the key itself is never written down."""
    concurrency: int = Field(default=48, ge=1, le=1024)
    """Requests in flight at once, each on a connection of one pool."""
    timeout_s: _Seconds = 60.0
    """Longest time for one attempt, from the first byte sent to the last one received."""
    deadline_s: _Seconds = 300.0
    """Longest time for one request with all its attempts and the pauses between them."""
    retries: int = Field(default=5, ge=0, le=100)
    """Further attempts after a time-out, a lost connection, 408, 409, 425, 429, 5xx, or a reply in no known form."""
    backoff_s: float = Field(default=0.5, ge=0, le=60)
    """Pause before the second attempt; doubles with each further one, up to 30 s, times a random factor from 0.5 to 1.
    A longer Retry-After of the server counts instead."""
    max_failure_rate: float = Field(default=0.2, ge=0, le=1)
    """Of the last 50 requests this share may have failed for good, once there are 20; beyond it everything stops."""
    temperature: float = Field(default=0.0, ge=0)
    """Of the sampling; above 0 two replies to one question differ, and no store keeps such scores."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Of the sampling; None sends none."""
    seed: int | None = None
    """Of the sampling, for servers that know one; None sends none."""
    repetition_penalty: float | None = Field(default=None, gt=0)
    """Of the generation, for servers that know one (vLLM, SGLang); None leaves it to the server, and vLLM takes it from
    the generation_config.json beside the weights."""
    thinking: bool | None = None
    """Whether a model that can think aloud does so, for servers that know chat templates (vLLM, SGLang); None leaves it
    to the server."""
    usd_per_million_input: float | None = Field(default=None, ge=0)
    """Price of a million tokens of question; with the other one, each score has its cost in the details."""
    usd_per_million_output: float | None = Field(default=None, ge=0)
    """Price of a million tokens of reply."""
    audit: str | None = None
    """JSON-lines file that every reply is added to; None: judge-replies.jsonl beside the score store; "": none."""

    @field_validator("base_url")
    @classmethod
    def _is_plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"must be an address such as {VLLM_URL}")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "must hold no user, password or query: addresses are written into logs and files. Put the key into "
                f"the environment variable {KEY_VARIABLE}"
            )
        return url.rstrip("/")

    @property
    def api_key(self) -> str:
        """The key, read anew each time, so that this object never holds it; `NO_KEY` if there is none.

        Raises:
            RewardError: it holds characters that no header may.
        """
        key = os.environ.get(self.api_key_env, "").strip() or NO_KEY
        if not (key.isascii() and key.isprintable()):
            raise RewardError(
                f"the environment variable {self.api_key_env} holds characters that a key cannot have (not ASCII, or a "
                "line end), so no server would take it. Set it again."
            )
        return key

    @property
    def weights_name(self) -> str:
        """What stands for the weights in a score's key."""
        return f"{self.model}@{self.revision or self.base_url}"

    @property
    def scoring_options(self) -> dict[str, str | int | float]:
        """Those of the settings that change replies, as far as they are set."""
        names = ("model", "temperature", "top_p", "seed", "repetition_penalty", "thinking")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def sampling(self) -> dict[str, Any]:
        """The same without the model, as keys of a request."""
        found: dict[str, Any] = {name: value for name, value in self.scoring_options.items() if name != "model"}
        if (thinking := found.pop("thinking", None)) is not None:
            found["chat_template_kwargs"] = {"enable_thinking": thinking}
        return found

    def cost_usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Price of one request; NaN if tokens or prices are unknown."""
        if self.usd_per_million_input is None or self.usd_per_million_output is None:
            return float("nan")
        return (
            prompt_tokens * self.usd_per_million_input + completion_tokens * self.usd_per_million_output
        ) / 1_000_000

    def redacted(self, text: str) -> str:
        """The text without the key, which a server may repeat in what it says."""
        key = self.api_key
        return text if key == NO_KEY else text.replace(key, "***")


def judge_config(name: str, **settings: Any) -> JudgeConfig:
    """The settings of the reward `name`, checked.

    Raises:
        RewardError: a setting is unknown, has no such value, or belongs to a model in this process; all are named.
    """
    misplaced = [key for key in ("weights", "config", "dtype") if settings.pop(key, None) is not None]
    for without_effect in ("device", "batch_size"):  # what every reward is told, and a server decides for itself
        settings.pop(without_effect, None)
    if "base_url" not in settings and (url := os.environ.get(URL_VARIABLE)):
        settings["base_url"] = url
    problems = [f"{key}: belongs to the server, which has loaded its model already. Leave it out." for key in misplaced]
    try:
        found = JudgeConfig(**settings)
    except ValidationError as error:
        problems += describe(error, JudgeConfig)
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise RewardError(
            f"the judge of '{name}' cannot be asked like this:{listed}\nSee docs/how-to/serve-a-judge.md."
        )
    return found

"""A judge behind a server as benchmarks know one: a question in words about one image, a reply in words.

Unlike a reward it reads nothing: what a reply is worth is for whoever asked (`core.judging.Judge`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pyrite.core.errors import RewardError
from pyrite.core.judging import Heard
from pyrite.core.types import Image
from pyrite.rewards import replies
from pyrite.rewards.images import to_rgb
from pyrite.rewards.judge import JudgeClient
from pyrite.rewards.judge_call import Failed
from pyrite.rewards.judge_config import judge_config
from pyrite.rewards.queries import TRANSPORTS, Query, Settings, Shown, Transport, markup_in, mended

MAX_FAILURE_RATE = 0.5
"""Of the latest questions this share may fail before everything stops, unless the settings say another: a measurement
names what is missing, where training would go on with holes."""

_MOST_TOKENS = 65_536


@dataclass(frozen=True)
class AskedJudge:
    """A judge on an OpenAI-compatible server; get one from `load_asked_judge`.

    Args:
        client: where it asks.
        settings: of the replies.
    """

    client: JudgeClient
    settings: Settings

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model, what tells its weights from others, sampling, longest reply, how pictures travel."""
        config = self.client.config
        reply = {"max_tokens": self.settings.max_tokens, "transport": self.settings.transport}
        return {"weights": config.weights_name, **config.scoring_options, **reply}

    @property
    def at_once(self) -> int:
        """How many questions may be on their way."""
        return self.client.config.concurrency

    def ask(self, image: Image, text: str, *, system: str = "") -> Heard:
        """Put one question; see `core.judging.Judge`."""
        if why := markup_in(text) or markup_in(system):
            return Heard(failed=why)
        picture = to_rgb(image)
        if isinstance(picture, str):
            return Heard(failed=picture)
        query = Query((mended(text), Shown.of(picture)), self.settings, system=mended(system))
        asked = self.client.ask([query])
        outcome = asked.outcomes[0]
        if isinstance(outcome, Failed):
            return Heard(failed=outcome.reason, stop=asked.stop)
        said, config = outcome.said, self.client.config
        return Heard(
            text=config.redacted(said.text),
            is_whole=said.reply.is_whole,
            refusal=config.redacted(said.refusal),
            model=said.model,
            prompt_tokens=said.prompt_tokens,
            completion_tokens=said.completion_tokens,
            cost_usd=config.cost_usd(said.prompt_tokens, said.completion_tokens),
        )


def load_asked_judge(
    name: str, *, model: str, max_tokens: int, transport: Transport = "png", **settings: Any
) -> AskedJudge:
    """A judge for the benchmark `name`.

    Args:
        name: for messages.
        model: name under which the server offers it.
        max_tokens: a reply longer than this is cut off, and so says nothing.
        transport: "png" or "jpeg95".
        settings: see `JudgeConfig`; no further audit is kept unless `audit` names a file.

    Raises:
        RewardError: a setting is unknown or has no such value.
    """
    if transport not in TRANSPORTS or isinstance(max_tokens, bool) or max_tokens not in range(1, _MOST_TOKENS + 1):
        raise RewardError(
            f"the judge of '{name}' cannot be asked with max_tokens={max_tokens} and transport={transport}: give 1 to "
            f"{_MOST_TOKENS} tokens, and {' or '.join(TRANSPORTS)}."
        )
    config = judge_config(name, **{"max_failure_rate": MAX_FAILURE_RATE, "audit": "", **settings}, model=model)
    return AskedJudge(JudgeClient(config, name), Settings(max_tokens, transport=transport))


def reader(name: str) -> Callable[[str, bool, str], Any]:
    """A function of `replies.py` as one of plain values: from text, whether it is whole, and how to read.

    Args:
        name: of the function, such as "read_wise".
    """
    read = getattr(replies, name)

    def plain(text: str, is_whole: bool, reading: str) -> Any:
        return read(replies.Reply(text, is_whole), cast(replies.Reading, reading))

    return plain

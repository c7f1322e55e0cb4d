"""The benchmarks by name; strings only, so that listing them costs nothing.

A member is a factory: `load(tools, source, **options)` returns a `protocol.Benchmark`. `tools` hand it whoever looks at
the images; `source` are the official files, or the folder that holds them; its options are keyword-only and typed, for
`--set name=value` finds them by name, and gives what the factory does not know to the judge.
"""

from collections.abc import Callable
from typing import Any, Protocol

from pyrite.core.judging import Judge
from pyrite.core.registry import Entry, Registry

BENCHMARKS = Registry(
    "benchmark",
    {
        "geneval": Entry(
            "pyrite.evaluation.geneval.benchmark:load_geneval",
            "553 prompts of objects, numbers, colours, places; a detector and the published rules (arXiv 2310.11513).",
        ),
        "wise": Entry(
            "pyrite.evaluation.benchmarks.wise:load_wise",
            "1,000 prompts that take world knowledge; a judge marks three axes, WiScore in [0, 1] (arXiv 2503.07265).",
        ),
        "wise-verified": Entry(
            "pyrite.evaluation.benchmarks.wise:load_wise_verified",
            "WISE since April 2026: its prompts checked anew, a judge says right or wrong, the share that is right.",
        ),
    },
    "pyrite.benchmarks",
)


class Tools(Protocol):
    """What a benchmark's factory may ask for; the command line makes it. Nothing is loaded before it is asked for."""

    def judge(self, **defaults: Any) -> Judge:
        """A judge behind a server, with the protocol's own settings where the user gave no other.

        Args:
            defaults: model, temperature, max_tokens, ...; those of `judge_config.JudgeConfig` and `max_tokens`.

        Raises:
            RewardError: a setting is unknown or has no such value.
        """
        ...

    def reader(self, name: str) -> Callable[..., Any]:
        """A function of `rewards/replies.py` by its name, such as "read_wise".

        Returns:
            From text, whether it is whole, and "sound" or "reference", to what the function finds.
        """
        ...

    def detector(self, name: str, **options: Any) -> Any:
        """A detector by its name, as GenEval's rules read it.

        Raises:
            UnknownNameError: no detector of that name.
            CheckpointError: its weights are missing or not what they should be.
        """
        ...
